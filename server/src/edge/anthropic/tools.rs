//! Tools and the choice among them: JSON to the contract.

use tollgate_api::v1::{FunctionTool, Tool, ToolChoice, UpstreamTool, tool, tool_choice::Mode};

use super::blocks::breakpoint;
use crate::{
    edge::rest::node::{Node, Object},
    error::Error,
};

/// Reads the tools.
///
/// # Errors
/// `INVALID_REQUEST` with the path of what does not fit.
pub(super) fn tools(body: &mut Object<'_>) -> Result<Vec<Tool>, Error> {
    let Some(list) = body.take("tools") else { return Ok(Vec::new()) };
    list.elements()?.iter().map(tool).collect()
}

/// Reads one: the caller's own, or one that the provider runs, which is told by a type of its own.
fn tool(node: &Node<'_>) -> Result<Tool, Error> {
    let mut object = node.object()?;
    let cache_breakpoint = breakpoint(&mut object)?;
    let kind = match object.text("type")? {
        Some(kind) if kind != "custom" => {
            let config_json = object.rest().unwrap_or_default();
            tool::Kind::Upstream(UpstreamTool { r#type: kind, config_json })
        }
        _ => {
            let function = FunctionTool {
                name: object.need("name")?.text()?,
                description: object.text_or_empty("description")?,
                parameters_json_schema: object.need("input_schema")?.json().to_owned(),
                strict: object.flag("strict")?,
            };
            object.end(&[]);
            tool::Kind::Function(function)
        }
    };
    Ok(Tool { kind: Some(kind), cache_breakpoint })
}

/// Reads which tools are called, and whether several may be called at once.
///
/// # Errors
/// As `tools`.
pub(super) fn choice(body: &mut Object<'_>) -> Result<(Option<ToolChoice>, Option<bool>), Error> {
    let Some(node) = body.take("tool_choice") else { return Ok((None, None)) };
    let mut object = node.object()?;
    let kind = object.need("type")?;
    let (mode, tool_names) = match kind.text()?.as_str() {
        "auto" => (Mode::Auto, Vec::new()),
        "any" => (Mode::Required, Vec::new()),
        "none" => (Mode::None, Vec::new()),
        "tool" => (Mode::Required, vec![object.need("name")?.text()?]),
        _ => return Err(kind.refuse("must be one of auto, any, tool, none")),
    };
    let parallel = object.flag("disable_parallel_tool_use")?.map(|disabled| !disabled);
    object.end(&[]);
    Ok((Some(ToolChoice { mode: mode.into(), tool_names }), parallel))
}
