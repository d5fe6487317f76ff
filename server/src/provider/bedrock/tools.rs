//! The contract's tools and tool choice as `toolConfig`.

use std::borrow::Cow;

use tollgate_api::v1::{ChatInput, FunctionTool, Tool, part, tool::Kind, tool_choice::Mode};

use super::{family::Family, media::cache_point};
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

/// The tool that stands for a schema where the model takes none.
pub(super) const SCHEMA_TOOL: &str = "structured_response";

const MAX_ID_BYTES: usize = 64;

/// Returns the id of a tool call as Bedrock takes it: 1 to 64 letters, digits, `_` and `-`. Ids of other providers that
/// are none are replaced, the same one always by the same.
pub(super) fn tool_id(id: &str) -> Cow<'_, str> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if !id.is_empty() && id.len() <= MAX_ID_BYTES && id.bytes().all(fits) {
        return Cow::Borrowed(id);
    }
    let hash = blake3::hash(id.as_bytes()).to_hex();
    Cow::Owned(format!("call_{}", &hash[..32]))
}

/// A schema that a tool stands for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schema<'a> {
    pub(super) json: &'a str,
    pub(super) description: &'a str,
}

/// Writes `toolConfig`, if there are tools or the conversation has used some.
///
/// # Errors
/// What the caller has to correct, or what cannot be sent in strict mode.
pub(super) fn write(
    body: &mut Object<'_>,
    input: &ChatInput,
    family: Family,
    schema: Option<Schema<'_>>,
    lost: &mut Lost,
) -> Result<(), Error> {
    let choice = input.tool_choice.as_ref();
    let allowed: &[String] = choice.map_or(&[], |choice| &choice.tool_names);
    if let Some((at, name)) =
        allowed.iter().enumerate().find(|(_, name)| !input.tools.iter().any(|tool| name_of(tool) == *name))
    {
        let field = format!("input.tool_choice.tool_names[{at}]");
        return Err(CallerError::invalid(field, format!("there is no tool `{name}` in `input.tools`")).into());
    }
    let mode = choice.map_or(Mode::Auto, |choice| choice.mode());
    let used = used_names(input);
    let hidden = mode == Mode::None && used.is_empty();
    if mode == Mode::None && !used.is_empty() {
        let why = "Bedrock wants to see the tools of a conversation that has used some, and then offers them";
        lost.parameter("input.tool_choice.mode", why)?;
    }
    let mut tools = String::new();
    let mut list = List::begin(&mut tools);
    for (index, tool) in input.tools.iter().enumerate() {
        let shown = allowed.is_empty() || allowed.iter().any(|name| name == name_of(tool));
        if shown && !hidden {
            one(&mut list, tool, index, family, lost)?;
        }
    }
    if let Some(schema) = schema {
        spec(&mut list, SCHEMA_TOOL, schema.description, schema.json, None);
    }
    list.end();
    if tools == "[]" {
        if used.is_empty() {
            return Ok(());
        }
        tools = declared(&used);
    }
    let mut config = body.object("toolConfig");
    config.raw("tools", &tools);
    choose(&mut config, input, mode, allowed, schema.is_some());
    config.end();
    Ok(())
}

/// Converse refuses the calls of a conversation whose tools are not declared, so they are, by their names alone.
fn declared(names: &[&str]) -> String {
    let mut tools = String::new();
    let mut list = List::begin(&mut tools);
    for name in names {
        spec(&mut list, name, "", r#"{"type":"object"}"#, None);
    }
    list.end();
    tools
}

/// Lists the tools that earlier turns have called, each once.
fn used_names(input: &ChatInput) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for part in input.messages.iter().flat_map(|message| &message.parts) {
        if let Some(part::Kind::ToolCall(call)) = &part.kind
            && !call.executed_upstream
            && !names.contains(&call.name.as_str())
        {
            names.push(&call.name);
        }
    }
    names
}

fn name_of(tool: &Tool) -> &str {
    match &tool.kind {
        Some(Kind::Function(function)) => &function.name,
        Some(Kind::Custom(custom)) => &custom.name,
        Some(Kind::Upstream(upstream)) => &upstream.r#type,
        None => "",
    }
}

fn one(list: &mut List<'_>, tool: &Tool, index: usize, family: Family, lost: &mut Lost) -> Result<(), Error> {
    let field = format!("input.tools[{index}]");
    match &tool.kind {
        Some(Kind::Function(function)) => function_tool(list, function, &field)?,
        Some(Kind::Custom(_)) => {
            lost.parameter(&format!("{field}.custom"), "Bedrock has no tools that take free text")?;
            return Ok(());
        }
        // Claude's own tools go among the model's own fields.
        Some(Kind::Upstream(_)) if family == Family::Claude => return Ok(()),
        Some(Kind::Upstream(upstream)) => {
            let mut item = list.object();
            let mut system = item.object("systemTool");
            system.string("name", &upstream.r#type);
            system.end();
            item.end();
        }
        None => {
            let why = "a tool must be a function, a custom or an upstream tool";
            return Err(CallerError::invalid(field, why).into());
        }
    }
    match &tool.cache_breakpoint {
        Some(breakpoint) if family.caches_tools() => cache_point(list, &breakpoint.ttl),
        Some(_) => {
            let field = format!("{field}.cache_breakpoint");
            lost.parameter(&field, "Bedrock caches no tools of this model")?;
        }
        None => {}
    }
    Ok(())
}

fn function_tool(list: &mut List<'_>, function: &FunctionTool, field: &str) -> Result<(), Error> {
    let schema = match function.parameters_json_schema.as_str() {
        "" => r#"{"type":"object","properties":{}}"#,
        schema => json(schema, &format!("{field}.function.parameters_json_schema"))?,
    };
    spec(list, &function.name, &function.description, schema, function.strict);
    Ok(())
}

fn spec(list: &mut List<'_>, name: &str, description: &str, schema: &str, strict: Option<bool>) {
    let mut item = list.object();
    let mut spec = item.object("toolSpec");
    spec.string("name", name);
    spec.text("description", description);
    let mut input = spec.object("inputSchema");
    input.raw("json", schema);
    input.end();
    // Only models that force the schema know the word.
    spec.bool("strict", strict.filter(|strict| *strict));
    spec.end();
    item.end();
}

fn choose(config: &mut Object<'_>, input: &ChatInput, mode: Mode, allowed: &[String], schema: bool) {
    // A model that thinks refuses to be forced.
    let thinks = input.reasoning.as_ref().is_some_and(|reasoning| {
        !matches!(reasoning.effort.as_str(), "" | "none")
            || reasoning.budget_tokens.is_some_and(|most| most > 0)
    });
    let only = match (mode, allowed) {
        _ if schema && input.tools.is_empty() && !thinks => Some(SCHEMA_TOOL),
        (Mode::Required, [one]) if !schema => Some(one.as_str()),
        _ => None,
    };
    if let Some(name) = only {
        let mut choice = config.object("toolChoice");
        let mut tool = choice.object("tool");
        tool.string("name", name);
        tool.end();
        choice.end();
    } else if mode == Mode::Required || (schema && !thinks) {
        config.raw("toolChoice", r#"{"any":{}}"#);
    } else if input.tool_choice.is_some() {
        config.raw("toolChoice", r#"{"auto":{}}"#);
    }
}

/// Returns Claude's own tools as they stand among the model's own fields; empty if there are none.
pub(super) fn of_claude(input: &ChatInput) -> Result<String, Error> {
    let mut tools = String::new();
    let mut list = List::begin(&mut tools);
    for (index, tool) in input.tools.iter().enumerate() {
        let Some(Kind::Upstream(upstream)) = &tool.kind else { continue };
        let config: Members<'_> = match upstream.config_json.as_str() {
            "" => Members::default(),
            config => serde_json::from_str(config).map_err(|_| {
                let field = format!("input.tools[{index}].upstream.config_json");
                Error::from(CallerError::invalid(field, "must be one JSON object"))
            })?,
        };
        let mut item = list.object();
        item.string("type", &upstream.r#type);
        for (name, value) in config.iter().filter(|(name, _)| *name != "type") {
            item.raw(name, value);
        }
        item.end();
    }
    list.end();
    Ok(if tools == "[]" { String::new() } else { tools })
}
