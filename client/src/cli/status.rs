//! `tollctl status`: is the gateway there, is it well, does it take the key? And with an admin's key: how are its
//! targets, its load, its stores?

use std::time::{Duration, Instant};

use serde_json::json;
use tollgate_client::{Client, Error, ServingStatus, api::admin::GetStatusResponse, short_name};
use tonic::Code;

use super::{Globals, builder, failure::Failure, json as encoded, key, out::Out, overview, time};

/// The services that are asked about; the empty name is the gateway as a whole.
const SERVICES: [&str; 7] = [
    "",
    "tollgate.v1.ChatService",
    "tollgate.v1.EmbedService",
    "tollgate.v1.ModelService",
    "tollgate.v1.UsageService",
    "tollgate.admin.v1.KeyService",
    "tollgate.admin.v1.ConfigService",
];

/// What was found out about a gateway that answered.
struct Status {
    services: Vec<(&'static str, String)>,
    latency: Duration,
    key: KeyState,
    /// What only operators see; `None` for everybody else, and of a gateway that cannot tell.
    overview: Option<GetStatusResponse>,
}

enum KeyState {
    Missing,
    /// Accepted, with the number of models it may use; `None`: it lacks the scope to list them.
    Accepted(Option<usize>),
    Refused(String),
    /// The call failed for another cause.
    Unknown(String),
}

/// Runs the command; returns the exit code: 0 if the gateway serves and the key, if given, is accepted.
pub(crate) async fn run(globals: &Globals, out: &mut Out) -> Result<u8, Failure> {
    let key = key(globals)?;
    let has_key = key.is_some();
    let builder = builder(globals)?;
    let builder = match key {
        Some(key) => builder.key(key),
        None => builder,
    };
    let client = match builder.connect().await {
        Ok(client) => client,
        Err(error) => {
            if globals.json {
                let status = json!({ "addr": globals.addr, "reachable": false, "error": error.message() });
                out.line(&status.to_string())?;
            }
            return Err(error.into());
        }
    };
    let status = Status::ask(&client, has_key).await?;
    if globals.json {
        out.line(&status.json(&globals.addr)?.to_string())?;
    } else {
        for line in status.lines(&globals.addr) {
            out.line(&line)?;
        }
    }
    Ok(if status.is_well() { 0 } else { 1 })
}

impl Status {
    async fn ask(client: &Client, has_key: bool) -> Result<Self, Failure> {
        let begun = Instant::now();
        let whole = client.health(SERVICES[0]).await;
        let latency = begun.elapsed();
        let mut services = vec![(SERVICES[0], state(whole)?)];
        for name in &SERVICES[1..] {
            services.push((name, state(client.health(name).await)?));
        }
        let key = if has_key { ask_key(client).await } else { KeyState::Missing };
        let overview = if has_key { ask_overview(client).await } else { None };
        Ok(Self { services, latency, key, overview })
    }

    fn is_well(&self) -> bool {
        let serving = self.services.iter().any(|(name, state)| name.is_empty() && state == "serving");
        serving && matches!(self.key, KeyState::Missing | KeyState::Accepted(_))
    }

    fn lines(&self, addr: &str) -> Vec<String> {
        let mut lines = vec![format!("{addr} is reachable, answers in {}", time::short(self.latency))];
        for (name, state) in &self.services {
            let name = if name.is_empty() { "the gateway as a whole" } else { name };
            lines.push(format!("  {name}: {state}"));
        }
        lines.push(match &self.key {
            KeyState::Missing => "no key was given: set TOLLGATE_KEY or say --key".to_owned(),
            KeyState::Accepted(Some(1)) => "the key is accepted, and may use 1 model".to_owned(),
            KeyState::Accepted(Some(models)) => format!("the key is accepted, and may use {models} models"),
            KeyState::Accepted(None) => "the key is accepted, and lacks the scope to list models".to_owned(),
            KeyState::Refused(why) => format!("the key is refused: {why}"),
            KeyState::Unknown(why) => format!("whether the key is accepted is not known: {why}"),
        });
        lines.extend(self.overview.iter().flat_map(overview::lines));
        lines
    }

    fn json(&self, addr: &str) -> Result<serde_json::Value, Failure> {
        let overview = self.overview.as_ref().map(shown).transpose()?;
        let services: serde_json::Map<_, _> =
            self.services.iter().map(|(name, state)| ((*name).to_owned(), json!(state))).collect();
        let (accepted, models, error) = match &self.key {
            KeyState::Missing => (None, None, Some("no key was given")),
            KeyState::Accepted(models) => (Some(true), *models, None),
            KeyState::Refused(why) => (Some(false), None, Some(why.as_str())),
            KeyState::Unknown(why) => (None, None, Some(why.as_str())),
        };
        Ok(json!({
            "addr": addr,
            "reachable": true,
            "latency_ms": self.latency.as_secs_f64() * 1000.0,
            "services": services,
            "key_accepted": accepted,
            "models": models,
            "error": error,
            "status": overview,
        }))
    }
}

fn state(answer: Result<Option<ServingStatus>, Error>) -> Result<String, Failure> {
    match answer {
        Ok(Some(ServingStatus::Serving)) => Ok("serving".to_owned()),
        Ok(Some(_)) => Ok("not serving".to_owned()),
        Ok(None) => Ok("not there".to_owned()),
        Err(error) if error.code() == Code::Unimplemented => Ok("no health service".to_owned()),
        Err(error) => Err(error.into()),
    }
}

/// Returns what only operators may see. Whoever may not is told the rest all the same.
async fn ask_overview(client: &Client) -> Option<GetStatusResponse> {
    client.status().await.ok()
}

fn shown(status: &GetStatusResponse) -> Result<serde_json::Value, Failure> {
    let json = encoded::encode("tollgate.admin.v1.GetStatusResponse", status)?;
    serde_json::from_str(&json).map_err(|error| Failure::Words(format!("cannot show the status: {error}")))
}

async fn ask_key(client: &Client) -> KeyState {
    let error = match client.models().await {
        Ok(models) => return KeyState::Accepted(Some(models.len())),
        Err(error) => error,
    };
    match error.code() {
        // Authentication comes before permission: the key is known.
        Code::PermissionDenied => KeyState::Accepted(None),
        Code::Unauthenticated => {
            let reason =
                error.reason().map(|reason| format!(" ({})", short_name(reason))).unwrap_or_default();
            KeyState::Refused(format!("{}{reason}", error.message()))
        }
        _ => KeyState::Unknown(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(whole: &str, key: KeyState) -> Status {
        let services = vec![("", whole.to_owned()), ("tollgate.v1.ChatService", "serving".to_owned())];
        Status { services, latency: Duration::from_millis(2), key, overview: None }
    }

    #[test]
    fn well_is_a_serving_gateway_that_takes_the_key() {
        assert!(status("serving", KeyState::Accepted(Some(3))).is_well());
        assert!(status("serving", KeyState::Missing).is_well());
        assert!(!status("not serving", KeyState::Accepted(Some(3))).is_well());
        assert!(!status("serving", KeyState::Refused("no".into())).is_well());
    }

    #[test]
    fn json_says_the_same_as_the_words() {
        let status = status("serving", KeyState::Accepted(Some(3)));
        let json = status.json("a:1").unwrap();
        assert_eq!((&json["services"][""], &json["models"]), (&json!("serving"), &json!(3)));
        assert_eq!(status.lines("a:1")[3], "the key is accepted, and may use 3 models");
    }
}
