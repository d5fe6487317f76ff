//! What an OpenAI-style failure means: status and body to a kind, whatever shape the vendor gives its errors.

mod details;
mod nested;
#[cfg(test)]
mod quirks;

use std::time::{Duration, SystemTime};

use ::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use serde_json::Value;

use crate::provider::{Error, Kind, retry_after};

const MAX_MESSAGE_BYTES: usize = 1024;

/// What an error says of itself, in one shape for all vendors.
#[derive(Debug, Default)]
struct Said {
    message: String,
    r#type: String,
    code: String,
    field: Option<String>,
    /// Further words that tell the kind, and nobody else.
    hint: String,
    /// The status that the error names inside its body.
    status: Option<u16>,
    /// Anthropic: the id of the request, inside the body.
    request_id: String,
    /// How long to wait, by the body.
    retry: Option<Duration>,
}

/// Classifies an answer whose status is not a success.
pub(in crate::provider) fn of_response(status: StatusCode, headers: &HeaderMap, body: Bytes) -> Error {
    let mut said = match serde_json::from_slice::<Value>(&body) {
        Ok(json) => read(&json),
        Err(_) => Said { message: plain_text(headers, &body), ..Said::default() },
    };
    if let Some(name) = headers.get("x-amzn-errortype").and_then(|name| name.to_str().ok()) {
        aws_name(name).clone_into(&mut said.r#type);
    }
    let kind = kind_of(status.as_u16(), &said);
    let now = SystemTime::now();
    let wait = match kind {
        Kind::RateLimited { .. } => retry_after::retry_after(headers, now).or(said.retry),
        // The reset times of limits stand beside every answer; here only what is said of this failure counts.
        Kind::Unavailable | Kind::Timeout => retry_after::of_this_answer(headers, now).or(said.retry),
        _ => None,
    };
    let kind = match kind {
        Kind::RateLimited { .. } => Kind::RateLimited { retry_after: wait },
        kind => kind,
    };
    let mut error = to_error(kind, said, status.as_u16());
    error.http_status = status.as_u16();
    error.retry_after = wait;
    // A refusal of the credential may echo a part of it.
    error.body = (kind != Kind::Denied && !body.is_empty()).then_some(body);
    error
}

/// Classifies an exception that ends an AWS event stream: its name stands for a status.
pub(in crate::provider) fn of_exception(name: &str, json: &[u8]) -> Error {
    let mut said = serde_json::from_slice::<Value>(json).map(|json| read(&json)).unwrap_or_default();
    name.clone_into(&mut said.r#type);
    let status = status_of_words(&said);
    to_error(kind_of(status, &said), said, status)
}

/// Classifies an error that came inside a 200: in a stream, or as the whole answer.
pub(in crate::provider) fn of_payload(json: &[u8]) -> Error {
    let said = serde_json::from_slice::<Value>(json).map(|json| read(&json)).unwrap_or_default();
    let status = said.status.unwrap_or_else(|| status_of_words(&said));
    to_error(kind_of(status, &said), said, status)
}

/// Says what a body is that should have been JSON.
pub(in crate::provider) fn not_json(body: &[u8]) -> Error {
    let message = match body.trim_ascii().first() {
        None => "the answer is empty",
        Some(b'<') => "the answer is an HTML page, not JSON",
        Some(_) => "the answer is no whole JSON object",
    };
    Error::new(Kind::BadResponse, message)
}

/// Says what an answer is that has a line no event stream has.
pub(in crate::provider) fn stray(raw: &[u8]) -> Error {
    match raw.trim_ascii().first() {
        Some(b'{') if memchr::memmem::find(raw, b"\"error\"").is_some() => of_payload(raw),
        Some(b'<') => Error::new(Kind::BadResponse, "the answer is an HTML page, not an event stream"),
        _ => Error::new(Kind::BadResponse, "the answer is no event stream"),
    }
}

fn to_error(kind: Kind, said: Said, status: u16) -> Error {
    let mut message = clean(&said.message);
    if message.is_empty() {
        message = format!("an error ({status}) without a message");
    }
    let mut error = Error::new(kind, message);
    error.upstream_type = clean(&said.r#type);
    error.upstream_code = clean(&said.code);
    error.field = said.field.map(|field| clean(&field));
    error.request_id = clean(&said.request_id);
    error
}

/// Reads every shape seen: OpenAI's envelope, Azure's, `{"error": text}`, `{"detail": …}`, `{"message": …}`, a list.
fn read(json: &Value) -> Said {
    let json = match json {
        Value::Array(list) => list.first().unwrap_or(&Value::Null),
        other => other,
    };
    let error = error_of(json);
    let inner = if error.is_object() { error } else { json };
    let details = details::read(&inner["details"]);
    let mut said = Said {
        message: text(&inner["message"]),
        // Google's word for the kind of an error is its `status`, which is a number to Azure; Cohere's its `error_type`.
        r#type: [&inner["type"], &error["status"], &inner["error_type"]]
            .into_iter()
            .find_map(|word| word.as_str().filter(|word| !word.is_empty()))
            .unwrap_or_default()
            .to_owned(),
        code: text(&inner["code"]),
        field: Some(text(&inner["param"])).filter(|field| !field.is_empty()),
        hint: format!("{} {}", text(&inner["innererror"]["code"]), details.reason),
        status: [&inner["status_code"], &inner["code"], &inner["status"], &json["status"]]
            .into_iter()
            .find_map(status_in),
        request_id: text(&json["request_id"]),
        retry: details.retry,
    };
    if let Some(name) = json["__type"].as_str() {
        aws_name(name).clone_into(&mut said.r#type);
    }
    if said.message.is_empty() {
        said.message = [error, &json["detail"], &json["errors"], &json["title"], &json["Message"]]
            .into_iter()
            .find_map(words)
            .unwrap_or_default();
    }
    said.retry = said.retry.or_else(|| retry_after::of_words(&said.message));
    // OpenRouter: the text that matters is the one of the provider behind it.
    if let Some(raw) = inner["metadata"]["raw"].as_str() {
        nested::join(&mut said, raw);
    }
    said
}

/// AWS's name of an exception without what may stand around it: `com.amazon.coral#Name`, `Name:http://…`.
fn aws_name(name: &str) -> &str {
    let name = name.rsplit_once('#').map_or(name, |(_, name)| name);
    name.split(':').next().unwrap_or_default()
}

fn error_of(json: &Value) -> &Value {
    if !json["error"].is_null() {
        return &json["error"];
    }
    // OpenRouter puts it on the choice when the provider behind it fails.
    match json["choices"].as_array() {
        Some(choices) => {
            choices.iter().map(|choice| &choice["error"]).find(|e| !e.is_null()).unwrap_or(&Value::Null)
        }
        None => &Value::Null,
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    }
}

fn words(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Array(list) => list.iter().find_map(words),
        Value::Object(_) => ["message", "msg", "detail"].iter().find_map(|name| words(&value[*name])),
        _ => None,
    }
}

fn status_in(value: &Value) -> Option<u16> {
    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok())?;
    u16::try_from(number).ok().filter(|status| (400..600).contains(status))
}

/// An error in a stream has no status: its words stand for one. Unknown ones are the upstream's own trouble.
fn status_of_words(said: &Said) -> u16 {
    let words = format!("{} {}", said.r#type, said.code).to_ascii_lowercase();
    for (word, status) in [
        ("rate_limit", 429),
        ("resource_exhausted", 429),
        ("too_many_requests", 429),
        ("insufficient_quota", 429),
        ("authentication", 401),
        ("unauthenticated", 401),
        ("invalid_api_key", 401),
        ("permission", 403),
        ("billing", 402),
        ("timeout", 504),
        ("deadline_exceeded", 504),
        ("overloaded", 529),
        ("server_error", 500),
        ("not_found", 404),
        ("too_large", 413),
        ("throttling", 429),
        ("servicequota", 429),
        ("modelnotready", 429),
        ("accessdenied", 403),
        ("unrecognizedclient", 403),
        ("expiredtoken", 403),
        ("resourcenotfound", 404),
        ("validation", 400),
        ("invalid", 400),
        ("bad_request", 400),
        ("failed_precondition", 400),
        ("context_length", 400),
        ("content_", 400),
        // The Responses API names what is wrong with an image.
        ("image", 400),
    ] {
        if words.contains(word) {
            return status;
        }
    }
    502
}

fn kind_of(status: u16, said: &Said) -> Kind {
    let words = format!("{} {} {}", said.r#type, said.code, said.hint).to_ascii_lowercase();
    let message = said.message.to_ascii_lowercase();
    let has = |list: &[&str]| list.iter().any(|word| words.contains(word) || message.contains(word));
    match status {
        401 | 402 => Kind::Denied,
        403 if has(CONTENT_POLICY) => Kind::ContentPolicy,
        403 => Kind::Denied,
        // Google words every spent quota like a lack of credit.
        429 if has(NO_CREDIT) && said.r#type != "RESOURCE_EXHAUSTED" => Kind::Denied,
        429 => Kind::RateLimited { retry_after: said.retry },
        // 522 and 524 are Cloudflare's.
        408 | 504 | 522 | 524 => Kind::Timeout,
        // AWS: the model failed, not the request. 499: the upstream itself gave up.
        424 | 425 | 499 | 500..=599 => Kind::Unavailable,
        // Groq tells a prompt beyond the rate by 413, and a lack of capacity by 498.
        413 | 498 if has_word(&words, LIMITS) => Kind::RateLimited { retry_after: said.retry },
        400 if has_word(&words, AWS_LIMITS) => Kind::RateLimited { retry_after: None },
        400 if has_word(&words, AWS_BAD_KEY) => Kind::Denied,
        _ if has(CONTEXT_LENGTH) => Kind::ContextLength,
        _ if has(CONTENT_POLICY) => Kind::ContentPolicy,
        _ if has(BAD_KEY) || has(NO_CREDIT) => Kind::Denied,
        _ => Kind::Invalid,
    }
}

fn has_word(words: &str, list: &[&str]) -> bool {
    list.iter().any(|word| words.contains(word))
}

/// AWS tells some of these with a 400.
const AWS_LIMITS: &[&str] = &["throttlingexception", "servicequotaexceeded", "modelnotready"];
const AWS_BAD_KEY: &[&str] = &[
    "accessdenied",
    "unrecognizedclient",
    "expiredtoken",
    "invalidsignature",
    "incompletesignature",
    "missingauthenticationtoken",
];
const LIMITS: &[&str] = &["rate_limit_exceeded", "capacity_exceeded"];
const NO_CREDIT: &[&str] = &[
    "insufficient_quota",
    "billing_hard_limit",
    "billing_not_active",
    "exceeded your current quota",
    "credit balance",
    "insufficient balance",
    "insufficient credits",
    "credit_limit",
    "used all available credits",
    "budget_exceeded",
    "account is suspended",
];
const BAD_KEY: &[&str] = &[
    "invalid_api_key",
    "incorrect api key",
    "invalid api key",
    "api key not valid",
    "api_key_invalid",
    "api_key_service_blocked",
    "location is not supported",
];
const CONTENT_POLICY: &[&str] = &[
    "content_policy",
    "content_filter",
    "responsibleaipolicyviolation",
    "content management policy",
    "flagged by",
    "requires moderation",
    "content violates",
    "safety_check",
    "flagged as potentially violating",
    "moderation_blocked",
    "content filtering policy",
    "contentpolicyviolation",
];
/// The phrases by which callers' libraries know it too.
const CONTEXT_LENGTH: &[&str] = &[
    "context_length_exceeded",
    "context length",
    "context window",
    "maximum context",
    "prompt is too long",
    "input is too long",
    "input tokens exceed",
    "input token count",
    "too many tokens",
    "max_prompt_tokens",
    "too_many_prompt_tokens",
    "prompt too long",
    "reduce the length of the messages",
    "string_above_max_length",
    "exceed context limit",
    "context size",
    "contextwindowexceeded",
    "maximum prompt length",
    "maximum model length",
    "too many input tokens",
    "`inputs` must have less than",
    "`inputs` tokens + `max_new_tokens`",
];

fn plain_text(headers: &HeaderMap, body: &[u8]) -> String {
    let html = headers
        .get(::http::header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    if html || body.trim_ascii_start().starts_with(b"<") {
        return "an HTML page instead of an API error".to_owned();
    }
    String::from_utf8_lossy(&body[..body.len().min(4 * MAX_MESSAGE_BYTES)]).into_owned()
}

/// Removes control characters and what looks like a key, and cuts to 1 KiB.
pub(in crate::provider) fn clean(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len().min(MAX_MESSAGE_BYTES));
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if !cleaned.is_empty() {
            cleaned.push(' ');
        }
        let secret = looks_like_key(word) || echoes_key(&cleaned);
        cleaned.push_str(if secret { "[redacted]" } else { word });
        if cleaned.len() > MAX_MESSAGE_BYTES {
            cleaned.truncate(cleaned.floor_char_boundary(MAX_MESSAGE_BYTES));
            break;
        }
    }
    cleaned
}

/// Tells whether the next word is the key that was given: whole if it is short, whatever it looks like.
fn echoes_key(before: &str) -> bool {
    const ECHOES: [&str; 2] = ["key provided: ", "api key: "];
    ECHOES.iter().any(|echo| {
        let from = before.len().checked_sub(echo.len());
        from.is_some_and(|from| before.as_bytes()[from..].eq_ignore_ascii_case(echo.as_bytes()))
    })
}

fn looks_like_key(word: &str) -> bool {
    const PREFIXES: &[&str] = &[
        "sk-", "sk_", "gsk_", "xai-", "pplx-", "csk-", "nvapi-", "hf_", "fw_", "key-", "AIza", "tg_",
        "Bearer",
    ];
    // A key may stand in quotes or in the middle of a broken JSON.
    let tokens = word.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '*')));
    tokens.into_iter().any(|token| {
        token.contains("***")
            || PREFIXES.iter().any(|prefix| token.len() > prefix.len() && token.starts_with(prefix))
    })
}

#[cfg(test)]
mod known;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn classified(status: u16, body: &'static str) -> Error {
        of_response(
            StatusCode::from_u16(status).unwrap(),
            &HeaderMap::new(),
            Bytes::from_static(body.as_bytes()),
        )
    }

    #[test]
    fn the_kind_follows_status_and_words() {
        let cases: &[(u16, &str, Kind)] = &[
            (
                429,
                r#"{"error":{"message":"slow down","type":"tokens","code":"rate_limit_exceeded"}}"#,
                Kind::RateLimited { retry_after: None },
            ),
            (
                429,
                r#"{"error":{"message":"pay","type":"insufficient_quota","code":"insufficient_quota"}}"#,
                Kind::Denied,
            ),
            (401, r#"{"detail":"Invalid API Key"}"#, Kind::Denied),
            (
                403,
                r#"{"error":{"message":"You are not allowed to sample from this model","code":null}}"#,
                Kind::Denied,
            ),
            (400, r#"{"code":"invalid-argument","error":"Incorrect API key provided."}"#, Kind::Denied),
            (
                400,
                r#"{"error":{"message":"too long","code":"context_length_exceeded"}}"#,
                Kind::ContextLength,
            ),
            (
                400,
                r#"{"object":"error","message":"This model's maximum context length is 8192 tokens"}"#,
                Kind::ContextLength,
            ),
            (
                400,
                r#"{"error":{"message":"no","code":"content_filter","innererror":{"code":"ResponsibleAIPolicyViolation"}}}"#,
                Kind::ContentPolicy,
            ),
            (
                400,
                r#"{"__type":"com.amazon.coral.service#ThrottlingException","Message":"Rate exceeded"}"#,
                Kind::RateLimited { retry_after: None },
            ),
            (400, r#"{"__type":"UnrecognizedClientException","message":"no"}"#, Kind::Denied),
            (424, r#"{"message":"the model failed"}"#, Kind::Unavailable),
            (408, "", Kind::Timeout),
            (504, "<html>gateway</html>", Kind::Timeout),
            (404, r#"{"error":{"message":"no such model","code":"model_not_found"}}"#, Kind::Invalid),
            (413, "too large", Kind::Invalid),
            (500, "{}", Kind::Unavailable),
            (529, "overloaded", Kind::Unavailable),
        ];
        for (status, body, kind) in cases {
            assert_eq!(classified(*status, body).kind, *kind, "{status} {body}");
        }
    }

    #[test]
    fn type_code_param_and_body_are_kept() {
        let body = r#"{"error":{"message":"bad\u0000 value\n","type":"invalid_request_error","code":400,"param":"n"}}"#;
        let error = classified(400, body);
        assert_eq!(error.message, "bad value");
        assert_eq!(
            (error.upstream_type.as_str(), error.upstream_code.as_str()),
            ("invalid_request_error", "400")
        );
        assert_eq!(error.field.as_deref(), Some("n"));
        assert_eq!(error.body.as_deref(), Some(body.as_bytes()));
        assert_eq!(error.http_status, 400);
    }

    #[test]
    fn an_error_shape_tells_its_request() {
        let error = classified(
            529,
            r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_1"}"#,
        );
        assert_eq!((error.kind, error.upstream_type.as_str()), (Kind::Unavailable, "overloaded_error"));
        assert_eq!((error.request_id.as_str(), error.message.as_str()), ("req_1", "Overloaded"));
        let large = of_payload(br#"{"type":"error","error":{"type":"request_too_large","message":"no"}}"#);
        assert_eq!(large.kind, Kind::Invalid);
    }

    #[test]
    fn a_refused_credential_keeps_neither_body_nor_key() {
        let error =
            classified(401, r#"{"error":{"message":"Incorrect API key provided: sk-ab***yz. See docs"}}"#);
        assert_eq!(error.message, "Incorrect API key provided: [redacted] See docs");
        assert_eq!(error.body, None);
    }

    #[test]
    fn the_hint_of_a_rate_limit_is_read() {
        let headers = [("retry-after".parse().unwrap(), "3".parse().unwrap())].into_iter().collect();
        let error = of_response(StatusCode::TOO_MANY_REQUESTS, &headers, Bytes::new());
        assert_eq!(error.kind, Kind::RateLimited { retry_after: Some(Duration::from_secs(3)) });
    }

    #[test]
    fn a_provider_that_is_down_may_say_for_how_long() {
        let headers = |name: &'static str, value: &'static str| {
            [(name.parse().unwrap(), value.parse().unwrap())].into_iter().collect()
        };
        let wait =
            |status: StatusCode, headers: &HeaderMap| of_response(status, headers, Bytes::new()).retry_after;
        let three = Some(Duration::from_secs(3));
        assert_eq!(wait(StatusCode::SERVICE_UNAVAILABLE, &headers("retry-after", "3")), three);
        assert_eq!(wait(StatusCode::TOO_MANY_REQUESTS, &headers("x-ratelimit-reset", "3")), three);
        assert_eq!(wait(StatusCode::SERVICE_UNAVAILABLE, &headers("x-ratelimit-reset", "3")), None);
        assert_eq!(wait(StatusCode::BAD_REQUEST, &headers("retry-after", "3")), None);
    }

    #[test]
    fn googles_errors_are_read_alone_and_in_lists() {
        let cases: &[(u16, &str, Kind)] = &[
            (
                429,
                r#"{"error":{"code":429,"message":"You exceeded your current quota.","status":"RESOURCE_EXHAUSTED",
                "details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"34.4s"}]}}"#,
                Kind::RateLimited { retry_after: Some(Duration::from_millis(34_400)) },
            ),
            (
                400,
                r#"[{"error":{"code":400,"message":"Bad key.","status":"INVALID_ARGUMENT",
                "details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID"}]}}]"#,
                Kind::Denied,
            ),
            (
                400,
                r#"{"error":{"code":400,"message":"The input token count (9) exceeds the maximum number of tokens allowed (8).","status":"INVALID_ARGUMENT"}}"#,
                Kind::ContextLength,
            ),
            (403, r#"{"error":{"code":403,"message":"x","status":"PERMISSION_DENIED"}}"#, Kind::Denied),
            (404, r#"{"error":{"code":404,"message":"x","status":"NOT_FOUND","details":[]}}"#, Kind::Invalid),
            (503, r#"{"error":{"code":503,"message":"x","status":"UNAVAILABLE"}}"#, Kind::Unavailable),
        ];
        for (status, body, kind) in cases {
            let error = classified(*status, body);
            assert_eq!(error.kind, *kind, "{body}");
            assert_eq!(of_payload(body.as_bytes()).kind, *kind, "{body}");
            assert_eq!(error.upstream_code, status.to_string());
            assert!(error.upstream_type.chars().all(|c| c.is_ascii_uppercase() || c == '_'), "{error:?}");
        }
        let words = r#"{"error":{"message":"x","status":"RESOURCE_EXHAUSTED"}}"#;
        assert_eq!(of_payload(words.as_bytes()).kind, Kind::RateLimited { retry_after: None });
    }

    #[test]
    fn an_error_in_a_stream_is_judged_by_its_words() {
        let cases: &[(&str, Kind)] = &[
            (r#"{"error":{"message":"x","code":502}}"#, Kind::Unavailable),
            (r#"{"error":{"message":"x","type":"invalid_request_error","status_code":400}}"#, Kind::Invalid),
            (
                r#"{"error":{"message":"x","code":"rate_limit_exceeded"}}"#,
                Kind::RateLimited { retry_after: None },
            ),
            (r#"{"error":"something"}"#, Kind::Unavailable),
            (
                r#"{"choices":[{"index":0,"error":{"code":429,"message":"x"}}]}"#,
                Kind::RateLimited { retry_after: None },
            ),
        ];
        for (body, kind) in cases {
            assert_eq!(of_payload(body.as_bytes()).kind, *kind, "{body}");
        }
        assert_eq!(of_payload(br#"{"error":"something"}"#).message, "something");
    }

    #[test]
    fn long_messages_are_cut_at_a_character() {
        assert!(clean(&"é".repeat(2000)).len() <= MAX_MESSAGE_BYTES);
    }

    #[test]
    fn odd_bodies_are_no_panic() {
        for body in ["[]", "null", "7", "\"text\"", r#"{"error":[]}"#, r#"{"errors":[{"message":"m"}]}"#] {
            assert_eq!(classified(400, body).kind, Kind::Invalid, "{body}");
        }
    }
}
