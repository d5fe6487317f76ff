//! The contract's messages as Converse's: system blocks apart, turns of user and assistant, tool results in the user's.

use tollgate_api::v1::{
    Continuity, Extension, Message, Part, Role, ToolCall, ToolResult, part::Kind, tool_call::Input,
};

use super::{
    FAMILY,
    family::Family,
    media::{self, Names, cache_point, text_block},
    tools::tool_id,
};
use crate::{
    error::Error as CallerError,
    provider::{
        Error,
        json::{
            members::Members,
            write::{List, Object},
        },
        translate::{Lost, json},
    },
};

/// Who is written to.
#[derive(Clone, Copy, Debug)]
pub(super) struct To<'a> {
    /// The provider's configured name, which owns continuity tokens and extensions.
    pub(super) provider: &'a str,
    /// Whose model it is.
    pub(super) family: Family,
}

impl To<'_> {
    fn owns(self, provider: &str) -> bool {
        provider == self.provider || provider == FAMILY
    }

    /// Claude's signatures hold wherever Claude is served.
    fn reads(self, continuity: &Continuity) -> bool {
        self.owns(&continuity.provider)
            || (self.family == Family::Claude && continuity.provider == "anthropic")
    }
}

/// Writes `messages` and, if there are instructions, `system`.
///
/// # Errors
/// What the caller has to correct, or what cannot be sent in strict mode.
pub(super) fn write(
    body: &mut Object<'_>,
    messages: &[Message],
    to: To<'_>,
    lost: &mut Lost,
) -> Result<(), Error> {
    let mut turns: Vec<(usize, &Message)> = Vec::with_capacity(messages.len());
    let mut instructions = Vec::new();
    let mut moved = None;
    for (index, message) in messages.iter().enumerate() {
        match message.role() {
            Role::System | Role::Developer => {
                if !turns.is_empty() {
                    moved.get_or_insert(index);
                }
                instructions.push((index, message));
            }
            Role::Unspecified => {
                let field = format!("input.messages[{index}].role");
                return Err(CallerError::invalid(field, "must be set").into());
            }
            _ => turns.push((index, message)),
        }
    }
    if let Some(index) = moved {
        let how = "Bedrock takes instructions before the conversation only, so it stands there";
        lost.changed(&format!("input.messages[{index}]"), how)?;
    }
    let mut writer = Writer { to, lost, names: Names::default() };
    let mut list = body.list("messages");
    // Turns of one speaker are one message: Converse wants them to alternate.
    for turn in turns.chunk_by(|(_, one), (_, next)| speaker(one) == speaker(next)) {
        let blocks = writer.blocks(turn)?;
        if blocks != "[]" {
            let mut written = list.object();
            written.string("role", turn.first().map_or("user", |(_, message)| speaker(message)));
            written.raw("content", &blocks);
            written.end();
        }
    }
    list.end();
    let blocks = writer.blocks(&instructions)?;
    if blocks != "[]" {
        body.raw("system", &blocks);
    }
    Ok(())
}

fn speaker(message: &Message) -> &'static str {
    if message.role() == Role::Assistant { "assistant" } else { "user" }
}

struct Writer<'a> {
    to: To<'a>,
    lost: &'a mut Lost,
    names: Names,
}

impl Writer<'_> {
    /// Writes the blocks of neighbouring messages as one list.
    fn blocks(&mut self, messages: &[(usize, &Message)]) -> Result<String, Error> {
        let mut blocks = String::new();
        let mut list = List::begin(&mut blocks);
        for (index, message) in messages {
            let field = format!("input.messages[{index}]");
            if !message.name.is_empty() {
                self.lost
                    .parameter(&format!("{field}.name"), "Bedrock does not tell speakers of a role apart")?;
            }
            for (at, part) in message.parts.iter().enumerate() {
                let field = format!("{field}.parts[{at}]");
                self.part(&mut list, message.role(), part, &field)?;
                self.breakpoint(&mut list, part, &field)?;
            }
        }
        list.end();
        Ok(blocks)
    }

    fn breakpoint(&mut self, list: &mut List<'_>, part: &Part, field: &str) -> Result<(), Error> {
        let Some(breakpoint) = &part.cache_breakpoint else { return Ok(()) };
        if !self.to.family.caches() {
            let field = format!("{field}.cache_breakpoint");
            return self.lost.parameter(&field, "Bedrock caches no prompts of this model");
        }
        if matches!(part.kind, Some(Kind::Media(_))) {
            // Bedrock refuses a cache point right behind anything but text.
            text_block(list, "\n");
        }
        cache_point(list, &breakpoint.ttl);
        Ok(())
    }

    fn part(&mut self, list: &mut List<'_>, role: Role, part: &Part, field: &str) -> Result<(), Error> {
        if part.continuity.as_ref().is_some_and(|continuity| !self.to.reads(continuity)) {
            self.lost.content(
                "continuity_dropped",
                field,
                "the state of another provider cannot be read by this one",
            );
        }
        let misplaced = |why: &str| Err(CallerError::invalid(field, why).into());
        match (&part.kind, role) {
            (Some(Kind::Text(text) | Kind::Refusal(text)), _) => {
                // Bedrock refuses blank texts.
                if !text.trim().is_empty() {
                    text_block(list, text);
                }
                Ok(())
            }
            (Some(Kind::Extension(extension)), _) => self.extension(list, extension, field),
            (None, _) => misplaced("a part must hold something"),
            (Some(Kind::ToolResult(result)), Role::Tool) => self.result(list, result, None, field),
            (_, Role::Tool) => misplaced("must be a tool result: the message is a tool's"),
            (Some(Kind::Media(_)), Role::System | Role::Developer) => misplaced("instructions must be text"),
            (Some(Kind::Media(_)), Role::Assistant) => {
                self.lost.content(
                    "media_dropped",
                    field,
                    "the provider takes no media that the assistant made",
                );
                Ok(())
            }
            (Some(Kind::Media(media)), _) => {
                self.lost.detail(media, &format!("{field}.media"))?;
                media::write(list, media, field, &mut self.names)
            }
            (Some(kind), Role::Assistant) => self.assistant(list, part, kind, field),
            _ => misplaced("may stand in messages of the assistant or of a tool only"),
        }
    }

    fn extension(&mut self, list: &mut List<'_>, extension: &Extension, field: &str) -> Result<(), Error> {
        if self.to.owns(&extension.provider) {
            list.item().push_str(json(&extension.json, &format!("{field}.extension.json"))?);
        } else {
            self.lost.content("extension_dropped", field, "it is of another provider");
        }
        Ok(())
    }

    fn assistant(&mut self, list: &mut List<'_>, part: &Part, kind: &Kind, field: &str) -> Result<(), Error> {
        let token = part.continuity.as_ref().filter(|continuity| self.to.reads(continuity));
        let token = token.map(|continuity| &continuity.token[..]);
        match (kind, token) {
            (Kind::ToolCall(call), None) if !call.executed_upstream => tool_use(list, call, None, field),
            // The token is Bedrock's word for what kind of call or result of its own it is.
            (Kind::ToolCall(call), Some(token)) => {
                if !call.executed_upstream && token.starts_with(b"{") {
                    self.lost.content(
                        "continuity_dropped",
                        field,
                        "Converse has no place for who made a call",
                    );
                }
                tool_use(list, call, call.executed_upstream.then_some("server_tool_use"), field)
            }
            (Kind::ToolResult(result), Some(token)) => {
                self.result(list, result, Some(&String::from_utf8_lossy(token)), field)
            }
            (Kind::Thought(thought), Some(token)) => {
                let mut block = list.object();
                let mut inner = block.object("reasoningContent");
                if thought.redacted.is_empty() {
                    let mut readable = inner.object("reasoningText");
                    readable.string("text", &thought.text);
                    readable.string("signature", &String::from_utf8_lossy(token));
                    readable.end();
                } else {
                    inner.string("redactedContent", &base64(token));
                }
                inner.end();
                block.end();
                Ok(())
            }
            (Kind::Thought(_), None) => {
                let why = "thoughts without a signature of this provider cannot be sent back";
                self.lost.content("continuity_dropped", field, why);
                Ok(())
            }
            _ => {
                let why = "a provider ran the tool itself; its result is in the text";
                self.lost.content("tool_call_dropped", field, why);
                Ok(())
            }
        }
    }

    fn result(
        &mut self,
        list: &mut List<'_>,
        result: &ToolResult,
        kind: Option<&str>,
        field: &str,
    ) -> Result<(), Error> {
        let mut block = list.object();
        let mut inner = block.object("toolResult");
        inner.string("toolUseId", &tool_id(&result.tool_call_id));
        let mut content = inner.list("content");
        for (at, part) in result.parts.iter().enumerate() {
            let field = format!("{field}.tool_result.parts[{at}]");
            match &part.kind {
                Some(Kind::Text(text)) if kind.is_some() && is_object(text) => {
                    let mut item = content.object();
                    item.raw("json", text);
                    item.end();
                }
                Some(Kind::Text(text)) => text_block(&mut content, text),
                Some(Kind::Media(media)) => {
                    self.lost.detail(media, &format!("{field}.media"))?;
                    media::write(&mut content, media, &field, &mut self.names)?;
                }
                Some(Kind::Extension(extension)) => self.extension(&mut content, extension, &field)?,
                _ => return Err(CallerError::invalid(field, "must be text, media or an extension").into()),
            }
        }
        content.end();
        inner.string("status", if result.is_error { "error" } else { "success" });
        if let Some(kind) = kind {
            inner.text("type", kind);
        }
        inner.end();
        block.end();
        Ok(())
    }
}

fn base64(bytes: &[u8]) -> String {
    base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes)
}

fn is_object(text: &str) -> bool {
    serde_json::from_str::<Members<'_>>(text).is_ok()
}

fn tool_use(list: &mut List<'_>, call: &ToolCall, kind: Option<&str>, field: &str) -> Result<(), Error> {
    let mut block = list.object();
    let mut inner = block.object("toolUse");
    inner.string("toolUseId", &tool_id(&call.id));
    inner.string("name", &call.name);
    match &call.input {
        Some(Input::ArgumentsJson(input)) if !input.trim().is_empty() => {
            if !is_object(input) {
                let field = format!("{field}.tool_call.arguments_json");
                return Err(CallerError::invalid(field, "must be one JSON object").into());
            }
            inner.raw("input", input);
        }
        // A custom tool's free text: Bedrock knows objects only.
        Some(Input::Text(text)) => {
            let mut input = inner.object("input");
            input.string("input", text);
            input.end();
        }
        _ => inner.raw("input", "{}"),
    }
    if let Some(kind) = kind {
        inner.string("type", kind);
    }
    inner.end();
    block.end();
    Ok(())
}
