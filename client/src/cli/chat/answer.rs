//! Prints an answer: text as it comes, thoughts dimmed beside it, tool calls as lines of JSON.

use std::collections::BTreeMap;

use tollgate_client::{
    Event,
    api::v1::{CompleteResponse, Part, ToolCall, part::Kind, tool_call::Input},
};

use crate::cli::{failure::Failure, json, out::Out};

/// An answer that is being printed.
#[derive(Default)]
pub(super) struct Answer {
    tool_calls: BTreeMap<(i32, i32), ToolCall>,
    thinking: bool,
}

impl Answer {
    /// Prints what an event adds to the answer.
    pub(super) fn print(&mut self, out: &mut Out, event: Event) -> Result<(), Failure> {
        match event {
            Event::Text(delta) => self.piece(out, &delta.text),
            Event::Refusal(delta) => self.piece(out, &delta.text),
            Event::Thought(delta) => self.thought(out, &delta.text),
            Event::PartStart(start) => {
                let place = (start.choice, start.part);
                start.initial.map_or(Ok(()), |part| self.start(out, place, part))
            }
            Event::ToolCall(delta) => {
                let call = self.tool_calls.entry((delta.choice, delta.part)).or_default();
                match call.input.get_or_insert_with(|| Input::ArgumentsJson(String::new())) {
                    Input::ArgumentsJson(text) | Input::Text(text) => text.push_str(&delta.input),
                }
                Ok(())
            }
            Event::PartEnd(end) => match self.tool_calls.remove(&(end.choice, end.part)) {
                Some(call) => self.tool_call(out, &call),
                None => Ok(()),
            },
            Event::Notice(notice) => Ok(out.note(&format!("notice: {}", notice.message))?),
            _ => Ok(()),
        }
    }

    fn start(&mut self, out: &mut Out, place: (i32, i32), part: Part) -> Result<(), Failure> {
        match part.kind {
            Some(Kind::ToolCall(call)) => {
                self.tool_calls.insert(place, call);
                Ok(())
            }
            Some(kind) => self.whole(out, kind),
            None => Ok(()),
        }
    }

    fn whole(&mut self, out: &mut Out, kind: Kind) -> Result<(), Failure> {
        match kind {
            Kind::Text(text) | Kind::Refusal(text) => self.piece(out, &text),
            Kind::Thought(thought) => self.thought(out, &thought.text),
            Kind::ToolCall(call) => self.tool_call(out, &call),
            Kind::Media(media) => Ok(out.note(&format!("[{}: --json shows the bytes]", media.mime_type))?),
            Kind::ToolResult(_) | Kind::Extension(_) => Ok(()),
        }
    }

    fn piece(&mut self, out: &mut Out, text: &str) -> Result<(), Failure> {
        if text.is_empty() {
            return Ok(());
        }
        self.end_thought(out)?;
        Ok(out.piece(text)?)
    }

    fn thought(&mut self, out: &mut Out, text: &str) -> Result<(), Failure> {
        if text.is_empty() {
            return Ok(());
        }
        if !self.thinking {
            out.end_line()?;
            self.thinking = true;
        }
        Ok(out.dim_piece(text)?)
    }

    fn end_thought(&mut self, out: &mut Out) -> Result<(), Failure> {
        if std::mem::take(&mut self.thinking) {
            out.dim_piece("\n")?;
        }
        Ok(())
    }

    fn tool_call(&mut self, out: &mut Out, call: &ToolCall) -> Result<(), Failure> {
        self.end_thought(out)?;
        Ok(out.line(&json::encode("tollgate.v1.ToolCall", call)?)?)
    }
}

/// Prints the first choice of an answer that came at once.
pub(super) fn print_whole(out: &mut Out, response: CompleteResponse) -> Result<(), Failure> {
    let mut answer = Answer::default();
    let message = response.choices.into_iter().next().and_then(|choice| choice.message);
    for part in message.map(|message| message.parts).unwrap_or_default() {
        if let Some(kind) = part.kind {
            answer.whole(out, kind)?;
        }
    }
    answer.end_thought(out)
}

#[cfg(test)]
mod tests {
    use tollgate_client::api::v1::{PartStart, TextDelta, ThoughtDelta, ToolCallDelta};

    use super::*;
    use crate::cli::out::tests::captured;

    #[test]
    fn thoughts_go_beside_the_answer() {
        let (mut out, stdout, stderr) = captured(false);
        let mut answer = Answer::default();
        let thought = ThoughtDelta { text: "hm".into(), ..Default::default() };
        let text = TextDelta { text: "yes".into(), ..Default::default() };
        answer.print(&mut out, Event::Thought(thought)).unwrap();
        answer.print(&mut out, Event::Text(text)).unwrap();
        assert_eq!((stdout.text().as_str(), stderr.text().as_str()), ("yes", "hm\n"));
    }

    #[test]
    fn a_tool_call_is_one_line_of_json_once_it_is_whole() {
        let (mut out, stdout, _) = captured(false);
        let mut answer = Answer::default();
        let call = ToolCall { id: "c1".into(), name: "find".into(), ..Default::default() };
        let initial = Some(Part { kind: Some(Kind::ToolCall(call)), ..Default::default() });
        let start = PartStart { initial, ..Default::default() };
        answer.print(&mut out, Event::PartStart(Box::new(start))).unwrap();
        for input in ["{\"q\"", ":1}"] {
            let delta = ToolCallDelta { input: input.into(), ..Default::default() };
            answer.print(&mut out, Event::ToolCall(delta)).unwrap();
        }
        assert_eq!(stdout.text(), "");
        answer.print(&mut out, Event::PartEnd(Box::default())).unwrap();
        let value: serde_json::Value = serde_json::from_str(&stdout.text()).unwrap();
        assert_eq!((&value["name"], &value["arguments_json"]), (&"find".into(), &"{\"q\":1}".into()));
    }
}
