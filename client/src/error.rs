//! What went wrong with a call, decoded from the status and its `google.rpc` details.

use std::{collections::HashMap, fmt, io, time::Duration};

use prost::Message;
use tollgate_api::v1::{Attempt, ErrorReason, RouteFailure, UpstreamFailure};
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// The trailer by which a server says when a call may be repeated; negative is never.
const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// Result of the calls of this library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A call that failed. `Display` is a sentence for people; programs decide by [`Error::reason`] and
/// [`Error::code`].
pub struct Error(Box<Inner>);

/// Where a failure came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The call was not sent: an address, key or argument is unusable.
    Local,
    /// No connection could be made: nothing listens there, or it cannot be reached.
    Connect,
    /// The connection broke, or what came was not gRPC.
    Transport,
    /// The server answered with an error.
    Server,
}

struct Inner {
    kind: Kind,
    code: Code,
    reason: Option<ErrorReason>,
    message: String,
    field: Option<String>,
    retry_after: Option<Duration>,
    refused: bool,
    metadata: HashMap<String, String>,
    attempts: Vec<Attempt>,
    upstream: Option<UpstreamFailure>,
    request_id: Option<String>,
}

impl Error {
    /// Makes an error of this side: the call was not sent.
    pub(crate) fn local(message: impl Into<String>) -> Self {
        Self::new(Kind::Local, Code::InvalidArgument, message.into())
    }

    /// Makes the error of a deadline that this side saw pass.
    pub(crate) fn deadline() -> Self {
        let mut error =
            Self::new(Kind::Transport, Code::DeadlineExceeded, "the deadline of the call is over".into());
        error.0.reason = Some(ErrorReason::CallerDeadlineExceeded);
        error
    }

    /// Makes the error of a stream that ended with OK before its `end` event: it was cut on the way.
    pub(crate) fn truncated() -> Self {
        let message = "the stream ended before the answer was complete".into();
        let mut error = Self::new(Kind::Transport, Code::Unavailable, message);
        error.0.reason = Some(ErrorReason::StreamInterrupted);
        error
    }

    /// Makes the error of an answer that lacks what the contract promises.
    pub(crate) fn incomplete(what: &str) -> Self {
        Self::new(Kind::Transport, Code::Internal, format!("the answer holds no {what}"))
    }

    /// Makes the error of a connection attempt.
    pub(crate) fn connect(source: &(dyn std::error::Error + 'static)) -> Self {
        let mut error = Self::new(Kind::Connect, Code::Unavailable, deepest(source));
        error.0.refused = is_refused(source);
        error
    }

    fn new(kind: Kind, code: Code, message: String) -> Self {
        Self(Box::new(Inner {
            kind,
            code,
            reason: None,
            message,
            field: None,
            retry_after: None,
            refused: false,
            metadata: HashMap::new(),
            attempts: Vec::new(),
            upstream: None,
            request_id: None,
        }))
    }

    /// Returns where the failure came from.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// Returns the gRPC status code.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// Returns the reason; `None` if the server gave none that this library knows: go by the code.
    pub fn reason(&self) -> Option<ErrorReason> {
        self.0.reason
    }

    /// Returns the words of the server, or of the network, without the rest of the sentence.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Returns the path of the field that is wrong, e.g. `input.messages[0].role`.
    pub fn field(&self) -> Option<&str> {
        self.0.field.as_deref()
    }

    /// Returns how long to wait before the same call may succeed; `None`: the server does not ask for a
    /// repeat.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Returns the values that the reason documents, e.g. `limit` and `used`.
    pub fn metadata(&self) -> &HashMap<String, String> {
        &self.0.metadata
    }

    /// Returns what was tried upstream, in order; empty if nothing was.
    pub fn attempts(&self) -> &[Attempt] {
        &self.0.attempts
    }

    /// Returns what the provider said in the last attempt.
    pub fn upstream(&self) -> Option<&UpstreamFailure> {
        self.0.upstream.as_ref()
    }

    /// Returns the id of the call, which is that of its usage record.
    pub fn request_id(&self) -> Option<&str> {
        self.0.request_id.as_deref()
    }

    /// Returns true if the address refused the connection: most likely nothing listens there.
    pub fn is_connection_refused(&self) -> bool {
        self.0.refused
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        let source = std::error::Error::source(&status);
        let kind = match source {
            Some(source) if is_connect(source) => Kind::Connect,
            Some(_) => Kind::Transport,
            None => Kind::Server,
        };
        let mut error = Self::new(kind, status.code(), status.message().to_owned());
        let inner = &mut *error.0;
        if let Some(source) = source {
            inner.refused = is_refused(source);
            inner.message = deepest(source);
        }
        inner.request_id =
            status.metadata().get("x-request-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
        inner.read_details(&status);
        error
    }
}

impl Inner {
    fn read_details(&mut self, status: &Status) {
        // Details that do not decode are no reason to lose the status itself.
        let details = status.get_error_details();
        if let Some(info) = details.error_info()
            && info.domain == "tollgate"
        {
            self.reason = ErrorReason::from_str_name(&info.reason);
            self.metadata = info.metadata.clone();
        }
        let violated = details.bad_request().and_then(|bad| bad.field_violations.first());
        self.field = violated
            .map(|violation| violation.field.clone())
            .or_else(|| self.metadata.get("field").cloned())
            .filter(|field| !field.is_empty());
        let told = details.retry_info().and_then(|info| info.retry_delay);
        self.retry_after = match pushback(status) {
            Some(pushback) => pushback,
            None => told,
        };
        self.read_own_details(status);
    }

    fn read_own_details(&mut self, status: &Status) {
        let Ok(rich) = tonic_types::Status::decode(status.details()) else { return };
        for any in rich.details {
            match any.type_url.rsplit('/').next() {
                Some("tollgate.v1.UpstreamFailure") => {
                    self.upstream = UpstreamFailure::decode(any.value.as_slice()).ok();
                }
                Some("tollgate.v1.RouteFailure") => {
                    let failure = RouteFailure::decode(any.value.as_slice()).unwrap_or_default();
                    self.attempts = failure.attempts;
                }
                _ => {}
            }
        }
    }
}

/// Reads the pushback: `None` if there is none, `Some(None)` if it forbids a repeat. What cannot be read
/// forbids it too (gRFC A6).
fn pushback(status: &Status) -> Option<Option<Duration>> {
    let value = status.metadata().get(PUSHBACK)?;
    let ms = value.to_str().ok().and_then(|text| text.trim().parse::<u64>().ok());
    Some(ms.map(Duration::from_millis))
}

fn chain<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

fn is_refused(error: &(dyn std::error::Error + 'static)) -> bool {
    chain(error)
        .filter_map(|error| error.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

fn is_connect(error: &(dyn std::error::Error + 'static)) -> bool {
    chain(error).any(|error| error.is::<tonic::ConnectError>()) || is_refused(error)
}

/// The innermost cause says what happened; the outer ones say "transport error".
fn deepest(error: &(dyn std::error::Error + 'static)) -> String {
    chain(error).last().unwrap_or(error).to_string()
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        match self.kind() {
            Kind::Local => write!(f, "the call was not sent: {}", inner.message)?,
            Kind::Connect => write!(f, "cannot connect: {}", inner.message)?,
            Kind::Transport if inner.reason.is_some() => f.write_str(&inner.message)?,
            Kind::Transport => write!(f, "the connection failed: {}", inner.message)?,
            Kind::Server if inner.message.is_empty() => f.write_str(self.code().description())?,
            Kind::Server => f.write_str(&inner.message)?,
        }
        if let Some(reason) = inner.reason {
            write!(f, " ({})", short_name(reason))?;
        }
        if let Some(delay) = inner.retry_after {
            write!(f, "; retry after {:.1} s", delay.as_secs_f64())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.kind())
            .field("code", &self.code())
            .field("reason", &self.0.reason)
            .field("message", &self.0.message)
            .field("field", &self.0.field)
            .field("retry_after", &self.0.retry_after)
            .field("attempts", &self.0.attempts)
            .field("request_id", &self.0.request_id)
            .finish_non_exhaustive()
    }
}

impl std::error::Error for Error {}

/// Returns a reason's name without its prefix, as usage records show it, e.g. `RATE_LIMITED`.
pub fn short_name(reason: ErrorReason) -> &'static str {
    let name = reason.as_str_name();
    name.strip_prefix("ERROR_REASON_").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use tonic::metadata::MetadataMap;
    use tonic_types::ErrorDetails;

    use super::*;

    fn any(name: &str, message: &impl Message) -> prost_types::Any {
        prost_types::Any { type_url: format!("type.googleapis.com/{name}"), value: message.encode_to_vec() }
    }

    fn status(details: ErrorDetails, own: Vec<prost_types::Any>, pushback: Option<&str>) -> Status {
        let plain = Status::with_error_details(Code::ResourceExhausted, "too many requests", details);
        let mut rich = tonic_types::Status::decode(plain.details()).unwrap();
        rich.details.extend(own);
        let mut metadata = MetadataMap::new();
        if let Some(pushback) = pushback {
            metadata.insert(PUSHBACK, pushback.parse().unwrap());
        }
        metadata.insert("x-request-id", "01890a5d".parse().unwrap());
        let bytes = Bytes::from(rich.encode_to_vec());
        Status::with_details_and_metadata(plain.code(), plain.message(), bytes, metadata)
    }

    fn limited() -> ErrorDetails {
        let mut details = ErrorDetails::new();
        let metadata = HashMap::from([("limit".to_owned(), "60".to_owned())]);
        details.set_error_info("ERROR_REASON_RATE_LIMITED", "tollgate", metadata);
        details.set_retry_info(Some(Duration::from_millis(1500)));
        details
    }

    #[test]
    fn every_detail_is_read_from_the_status() {
        let mut details = limited();
        details.add_bad_request_violation("input.model", "is wrong");
        let upstream = UpstreamFailure { provider: "openai".into(), http_status: 429, ..Default::default() };
        let attempt = Attempt { target: "a".into(), outcome: "rate_limited".into(), ..Default::default() };
        let own = vec![
            any("tollgate.v1.UpstreamFailure", &upstream),
            any("tollgate.v1.RouteFailure", &RouteFailure { attempts: vec![attempt] }),
        ];
        let error = Error::from(status(details, own, None));
        assert_eq!(error.reason(), Some(ErrorReason::RateLimited));
        assert_eq!(error.field(), Some("input.model"));
        assert_eq!(error.retry_after(), Some(Duration::from_millis(1500)));
        assert_eq!(error.upstream().unwrap().http_status, 429);
        assert_eq!(error.attempts()[0].target, "a");
        assert_eq!(error.metadata()["limit"], "60");
        assert_eq!(error.request_id(), Some("01890a5d"));
        assert_eq!(error.to_string(), "too many requests (RATE_LIMITED); retry after 1.5 s");
    }

    #[test]
    fn the_pushback_wins_over_retry_info_and_a_negative_one_forbids_a_repeat() {
        let after = |pushback| Error::from(status(limited(), Vec::new(), Some(pushback))).retry_after();
        assert_eq!(after("250"), Some(Duration::from_millis(250)));
        assert_eq!(after("0"), Some(Duration::ZERO));
        assert_eq!(after("-1"), None);
        assert_eq!(after("soon"), None);
    }

    #[test]
    fn a_reason_of_another_domain_is_not_ours() {
        let mut details = ErrorDetails::new();
        details.set_error_info("ERROR_REASON_RATE_LIMITED", "example.com", HashMap::new());
        assert_eq!(Error::from(status(details, Vec::new(), None)).reason(), None);
    }

    #[test]
    fn broken_details_keep_the_status() {
        let status = Status::with_details(Code::NotFound, "no such key", Bytes::from_static(b"\xff\xff"));
        let error = Error::from(status);
        assert_eq!((error.code(), error.message()), (Code::NotFound, "no such key"));
    }
}
