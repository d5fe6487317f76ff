//! The contract's tools and tool choice in the flat JSON of the Responses API.

use tollgate_api::v1::{ChatInput, CustomTool, FunctionTool, Tool, tool::Kind};

use super::super::{
    message::invalid,
    tools::{chosen, mode, name, upstream_tool},
    translate::{Lost, json},
    write::{List, Object},
};
use crate::provider::Error;

/// Writes `tools`, `tool_choice` and `parallel_tool_calls`.
pub(super) fn write(body: &mut Object<'_>, input: &ChatInput, lost: &mut Lost) -> Result<(), Error> {
    let names = chosen(input)?;
    if !input.tools.is_empty() {
        let mut list = body.list("tools");
        for (index, tool) in input.tools.iter().enumerate() {
            write_tool(&mut list, tool, &format!("input.tools[{index}]"), lost)?;
        }
        list.end();
    }
    choice(body, input, names);
    body.bool("parallel_tool_calls", input.parallel_tool_calls);
    Ok(())
}

fn write_tool(list: &mut List<'_>, tool: &Tool, field: &str, lost: &mut Lost) -> Result<(), Error> {
    if tool.cache_breakpoint.is_some() {
        lost.parameter(&format!("{field}.cache_breakpoint"), "the provider caches prompts by itself")?;
    }
    match &tool.kind {
        Some(Kind::Function(tool)) => function(list, tool, field),
        Some(Kind::Custom(tool)) => {
            custom(list, tool);
            Ok(())
        }
        Some(Kind::Upstream(tool)) => upstream_tool(list, tool, field),
        None => Err(invalid(field.to_owned(), "a tool must be a function, a custom or an upstream tool")),
    }
}

fn function(list: &mut List<'_>, tool: &FunctionTool, field: &str) -> Result<(), Error> {
    let schema = match tool.parameters_json_schema.as_str() {
        "" => r#"{"type":"object","properties":{}}"#,
        schema => json(schema, &format!("{field}.function.parameters_json_schema"))?,
    };
    let mut written = list.object();
    written.string("type", "function");
    written.string("name", &tool.name);
    written.text("description", &tool.description);
    written.raw("parameters", schema);
    // Here the API's default is to force the schema, which most schemas are not made for.
    written.bool("strict", Some(tool.strict.unwrap_or(false)));
    written.end();
    Ok(())
}

fn custom(list: &mut List<'_>, tool: &CustomTool) {
    let mut written = list.object();
    written.string("type", "custom");
    written.string("name", &tool.name);
    written.text("description", &tool.description);
    if let Some(grammar) = &tool.grammar {
        let mut format = written.object("format");
        format.string("type", "grammar");
        format.string("definition", &grammar.definition);
        format.string("syntax", &grammar.syntax);
        format.end();
    }
    written.end();
}

fn choice(body: &mut Object<'_>, input: &ChatInput, names: &[String]) {
    let Some(choice) = &input.tool_choice else { return };
    let mode = mode(choice);
    match names {
        [one] if mode == "required" => {
            let mut written = body.object("tool_choice");
            reference(&mut written, input, one);
            written.end();
        }
        [_, ..] if mode != "none" => {
            let mut written = body.object("tool_choice");
            written.string("type", "allowed_tools");
            written.string("mode", mode);
            let mut list = written.list("tools");
            for name in names {
                let mut tool = list.object();
                reference(&mut tool, input, name);
                tool.end();
            }
            list.end();
            written.end();
        }
        _ => body.string("tool_choice", mode),
    }
}

/// Names a tool of the request: `{"type": "function", "name": …}` and its like.
fn reference(written: &mut Object<'_>, input: &ChatInput, wanted: &str) {
    let kind = input.tools.iter().find(|tool| name(tool) == wanted).and_then(|tool| tool.kind.as_ref());
    match kind {
        Some(Kind::Upstream(upstream)) => written.string("type", &upstream.r#type),
        Some(Kind::Custom(_)) => {
            written.string("type", "custom");
            written.string("name", wanted);
        }
        _ => {
            written.string("type", "function");
            written.string("name", wanted);
        }
    }
}
