//! How a command can fail, said in words: what, why, which field, what to do, when to try again.

use std::io;

use tollgate_client::{Error, Kind, api::v1::ErrorReason, short_name};

use super::{out::Out, time};

/// Exit code of a wrong command line (sysexits' EX_USAGE).
pub(crate) const EXIT_USAGE: u8 = 64;
/// Exit code after Ctrl-C, as shells have it.
const EXIT_INTERRUPTED: u8 = 130;

/// Why a command did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line cannot be carried out.
    Usage(String),
    /// Something on this machine, said already in words.
    Words(String),
    /// A call failed.
    Call(Error),
    /// An output or a file.
    Io(io::Error),
    /// Ctrl-C.
    Interrupted,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Call(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Failure {
    /// Says what went wrong with a command to `addr`, and returns the exit code.
    pub(crate) fn report(&self, addr: &str, out: &mut Out) -> u8 {
        // If standard error is gone too, the exit code is all that can be said.
        match self {
            Self::Usage(words) => {
                let _ = out.error(words);
                EXIT_USAGE
            }
            Self::Words(words) => {
                let _ = out.error(words);
                1
            }
            Self::Call(error) => {
                let _ = explain(error, addr, out);
                1
            }
            // The reader has what it wanted, as in `tollctl models | head`.
            Self::Io(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::Io(error) => {
                let _ = out.error(&error.to_string());
                1
            }
            Self::Interrupted => {
                let _ = out.note("cancelled");
                EXIT_INTERRUPTED
            }
        }
    }
}

fn explain(error: &Error, addr: &str, out: &mut Out) -> io::Result<()> {
    if error.kind() == Kind::Connect {
        if error.is_connection_refused() {
            return out.error(&format!("connection refused: is tollgate running at {addr}?"));
        }
        return out.error(&format!("cannot connect to {addr}: {}", error.message()));
    }
    out.error(&headline(error))?;
    if let Some(reason) = error.reason() {
        let layer = error.metadata().get("layer").map(|layer| format!(" (by {layer})")).unwrap_or_default();
        out.note(&format!("  reason:   {}{layer}", short_name(reason)))?;
    } else if error.kind() == Kind::Server {
        out.note(&format!("  status:   {}", error.code().description()))?;
    }
    if let Some(field) = error.field() {
        out.note(&format!("  field:    {field}"))?;
    }
    if let Some(nearest) = error.metadata().get("nearest") {
        out.note(&format!("  nearest:  {nearest}"))?;
    }
    if let Some(limit) = limit_line(error) {
        out.note(&format!("  limit:    {limit}"))?;
    }
    if let Some(said) = error.upstream() {
        let words = [said.r#type.as_str(), said.code.as_str(), said.message.as_str()];
        let words: Vec<_> = words.into_iter().filter(|word| !word.is_empty()).collect();
        out.note(&format!("  {} said: HTTP {} {}", said.provider, said.http_status, words.join(": ")))?;
    }
    for (number, attempt) in error.attempts().iter().enumerate() {
        let status =
            if attempt.http_status > 0 { format!(", HTTP {}", attempt.http_status) } else { String::new() };
        let took = time::span(attempt.duration.as_ref());
        let took = took.map(|took| format!(" after {}", time::short(took))).unwrap_or_default();
        let name = if attempt.target.is_empty() { &attempt.model } else { &attempt.target };
        out.note(&format!("  attempt {}: {name}: {}{status}{took}", number + 1, attempt.outcome))?;
    }
    if let Some(delay) = error.retry_after() {
        out.note(&format!("  retry:    after {}", time::short(delay)))?;
    }
    let hinted = error.metadata().contains_key("hints").then_some("ask for less with the routing options");
    // What no wait helps against is more than the whole limit.
    let never = error.reason() == Some(ErrorReason::RateLimited) && error.retry_after().is_none();
    let less = never.then_some("ask for less at a time, or ask the operator for a larger limit");
    if let Some(advice) = hinted.or(less).or_else(|| error.reason().and_then(advice)) {
        out.note(&format!("  to do:    {advice}"))?;
    }
    if let Some(id) = error.request_id() {
        out.note(&format!("  call id:  {id}"))?;
    }
    Ok(())
}

fn headline(error: &Error) -> String {
    let message = error.message();
    match error.kind() {
        Kind::Local => message.to_owned(),
        Kind::Transport if error.reason().is_none() => format!("the connection failed: {message}"),
        _ if message.is_empty() => error.code().description().to_owned(),
        _ => message.to_owned(),
    }
}

/// Returns the limit that refused the call, from the metadata of the limit reasons.
fn limit_line(error: &Error) -> Option<String> {
    let get = |name: &str| error.metadata().get(name).map(String::as_str);
    let (subject, metric, limit) = (get("subject")?, get("metric")?, get("limit")?);
    let window = get("window").filter(|window| !window.is_empty());
    let per = window.map(|window| format!(" per {window}")).unwrap_or_default();
    let used = get("used").map(|used| format!(", used {used}")).unwrap_or_default();
    let reset = get("reset_time").map(|reset| format!(", resets {reset}")).unwrap_or_default();
    Some(format!("{limit} {metric}{per} of {subject}{used}{reset}"))
}

/// Returns what the person can do about it, where it is more than the message says.
fn advice(reason: ErrorReason) -> Option<&'static str> {
    Some(match reason {
        ErrorReason::ApiKeyMissing => "give a key with --key or --key-file, or set TOLLGATE_KEY",
        ErrorReason::ApiKeyInvalid => "check the key; it may be mistyped, disabled or revoked",
        ErrorReason::ApiKeyExpired => "ask the operator for a new key",
        ErrorReason::ScopeDenied => "use a key that has the scope",
        ErrorReason::ModelNotAllowed => {
            "use another model, or ask the operator; `tollctl models` lists yours"
        }
        ErrorReason::ModelNotFound => "correct the name; `tollctl models` lists what there is",
        ErrorReason::InvalidRequest | ErrorReason::UnsupportedParameter => {
            "correct the field, or leave it out"
        }
        ErrorReason::RequestTooLarge => "send less",
        ErrorReason::ContextLengthExceeded => "shorten the prompt, or use a model with a larger context",
        ErrorReason::ContentBlocked => "change the content",
        ErrorReason::RateLimited | ErrorReason::GatewayOverloaded | ErrorReason::RequestInProgress => {
            "try again later"
        }
        ErrorReason::BudgetExhausted => {
            "ask for less, wait for the reset, or ask the operator for a larger budget"
        }
        ErrorReason::CostCapExceeded => "raise the cap, ask for fewer tokens, or use a cheaper model",
        ErrorReason::NoTargetAvailable
        | ErrorReason::UpstreamRateLimited
        | ErrorReason::UpstreamTimeout
        | ErrorReason::UpstreamUnavailable
        | ErrorReason::UpstreamBadResponse => "try again later; the gateway has made its own retries",
        ErrorReason::UpstreamRejected => "correct what the provider names",
        ErrorReason::UpstreamAuthFailed => {
            "the operator must correct the provider's credential; your key is fine"
        }
        ErrorReason::StreamInterrupted => {
            "the answer above is cut; asking again is a new call and a new bill"
        }
        ErrorReason::RequestIdReused => "use a new request id",
        ErrorReason::CallerDeadlineExceeded => "allow more time with --timeout",
        ErrorReason::StoreUnavailable => "try again later; the operator should look at the gateway's store",
        ErrorReason::DeclaredInConfig => "change the key in the configuration file",
        ErrorReason::EtagMismatch => "someone else changed it meanwhile: run the command again",
        ErrorReason::Internal => "report the call id to the operator",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::{super::out::tests::captured, *};

    fn said(failure: &Failure) -> (u8, String) {
        let (mut out, _, stderr) = captured(false);
        let code = failure.report("127.0.0.1:8080", &mut out);
        (code, stderr.text())
    }

    #[test]
    fn exit_codes_tell_usage_from_the_rest() {
        assert_eq!(said(&Failure::Usage("no prompt".into())), (64, "error: no prompt\n".into()));
        assert_eq!(said(&Failure::Words("no".into())).0, 1);
        assert_eq!(said(&Failure::Interrupted), (130, "cancelled\n".into()));
    }

    #[test]
    fn a_reader_that_has_enough_is_no_failure() {
        let closed = Failure::Io(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(said(&closed), (0, String::new()));
    }
}
