//! The contract's tools and tool choice in OpenAI's JSON.

use tollgate_api::v1::{
    ChatInput, CustomTool, FunctionTool, Tool, ToolChoice, UpstreamTool, tool::Kind, tool_choice::Mode,
};

use super::{
    members::Members,
    translate::{Lost, json},
    write::{List, Object},
};
use crate::{
    error::Error as CallerError,
    provider::{Error, vendors::Vendor},
};

/// Writes `tools`, `tool_choice` and `parallel_tool_calls`. OpenAI itself knows `allowed_tools`; for the others the
/// tools that may not be called are left out, which says the same.
pub(super) fn write(
    body: &mut Object<'_>,
    input: &ChatInput,
    vendor: &Vendor,
    lost: &mut Lost,
) -> Result<(), Error> {
    let names = chosen(input)?;
    if !input.tools.is_empty() {
        let mut list = body.list("tools");
        for (index, tool) in input.tools.iter().enumerate() {
            let shown = vendor.native || names.is_empty() || names.iter().any(|one| one == name(tool));
            if shown {
                tool_object(&mut list, tool, index, lost)?;
            }
        }
        list.end();
    }
    choice(body, input, names, vendor);
    body.bool("parallel_tool_calls", input.parallel_tool_calls);
    Ok(())
}

/// Returns the names of the tools that alone may be called; none if all may.
pub(super) fn chosen(input: &ChatInput) -> Result<&[String], Error> {
    let names: &[String] = input.tool_choice.as_ref().map_or(&[], |choice| &choice.tool_names);
    let all = input.tools.iter().map(name);
    match names.iter().enumerate().find(|(_, name)| !all.clone().any(|known| known == *name)) {
        None => Ok(names),
        Some((at, name)) => {
            let field = format!("input.tool_choice.tool_names[{at}]");
            Err(CallerError::invalid(field, format!("there is no tool `{name}` in `input.tools`")).into())
        }
    }
}

pub(super) fn name(tool: &Tool) -> &str {
    match &tool.kind {
        Some(Kind::Function(function)) => &function.name,
        Some(Kind::Custom(custom)) => &custom.name,
        Some(Kind::Upstream(upstream)) => &upstream.r#type,
        None => "",
    }
}

fn tool_object(list: &mut List<'_>, tool: &Tool, index: usize, lost: &mut Lost) -> Result<(), Error> {
    let field = format!("input.tools[{index}]");
    if tool.cache_breakpoint.is_some() {
        lost.parameter(&format!("{field}.cache_breakpoint"), "the provider caches prompts by itself")?;
    }
    match &tool.kind {
        Some(Kind::Function(function)) => function_tool(list, function, &field),
        Some(Kind::Custom(custom)) => {
            custom_tool(list, custom);
            Ok(())
        }
        Some(Kind::Upstream(upstream)) => upstream_tool(list, upstream, &field),
        None => {
            Err(CallerError::invalid(field, "a tool must be a function, a custom or an upstream tool").into())
        }
    }
}

fn function_tool(list: &mut List<'_>, function: &FunctionTool, field: &str) -> Result<(), Error> {
    let schema = &function.parameters_json_schema;
    let schema = match schema.is_empty() {
        true => None,
        false => Some(json(schema, &format!("{field}.function.parameters_json_schema"))?),
    };
    let mut tool = list.object();
    tool.string("type", "function");
    let mut inner = tool.object("function");
    inner.string("name", &function.name);
    inner.text("description", &function.description);
    if let Some(schema) = schema {
        inner.raw("parameters", schema);
    }
    inner.bool("strict", function.strict);
    inner.end();
    tool.end();
    Ok(())
}

fn custom_tool(list: &mut List<'_>, custom: &CustomTool) {
    let mut tool = list.object();
    tool.string("type", "custom");
    let mut inner = tool.object("custom");
    inner.string("name", &custom.name);
    inner.text("description", &custom.description);
    if let Some(grammar) = &custom.grammar {
        let mut format = inner.object("format");
        format.string("type", "grammar");
        let mut written = format.object("grammar");
        written.string("definition", &grammar.definition);
        written.string("syntax", &grammar.syntax);
        written.end();
        format.end();
    }
    inner.end();
    tool.end();
}

pub(super) fn upstream_tool(list: &mut List<'_>, upstream: &UpstreamTool, field: &str) -> Result<(), Error> {
    let config = match upstream.config_json.is_empty() {
        true => Members::default(),
        false => serde_json::from_str(&upstream.config_json).map_err(|_| {
            let field = format!("{field}.upstream.config_json");
            Error::from(CallerError::invalid(field, "must be one JSON object"))
        })?,
    };
    let mut tool = list.object();
    tool.string("type", &upstream.r#type);
    for (name, value) in config.iter().filter(|(name, _)| *name != "type") {
        tool.raw(name, value);
    }
    tool.end();
    Ok(())
}

/// Returns OpenAI's word for whether tools are called.
pub(super) fn mode(choice: &ToolChoice) -> &'static str {
    match choice.mode() {
        Mode::Unspecified | Mode::Auto => "auto",
        Mode::None => "none",
        Mode::Required => "required",
    }
}

fn choice(body: &mut Object<'_>, input: &ChatInput, names: &[String], vendor: &Vendor) {
    let Some(choice) = &input.tool_choice else { return };
    let mode = if choice.mode() == Mode::Required { vendor.required } else { mode(choice) };
    match names {
        [one] if choice.mode() == Mode::Required => {
            let mut written = body.object("tool_choice");
            reference(&mut written, input, one);
            written.end();
        }
        [_, ..] if vendor.native && mode != "none" => {
            let mut written = body.object("tool_choice");
            written.string("type", "allowed_tools");
            let mut allowed = written.object("allowed_tools");
            allowed.string("mode", mode);
            let mut list = allowed.list("tools");
            for name in names {
                let mut tool = list.object();
                reference(&mut tool, input, name);
                tool.end();
            }
            list.end();
            allowed.end();
            written.end();
        }
        _ => body.string("tool_choice", mode),
    }
}

/// Names a tool of the request: `{"type": "function", "function": {"name": …}}` and its like.
fn reference(written: &mut Object<'_>, input: &ChatInput, wanted: &str) {
    let kind = match input.tools.iter().find(|tool| name(tool) == wanted).and_then(|tool| tool.kind.as_ref())
    {
        Some(Kind::Upstream(upstream)) => return written.string("type", &upstream.r#type),
        Some(Kind::Custom(_)) => "custom",
        _ => "function",
    };
    written.string("type", kind);
    let mut inner = written.object(kind);
    inner.string("name", wanted);
    inner.end();
}
