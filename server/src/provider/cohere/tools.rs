//! The contract's tools and tool choice in Cohere's JSON.

use tollgate_api::v1::{ChatInput, FunctionTool, Tool, tool::Kind, tool_choice::Mode};

use crate::{
    error::Error as CallerError,
    provider::{
        Error,
        json::write::{List, Object},
        translate::{Lost, json},
    },
};

/// Writes `tools`, `tool_choice` and `strict_tools`. Tools that the choice does not name are left out, which says the
/// same.
pub(super) fn write(body: &mut Object<'_>, input: &ChatInput, lost: &mut Lost) -> Result<(), Error> {
    let names: &[String] = input.tool_choice.as_ref().map_or(&[], |choice| &choice.tool_names);
    let mut functions = Vec::new();
    for (index, tool) in input.tools.iter().enumerate() {
        if let Some(function) = function(tool, index, lost)?
            && (names.is_empty() || names.contains(&function.name))
        {
            functions.push((index, function));
        }
    }
    if let Some(unknown) = names.iter().find(|name| !functions.iter().any(|(_, one)| one.name == **name)) {
        let why = format!("there is no function `{unknown}` in `input.tools`");
        return Err(CallerError::invalid("input.tool_choice.tool_names", why).into());
    }
    if functions.is_empty() {
        return Ok(());
    }
    let mut list = body.list("tools");
    for (index, function) in &functions {
        write_function(&mut list, function, *index)?;
    }
    list.end();
    if functions.iter().any(|(_, function)| function.strict == Some(true)) {
        body.raw("strict_tools", "true");
    }
    match input.tool_choice.as_ref().map(tollgate_api::v1::ToolChoice::mode) {
        Some(Mode::Required) => body.string("tool_choice", "REQUIRED"),
        Some(Mode::None) => body.string("tool_choice", "NONE"),
        Some(Mode::Auto | Mode::Unspecified) | None => {}
    }
    if input.parallel_tool_calls == Some(false) {
        lost.parameter("input.parallel_tool_calls", "Cohere's models may always call several tools")?;
    }
    Ok(())
}

fn function<'a>(tool: &'a Tool, index: usize, lost: &mut Lost) -> Result<Option<&'a FunctionTool>, Error> {
    let field = format!("input.tools[{index}]");
    if tool.cache_breakpoint.is_some() {
        lost.parameter(&format!("{field}.cache_breakpoint"), "Cohere caches prompts by itself")?;
    }
    match &tool.kind {
        Some(Kind::Function(function)) => Ok(Some(function)),
        Some(Kind::Custom(_) | Kind::Upstream(_)) => {
            lost.parameter(&field, "Cohere takes functions only")?;
            Ok(None)
        }
        None => {
            Err(CallerError::invalid(field, "a tool must be a function, a custom or an upstream tool").into())
        }
    }
}

fn write_function(list: &mut List<'_>, function: &FunctionTool, index: usize) -> Result<(), Error> {
    let schema = match function.parameters_json_schema.as_str() {
        // Cohere wants a schema, also of a function without parameters.
        "" => r#"{"type":"object","properties":{}}"#,
        schema => json(schema, &format!("input.tools[{index}].function.parameters_json_schema"))?,
    };
    let mut tool = list.object();
    tool.string("type", "function");
    let mut inner = tool.object("function");
    inner.string("name", &function.name);
    inner.text("description", &function.description);
    inner.raw("parameters", schema);
    inner.end();
    tool.end();
    Ok(())
}
