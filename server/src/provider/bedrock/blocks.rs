//! Content blocks of an answer, whole or in pieces, told as parts of the contract.

use std::{collections::VecDeque, mem};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use tollgate_api::v1::{Extension, Media, Part, Thought, ToolCall, ToolResult, part::Kind, tool_call::Input};

use super::citations::{self, within};
use crate::{
    call::Item,
    provider::{
        Error,
        compose::Composer,
        json::{Text, says_something},
    },
};

/// The most bytes of a tool's result that are gathered before it is told.
const MAX_RESULT_BYTES: usize = 8 * 1024 * 1024;

/// Where the one choice of an answer stands.
#[derive(Debug)]
pub(super) struct Blocks {
    pub(super) composer: Composer,
    /// The provider's configured name.
    provider: String,
    /// The tool that stands for a schema: what it is called with is the answer's text.
    schema_tool: Option<&'static str>,
    /// Input that comes now belongs to the schema's tool.
    in_schema_tool: bool,
    /// A tool was begun and its input has not come yet.
    awaits_input: bool,
    /// The result of a tool that Bedrock ran, until it is whole.
    result: Option<Outcome>,
}

#[derive(Debug)]
struct Outcome {
    result: ToolResult,
    kind: String,
    bytes: usize,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Tool<'a> {
    #[serde(borrow)]
    tool_use_id: Text<'a>,
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow)]
    status: Text<'a>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Reasoning<'a> {
    #[serde(borrow)]
    text: Text<'a>,
    #[serde(borrow)]
    signature: Text<'a>,
    #[serde(borrow)]
    redacted_content: Text<'a>,
    #[serde(borrow)]
    reasoning_text: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Cited<'a> {
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    citations: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Picture<'a> {
    #[serde(borrow)]
    format: Text<'a>,
    #[serde(borrow)]
    source: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Source<'a> {
    #[serde(borrow)]
    bytes: Text<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Piece<'a> {
    #[serde(borrow)]
    text: Text<'a>,
    #[serde(borrow)]
    json: Option<&'a RawValue>,
}

fn part(kind: Kind) -> Part {
    Part { kind: Some(kind), ..Part::default() }
}

impl Blocks {
    pub(super) fn new(provider: &str, schema_tool: Option<&'static str>) -> Self {
        Self {
            composer: Composer::new(provider),
            provider: provider.to_owned(),
            schema_tool,
            in_schema_tool: false,
            awaits_input: false,
            result: None,
        }
    }

    /// Takes a member of a block, of its start or of its delta, by its name.
    pub(super) fn member(
        &mut self,
        name: &str,
        value: &RawValue,
        out: &mut VecDeque<Item>,
    ) -> Result<(), Error> {
        match name {
            "text" => self.text(&within::<Text<'_>>(Some(value)).0, out),
            "reasoningContent" => self.reasoning(&within(Some(value)), out),
            "toolUse" => self.tool_use(&within(Some(value)), out),
            "toolResult" => self.tool_result(value, out),
            "citation" => self.citation(value.get(), out),
            "citationsContent" => self.cited(&within(Some(value)), out),
            "image" => self.image(&within(Some(value)), out),
            _ if says_something(Some(value)) => self.unknown(name, value.get(), out),
            _ => Ok(()),
        }
    }

    /// Ends a block.
    pub(super) fn stop(&mut self, out: &mut VecDeque<Item>) -> Result<(), Error> {
        if mem::take(&mut self.awaits_input) {
            // A tool without parameters: callers read the input as JSON.
            self.composer.tool_input(0, "{}", out);
        }
        if let Some(outcome) = self.result.take() {
            self.composer.open(0, part(Kind::ToolResult(Box::new(outcome.result))), out)?;
            self.composer.token(0, outcome.kind.into_bytes());
        }
        self.in_schema_tool = false;
        self.composer.close(0, out);
        Ok(())
    }

    fn text(&mut self, text: &str, out: &mut VecDeque<Item>) -> Result<(), Error> {
        self.composer.text(0, text, out)
    }

    fn reasoning(&mut self, told: &Reasoning<'_>, out: &mut VecDeque<Item>) -> Result<(), Error> {
        if !told.redacted_content.is_empty() {
            let bytes = told.redacted_content.0.as_bytes();
            let redacted = Bytes::from(STANDARD.decode(bytes).unwrap_or_else(|_| bytes.to_vec()));
            let thought = Thought { redacted: redacted.clone(), ..Thought::default() };
            self.composer.open(0, part(Kind::Thought(thought)), out)?;
            self.composer.token(0, redacted);
        }
        let whole: Reasoning<'_> = within(told.reasoning_text);
        for one in [told, &whole] {
            self.composer.thought(0, &one.text.0, out)?;
            if !one.signature.is_empty() {
                if !self.composer.is_open(0) {
                    self.composer.open(0, part(Kind::Thought(Thought::default())), out)?;
                }
                self.composer.token(0, one.signature.0.as_bytes().to_vec());
            }
        }
        Ok(())
    }

    /// A start tells id and name, a delta input as a text, a whole block all with the input as an object.
    fn tool_use(&mut self, told: &Tool<'_>, out: &mut VecDeque<Item>) -> Result<(), Error> {
        if !told.tool_use_id.is_empty() || !told.name.is_empty() {
            self.in_schema_tool = self.schema_tool.is_some_and(|name| name == told.name.0);
            if !self.in_schema_tool {
                self.begin_tool(told, out)?;
            }
        }
        let Some(input) = told.input.map(RawValue::get) else { return Ok(()) };
        let input = match input.as_bytes().first() {
            Some(b'"') => serde_json::from_str::<Text<'_>>(input).unwrap_or_default().0,
            Some(b'n') => return Ok(()),
            _ => input.into(),
        };
        if self.in_schema_tool {
            return self.composer.text(0, &input, out);
        }
        self.awaits_input &= input.is_empty();
        self.composer.tool_input(0, &input, out);
        Ok(())
    }

    fn begin_tool(&mut self, told: &Tool<'_>, out: &mut VecDeque<Item>) -> Result<(), Error> {
        let executed_upstream = told.kind.0 == "server_tool_use";
        let call = ToolCall {
            id: told.tool_use_id.0.clone().into_owned(),
            name: told.name.0.clone().into_owned(),
            input: Some(Input::ArgumentsJson(String::new())),
            executed_upstream,
        };
        self.composer.open(0, part(Kind::ToolCall(call)), out)?;
        self.awaits_input = true;
        if executed_upstream {
            // So that it is known as Bedrock's own when it comes back.
            self.composer.token(0, told.kind.0.as_bytes().to_vec());
        }
        Ok(())
    }

    /// A start tells id and status, a delta is a list of pieces, a whole block has both.
    fn tool_result(&mut self, value: &RawValue, out: &mut VecDeque<Item>) -> Result<(), Error> {
        let told: Tool<'_> = within(Some(value));
        if !told.tool_use_id.is_empty() {
            self.stop(out)?;
            let result = ToolResult {
                tool_call_id: told.tool_use_id.0.into_owned(),
                parts: Vec::new(),
                is_error: told.status.0 == "error",
            };
            self.result = Some(Outcome { result, kind: told.kind.0.into_owned(), bytes: 0 });
        }
        let Some(outcome) = &mut self.result else { return Ok(()) };
        let list: Vec<&RawValue> = within(Some(told.content.unwrap_or(value)));
        for json in list.into_iter().map(RawValue::get) {
            let piece: Piece<'_> = serde_json::from_str(json).unwrap_or_default();
            let text = piece.json.map_or(&*piece.text.0, RawValue::get);
            let text = if text.is_empty() { json } else { text };
            outcome.bytes += text.len() + size_of::<Part>();
            if outcome.bytes <= MAX_RESULT_BYTES {
                outcome.result.parts.push(part(Kind::Text(text.to_owned())));
            }
        }
        Ok(())
    }

    /// A citation may come before the words it is about.
    fn citation(&mut self, json: &str, out: &mut VecDeque<Item>) -> Result<(), Error> {
        if !self.composer.is_open(0) {
            self.composer.open(0, part(Kind::Text(String::new())), out)?;
        }
        self.composer.annotate(0, citations::read(json, &self.provider));
        Ok(())
    }

    fn cited(&mut self, told: &Cited<'_>, out: &mut VecDeque<Item>) -> Result<(), Error> {
        for piece in within::<Vec<Piece<'_>>>(told.content) {
            self.text(&piece.text.0, out)?;
        }
        for citation in within::<Vec<&RawValue>>(told.citations) {
            self.citation(citation.get(), out)?;
        }
        Ok(())
    }

    /// A start tells the format, a delta the bytes, a whole block both.
    fn image(&mut self, told: &Picture<'_>, out: &mut VecDeque<Item>) -> Result<(), Error> {
        if !told.format.is_empty() {
            let media = Media { mime_type: format!("image/{}", told.format.0), ..Media::default() };
            self.composer.open(0, part(Kind::Media(Box::new(media))), out)?;
        }
        let source: Source<'_> = within(told.source);
        if let Some(data) = STANDARD.decode(source.bytes.0.as_bytes()).ok().filter(|data| !data.is_empty()) {
            self.composer.media(0, data.into(), "", out);
        }
        Ok(())
    }

    fn unknown(&mut self, name: &str, json: &str, out: &mut VecDeque<Item>) -> Result<(), Error> {
        let extension = Extension {
            provider: self.provider.clone(),
            r#type: name.to_owned(),
            json: format!("{{\"{}\":{json}}}", name.escape_default()),
        };
        self.composer.open(0, part(Kind::Extension(extension)), out)
    }
}
