//! A caller's hints for the choice of a target: what they must look like, and how those of the header and those of the
//! message go together.

use tollgate_api::v1::{self, route_hints::Objective};

use crate::error::Error;

/// Most entries of one hint.
const MAX_ENTRIES: usize = 32;
/// Longest name or value, in bytes.
const MAX_TEXT: usize = 256;

/// A hint that cannot be accepted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// Its field, with the place in a list.
    pub(super) field: String,
    /// What it should be, to go on after its name.
    pub(super) what: String,
}

impl Wrong {
    fn new(field: impl Into<String>, what: impl Into<String>) -> Self {
        Self { field: field.into(), what: what.into() }
    }
}

/// Checks the hints of a message.
///
/// # Errors
/// `INVALID_REQUEST` with the path of the first field that is wrong.
pub(super) fn check_message(hints: &v1::RouteHints) -> Result<(), Error> {
    check(hints).map_err(|Wrong { field, what }| {
        let path = format!("options.route.{field}");
        Error::invalid(path.clone(), format!("{path} {what}"))
    })
}

/// Checks hints, however they came.
///
/// # Errors
/// The first field that is wrong.
pub(super) fn check(hints: &v1::RouteHints) -> Result<(), Wrong> {
    for (field, entries) in [
        ("fallback_models", &hints.fallback_models),
        ("allowed_providers", &hints.allowed_providers),
        ("denied_providers", &hints.denied_providers),
        ("regions", &hints.regions),
    ] {
        check_count(field, entries.len())?;
        for (index, entry) in entries.iter().enumerate() {
            check_text(&format!("{field}[{index}]"), entry)?;
        }
    }
    if Objective::try_from(hints.objective).is_err() {
        return Err(Wrong::new("objective", "must be one of the objectives of this contract"));
    }
    if !hints.affinity_key.is_empty() {
        check_text("affinity_key", &hints.affinity_key)?;
    }
    if !hints.target.is_empty() {
        check_text("target", &hints.target)?;
        let named = hints.target.split_once('/').is_some_and(|(provider, model)| {
            !provider.is_empty() && !model.is_empty() && provider.split(':').all(|name| !name.is_empty())
        });
        if !named {
            return Err(Wrong::new("target", "must be the name of a target, like `openai/gpt-4o`"));
        }
    }
    check_count("labels", hints.labels.len())?;
    hints.labels.iter().try_for_each(|(name, value)| {
        check_text("labels", name)?;
        check_text("labels", value)
    })
}

/// Joins the hints of the header with those of the message, which win field by field.
pub(super) fn join(
    header: Option<v1::RouteHints>,
    message: Option<v1::RouteHints>,
) -> Option<v1::RouteHints> {
    let (header, mut message) = match (header, message) {
        (Some(header), Some(message)) => (header, message),
        (header, message) => return message.or(header),
    };
    macro_rules! fill {
        ($($field:ident)*) => {$(
            if message.$field.is_empty() {
                message.$field.clone_from(&header.$field);
            }
        )*};
    }
    fill!(fallback_models allowed_providers denied_providers regions affinity_key target labels);
    if message.objective() == Objective::Unspecified {
        message.objective = header.objective;
    }
    message.allow_fallback = message.allow_fallback.or(header.allow_fallback);
    Some(message)
}

fn check_count(field: &str, count: usize) -> Result<(), Wrong> {
    if count <= MAX_ENTRIES {
        return Ok(());
    }
    Err(Wrong::new(field, format!("must hold at most {MAX_ENTRIES} entries")))
}

fn check_text(field: &str, text: &str) -> Result<(), Wrong> {
    let what = match text {
        "" => "must not be empty".to_owned(),
        _ if text.len() > MAX_TEXT => format!("must have at most {MAX_TEXT} bytes"),
        _ if text.chars().any(char::is_control) => "must be printable".to_owned(),
        _ => return Ok(()),
    };
    Err(Wrong::new(field, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(change: impl FnOnce(&mut v1::RouteHints)) -> String {
        let mut hints = v1::RouteHints::default();
        change(&mut hints);
        check_message(&hints).expect_err("the hints are wrong").facts().field.clone().unwrap()
    }

    #[test]
    fn what_is_wrong_is_named_by_its_path() {
        check(&v1::RouteHints::default()).unwrap();
        assert_eq!(
            field(|hints| hints.regions = vec!["eu".into(), String::new()]),
            "options.route.regions[1]"
        );
        assert_eq!(
            field(|hints| hints.denied_providers = vec!["x".into(); 33]),
            "options.route.denied_providers"
        );
        assert_eq!(
            field(|hints| hints.allowed_providers = vec!["a\nb".into()]),
            "options.route.allowed_providers[0]"
        );
        assert_eq!(
            field(|hints| hints.fallback_models = vec!["x".repeat(257)]),
            "options.route.fallback_models[0]"
        );
        assert_eq!(field(|hints| hints.objective = 9), "options.route.objective");
        assert_eq!(field(|hints| hints.affinity_key = "\u{7}".into()), "options.route.affinity_key");
        assert_eq!(
            field(|hints| hints.labels = [(String::new(), "x".into())].into()),
            "options.route.labels"
        );
    }

    #[test]
    fn a_pin_names_a_provider_perhaps_a_credential_and_a_model() {
        for good in ["openai/gpt-4o", "openai:second/gpt-4o", "hub/meta/llama-3"] {
            check(&v1::RouteHints { target: good.into(), ..Default::default() }).unwrap();
        }
        for bad in ["gpt-4o", "/gpt-4o", "openai/", "openai:/gpt-4o", ":b/gpt-4o"] {
            assert_eq!(field(|hints| hints.target = bad.into()), "options.route.target", "{bad}");
        }
    }

    #[test]
    fn a_message_wins_over_the_header_field_by_field() {
        let header = v1::RouteHints {
            allowed_providers: vec!["a".into()],
            regions: vec!["eu".into()],
            objective: Objective::Cost.into(),
            allow_fallback: Some(false),
            ..Default::default()
        };
        let message = v1::RouteHints { allowed_providers: vec!["b".into()], ..Default::default() };
        let joined = join(Some(header.clone()), Some(message.clone())).unwrap();
        assert_eq!(joined.allowed_providers, ["b"]);
        assert_eq!(
            (joined.regions, joined.objective, joined.allow_fallback),
            (header.regions.clone(), header.objective, Some(false))
        );
        assert_eq!(join(Some(header.clone()), None), Some(header));
        assert_eq!(join(None, Some(message.clone())), Some(message));
    }
}
