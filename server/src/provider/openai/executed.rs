//! Tools that the vendor ran itself and tells beside the content: Groq's `executed_tools`, told again when one has ended.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::json::{Count, read};

/// More than any answer has.
const MAX_TOOLS: usize = 256;

/// The tools of an answer, each as it was told last.
#[derive(Debug, Default)]
pub(super) struct Executed(Vec<(i64, String)>);

#[derive(Default, Deserialize)]
#[serde(default)]
struct Tool {
    index: Count,
}

impl Executed {
    /// Takes the list of one delta, or of a whole answer. Returns all that is known with it.
    pub(super) fn take(&mut self, list: &RawValue) -> String {
        let list: Vec<&RawValue> = read(Some(list.get()));
        for (position, tool) in (0..).zip(list) {
            let index = read::<Tool>(Some(tool.get())).index.0.unwrap_or(position);
            let json = tool.get().to_owned();
            if let Some((_, known)) = self.0.iter_mut().find(|(known, _)| *known == index) {
                *known = json;
            } else if self.0.len() < MAX_TOOLS {
                self.0.push((index, json));
            }
        }
        let all: Vec<&str> = self.0.iter().map(|(_, json)| json.as_str()).collect();
        format!("[{}]", all.join(","))
    }
}
