//! Hints for the choice of a target in a header, for callers without a field for them:
//! `x-tollgate-route: objective=cost, allow=openai|azure, affinity=user-7`.

use http::{HeaderMap, HeaderName};
use tollgate_api::v1::{self, route_hints::Objective};

use super::hints::{self, Wrong};
use crate::error::Error;

/// The header.
static NAME: HeaderName = HeaderName::from_static("x-tollgate-route");
/// The word that stands alone.
const NO_FALLBACK: &str = "no-fallback";
/// What the name of a label follows.
const LABEL: &str = "label.";
/// The words that have a value, and their fields in the contract.
const WORDS: &[(&str, &str)] = &[
    ("objective", "objective"),
    ("allow", "allowed_providers"),
    ("deny", "denied_providers"),
    ("region", "regions"),
    ("affinity", "affinity_key"),
    ("fallback", "fallback_models"),
    ("pin", "target"),
];
/// Words less alike than that are not proposed.
const ALIKE: f64 = 0.7;

/// Reads the hints of a request's headers; absent if there is no such header. Several headers are one list.
///
/// # Errors
/// `INVALID_REQUEST` with the word that is wrong.
pub(super) fn read(headers: &HeaderMap) -> Result<Option<v1::RouteHints>, Error> {
    let mut hints = None;
    for value in headers.get_all(&NAME) {
        let text = value.to_str().map_err(|_| wrong("must be printable ASCII"))?;
        parse(text, hints.get_or_insert_default())?;
    }
    if let Some(hints) = &hints {
        hints::check(hints).map_err(|Wrong { field, what }| wrong(&format!("{} {what}", word_of(&field))))?;
    }
    Ok(hints)
}

fn parse(text: &str, hints: &mut v1::RouteHints) -> Result<(), Error> {
    for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        match item.split_once('=') {
            Some((word, value)) => take(hints, word.trim(), value.trim())?,
            None if item == NO_FALLBACK => hints.allow_fallback = Some(false),
            None if WORDS.iter().any(|(word, _)| *word == item) || item.starts_with(LABEL) => {
                return Err(wrong(&format!("{} needs a value after `=`", shown(item))));
            }
            None => return Err(unknown(item)),
        }
    }
    Ok(())
}

fn take(hints: &mut v1::RouteHints, word: &str, value: &str) -> Result<(), Error> {
    let list = || value.split('|').map(|entry| entry.trim().to_owned());
    match word {
        "objective" => {
            let objective = match value {
                "cost" => Objective::Cost,
                "latency" => Objective::Latency,
                "throughput" => Objective::Throughput,
                _ => return Err(wrong("objective must be cost, latency or throughput")),
            };
            once(word, hints.objective() == Objective::Unspecified)?;
            hints.objective = objective.into();
        }
        "allow" => hints.allowed_providers.extend(list()),
        "deny" => hints.denied_providers.extend(list()),
        "region" => hints.regions.extend(list()),
        "fallback" => hints.fallback_models.extend(list()),
        "affinity" => set(word, &mut hints.affinity_key, value)?,
        "pin" => set(word, &mut hints.target, value)?,
        NO_FALLBACK => return Err(wrong("no-fallback stands alone, without a value")),
        _ => {
            let label = word.strip_prefix(LABEL).ok_or_else(|| unknown(word))?;
            once(word, hints.labels.insert(label.to_owned(), value.to_owned()).is_none())?;
        }
    }
    Ok(())
}

fn set(word: &str, field: &mut String, value: &str) -> Result<(), Error> {
    once(word, field.is_empty())?;
    if value.is_empty() {
        return Err(wrong(&format!("{word} must not be empty")));
    }
    value.clone_into(field);
    Ok(())
}

fn once(word: &str, first: bool) -> Result<(), Error> {
    if first { Ok(()) } else { Err(wrong(&format!("{} stands there twice", shown(word)))) }
}

/// Returns the header's word for a field of the contract.
fn word_of(field: &str) -> &str {
    let name = field.split('[').next().unwrap_or(field);
    WORDS.iter().find(|(_, known)| *known == name).map_or(field, |(word, _)| word)
}

fn unknown(word: &str) -> Error {
    let words = || WORDS.iter().map(|(word, _)| *word).chain([NO_FALLBACK]);
    let nearest = words()
        .map(|known| (strsim::jaro_winkler(known, word), known))
        .filter(|(score, _)| *score > ALIKE)
        .max_by(|(a, _), (b, _)| a.total_cmp(b));
    let shown = shown(word);
    wrong(&match nearest {
        Some((_, nearest)) => format!("knows no `{shown}`; did you mean `{nearest}`?"),
        None => {
            let words: Vec<_> = words().collect();
            format!("knows no `{shown}`; it takes {}, label.NAME", words.join(", "))
        }
    })
}

fn shown(word: &str) -> String {
    word.chars().take(64).collect()
}

fn wrong(what: &str) -> Error {
    Error::invalid(NAME.as_str(), format!("{NAME}: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(&NAME, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn every_word_has_its_field() {
        let text = "objective=cost, allow=openai|azure, deny=x, region=eu|us, affinity=user-7, fallback=a|b, \
                    no-fallback, pin=openai/gpt-4o, label.tier=gold,";
        let owned = |list: &[&str]| list.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
        let expected = v1::RouteHints {
            fallback_models: owned(&["a", "b"]),
            allowed_providers: owned(&["openai", "azure"]),
            denied_providers: owned(&["x"]),
            regions: owned(&["eu", "us"]),
            objective: Objective::Cost.into(),
            affinity_key: "user-7".to_owned(),
            allow_fallback: Some(false),
            target: "openai/gpt-4o".to_owned(),
            labels: [("tier".to_owned(), "gold".to_owned())].into(),
        };
        assert_eq!(read(&headers(&[text])).unwrap(), Some(expected));
        assert_eq!(read(&HeaderMap::new()).unwrap(), None);
    }

    #[test]
    fn several_headers_are_one_list() {
        let hints = read(&headers(&["allow=a", "allow=b, pin=a/m"])).unwrap().unwrap();
        assert_eq!(hints.allowed_providers, ["a", "b"]);
        let twice = read(&headers(&["pin=a/m", "pin=b/m"])).unwrap_err();
        assert_eq!(twice.to_string(), "x-tollgate-route: pin stands there twice");
    }

    #[test]
    fn what_is_wrong_is_named_with_the_word_that_was_meant() {
        for (text, told) in [
            ("alow=openai", "knows no `alow`; did you mean `allow`?"),
            ("no-fallbacks", "knows no `no-fallbacks`; did you mean `no-fallback`?"),
            ("zzz=1", "knows no `zzz`; it takes objective, allow,"),
            ("objective=speed", "objective must be cost, latency or throughput"),
            ("objective=cost, objective=latency", "objective stands there twice"),
            ("pin", "pin needs a value"),
            ("pin=gpt-4o", "pin must be the name of a target"),
            ("affinity=", "affinity must not be empty"),
            ("allow=a||b", "allow must not be empty"),
            ("no-fallback=true", "no-fallback stands alone"),
            ("label.=x", "labels must not be empty"),
        ] {
            let error = read(&headers(&[text])).expect_err(text);
            assert_eq!(error.facts().field.as_deref(), Some(NAME.as_str()), "{text}");
            assert!(error.to_string().contains(told), "{text}: {error}");
        }
    }
}
