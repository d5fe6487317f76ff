//! What goes beside the translated request: warnings, the caller's own patches of the body, and its headers.

use ::http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::value::RawValue;
use tollgate_api::v1::{Media, ProviderOptions, ToolResult, Warning};

use super::{Error, Kind, Outgoing, json::members::Members};
use crate::error::Error as CallerError;

/// Headers that callers may add; besides these, those that begin with `x-` and are not reserved.
const ALLOWED_HEADERS: [&str; 3] = ["openai-beta", "anthropic-beta", "http-referer"];
/// Beginnings of headers that carry credentials, identities or addresses.
const RESERVED_HEADERS: [&str; 9] = [
    "x-api-key",
    "x-goog-",
    "x-amz-",
    "x-ms-",
    "x-request-id",
    "x-client-request-id",
    "x-forwarded-",
    "x-real-ip",
    "x-tollgate-",
];

/// A translated request.
#[derive(Debug)]
pub(in crate::provider) struct Built {
    pub(in crate::provider) body: String,
    pub(in crate::provider) headers: HeaderMap,
    pub(in crate::provider) warnings: Vec<Warning>,
}

/// Gathers what the vendor cannot take.
#[derive(Debug)]
pub(in crate::provider) struct Lost {
    strict: bool,
    pub(in crate::provider) warnings: Vec<Warning>,
}

impl Lost {
    pub(in crate::provider) fn new(strict: bool) -> Self {
        Self { strict, warnings: Vec::new() }
    }

    /// Begins with what the caller's own dialect could say and the contract cannot. `family` is the one whose options
    /// are applied beside the provider's own.
    ///
    /// # Errors
    /// As `parameter`.
    pub(in crate::provider) fn of<T>(outgoing: &Outgoing<'_, T>, family: &str) -> Result<Self, Error> {
        let mut lost = Self::new(outgoing.strict);
        for member in outgoing.payload.unread() {
            let kept = !member.kept_for.is_empty() && [family, outgoing.provider].contains(&member.kept_for);
            if !kept {
                lost.parameter(&member.path, "only the dialect it is written in knows it")?;
            }
        }
        Ok(lost)
    }

    /// Leaves a parameter out with a warning.
    ///
    /// # Errors
    /// `Unsupported` if the caller wants that instead.
    pub(in crate::provider) fn parameter(&mut self, field: &str, why: &str) -> Result<(), Error> {
        if self.strict {
            return Err(unsupported(field, why));
        }
        self.warn("parameter_dropped", field, why);
        Ok(())
    }

    /// Sends a parameter in another form than was asked for, with a warning.
    ///
    /// # Errors
    /// As `parameter`.
    pub(in crate::provider) fn changed(&mut self, field: &str, how: &str) -> Result<(), Error> {
        if self.strict {
            return Err(unsupported(field, how));
        }
        self.warnings.push(Warning {
            code: "parameter_changed".to_owned(),
            message: format!("`{field}` was changed: {how}"),
            field: field.to_owned(),
        });
        Ok(())
    }

    /// Leaves content of an earlier turn out with a warning, once per code.
    pub(in crate::provider) fn content(&mut self, code: &str, field: &str, why: &str) {
        if !self.warnings.iter().any(|warning| warning.code == code) {
            self.warn(code, field, why);
        }
    }

    /// Tells that a failed result of a tool goes out unmarked. `field` is the path of its part.
    pub(in crate::provider) fn failure(&mut self, result: &ToolResult, field: &str) {
        if result.is_error {
            let field = format!("{field}.tool_result.is_error");
            self.content(
                "is_error_dropped",
                &field,
                "the provider has no mark for it; the result itself goes out",
            );
        }
    }

    /// Tells that an image is looked at as the model does by itself. `field` is the path of the media.
    ///
    /// # Errors
    /// As `parameter`.
    pub(in crate::provider) fn detail(&mut self, media: &Media, field: &str) -> Result<(), Error> {
        if matches!(media.detail.as_str(), "" | "auto") {
            return Ok(());
        }
        self.parameter(&format!("{field}.detail"), "the provider has no such parameter")
    }

    fn warn(&mut self, code: &str, field: &str, why: &str) {
        self.warnings.push(Warning {
            code: code.to_owned(),
            message: format!("`{field}` was left out: {why}"),
            field: field.to_owned(),
        });
    }
}

/// Makes the failure for a field that the vendor cannot take.
pub(in crate::provider) fn unsupported(field: &str, why: &str) -> Error {
    let mut error =
        Error::new(Kind::Unsupported, format!("`{field}` cannot be sent to this provider: {why}"));
    error.field = Some(field.to_owned());
    error
}

/// Checks that a text of the contract is JSON, and returns it as it will be sent.
pub(in crate::provider) fn json<'a>(text: &'a str, field: &str) -> Result<&'a str, Error> {
    match serde_json::from_str::<&RawValue>(text) {
        Ok(value) => Ok(value.get()),
        Err(error) => Err(CallerError::invalid(field, format!("`{field}` is no JSON: {error}")).into()),
    }
}

/// Refuses a number that JSON has no form for.
pub(in crate::provider) fn finite(value: Option<f64>, field: &str) -> Result<Option<f64>, Error> {
    match value {
        Some(value) if !value.is_finite() => {
            Err(CallerError::invalid(field, format!("`{field}` must be a finite number")).into())
        }
        value => Ok(value),
    }
}

/// Applies the options that are meant for this provider: those of no name first, then its own. `at` is the path of
/// the list, `protected` are the members that no patch may touch; one of an inner object is written `outer.inner`.
pub(in crate::provider) fn apply(
    body: String,
    options: &[ProviderOptions],
    provider: &str,
    at: &str,
    protected: &[&str],
) -> Result<(String, HeaderMap), Error> {
    apply_all(body, options, &["", provider], at, protected)
}

/// As `apply`, for a provider that goes by several names: the options of each are applied in that order, once.
pub(in crate::provider) fn apply_all(
    body: String,
    options: &[ProviderOptions],
    names: &[&str],
    at: &str,
    protected: &[&str],
) -> Result<(String, HeaderMap), Error> {
    let mut headers = HeaderMap::new();
    let mut body = body;
    for (at_name, name) in names.iter().enumerate() {
        if names[..at_name].contains(name) {
            continue;
        }
        for (index, option) in options.iter().enumerate().filter(|(_, option)| option.provider == *name) {
            let field = format!("{at}[{index}]");
            if !option.body_json.is_empty() {
                body = patched(&body, &option.body_json, &format!("{field}.body_json"), protected)?;
            }
            for (name, value) in &option.headers {
                let (name, value) = header(name, value)
                    .map_err(|why| CallerError::invalid(format!("{field}.headers.{name}"), why))?;
                headers.insert(name, value);
            }
        }
    }
    Ok((body, headers))
}

fn patched(body: &str, patch: &str, field: &str, protected: &[&str]) -> Result<String, Error> {
    let invalid = |field: String, why: &str| Error::from(CallerError::invalid(field, why));
    let mut patch: Members<'_> = serde_json::from_str(patch).map_err(|_| {
        invalid(field.to_owned(), "must be one JSON object, merged into the provider's request")
    })?;
    // SDKs write null for what their user left out, which is no wish to take away what is protected.
    for name in protected.iter().filter(|name| !name.contains('.')) {
        if patch.get(name).is_some_and(|value| value.get() == "null") {
            patch.remove(name);
        }
    }
    if let Some(name) = protected.iter().find(|name| touches(&patch, name)) {
        return Err(invalid(format!("{field}.{name}"), "is protected: set it in the request itself"));
    }
    let mut members: Members<'_> = serde_json::from_str(body)
        .map_err(|_| Error::from(CallerError::internal("a translated request is no JSON object")))?;
    if !members.merge(&patch) {
        return Err(invalid(field.to_owned(), "is nested too deeply"));
    }
    Ok(members.to_json())
}

fn touches(patch: &Members<'_>, path: &str) -> bool {
    let (name, inner) = path.split_once('.').unwrap_or((path, ""));
    patch.get(name).is_some_and(|value| {
        let Ok(members) = serde_json::from_str::<Members<'_>>(value.get()) else { return true };
        inner.is_empty() || touches(&members, inner)
    })
}

fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), &'static str> {
    let name: HeaderName = name.parse().map_err(|_| "is no header name")?;
    let text = name.as_str();
    let reserved = RESERVED_HEADERS.iter().any(|reserved| text.starts_with(reserved));
    if reserved || !(text.starts_with("x-") || ALLOWED_HEADERS.contains(&text)) {
        return Err("is not among the headers that a call may add");
    }
    let value = value.parse().map_err(|_| "holds characters that no header may have")?;
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn option(provider: &str, body_json: &str) -> ProviderOptions {
        ProviderOptions { provider: provider.into(), body_json: body_json.into(), ..Default::default() }
    }

    fn body_of(options: &[ProviderOptions]) -> Result<String, Error> {
        let body = r#"{"model":"m","top_p":0.7}"#.to_owned();
        apply(body, options, "mine", "input.provider_options", &["model", "n"]).map(|(body, _)| body)
    }

    #[test]
    fn a_null_for_a_protected_member_changes_nothing() {
        let body = body_of(&[option("", r#"{"n":null,"model":null,"top_p":null,"x":1}"#)]).unwrap();
        assert_eq!(body, r#"{"model":"m","x":1}"#);
    }

    #[test]
    fn everybodys_patch_comes_before_the_providers_own() {
        let options =
            [option("mine", r#"{"a":2}"#), option("", r#"{"a":1,"b":1}"#), option("other", r#"{"c":1}"#)];
        assert_eq!(body_of(&options).unwrap(), r#"{"model":"m","top_p":0.7,"a":2,"b":1}"#);
    }

    #[test]
    fn protected_members_and_broken_patches_are_refused_with_their_path() {
        for (patch, path) in [
            (r#"{"model":"x"}"#, "input.provider_options[0].body_json.model"),
            (r#"{"n":2}"#, "input.provider_options[0].body_json.n"),
            ("[1]", "input.provider_options[0].body_json"),
            ("{", "input.provider_options[0].body_json"),
        ] {
            let error = body_of(&[option("", patch)]).unwrap_err();
            let field = error.caller.and_then(|caller| caller.facts().field.clone());
            assert_eq!(field.as_deref(), Some(path), "{patch}");
        }
    }

    #[test]
    fn members_of_an_inner_object_are_protected_with_the_object_itself() {
        let body = |patch: &str| {
            let options = [option("", patch)];
            apply(r#"{"g":{"n":1}}"#.to_owned(), &options, "mine", "at", &["g.n"]).map(|(body, _)| body)
        };
        assert_eq!(body(r#"{"g":{"m":2}}"#).unwrap(), r#"{"g":{"n":1,"m":2}}"#);
        for patch in [r#"{"g":{"n":2}}"#, r#"{"g":null}"#, r#"{"g":[]}"#] {
            assert!(body(patch).is_err(), "{patch}");
        }
    }

    #[test]
    fn headers_are_allowed_by_list() {
        for good in ["openai-beta", "X-Title", "anthropic-beta"] {
            assert!(header(good, "v").is_ok(), "{good}");
        }
        for bad in ["authorization", "host", "x-api-key", "x-forwarded-for", "content-type", "x y", ""] {
            assert!(header(bad, "v").is_err(), "{bad}");
        }
        assert!(header("x-title", "a\r\nb").is_err());
    }
}
