//! What an alias's `*` matched, and names that it goes into.

use std::borrow::Cow;

/// Returns what the first `*` of a pattern stands for in a text that it matches.
pub(super) fn star_part<'m>(pattern: &str, text: &'m str) -> &'m str {
    let Some((before, after)) = pattern.split_once('*') else { return text };
    let rest = text.strip_prefix(before).unwrap_or(text);
    if after.contains('*') { rest } else { rest.strip_suffix(after).unwrap_or(rest) }
}

/// Puts what an alias's `*` matched in the place of the `*` in another's name.
pub(super) fn with_star<'n>(name: &'n str, star: &str) -> Cow<'n, str> {
    if name.contains('*') { name.replacen('*', star, 1).into() } else { name.into() }
}

/// The same for several names.
pub(super) fn with_stars<'n>(names: &'n [String], star: &'n str) -> impl Iterator<Item = String> + 'n {
    names.iter().map(move |name| with_star(name, star).into_owned())
}
