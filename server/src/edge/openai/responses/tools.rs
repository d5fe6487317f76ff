//! Tools and the choice of them, which this dialect writes flat (`{"type":"function","name":…}`).

use tollgate_api::v1::{
    CustomTool, FunctionTool, Grammar, Tool, ToolChoice, UpstreamTool, tool, tool_choice::Mode,
};

use crate::{
    edge::{
        openai::{
            chat_messages::breakpoint,
            chat_parse::{chosen, mode},
        },
        rest::node::{Node, Object},
    },
    error::Error,
};

/// Takes the tools out of a body.
///
/// # Errors
/// `INVALID_REQUEST` with the path of what does not fit.
pub(super) fn parse(body: &mut Object<'_>) -> Result<Vec<Tool>, Error> {
    let Some(list) = body.take("tools") else { return Ok(Vec::new()) };
    let tools = list.elements()?;
    tools.iter().map(tool).collect()
}

fn tool(node: &Node<'_>) -> Result<Tool, Error> {
    let mut object = node.object()?;
    let cache_breakpoint = breakpoint(&mut object)?;
    let kind = object.text("type")?.unwrap_or_else(|| "function".to_owned());
    let kind = match kind.as_str() {
        "function" => tool::Kind::Function(FunctionTool {
            name: object.need("name")?.text()?,
            description: object.text_or_empty("description")?,
            parameters_json_schema: object
                .take("parameters")
                .map(|node| node.json().to_owned())
                .unwrap_or_default(),
            strict: object.flag("strict")?,
        }),
        "custom" => tool::Kind::Custom(CustomTool {
            name: object.need("name")?.text()?,
            description: object.text_or_empty("description")?,
            grammar: object.take("format").map(|node| grammar(&node)).transpose()?.flatten(),
        }),
        _ => {
            let config_json = object.rest().unwrap_or_default();
            let upstream = tool::Kind::Upstream(UpstreamTool { r#type: kind, config_json });
            return Ok(Tool { kind: Some(upstream), cache_breakpoint });
        }
    };
    object.end(&[]);
    Ok(Tool { kind: Some(kind), cache_breakpoint })
}

fn grammar(node: &Node<'_>) -> Result<Option<Grammar>, Error> {
    let mut format = node.object()?;
    let kind = format.need("type")?;
    match kind.text()?.as_str() {
        "text" => Ok(None),
        "grammar" => {
            let (syntax, definition) = (format.need("syntax")?.text()?, format.need("definition")?.text()?);
            Ok(Some(Grammar { syntax, definition }))
        }
        _ => Err(kind.refuse("must be `text` or `grammar`")),
    }
}

/// Takes the choice of tools out of a body.
///
/// # Errors
/// `INVALID_REQUEST` with the path of what does not fit.
pub(super) fn choice(body: &mut Object<'_>) -> Result<Option<ToolChoice>, Error> {
    let Some(node) = body.take("tool_choice") else { return Ok(None) };
    if node.is_string() {
        return Ok(Some(chosen(mode(&node)?, Vec::new())));
    }
    let mut choice = node.object()?;
    if choice.text_or_empty("type")? != "allowed_tools" {
        return Ok(Some(chosen(Mode::Required, vec![name(&node)?])));
    }
    let mode = mode(&choice.need("mode")?)?;
    let names = choice.need("tools")?.elements()?.iter().map(name).collect::<Result<_, _>>()?;
    Ok(Some(chosen(mode, names)))
}

/// Returns the name of a tool; one that the provider runs is known by its type.
fn name(node: &Node<'_>) -> Result<String, Error> {
    let mut object = node.object()?;
    let kind = object.need("type")?.text()?;
    Ok(object.text("name")?.unwrap_or(kind))
}
