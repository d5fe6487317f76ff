//! The callers of an exchange, one per surface: each asks, reads its answer by its own dialect's rules, and compares.

mod asking;
mod carries;
mod compare;
mod count;
mod deep;
mod embeddings;
mod grpc;
mod ledger;
mod native;
mod passing;
mod rules;
mod surfaces;
mod typed;

use serde_json::Value;
use tollgate_api::v1;
use tonic::{service::interceptor::InterceptedService, transport::Channel};

use crate::{
    exchange::Exchange,
    family::Family,
    replay::{Cut, Replay, ticket},
    snapshots::Snapshots,
    support::{ADMIN_KEY, Gateway, KEY, gateway::BearerKey, http::Caller},
    tally::Tally,
};

/// What a run shares: the gateway, its upstream, and connections to it.
pub struct Bench {
    _gateway: Gateway,
    pub replay: Replay,
    pub tally: Tally,
    pub snapshots: Snapshots,
    caller: Caller,
    admin: Caller,
    channel: InterceptedService<Channel, BearerKey>,
}

/// One caller's asking for one exchange with one cut.
pub struct Ask<'a> {
    bench: &'a Bench,
    exchange: &'a Exchange,
    ticket: String,
}

impl Bench {
    pub async fn new(gateway: Gateway, replay: Replay) -> Self {
        let (caller, admin) = (Caller::new(gateway.addr, KEY), Caller::new(gateway.addr, ADMIN_KEY));
        let channel = gateway.channel(KEY).await;
        Self {
            _gateway: gateway,
            replay,
            tally: Tally::default(),
            snapshots: Snapshots::read(),
            caller,
            admin,
            channel,
        }
    }

    fn ask<'a>(&'a self, exchange: &'a Exchange, caller: &str, cut: Cut) -> Ask<'a> {
        Ask { bench: self, exchange, ticket: ticket(exchange, caller, cut) }
    }

    fn chat_client(
        &self,
    ) -> v1::chat_service_client::ChatServiceClient<InterceptedService<Channel, BearerKey>> {
        v1::chat_service_client::ChatServiceClient::new(self.channel.clone())
            .max_decoding_message_size(64 << 20)
    }
}

impl Ask<'_> {
    /// The model that the caller asks for.
    fn alias(&self) -> String {
        format!("{}/{}", self.exchange.provider(), self.ticket)
    }
}

/// Replays an exchange for every caller that can have its answer. Returns what went wrong.
pub async fn check(bench: &Bench, exchange: &Exchange) -> Vec<String> {
    let Some(family) = exchange.family else {
        return vec![format!("no family claims {} {}", exchange.dialect, exchange.path)];
    };
    let mut failures = Vec::new();
    for &cut in cuts() {
        // Every caller sees the body whole; the two that do not share a way in see all cuts.
        let all = matches!(cut, Cut::Whole | Cut::Random(1));
        let mut note = |caller: &str, result: Result<(), String>| {
            failures.extend(result.err().map(|why| format!("{caller}, {cut:?}: {why}")));
        };
        match family {
            Family::PassThrough | Family::Native => {
                note("pass-through", passing::check(bench, exchange, cut).await);
            }
            Family::Embeddings => {
                if all || exchange.bare_path().ends_with("/v1/embeddings") {
                    note("embeddings", embeddings::rest(bench, exchange, cut).await);
                }
                note("grpc", embeddings::grpc(bench, exchange, cut).await);
            }
            Family::Count => {
                for counter in count::ALL.iter().filter(|_| all) {
                    note(counter.name, count::rest(bench, exchange, counter, cut).await);
                }
                note("grpc", count::grpc(bench, exchange, cut).await);
            }
            _ => {
                for (number, surface) in surfaces::ALL.iter().enumerate() {
                    // Of the callers that share their way in, each exchange has one see a random cut.
                    let all = cut == Cut::Whole || all && exchange.body.len() % surfaces::ALL.len() == number;
                    if surface.family == family && has_express_lane(exchange) {
                        note(surface.name, native::check(bench, exchange, surface, cut).await);
                        if cut == Cut::Whole && matches!(family, Family::Messages | Family::Responses) {
                            note("typed", asking::check(bench, exchange, surface, cut).await);
                        }
                    } else if all && has_typed_lane(exchange, family, surface.family) {
                        note(surface.name, typed::check(bench, exchange, surface, cut).await);
                    }
                }
                // A legacy completion answers nobody else: what others ask goes to the chat endpoint.
                if family != Family::Completions {
                    note("grpc", grpc::check(bench, exchange, cut).await);
                }
            }
        }
    }
    failures
}

/// Whether a caller of another dialect is answered from this recording. A legacy completion answers nobody else, and
/// callers of Messages reach Claude on Bedrock by InvokeModel, not by Converse.
fn has_typed_lane(exchange: &Exchange, family: Family, caller: Family) -> bool {
    let by_invoke =
        family == Family::Converse && caller == Family::Messages && exchange.path.contains("anthropic.");
    family != Family::Completions && !by_invoke
}

/// The cuts of a run: `TOLLGATE_WIRE_QUICK` leaves the body whole.
fn cuts() -> &'static [Cut] {
    let all = &[Cut::Whole, Cut::Random(1), Cut::Random(2), Cut::Bytes];
    if std::env::var_os("TOLLGATE_WIRE_QUICK").is_some() { &all[..1] } else { all }
}

/// Mistral and Voyage refuse members that every other vendor of the family takes, so that their callers' bytes cannot be
/// their own.
fn has_express_lane(exchange: &Exchange) -> bool {
    !exchange.dialect.starts_with("mistral") && !exchange.dialect.starts_with("voyage")
}

/// Says what an answer that should not have failed is, briefly.
fn brief(answer: &crate::support::http::Answer) -> String {
    format!("{} {}", answer.status, answer.text().chars().take(300).collect::<String>())
}

/// Whether two requests are the same but for members that the gateway may set. Null and absent are the same.
fn same_but(left: &Value, right: &Value, members: &[&str]) -> Result<(), String> {
    let (Some(left), Some(right)) = (left.as_object(), right.as_object()) else {
        return Err("a request that is no object".to_owned());
    };
    let names = left.keys().chain(right.keys()).filter(|name| !members.contains(&name.as_str()));
    for name in names {
        let told =
            |side: &serde_json::Map<String, Value>| side.get(name).filter(|value| !value.is_null()).cloned();
        if told(left) != told(right) {
            let shown = |value: Option<&Value>| {
                value.map_or("nothing".to_owned(), |value| value.to_string().chars().take(120).collect())
            };
            return Err(format!(
                "`{name}` was {} and arrived as {}",
                shown(left.get(name)),
                shown(right.get(name))
            ));
        }
    }
    Ok(())
}
