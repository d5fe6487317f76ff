//! The `response` object: the whole of an unary answer, and what the events of a stream begin and end with.

use serde::{Serialize, Serializer, ser::SerializeMap as _};
use tollgate_api::v1::{CompleteResponse, FinishReason, Usage as Counted};

use super::{
    output::{Item, Kind},
    request::Repeated,
    shapes::{Shown, Usage},
};
use crate::{
    edge::openai::{
        error::Told,
        shapes::{Aside, finish_reason},
    },
    error::Error,
};

/// How an answer ended.
#[derive(Debug, Default)]
pub(super) struct Ending {
    pub(super) reason: FinishReason,
    /// The provider's own word.
    pub(super) upstream: String,
}

/// What stands in the object beside its items.
pub(super) struct Head<'a> {
    /// The call's id without hyphens.
    pub(super) call: &'a str,
    /// Another id to tell: that of an answer which the upstream began in its own bytes.
    pub(super) id: Option<&'a str>,
    pub(super) created: i64,
    pub(super) model: &'a str,
    pub(super) service_tier: &'a str,
    pub(super) usage: Option<&'a Counted>,
    pub(super) repeated: &'a Repeated,
}

/// How far the answer is.
pub(super) enum State<'a> {
    InProgress,
    Ended(&'a Ending),
    Failed(&'a Error),
}

/// The object.
pub(super) struct Response<'a> {
    pub(super) head: Head<'a>,
    pub(super) state: State<'a>,
    pub(super) items: &'a [Item],
}

#[derive(Serialize)]
struct Incomplete {
    reason: &'static str,
}

#[derive(Serialize)]
struct Failure<'a> {
    code: &'a str,
    message: &'a str,
}

impl Ending {
    /// Returns why the answer is not whole, if it is not. One that was declined in words is whole.
    pub(super) fn incomplete(&self, items: &[Item]) -> Option<&'static str> {
        match self.reason {
            FinishReason::Length | FinishReason::ContextLength => Some("max_output_tokens"),
            FinishReason::ContentFilter => Some("content_filter"),
            FinishReason::Refusal if !declines(items) => Some("content_filter"),
            _ => None,
        }
    }
}

fn declines(items: &[Item]) -> bool {
    items.iter().any(|item| match &item.kind {
        Kind::Message(contents) => contents.iter().any(|content| content.refusal),
        _ => false,
    })
}

impl Serialize for Response<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (head, items) = (&self.head, self.items);
        let incomplete = match self.state {
            State::Ended(ending) => ending.incomplete(items),
            State::InProgress | State::Failed(_) => None,
        };
        let (status, cut) = match (&self.state, incomplete) {
            (State::InProgress, _) => ("in_progress", "in_progress"),
            (State::Failed(_), _) => ("failed", "incomplete"),
            (State::Ended(_), Some(_)) => ("incomplete", "incomplete"),
            (State::Ended(_), None) => ("completed", "completed"),
        };
        let failed = match self.state {
            State::Failed(error) => Some(Told::of(error)),
            State::InProgress | State::Ended(_) => None,
        };
        // Only the last item can have been cut.
        let shown = |(at, item)| Shown::of(item, if at + 1 == items.len() { cut } else { "completed" });
        let output: Vec<Shown<'_>> = items.iter().enumerate().map(shown).collect();
        let mut map = serializer.serialize_map(None)?;
        match head.id {
            Some(id) => map.serialize_entry("id", id)?,
            None => map.serialize_entry("id", &format_args!("resp_tg{}", head.call))?,
        }
        map.serialize_entry("object", "response")?;
        map.serialize_entry("created_at", &head.created)?;
        map.serialize_entry("status", status)?;
        map.serialize_entry("background", &false)?;
        let error = failed.as_ref().map(|told| Failure { code: told.code, message: &told.message });
        map.serialize_entry("error", &error)?;
        map.serialize_entry("incomplete_details", &incomplete.map(|reason| Incomplete { reason }))?;
        map.serialize_entry("model", head.model)?;
        map.serialize_entry("output", &output)?;
        map.serialize_entry("previous_response_id", &None::<&str>)?;
        // Tollgate keeps nothing that could be asked for later.
        map.serialize_entry("store", &false)?;
        let tier = if head.service_tier.is_empty() { "default" } else { head.service_tier };
        map.serialize_entry("service_tier", tier)?;
        map.serialize_entry("usage", &head.usage.map(Usage::of))?;
        for (name, value) in &head.repeated.0 {
            map.serialize_entry(name, value)?;
        }
        if let State::Ended(ending) = self.state
            && let Some(aside) = Aside::of(finish_reason(ending.reason), &ending.upstream)
        {
            map.serialize_entry("x_tollgate", &aside)?;
        }
        map.end()
    }
}

/// Writes a whole answer.
///
/// # Errors
/// `INTERNAL` if it cannot be written, which no answer is known to cause.
pub(super) fn write(answer: &CompleteResponse, call: &str, repeated: &Repeated) -> Result<Vec<u8>, Error> {
    let choice = answer.choices.first();
    let parts = choice.and_then(|choice| choice.message.as_ref()).map_or(&[][..], |message| &message.parts);
    let items = Item::list(call, parts, choice.map_or(&[][..], |choice| &choice.logprobs));
    let ending = choice.map(|choice| Ending {
        reason: choice.finish_reason(),
        upstream: choice.upstream_finish_reason.clone(),
    });
    let response = Response {
        head: Head {
            call,
            id: None,
            created: answer.create_time.as_ref().map_or(0, |time| time.seconds),
            model: &answer.model,
            service_tier: &answer.service_tier,
            usage: answer.usage.as_ref(),
            repeated,
        },
        state: State::Ended(&ending.unwrap_or_default()),
        items: &items,
    };
    serde_json::to_vec(&response).map_err(|_| Error::internal("the answer cannot be written as JSON"))
}
