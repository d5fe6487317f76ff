//! `name=value` as it stands on the command line.

use std::collections::HashMap;

/// A name with its value.
pub(crate) type Pair = (String, String);

/// Reads `name=value`; the value may hold further `=` and may be empty.
pub(crate) fn parse_pair(text: &str) -> Result<Pair, String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is not NAME=VALUE")),
    }
}

/// Reads what reports may be grouped and filtered by.
pub(crate) fn parse_dimension(text: &str) -> Result<String, String> {
    let known = ["key", "team", "model", "provider", "target", "surface"].contains(&text);
    let tag = text.strip_prefix("tag:").is_some_and(|name| !name.is_empty());
    if known || tag {
        return Ok(text.to_owned());
    }
    Err(format!("{text:?} is none of key, team, model, provider, target, surface, tag:NAME"))
}

/// Reads a filter of reports and records, `model=gpt-5`; `team_tree=acme` is a team with all that belong to it.
pub(crate) fn parse_filter(text: &str) -> Result<Pair, String> {
    let (name, value) = parse_pair(text)?;
    let name = if name == "team_tree" { name } else { parse_dimension(&name)? };
    Ok((name, value))
}

/// Returns pairs as the contract's map; of two with one name the last one holds.
pub(crate) fn to_map(pairs: Vec<Pair>) -> HashMap<String, String> {
    pairs.into_iter().collect()
}

/// Returns a map as `a=1 b=2`, in the order of the names.
pub(crate) fn show(map: &HashMap<String, String>) -> String {
    let mut pairs: Vec<_> = map.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.sort();
    pairs.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_cut_at_its_first_sign() {
        assert_eq!(parse_pair("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert_eq!(parse_pair("a="), Ok(("a".into(), String::new())));
        assert!(parse_pair("=b").is_err() && parse_pair("a").is_err());
    }

    #[test]
    fn filters_have_the_names_of_the_contract() {
        assert_eq!(parse_filter("tag:feature=x"), Ok(("tag:feature".into(), "x".into())));
        assert_eq!(parse_filter("team_tree=acme"), Ok(("team_tree".into(), "acme".into())));
        assert!(parse_dimension("team_tree").is_err(), "a team is in many trees");
        assert!(parse_filter("tag:=x").is_err() && parse_filter("status=OK").is_err());
    }
}
