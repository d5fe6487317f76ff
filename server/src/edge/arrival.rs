//! What a request's headers say of a call, the same for REST and gRPC metadata.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use http::{HeaderMap, HeaderName, Uri};
use tollgate_api::v1;

use super::{hints, route_header};
use crate::{
    call::{
        Asked, Call, Caller, Deadline, Fingerprint, Operation, Priority, Surface, check_request_id,
        check_tags, new_id,
    },
    error::Error,
};

// Made once: a name that is given as a text is parsed for every call.
static TIMEOUT_MS: HeaderName = HeaderName::from_static("x-tollgate-timeout-ms");
static GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
static PRIORITY: HeaderName = HeaderName::from_static("x-tollgate-priority");
static TAGS: HeaderName = HeaderName::from_static("x-tollgate-tags");
static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
static REQUEST_IDS: [HeaderName; 2] =
    [HeaderName::from_static("x-tollgate-request-id"), HeaderName::from_static("idempotency-key")];
static SESSION_IDS: [HeaderName; 2] =
    [HeaderName::from_static("x-tollgate-session-id"), HeaderName::from_static("x-claude-code-session-id")];

/// Starts a call from its headers. What is wrong in them is an error beside the call, so that it is recorded too.
pub fn call(
    headers: &HeaderMap,
    caller: Arc<Caller>,
    surface: Surface,
    operation: Operation,
) -> (Call, Result<(), Error>) {
    let started = Instant::now();
    let mut call = Call {
        id: new_id(),
        started,
        create_time: SystemTime::now(),
        surface,
        operation,
        tags: caller.default_tags.clone(),
        priority: caller.priority,
        caller,
        asked: Asked::default(),
        options: v1::CallOptions::default(),
        fingerprint: None,
        deadline: None,
        traceparent: traceparent(headers),
        waited: Duration::ZERO,
        rule: String::new(),
        attempts: Vec::new(),
    };
    let read = read(headers, &mut call);
    (call, read)
}

fn read(headers: &HeaderMap, call: &mut Call) -> Result<(), Error> {
    if let Some(wait) = text(headers, &TIMEOUT_MS)? {
        let ms: u64 = wait.trim().parse().ok().filter(|ms| *ms > 0).ok_or_else(|| {
            Error::invalid(
                "x-tollgate-timeout-ms",
                "x-tollgate-timeout-ms must be a positive number of milliseconds",
            )
        })?;
        set_deadline(call, Duration::from_millis(ms));
    }
    if let Some(wait) = caller_timeout(headers)? {
        set_deadline(call, wait);
    }
    for name in &REQUEST_IDS {
        if let Some(id) = text(headers, name)? {
            check_request_id(name.as_str(), id)?;
            id.clone_into(&mut call.options.request_id);
            break;
        }
    }
    if let Some(word) = text(headers, &PRIORITY)? {
        let asked = Priority::from_name(word.trim()).ok_or_else(|| {
            Error::invalid("x-tollgate-priority", "x-tollgate-priority must be low, normal or high")
        })?;
        // Nobody makes a call more important than its key.
        call.priority = call.priority.min(asked);
    }
    for name in &SESSION_IDS {
        if let Some(session) = text(headers, name)? {
            session.clone_into(&mut call.options.session_id);
            break;
        }
    }
    call.options.route = route_header::read(headers)?;
    if let Some(tags) = text(headers, &TAGS)? {
        let parsed = tags.split(',').map(str::trim).filter(|pair| !pair.is_empty()).map(|pair| {
            pair.split_once('=').ok_or_else(|| {
                Error::invalid("x-tollgate-tags", "x-tollgate-tags must look like `feature=summary,env=prod`")
            })
        });
        let mut given = BTreeMap::new();
        for pair in parsed {
            let (key, value) = pair?;
            given.insert(key.trim().to_owned(), value.trim().to_owned());
        }
        merge_tags(call, "x-tollgate-tags", given)?;
    }
    Ok(())
}

/// Takes over the options of a gRPC message; they win over the headers.
///
/// # Errors
/// `INVALID_REQUEST` naming the field below `options`.
pub fn take_options(call: &mut Call, options: Option<v1::CallOptions>) -> Result<(), Error> {
    let Some(mut options) = options else { return Ok(()) };
    check_request_id("options.request_id", &options.request_id)?;
    for (name, wait) in [
        ("options.first_token_timeout", &options.first_token_timeout),
        ("options.idle_timeout", &options.idle_timeout),
    ] {
        if wait.is_some_and(|wait| Duration::try_from(wait).map_or(true, |wait| wait.is_zero())) {
            return Err(Error::invalid(name, format!("{name} must be longer than zero")));
        }
    }
    if options.max_cost_nanos.is_some_and(|nanos| nanos < 0) {
        return Err(Error::invalid("options.max_cost_nanos", "options.max_cost_nanos must not be negative"));
    }
    options.route.as_ref().map_or(Ok(()), hints::check_message)?;
    options.route = hints::join(call.options.route.take(), options.route.take());
    let asked = v1::Priority::try_from(options.priority).map_err(|_| {
        Error::invalid("options.priority", "options.priority must be one of the contract's priorities")
    })?;
    call.priority = call.caller.priority.min(Priority::from_proto(asked).unwrap_or(call.priority));
    merge_tags(call, "options.tags", std::mem::take(&mut options.tags).into_iter().collect())?;
    if options.request_id.is_empty() {
        options.request_id = std::mem::take(&mut call.options.request_id);
    }
    if options.session_id.is_empty() {
        options.session_id = std::mem::take(&mut call.options.session_id);
    }
    call.options = options;
    Ok(())
}

/// Takes the fingerprint of a REST request with this body, if the call is to be made once.
pub fn fingerprint(call: &Call, uri: &Uri, body: &[&[u8]]) -> Option<Fingerprint> {
    if call.options.request_id.is_empty() {
        return None;
    }
    let path = uri.path_and_query().map_or("", |path| path.as_str());
    Some(Fingerprint::of(&[&[path.as_bytes()], body].concat()))
}

fn merge_tags(call: &mut Call, field: &str, tags: BTreeMap<String, String>) -> Result<(), Error> {
    if tags.is_empty() {
        return Ok(());
    }
    check_tags(field, &tags)?;
    call.tags.extend(tags);
    check_tags(field, &call.tags)
}

fn set_deadline(call: &mut Call, wait: Duration) {
    // A year is for ever here; the cap keeps the addition from overflowing.
    let at = call.started + wait.min(Duration::from_secs(365 * 86_400));
    call.deadline = Some(Deadline { at, by_caller: true }.earlier(call.deadline));
}

/// Reads gRPC's `grpc-timeout`: up to eight digits and a unit.
fn grpc_timeout(value: &str) -> Option<Duration> {
    let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(amount * 3600)),
        "M" => Some(Duration::from_secs(amount * 60)),
        "S" => Some(Duration::from_secs(amount)),
        "m" => Some(Duration::from_millis(amount)),
        "u" => Some(Duration::from_micros(amount)),
        "n" => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

/// Returns the caller's `grpc-timeout`, if it sent one.
///
/// # Errors
/// `INVALID_REQUEST` if it is malformed.
pub fn caller_timeout(headers: &HeaderMap) -> Result<Option<Duration>, Error> {
    let Some(wait) = headers.get(&GRPC_TIMEOUT) else { return Ok(None) };
    wait.to_str().ok().and_then(grpc_timeout).map(Some).ok_or_else(|| {
        Error::invalid("grpc-timeout", "grpc-timeout must be up to 8 digits and one of H, M, S, m, u, n")
    })
}

fn text<'h>(headers: &'h HeaderMap, name: &'static HeaderName) -> Result<Option<&'h str>, Error> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    value
        .to_str()
        .map(Some)
        .map_err(|_| Error::invalid(name.as_str(), format!("{name} must be printable ASCII")))
}

/// Returns the caller's W3C trace context if it is well-formed; a malformed one is ignored, as the standard says.
fn traceparent(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(&TRACEPARENT)?.to_str().ok()?;
    let hex = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    let mut parts = value.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let well_formed = version == "00"
        && trace.len() == 32
        && span.len() == 16
        && flags.len() == 2
        && parts.next().is_none()
        && hex(trace)
        && hex(span)
        && hex(flags)
        && trace.bytes().any(|byte| byte != b'0')
        && span.bytes().any(|byte| byte != b'0');
    well_formed.then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_timeouts_are_read_by_unit_and_refused_when_malformed() {
        assert_eq!(grpc_timeout("250m"), Some(Duration::from_millis(250)));
        assert_eq!(grpc_timeout("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        for bad in ["", "m", "5", "5x", "-5m", "123456789m", "5µ"] {
            assert_eq!(grpc_timeout(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_malformed_traceparent_is_ignored() {
        let with = |value: &str| {
            HeaderMap::from_iter([(http::HeaderName::from_static("traceparent"), value.parse().unwrap())])
        };
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(traceparent(&with(good)).as_deref(), Some(good));
        assert_eq!(traceparent(&with("00-00000000000000000000000000000000-00f067aa0ba902b7-01")), None);
        assert_eq!(traceparent(&with("nonsense")), None);
    }
}
