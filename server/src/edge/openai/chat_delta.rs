//! The shapes of a `chat.completion.chunk`.

use serde::Serialize;

use super::{
    calls::Call,
    shapes::{Annotation, Aside, Audio, Image, Logprobs, Usage},
    tokens::{Detail, Extra},
};

#[derive(Serialize)]
pub(super) struct Chunk<'a> {
    pub(super) id: &'a str,
    pub(super) object: &'static str,
    pub(super) created: i64,
    pub(super) model: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) service_tier: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) system_fingerprint: &'a str,
    pub(super) choices: &'a [Choice<'a>],
    /// Null on every chunk but the last if usage was asked for, absent if it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) usage: Option<Option<Usage>>,
}

#[derive(Default, Serialize)]
pub(super) struct Choice<'a> {
    pub(super) index: i32,
    pub(super) delta: Delta<'a>,
    pub(super) logprobs: Option<Logprobs<'a>>,
    pub(super) finish_reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) x_tollgate: Option<Aside<'a>>,
}

#[derive(Default, Serialize)]
pub(super) struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) reasoning_details: Vec<Detail>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) extra_content: Option<Extra>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) refusal: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tool_calls: Option<[Call<'a>; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) audio: Option<Audio>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) images: Vec<Image>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) annotations: Vec<Annotation<'a>>,
}

impl Delta<'_> {
    /// Tells whether there is nothing in it.
    pub(super) fn is_silent(&self) -> bool {
        self.content.is_none()
            && self.refusal.is_none()
            && self.reasoning_content.is_none()
            && self.reasoning_details.is_empty()
            && self.extra_content.is_none()
            && self.tool_calls.is_none()
            && self.audio.is_none()
            && self.images.is_empty()
            && self.annotations.is_empty()
    }
}
