//! The contract's tools and tool choice in Gemini's JSON.

use tollgate_api::v1::{ChatInput, FunctionTool, Tool, UpstreamTool, tool::Kind, tool_choice::Mode};

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

/// Writes `tools` and `toolConfig`.
pub(super) fn write(body: &mut Object<'_>, input: &ChatInput, lost: &mut Lost) -> Result<(), Error> {
    let mut text = String::new();
    let mut list = List::begin(&mut text);
    if functions(input).next().is_some() {
        let mut group = list.object();
        let mut declarations = group.list("functionDeclarations");
        for (index, tool) in input.tools.iter().enumerate() {
            if let Some(Kind::Function(function)) = &tool.kind {
                declare(&mut declarations, function, index)?;
            }
        }
        declarations.end();
        group.end();
    }
    for (index, tool) in input.tools.iter().enumerate() {
        other(&mut list, tool, &format!("input.tools[{index}]"), lost)?;
    }
    list.end();
    if text != "[]" {
        body.raw("tools", &text);
    }
    choice(body, input);
    if input.parallel_tool_calls == Some(false) {
        lost.parameter("input.parallel_tool_calls", "Gemini's API has no such parameter")?;
    }
    Ok(())
}

fn functions(input: &ChatInput) -> impl Iterator<Item = &FunctionTool> {
    input.tools.iter().filter_map(|tool| match &tool.kind {
        Some(Kind::Function(function)) => Some(function),
        _ => None,
    })
}

/// `parametersJsonSchema` takes any JSON Schema, `parameters` only a part of what OpenAPI has.
fn declare(list: &mut List<'_>, function: &FunctionTool, index: usize) -> Result<(), Error> {
    let mut written = list.object();
    written.string("name", &function.name);
    written.text("description", &function.description);
    if !function.parameters_json_schema.is_empty() {
        let field = format!("input.tools[{index}].function.parameters_json_schema");
        written.raw("parametersJsonSchema", json(&function.parameters_json_schema, &field)?);
    }
    written.end();
    Ok(())
}

fn other(list: &mut List<'_>, tool: &Tool, field: &str, lost: &mut Lost) -> Result<(), Error> {
    if tool.cache_breakpoint.is_some() {
        lost.parameter(&format!("{field}.cache_breakpoint"), "the provider caches prompts by itself")?;
    }
    match &tool.kind {
        Some(Kind::Function(_)) => Ok(()),
        Some(Kind::Upstream(upstream)) => upstream_tool(list, upstream, field),
        Some(Kind::Custom(_)) => lost.parameter(field, "Gemini's API takes tools with JSON arguments only"),
        None => {
            let why = "a tool must be a function, a custom or an upstream tool";
            Err(CallerError::invalid(field, why).into())
        }
    }
}

/// A tool that Google runs stands under its name: `{"googleSearch": {…}}`.
fn upstream_tool(list: &mut List<'_>, upstream: &UpstreamTool, field: &str) -> Result<(), Error> {
    let config = match upstream.config_json.as_str() {
        "" => "{}",
        config => {
            serde_json::from_str::<Members<'_>>(config).map_err(|_| {
                let field = format!("{field}.upstream.config_json");
                Error::from(CallerError::invalid(field, "must be one JSON object"))
            })?;
            config
        }
    };
    let mut tool = list.object();
    tool.raw(&camel_case(&upstream.r#type), config);
    tool.end();
    Ok(())
}

fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let mut joined = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        joined.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        joined.push_str(letters.as_str());
    }
    joined
}

/// Names can be given only where calls are checked against the declarations: with `ANY` and `VALIDATED`.
fn choice(body: &mut Object<'_>, input: &ChatInput) {
    let choice = input.tool_choice.as_ref();
    let names = choice.map_or(&[][..], |choice| &choice.tool_names);
    let is_function = |name: &&String| functions(input).any(|function| function.name == **name);
    let names: Vec<&String> = names.iter().filter(is_function).collect();
    let strict = functions(input).any(|function| function.strict == Some(true));
    let mode = match choice.map(|choice| choice.mode()) {
        Some(Mode::None) => "NONE",
        Some(Mode::Required) => "ANY",
        _ if strict || !names.is_empty() => "VALIDATED",
        Some(Mode::Auto | Mode::Unspecified) => "AUTO",
        None => return,
    };
    if functions(input).next().is_none() {
        return;
    }
    let mut config = body.object("toolConfig");
    let mut calling = config.object("functionCallingConfig");
    calling.string("mode", mode);
    if mode != "NONE" {
        calling.strings("allowedFunctionNames", names);
    }
    calling.end();
    config.end();
}
