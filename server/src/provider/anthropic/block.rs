//! One content block of an answer: what opens it, what its deltas add, and what it is worth when it closes.

use std::collections::VecDeque;

use serde::Deserialize;
use tollgate_api::v1::{Extension, Part, Thought, ToolCall, part, tool_call::Input};

use super::{
    citation,
    json::{Text, says_something},
    members::Members,
    write,
};
use crate::{
    call::Item,
    provider::{Error, compose::Composer},
};

/// The one choice of an answer.
pub(super) const CHOICE: i32 = 0;
/// The most bytes that are gathered of a block that the contract does not model.
const MAX_GATHERED_BYTES: usize = 8 * 1024 * 1024;

/// The block that is open.
#[derive(Debug)]
pub(super) enum Open {
    Text,
    Thought,
    Redacted,
    /// With the input that came at the beginning, and whether more came since.
    Tool {
        input: String,
        told: bool,
    },
    /// A block that the contract does not model, whole as it began, and what its deltas added.
    Other {
        json: String,
        input: String,
        content: String,
    },
}

/// The members of blocks that the contract models.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Begun<'a> {
    #[serde(rename = "type", borrow)]
    kind: Text<'a>,
    #[serde(borrow)]
    text: Text<'a>,
    #[serde(borrow)]
    thinking: Text<'a>,
    #[serde(borrow)]
    signature: Text<'a>,
    #[serde(borrow)]
    data: Text<'a>,
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    input: Option<&'a serde_json::value::RawValue>,
    #[serde(borrow)]
    citations: Option<&'a serde_json::value::RawValue>,
    #[serde(borrow)]
    caller: Option<&'a serde_json::value::RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Delta<'a> {
    #[serde(rename = "type", borrow)]
    kind: Text<'a>,
    #[serde(borrow)]
    text: Text<'a>,
    #[serde(borrow)]
    thinking: Text<'a>,
    #[serde(borrow)]
    signature: Text<'a>,
    #[serde(borrow)]
    partial_json: Text<'a>,
    #[serde(borrow)]
    content: Text<'a>,
    #[serde(borrow)]
    citation: Option<&'a serde_json::value::RawValue>,
}

impl Open {
    /// Opens a block. None if it is no object.
    pub(super) fn begin(
        json: &str,
        composer: &mut Composer,
        out: &mut VecDeque<Item>,
    ) -> Result<Option<Self>, Error> {
        let Ok(begun) = serde_json::from_str::<Begun<'_>>(json) else { return Ok(None) };
        let open = match &*begun.kind.0 {
            "text" => {
                composer.open(CHOICE, of(part::Kind::Text(String::new())), out)?;
                composer.text(CHOICE, &begun.text.0, out)?;
                let list = begun.citations.map(|list| serde_json::from_str(list.get()).unwrap_or_default());
                for one in list.unwrap_or_else(Vec::<&serde_json::value::RawValue>::new) {
                    cite(one.get(), composer);
                }
                Self::Text
            }
            "thinking" => {
                composer.open(CHOICE, of(part::Kind::Thought(Thought::default())), out)?;
                composer.thought(CHOICE, &begun.thinking.0, out)?;
                Self::Thought.sign(&begun.signature.0, composer)?;
                Self::Thought
            }
            "redacted_thinking" => {
                let data = begun.data.0.into_owned().into_bytes();
                let thought = Thought { redacted: data.clone().into(), ..Thought::default() };
                composer.open(CHOICE, of(part::Kind::Thought(thought)), out)?;
                // The token says whose secret it is.
                composer.token(CHOICE, data);
                Self::Redacted
            }
            "tool_use" | "server_tool_use" => {
                let call = ToolCall {
                    id: begun.id.0.clone().into_owned(),
                    name: begun.name.0.clone().into_owned(),
                    input: Some(Input::ArgumentsJson(String::new())),
                    executed_upstream: begun.kind.0 == "server_tool_use",
                };
                composer.open(CHOICE, of(part::Kind::ToolCall(call)), out)?;
                if let Some(caller) = begun.caller.filter(|caller| !is_direct(caller.get())) {
                    composer.token(CHOICE, caller.get().to_owned());
                }
                let input = begun.input.filter(|input| says_something(Some(input)));
                Self::Tool { input: input.map_or("{}", |input| input.get()).to_owned(), told: false }
            }
            _ => Self::Other { json: json.to_owned(), input: String::new(), content: String::new() },
        };
        Ok(Some(open))
    }

    fn sign(&self, more: &str, composer: &mut Composer) -> Result<(), Error> {
        let signs = matches!(self, Self::Thought) && !more.is_empty();
        if signs { composer.token_piece(CHOICE, more) } else { Ok(()) }
    }

    /// Closes the block.
    pub(super) fn end(self, composer: &mut Composer, out: &mut VecDeque<Item>) -> Result<(), Error> {
        match self {
            Self::Tool { input, told: false } => composer.tool_input(CHOICE, &input, out),
            Self::Other { json, input, content } => {
                let extension = gathered(json, &input, &content, composer.provider());
                composer.open(CHOICE, of(part::Kind::Extension(extension)), out)?;
            }
            _ => {}
        }
        composer.close(CHOICE, out);
        Ok(())
    }
}

/// Takes a delta. `open` is the block that it belongs to; text and thoughts need none.
pub(super) fn delta(
    json: &str,
    open: Option<&mut Open>,
    composer: &mut Composer,
    out: &mut VecDeque<Item>,
) -> Result<(), Error> {
    let Ok(delta) = serde_json::from_str::<Delta<'_>>(json) else { return Ok(()) };
    match (&*delta.kind.0, open) {
        ("text_delta", None | Some(Open::Text)) => composer.text(CHOICE, &delta.text.0, out)?,
        ("thinking_delta", None | Some(Open::Thought)) => {
            composer.thought(CHOICE, &delta.thinking.0, out)?;
        }
        ("signature_delta", Some(open)) => open.sign(&delta.signature.0, composer)?,
        ("citations_delta", Some(Open::Text)) => {
            if let Some(citation) = delta.citation {
                cite(citation.get(), composer);
            }
        }
        ("input_json_delta", Some(Open::Tool { told, .. })) => {
            *told |= !delta.partial_json.is_empty();
            composer.tool_input(CHOICE, &delta.partial_json.0, out);
        }
        (_, Some(Open::Other { input, content, .. })) => {
            let more = delta.partial_json.0.len() + delta.content.0.len();
            if input.len() + content.len() + more <= MAX_GATHERED_BYTES {
                input.push_str(&delta.partial_json.0);
                content.push_str(&delta.content.0);
            }
        }
        _ => {}
    }
    Ok(())
}

fn of(kind: part::Kind) -> Part {
    Part { kind: Some(kind), ..Part::default() }
}

fn cite(json: &str, composer: &mut Composer) {
    if let Some(annotation) = citation::annotation(json, composer.provider()) {
        composer.annotate(CHOICE, annotation);
    }
}

/// Tells whether the model itself called the tool, and not a program that it wrote. Only the latter must be told when
/// the call is sent back.
fn is_direct(caller: &str) -> bool {
    let members: Members<'_> = serde_json::from_str(caller).unwrap_or_default();
    members.get("type").is_none_or(|kind| kind.get() == "\"direct\"")
}

/// Puts a block together that the contract does not model.
fn gathered(json: String, input: &str, content: &str, provider: &str) -> Extension {
    let mut members: Members<'_> = serde_json::from_str(&json).unwrap_or_default();
    let kind = members.get("type").map(|kind| serde_json::from_str(kind.get()).unwrap_or_default());
    let kind: Text<'_> = kind.unwrap_or_default();
    let r#type = kind.0.into_owned();
    // An input that is no JSON was cut: the block keeps the one that it began with.
    let whole = serde_json::from_str::<&serde_json::value::RawValue>(input).is_ok();
    if whole {
        members.set("input", input.into());
    }
    if !content.is_empty() {
        let mut text = String::new();
        write::string(&mut text, content);
        members.set("content", text.into());
    }
    let json = if whole || !content.is_empty() { members.to_json() } else { json };
    Extension { provider: provider.to_owned(), r#type, json }
}
