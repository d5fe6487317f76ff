//! Thoughts that models write between `<think>` tags at the very beginning of their answer.
//!
//! For vendors that are known to do so. Tags may be cut anywhere between two deltas: what may still become one is held
//! back until it is known. What comes later, or looks like a tag elsewhere, is text.

use std::borrow::Cow;

const OPENING: &str = "<think>";
const CLOSING: &str = "</think>";
/// The most white space before an opening tag.
const MAX_HELD_BYTES: usize = 1024;

/// Where in the content of one choice we are.
#[derive(Debug, Default)]
pub(super) struct Tags {
    place: Place,
    /// What may still become a tag.
    held: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Nothing but white space has come.
    #[default]
    Start,
    Thought,
    /// Behind the closing tag: white space there belongs to neither.
    Between,
    Text,
}

impl Tags {
    /// Takes more content and returns what of it is thought, and what is text.
    pub(super) fn read<'a>(&mut self, content: &'a str) -> (String, Cow<'a, str>) {
        if self.place == Place::Text && self.held.is_empty() {
            return (String::new(), Cow::Borrowed(content));
        }
        let all = std::mem::take(&mut self.held) + content;
        let mut thought = String::new();
        let text = self.walk(&all, &mut thought);
        (thought, Cow::Owned(text))
    }

    /// Ends the content: what was held back is what it looked like before.
    pub(super) fn finish(&mut self) -> (String, String) {
        let held = std::mem::take(&mut self.held);
        match self.place {
            Place::Thought => (held, String::new()),
            _ => (String::new(), held),
        }
    }

    fn walk(&mut self, all: &str, thought: &mut String) -> String {
        let mut rest = all;
        if self.place == Place::Start {
            let begun = rest.trim_start();
            if let Some(behind) = begun.strip_prefix(OPENING) {
                self.place = Place::Thought;
                rest = behind;
            } else if OPENING.starts_with(begun) && all.len() <= MAX_HELD_BYTES {
                all.clone_into(&mut self.held);
                return String::new();
            } else {
                self.place = Place::Text;
            }
        }
        if self.place == Place::Thought {
            let Some((inside, behind)) = rest.split_once(CLOSING) else {
                let (sure, held) = rest.split_at(rest.len() - maybe_closing(rest));
                thought.push_str(sure);
                held.clone_into(&mut self.held);
                return String::new();
            };
            thought.push_str(inside);
            self.place = Place::Between;
            rest = behind;
        }
        if self.place == Place::Between {
            rest = rest.trim_start();
            if rest.is_empty() {
                return String::new();
            }
            self.place = Place::Text;
        }
        rest.to_owned()
    }
}

/// Counts the bytes at the end that may be the beginning of a closing tag.
fn maybe_closing(text: &str) -> usize {
    (1..CLOSING.len()).rev().find(|length| text.ends_with(&CLOSING[..*length])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(pieces: &[&str]) -> (String, String) {
        let (mut tags, mut thought, mut text) = (Tags::default(), String::new(), String::new());
        for piece in pieces {
            let (more_thought, more_text) = tags.read(piece);
            thought.push_str(&more_thought);
            text.push_str(&more_text);
        }
        let (more_thought, more_text) = tags.finish();
        (thought + &more_thought, text + &more_text)
    }

    #[test]
    fn a_thought_at_the_beginning_is_parted_from_the_text() {
        for (pieces, thought, text) in [
            (&["<think>\nhm\n</think>\n\nyes"][..], "\nhm\n", "yes"),
            (&["<th", "ink>h", "m</", "thin", "k>", "\n", "\ny", "es"], "hm", "yes"),
            (&["\n <think>hm</think>yes"], "hm", "yes"),
            (&["<think>a </thin b</think>c"], "a </thin b", "c"),
            (&["<think></think>yes <think>no</think>"], "", "yes <think>no</think>"),
            (&["yes <think>no</think>"], "", "yes <think>no</think>"),
            (&["<thinking>no"], "", "<thinking>no"),
            (&["<think>cut </th"], "cut </th", ""),
            (&["<thi"], "", "<thi"),
            (&["  yes"], "", "  yes"),
        ] {
            assert_eq!(read(pieces), (thought.to_owned(), text.to_owned()), "{pieces:?}");
        }
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(content in r"(\n|<think>|</think>|<|/|think|é| ){0,12}", cuts in prop::collection::vec(0..64_usize, 0..6)) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| content.floor_char_boundary(cut)).collect();
            cuts.extend([0, content.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&str> = cuts.windows(2).map(|pair| &content[pair[0]..pair[1]]).collect();
            prop_assert_eq!(read(&pieces), read(&[content.as_str()]));
        }
    }
}
