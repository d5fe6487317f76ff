//! The tool calls of one choice, put together from fragments in whatever order and shape vendors send them.

use tollgate_api::v1::{ToolCall, tool_call::Input};

use crate::provider::{Error, Kind};

/// The most calls of one choice.
const MAX_CALLS: usize = 128;

/// What a fragment says of the call it belongs to.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) index: Option<i64>,
    pub(super) id: &'a str,
    pub(super) name: &'a str,
    pub(super) custom: bool,
}

/// The calls, in order of appearance.
#[derive(Debug, Default)]
pub(super) struct Tools(Vec<Tool>);

#[derive(Debug, PartialEq, Eq)]
enum Stage {
    Waiting,
    Open,
    Closed,
}

#[derive(Debug)]
struct Tool {
    index: Option<i64>,
    id: String,
    name: String,
    custom: bool,
    stage: Stage,
    /// Input that was not told yet.
    input: String,
    scan: Scan,
}

impl Tools {
    /// Takes a fragment.
    ///
    /// # Errors
    /// `BadResponse` if there are too many calls, or if it belongs to one that is closed.
    pub(super) fn add(&mut self, call: &Call<'_>, input: &str) -> Result<(), Error> {
        let place = match self.find(call) {
            Some(place) => place,
            None if self.0.len() >= MAX_CALLS => {
                return Err(Error::new(
                    Kind::BadResponse,
                    format!("more than {MAX_CALLS} tool calls in one answer"),
                ));
            }
            None => {
                self.0.push(Tool {
                    index: call.index,
                    id: String::new(),
                    name: String::new(),
                    custom: call.custom,
                    stage: Stage::Waiting,
                    input: String::new(),
                    scan: Scan::default(),
                });
                self.0.len() - 1
            }
        };
        let tool = &mut self.0[place];
        // Later fragments repeat ids and names, or have null or nothing there: the first word holds.
        if tool.id.is_empty() {
            call.id.clone_into(&mut tool.id);
        }
        if tool.name.is_empty() {
            call.name.clone_into(&mut tool.name);
        }
        if tool.stage == Stage::Closed && !input.trim().is_empty() {
            return Err(Error::new(Kind::BadResponse, "a tool call goes on after the next part has begun"));
        }
        if tool.stage != Stage::Closed {
            tool.input.push_str(input);
            tool.scan.read(input);
        }
        Ok(())
    }

    fn find(&self, call: &Call<'_>) -> Option<usize> {
        let place = match call.index {
            Some(_) => self.0.iter().rposition(|tool| tool.index == call.index)?,
            // Without an index an id begins a call, and nothing goes on with the last one.
            None if call.id.is_empty() => self.0.len().checked_sub(1)?,
            None => self.0.iter().rposition(|tool| tool.id == call.id)?,
        };
        let tool = &self.0[place];
        // Some vendors give every parallel call the index 0.
        let other = !call.id.is_empty() && !tool.id.is_empty() && call.id != tool.id && !call.name.is_empty();
        (!other).then_some(place)
    }

    /// Tells whether a call has not been told yet.
    pub(super) fn waiting(&self) -> bool {
        self.0.iter().any(|tool| tool.stage == Stage::Waiting)
    }

    pub(super) fn any(&self) -> bool {
        !self.0.is_empty()
    }

    /// Returns the call whose turn is next; one without a name has to wait for it unless `all` is said.
    pub(super) fn next(&self, all: bool) -> Option<usize> {
        let next = self.0.iter().position(|tool| tool.stage == Stage::Waiting)?;
        (all || !self.0[next].name.is_empty()).then_some(next)
    }

    /// Begins to tell a call.
    pub(super) fn begin(&mut self, place: usize, choice: i32) -> ToolCall {
        let tool = &mut self.0[place];
        tool.stage = Stage::Open;
        if tool.id.is_empty() {
            // The contract promises an id by which the result can be sent back.
            tool.id = format!("call_{choice}_{place}");
        }
        let input =
            if tool.custom { Input::Text(String::new()) } else { Input::ArgumentsJson(String::new()) };
        ToolCall {
            id: tool.id.clone(),
            name: tool.name.clone(),
            input: Some(input),
            executed_upstream: false,
        }
    }

    pub(super) fn take_input(&mut self, place: usize) -> String {
        std::mem::take(&mut self.0[place].input)
    }

    /// Ends a call. Returns the input that is still to be told: a call without arguments has an empty object.
    pub(super) fn close(&mut self, place: usize) -> Option<&'static str> {
        let tool = &mut self.0[place];
        tool.stage = Stage::Closed;
        (!tool.custom && !tool.scan.begun).then_some("{}")
    }

    /// Tells whether the next call may be told: this one's JSON is whole, or it is free text.
    pub(super) fn is_whole(&self, place: usize) -> bool {
        self.0[place].custom || self.0[place].scan.is_whole()
    }
}

/// Follows a JSON object over fragments, to know where it ends.
#[derive(Debug, Default)]
struct Scan {
    depth: u32,
    begun: bool,
    in_string: bool,
    escaped: bool,
}

impl Scan {
    fn read(&mut self, text: &str) {
        for byte in text.bytes() {
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => {
                    self.begun = true;
                    self.depth = self.depth.saturating_add(1);
                }
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
    }

    fn is_whole(&self) -> bool {
        self.begun && self.depth == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_whole_at_its_last_brace_only() {
        let mut scan = Scan::default();
        for (text, whole) in [("{\"a", false), ("\":\"}\\\"", false), ("\"", false), ("}", true)] {
            scan.read(text);
            assert_eq!(scan.is_whole(), whole, "{text}");
        }
    }

    fn call<'a>(index: Option<i64>, id: &'a str, name: &'a str) -> Call<'a> {
        Call { index, id, name, custom: false }
    }

    #[test]
    fn fragments_find_their_call_with_and_without_index() {
        let mut tools = Tools::default();
        tools.add(&call(None, "a", "f"), "{").unwrap();
        tools.add(&call(None, "", ""), "}").unwrap();
        tools.add(&call(None, "b", "f"), "{}").unwrap();
        assert_eq!(tools.0.iter().map(|tool| tool.input.as_str()).collect::<Vec<_>>(), ["{}", "{}"]);
    }

    #[test]
    fn parallel_calls_that_all_claim_index_0_stay_apart() {
        let mut tools = Tools::default();
        tools.add(&call(Some(0), "a", "f"), "{}").unwrap();
        tools.add(&call(Some(0), "b", "g"), "{}").unwrap();
        tools.add(&call(Some(0), "", ""), " ").unwrap();
        assert_eq!(tools.0.len(), 2);
    }

    #[test]
    fn calls_are_bounded() {
        let mut tools = Tools::default();
        for index in 0..128 {
            tools.add(&call(Some(index), "", "f"), "").unwrap();
        }
        assert!(tools.add(&call(Some(128), "", "f"), "").is_err());
    }
}
