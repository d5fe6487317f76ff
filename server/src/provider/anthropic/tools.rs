//! The contract's tools and tool choice in Anthropic's JSON.

use tollgate_api::v1::{ChatInput, FunctionTool, Tool, UpstreamTool, tool::Kind, tool_choice::Mode};

use super::{
    content::cache_control,
    members::Members,
    translate::{Lost, json},
    write::{self, List, Object},
};
use crate::{error::Error as CallerError, provider::Error};

/// Tells whether a call of a tool is demanded.
pub(super) fn is_forced(input: &ChatInput) -> bool {
    let required = |choice: &tollgate_api::v1::ToolChoice| choice.mode() == Mode::Required;
    !input.tools.is_empty() && input.tool_choice.as_ref().is_some_and(required)
}

/// Writes `tools` and `tool_choice`. Tools that may not be called are left out, which says the same.
pub(super) fn write(body: &mut Object<'_>, input: &ChatInput, lost: &mut Lost) -> Result<(), Error> {
    let names: &[String] = input.tool_choice.as_ref().map_or(&[], |choice| &choice.tool_names);
    let known = |wanted: &str| input.tools.iter().any(|tool| name(tool) == wanted);
    if let Some((at, name)) = names.iter().enumerate().find(|(_, name)| !known(name)) {
        let field = format!("input.tool_choice.tool_names[{at}]");
        return Err(CallerError::invalid(field, format!("there is no tool `{name}` in `input.tools`")).into());
    }
    let by_choice = is_forced(input) && names.len() == 1;
    let mut written = Vec::with_capacity(input.tools.len());
    for (index, tool) in input.tools.iter().enumerate() {
        let shown = by_choice || names.is_empty() || names.iter().any(|one| one == name(tool));
        if shown {
            written.extend(tool_object(tool, &format!("input.tools[{index}]"), lost)?);
        }
    }
    // The API refuses a choice among no tools.
    if written.is_empty() {
        return Ok(());
    }
    let mut list = List::begin(body.key("tools"));
    for tool in &written {
        list.item().push_str(tool);
    }
    list.end();
    choice(body, input, names);
    Ok(())
}

fn name(tool: &Tool) -> &str {
    match &tool.kind {
        Some(Kind::Function(function)) => &function.name,
        Some(Kind::Custom(custom)) => &custom.name,
        Some(Kind::Upstream(upstream)) => undated(&upstream.r#type),
        None => "",
    }
}

/// Returns the name that a tool of Anthropic's has: its type without the date.
fn undated(kind: &str) -> &str {
    match kind.rsplit_once('_') {
        Some((name, date)) if date.len() == 8 && date.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => kind,
    }
}

fn tool_object(tool: &Tool, field: &str, lost: &mut Lost) -> Result<Option<String>, Error> {
    let mut json = String::new();
    let mut written = Object::begin(&mut json);
    match &tool.kind {
        Some(Kind::Function(function)) => function_tool(&mut written, function, field)?,
        Some(Kind::Upstream(upstream)) => upstream_tool(&mut written, upstream, field)?,
        Some(Kind::Custom(_)) => {
            lost.parameter(&format!("{field}.custom"), "Anthropic's API has no tools that take free text")?;
            return Ok(None);
        }
        None => {
            let why = "a tool must be a function, a custom or an upstream tool";
            return Err(CallerError::invalid(field, why).into());
        }
    }
    cache_control(&mut written, tool.cache_breakpoint.as_ref());
    written.end();
    Ok(Some(json))
}

fn function_tool(written: &mut Object<'_>, function: &FunctionTool, field: &str) -> Result<(), Error> {
    let schema = match function.parameters_json_schema.as_str() {
        "" => r#"{"type":"object","properties":{}}"#,
        schema => json(schema, &format!("{field}.function.parameters_json_schema"))?,
    };
    written.string("name", &function.name);
    written.text("description", &function.description);
    written.raw("input_schema", schema);
    written.bool("strict", function.strict);
    Ok(())
}

fn upstream_tool(written: &mut Object<'_>, upstream: &UpstreamTool, field: &str) -> Result<(), Error> {
    let config = match upstream.config_json.as_str() {
        "" => Members::default(),
        config => serde_json::from_str(config).map_err(|_| {
            let field = format!("{field}.upstream.config_json");
            Error::from(CallerError::invalid(field, "must be one JSON object"))
        })?,
    };
    written.string("type", &upstream.r#type);
    let own_name = undated(&upstream.r#type);
    if own_name != upstream.r#type && config.get("name").is_none() {
        written.string("name", own_name);
    }
    for (name, value) in config.iter().filter(|(name, _)| *name != "type") {
        written.raw(name, value);
    }
    Ok(())
}

fn choice(body: &mut Object<'_>, input: &ChatInput, names: &[String]) {
    let mode = input.tool_choice.as_ref().map(tollgate_api::v1::ToolChoice::mode);
    let one_at_a_time = input.parallel_tool_calls == Some(false);
    if mode.is_none() && !one_at_a_time {
        return;
    }
    let (kind, name) = match (mode.unwrap_or(Mode::Auto), names) {
        (Mode::None, _) => ("none", None),
        (Mode::Required, [one]) => ("tool", Some(one)),
        (Mode::Required, _) => ("any", None),
        (Mode::Auto | Mode::Unspecified, _) => ("auto", None),
    };
    let mut written = body.object("tool_choice");
    written.string("type", kind);
    if let Some(name) = name {
        write::string(written.key("name"), name);
    }
    if one_at_a_time && kind != "none" {
        written.bool("disable_parallel_tool_use", Some(true));
    }
    written.end();
}
