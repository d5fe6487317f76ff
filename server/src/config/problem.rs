//! What is wrong with a configuration, in words that help to put it right.

use std::fmt;

/// A place in a file, both numbers from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

/// One mistake in a configuration. Holds no value that came from the environment or a secret's file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where it is.
    pub place: Place,
    /// Which field, as `models.chat.targets[0].provider`; empty if none.
    pub path: String,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl Problem {
    pub(super) fn at(place: Place, message: impl Into<String>) -> Self {
        Self { place, path: String::new(), message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.place.line, self.place.column)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// Everything that is wrong with a file, sorted by place. Shown as one line `file:line:column: path: message` each.
#[derive(Debug, PartialEq, Eq)]
pub struct Problems {
    /// The file, as it was named.
    pub file: String,
    /// Never empty.
    pub list: Vec<Problem>,
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.list {
            writeln!(f, "{}:{problem}", self.file)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Ends a message with the nearest valid word, or with all of them if there is none near and they are few.
pub(crate) fn with_suggestion<'w>(
    message: String,
    word: &str,
    valid: impl IntoIterator<Item = &'w str>,
) -> String {
    let valid: Vec<&str> = valid.into_iter().collect();
    match nearest(word, valid.iter().copied()) {
        Some(near) => format!("{message}; did you mean `{near}`?"),
        None if (1..=16).contains(&valid.len()) => format!("{message}; valid are {}", valid.join(", ")),
        None => message,
    }
}

/// Finds the valid word that was probably meant.
pub(super) fn nearest<'w>(word: &str, valid: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let word = word.to_ascii_lowercase();
    valid
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(candidate, &word), candidate))
        .filter(|(score, _)| *score > 0.82)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_suggested_and_a_far_one_is_not() {
        let valid = ["listen", "ops_listen", "providers", "models"];
        assert_eq!(nearest("modles", valid), Some("models"));
        assert_eq!(nearest("Listen", valid), Some("listen"));
        assert_eq!(nearest("zebra", valid), None);
    }
}
