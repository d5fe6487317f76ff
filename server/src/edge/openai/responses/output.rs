//! The items of `output`: what the parts of an answer are in this dialect. Texts and refusals that stand together are
//! the contents of one message; a thought, a call and an image are an item each.

use bytes::Bytes;
use serde_json::value::RawValue;
use tollgate_api::v1::{Continuity, Extension, Media, Part, TokenLogprob, media, part, tool_call};

use super::shapes::{Note, annotation};
use crate::edge::continuity;

/// One item, as far as it is told.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) id: String,
    pub(super) kind: Kind,
}

/// What an item is.
#[derive(Debug)]
pub(super) enum Kind {
    /// Text and refusals for the reader.
    Message(Vec<Content>),
    /// A thought, or what is shown of it.
    Reasoning { text: String, summarized: bool, redacted: Bytes, token: Option<Continuity> },
    /// A call of a tool of the caller.
    Call { call_id: String, name: String, input: String, custom: bool, token: Option<Continuity> },
    /// An image that the model made.
    Image { mime_type: String, data: Vec<u8> },
    /// An item of OpenAI's own, as it came.
    Theirs(Box<RawValue>),
}

/// A piece of a message.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) text: String,
    pub(super) refusal: bool,
    pub(super) notes: Vec<Note>,
    pub(super) logprobs: Vec<TokenLogprob>,
    pub(super) token: Option<Continuity>,
}

impl Content {
    /// Makes the content that a part of text or refusal is; none for others.
    pub(super) fn of(part: &Part) -> Option<Self> {
        let (text, refusal) = match &part.kind {
            Some(part::Kind::Text(text)) => (text.clone(), false),
            Some(part::Kind::Refusal(text)) => (text.clone(), true),
            _ => return None,
        };
        let notes = part.annotations.iter().filter_map(annotation).collect();
        let token = part.continuity.clone();
        Some(Self { text, refusal, notes, logprobs: Vec::new(), token })
    }

    /// Makes an empty text.
    pub(super) fn text() -> Self {
        Self { text: String::new(), refusal: false, notes: Vec::new(), logprobs: Vec::new(), token: None }
    }
}

impl Kind {
    /// Makes the item that a part is; none for what is no item of its own or is not for the caller.
    pub(super) fn of(part: &Part) -> Option<Self> {
        match part.kind.as_ref()? {
            part::Kind::Thought(thought) => Some(Self::Reasoning {
                text: thought.text.clone(),
                summarized: thought.summarized,
                redacted: thought.redacted.clone(),
                token: part.continuity.clone(),
            }),
            part::Kind::ToolCall(call) if !call.executed_upstream => {
                let (input, custom) = match &call.input {
                    Some(tool_call::Input::ArgumentsJson(arguments)) => (arguments.clone(), false),
                    Some(tool_call::Input::Text(text)) => (text.clone(), true),
                    None => (String::new(), false),
                };
                let (call_id, name) = (call.id.clone(), call.name.clone());
                Some(Self::Call { call_id, name, input, custom, token: part.continuity.clone() })
            }
            part::Kind::Media(media) => image(media),
            part::Kind::Extension(extension) => theirs(extension),
            part::Kind::Text(_)
            | part::Kind::Refusal(_)
            | part::Kind::ToolCall(_)
            | part::Kind::ToolResult(_) => None,
        }
    }

    /// Returns how ids of such items begin.
    fn prefix(&self) -> &'static str {
        match self {
            Self::Message(_) => "msg",
            Self::Reasoning { .. } => "rs",
            Self::Call { custom: false, .. } => "fc",
            Self::Call { custom: true, .. } => "ctc",
            Self::Image { .. } => "ig",
            Self::Theirs(_) => "item",
        }
    }
}

impl Item {
    /// Makes the item of that place in the answer of a call. Its id is ours for good: `is_ours` knows it.
    pub(super) fn new(call: &str, index: usize, kind: Kind) -> Self {
        Self { id: format!("{}_tg{call}_{index}", kind.prefix()), kind }
    }

    /// Makes the items of a whole answer.
    pub(super) fn list(call: &str, parts: &[Part], logprobs: &[TokenLogprob]) -> Vec<Self> {
        let mut items: Vec<Self> = Vec::new();
        let mut logprobs = logprobs.to_vec();
        // A part that is not shown still stands between two texts, as it does in a stream.
        let mut together = false;
        for part in parts {
            let Some(mut content) = Content::of(part) else {
                together = false;
                items.extend(Kind::of(part).map(|kind| Self::new(call, items.len(), kind)));
                continue;
            };
            if !content.refusal {
                content.logprobs.append(&mut logprobs);
            }
            match items.last_mut() {
                Some(Self { kind: Kind::Message(contents), .. }) if together => contents.push(content),
                _ => items.push(Self::new(call, items.len(), Kind::Message(vec![content]))),
            }
            together = true;
        }
        items
    }
}

/// Tells whether a body speaks of an item of ours that no vendor would know: a thought that another provider gave.
pub(super) fn is_ours(body: &[u8]) -> bool {
    continuity::is_in(body) || memchr::memmem::find(body, b"\"rs_tg").is_some()
}

fn image(media: &Media) -> Option<Kind> {
    let data = match &media.source {
        Some(media::Source::Data(data)) => data.to_vec(),
        None => Vec::new(),
        Some(media::Source::Uri(_) | media::Source::FileId(_)) => return None,
    };
    let mime_type = media.mime_type.clone();
    mime_type.starts_with("image/").then_some(Kind::Image { mime_type, data })
}

/// Shows an item that only OpenAI's own servers make; of other vendors' blocks this dialect knows nothing.
fn theirs(extension: &Extension) -> Option<Kind> {
    let kind = extension.r#type.as_str();
    let known = kind.ends_with("_call")
        || kind.ends_with("_call_output")
        || kind.starts_with("mcp_")
        || kind == "compaction";
    let json = RawValue::from_string(extension.json.clone()).ok()?;
    (known && json.get().starts_with('{')).then_some(Kind::Theirs(json))
}
