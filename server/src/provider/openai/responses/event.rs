//! Events and whole answers of the Responses API as both lanes read them: borrowed, and lenient towards every vendor.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use tollgate_api::v1::FinishReason;

use super::super::{
    json::{Count, Text, says_something},
    members::Members,
    refusal,
};
use crate::provider::{Error, Kind};

/// One event of a stream.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Event<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Text<'a>,
    /// The place of the item that it is about.
    pub(super) output_index: Count,
    pub(super) content_index: Count,
    pub(super) summary_index: Count,
    #[serde(borrow)]
    pub(super) delta: Text<'a>,
    #[serde(borrow)]
    pub(super) item: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) annotation: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) logprobs: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) response: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

impl Event<'_> {
    /// Returns the failure that the event tells: `error`, `response.failed`, or a bare error object.
    pub(super) fn failure(&self, name: &[u8], data: &[u8]) -> Option<Error> {
        match (&*self.kind.0, self.response) {
            ("response.failed" | "response.cancelled", Some(response)) => {
                Some(refusal::of_payload(response.get().as_bytes()))
            }
            ("error" | "response.failed" | "response.cancelled", _) => Some(refusal::of_payload(data)),
            _ if name == b"error" || says_something(self.error) => Some(refusal::of_payload(data)),
            _ => None,
        }
    }

    /// Tells whether nothing of the answer follows.
    pub(super) fn is_terminal(&self) -> bool {
        matches!(&*self.kind.0, "response.completed" | "response.incomplete")
    }
}

/// How far a stream has come towards its end.
#[derive(Debug, Default)]
pub(super) struct Course {
    pub(super) any_event: bool,
    /// The event that ends the answer has been seen.
    pub(super) whole: bool,
}

impl Course {
    /// Takes the end of the body, which is the end of an answer only after the event that says so.
    pub(super) fn ended(&self) -> Result<(), Error> {
        match (self.whole, self.any_event) {
            (true, _) => Ok(()),
            (false, true) => Err(Error::new(
                Kind::Unavailable,
                "the stream ended without `response.completed`: the answer is cut short",
            )),
            (false, false) => Err(Error::new(Kind::BadResponse, "the answer is no event stream")),
        }
    }
}

/// An object of which some members are known: an answer, an item of it, a part of an item.
#[derive(Debug, Default)]
pub(super) struct Node<'a>(pub(super) Members<'a>);

impl<'a> Node<'a> {
    /// Reads an object; anything else has no members.
    pub(super) fn read(json: &'a str) -> Self {
        Self(serde_json::from_str(json).unwrap_or_default())
    }

    /// Returns a member that says something, as JSON.
    pub(super) fn raw(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.get()).filter(|json| *json != "null")
    }

    /// Returns a text; empty if it is none.
    pub(super) fn text(&self, name: &str) -> Cow<'_, str> {
        self.raw(name)
            .and_then(|json| serde_json::from_str(json).ok())
            .map(|text: Text<'_>| text.0)
            .unwrap_or_default()
    }

    /// Returns the items of a list; none if it is no list.
    pub(super) fn list(&self, name: &str) -> Vec<&str> {
        let list: Option<Vec<&RawValue>> = self.raw(name).and_then(|json| serde_json::from_str(json).ok());
        list.into_iter().flatten().map(RawValue::get).collect()
    }
}

/// Members of an answer that the contract models, or that repeat the request.
pub(super) const KNOWN: [&str; 37] = [
    "id",
    "object",
    "created_at",
    "completed_at",
    "status",
    "background",
    "error",
    "incomplete_details",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "model",
    "output",
    "output_text",
    "parallel_tool_calls",
    "presence_penalty",
    "frequency_penalty",
    "previous_response_id",
    "prompt",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning",
    "safety_identifier",
    "service_tier",
    "store",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_k",
    "top_logprobs",
    "top_p",
    "truncation",
    "usage",
    "user",
    "metadata",
];

/// Items by which the model asks its caller to do something, besides calls of functions and custom tools.
const WAITING: [&str; 4] = ["computer_call", "local_shell_call", "apply_patch_call", "mcp_approval_request"];

/// Tells whether an item asks the caller for a result.
pub(super) fn is_waiting(item: &Node<'_>) -> bool {
    let kind = item.text("type");
    let by_caller = Node::read(item.raw("environment").unwrap_or_default()).text("type") == "local"
        || item.text("execution") == "client";
    matches!(&*kind, "function_call" | "custom_tool_call")
        || WAITING.contains(&&*kind)
        || (matches!(&*kind, "shell_call" | "tool_search_call") && by_caller)
}

/// Tells why an answer ended, with the vendor's own word. None if it has not.
pub(super) fn finish(response: &Node<'_>) -> Option<(FinishReason, String)> {
    let status = response.text("status");
    if status == "incomplete" {
        let details = Node::read(response.raw("incomplete_details").unwrap_or_default());
        let reason = details.text("reason");
        let finish = match &*reason {
            "max_output_tokens" | "max_tokens" | "length" => FinishReason::Length,
            "content_filter" => FinishReason::ContentFilter,
            _ => FinishReason::Other,
        };
        return Some((finish, if reason.is_empty() { status } else { reason }.into_owned()));
    }
    if !matches!(&*status, "completed" | "") {
        return None;
    }
    let waiting = response.list("output").into_iter().any(|item| is_waiting(&Node::read(item)));
    let finish = if waiting { FinishReason::ToolCalls } else { FinishReason::Stop };
    Some((finish, "completed".to_owned()))
}

/// Checks that a whole body is an answer.
///
/// # Errors
/// The failure that it tells, or `BadResponse`.
pub(super) fn whole(body: &[u8]) -> Result<Node<'_>, Error> {
    let response: Members<'_> =
        serde_json::from_slice(body).map_err(|_| crate::provider::refusal::not_json(body))?;
    let response = Node(response);
    let error = response.raw("error").is_some_and(|error| !matches!(error, "false" | "\"\"" | "{}" | "[]"));
    if error || matches!(&*response.text("status"), "failed" | "cancelled") {
        return Err(refusal::of_payload(body));
    }
    if response.raw("output").is_none_or(|output| !output.starts_with('[')) {
        return Err(Error::new(Kind::BadResponse, "the answer is a JSON object without `output`"));
    }
    Ok(response)
}
