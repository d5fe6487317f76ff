//! Typed events as the events of a Responses stream (CONTRACT §4.5): `response.created` first, each item with its
//! pieces, and `response.completed`, `incomplete` or `failed` last.

use bytes::Bytes;
use serde::Serialize;
use tollgate_api::v1;
use uuid::Uuid;

use super::{
    frames::Frames,
    growing::Output,
    passed::Passed,
    request::Repeated,
    response::{Ending, Head, Response, State},
};
use crate::{
    call::Event,
    edge::{fold::MAX_CONTENT, openai::error::Told, rest::sse::Encode},
    error::{Error, Reason},
};

/// The state of one stream.
pub(in crate::edge::openai) struct Events {
    created: i64,
    model: String,
    service_tier: String,
    usage: Option<Box<v1::Usage>>,
    repeated: Repeated,
    frames: Frames,
    output: Output,
    ending: Ending,
    passed: Passed,
    began: bool,
    ended: bool,
}

#[derive(Serialize)]
struct Whole<'a> {
    response: Response<'a>,
}

/// OpenAI's own form of the event, and that of its specification.
#[derive(Serialize)]
struct Failed<'a> {
    code: &'a str,
    message: &'a str,
    param: Option<&'a str>,
    error: &'a Told<'a>,
}

impl Events {
    /// Starts the stream of that call.
    pub(super) fn new(call_id: Uuid, repeated: Repeated) -> Self {
        Self {
            created: 0,
            model: String::new(),
            service_tier: String::new(),
            usage: None,
            repeated,
            frames: Frames::default(),
            output: Output::new(call_id.simple().to_string()),
            ending: Ending::default(),
            passed: Passed::default(),
            began: false,
            ended: false,
        }
    }

    fn tell_response(&mut self, name: &str, state: State<'_>) {
        let head = Head {
            call: self.output.call(),
            id: self.passed.response_id.as_deref(),
            created: self.created,
            model: &self.model,
            service_tier: &self.service_tier,
            usage: self.usage.as_deref(),
            repeated: &self.repeated,
        };
        self.frames.tell(name, &Whole { response: Response { head, state, items: &self.output.items } });
    }

    fn begin(&mut self) {
        if !std::mem::replace(&mut self.began, true) {
            self.tell_response("response.created", State::InProgress);
            self.tell_response("response.in_progress", State::InProgress);
        }
    }

    fn end(&mut self, end: v1::StreamEnd) {
        self.output.finish("completed", &mut self.frames);
        self.service_tier = end.service_tier;
        let ending = std::mem::take(&mut self.ending);
        let whole = ending.incomplete(&self.output.items).is_none();
        let name = if whole { "response.completed" } else { "response.incomplete" };
        self.tell_response(name, State::Ended(&ending));
        self.ended = true;
    }

    fn choice_end(&mut self, end: v1::ChoiceEnd) {
        self.ending = Ending { reason: end.finish_reason(), upstream: end.upstream_finish_reason };
        let cut = self.ending.incomplete(&self.output.items).is_some();
        self.output.finish(if cut { "incomplete" } else { "completed" }, &mut self.frames);
    }

    /// Takes an event of choice 0, the only one that this dialect has.
    fn content(&mut self, event: &Event) {
        let (output, frames) = (&mut self.output, &mut self.frames);
        match event {
            Event::Text(delta) if delta.choice == 0 => output.text(delta.part, &delta.text, false, frames),
            Event::Refusal(delta) if delta.choice == 0 => output.text(delta.part, &delta.text, true, frames),
            Event::Thought(delta) if delta.choice == 0 => output.thought(delta.part, &delta.text, frames),
            Event::ToolCall(delta) if delta.choice == 0 => {
                output.more_input(delta.part, &delta.input, frames)
            }
            Event::Media(delta) if delta.choice == 0 => output.media(delta),
            Event::Logprobs(delta) if delta.choice == 0 => output.logprobs(delta, frames),
            Event::PartStart(start) if start.choice == 0 => output.part_start(start, frames),
            Event::PartEnd(end) if end.choice == 0 => output.part_end(end, frames),
            _ => {}
        }
    }

    fn fail(&mut self, failed: &Error) {
        if self.passed.any {
            self.frames.go_on_after(self.passed.sequence_number.unwrap_or(0));
        } else {
            self.begin();
        }
        let told = Told::of(failed);
        let event = Failed { code: told.code, message: &told.message, param: told.param, error: &told };
        self.frames.tell("error", &event);
        self.tell_response("response.failed", State::Failed(failed));
        self.ended = true;
    }
}

impl Encode for Events {
    fn event(&mut self, event: Event) -> Bytes {
        if self.ended {
            return Bytes::new();
        }
        match event {
            Event::Start(start) => {
                self.created = start.create_time.map_or(0, |time| time.seconds);
                self.model = start.model;
                self.begin();
            }
            Event::End(end) => {
                self.begin();
                self.end(*end);
            }
            Event::ChoiceEnd(end) if end.choice == 0 => self.choice_end(*end),
            Event::Usage(usage) => self.usage = Some(usage),
            content => {
                self.begin();
                self.content(&content);
            }
        }
        if self.output.held > MAX_CONTENT {
            let message = "the answer is larger than this dialect's streams can repeat at their end (64 MiB)";
            self.fail(&Error::new(Reason::StreamInterrupted, message));
        }
        self.frames.take()
    }

    fn failed(&mut self, failed: &Error) -> Bytes {
        if !self.ended {
            self.fail(failed);
        }
        self.frames.take()
    }

    fn passed(&mut self, events: &[u8]) {
        self.passed.see(events);
    }
}
