//! JSON to `v1::ChatInput`: the typed view of a request, made only when somebody needs it.

use tollgate_api::v1::{
    ChatInput, JsonSchemaFormat, Message, OutputFormat, ReasoningOptions, Role, Sampling, output_format, part,
};

use super::{blocks, options::Own, tools};
use crate::{
    call::Unread,
    edge::{
        MAX_TOKENS,
        rest::node::{Node, Object},
    },
    error::{Error, Reason},
};

/// Makes the typed view of a body that the scan has accepted.
///
/// # Errors
/// `INVALID_REQUEST` with the JSON path of what does not fit the contract.
pub(super) fn parse(body: &[u8], unread: &Unread) -> Result<ChatInput, Error> {
    let raw = serde_json::from_slice(body)
        .map_err(|_| Error::new(Reason::InvalidRequest, "the body is not valid JSON"))?;
    let mut body = Node::root(raw, unread).object()?;
    body.take("stream");
    let mut own = Own::default();
    let (tool_choice, parallel_tool_calls) = tools::choice(&mut body)?;
    let (effort, output_format) = output(&mut body, &mut own)?;
    Ok(ChatInput {
        model: body.need("model")?.text()?,
        messages: messages(&mut body)?,
        tools: tools::tools(&mut body)?,
        tool_choice,
        parallel_tool_calls,
        sampling: sampling(&mut body)?,
        output_format,
        reasoning: reasoning(&mut body, effort, &mut own)?,
        max_output_tokens: body.take("max_tokens").map(|node| node.integer(0, MAX_TOKENS)).transpose()?,
        stop: body.take("stop_sequences").map(|node| node.texts()).transpose()?.unwrap_or_default(),
        service_tier: service_tier(&mut body, &mut own)?,
        end_user_id: end_user_id(&mut body, &mut own)?,
        provider_options: own.into_options(body, unread),
        ..Default::default()
    })
}

/// Reads the system prompt and the conversation.
fn messages(body: &mut Object<'_>) -> Result<Vec<Message>, Error> {
    let mut messages = Vec::new();
    if let Some(system) = body.take("system") {
        let parts = blocks::content(&system)?;
        if !parts.is_empty() {
            messages.push(Message { role: Role::System.into(), parts, name: String::new() });
        }
    }
    for node in body.need("messages")?.elements()? {
        message(&node, &mut messages)?;
    }
    Ok(messages)
}

/// Reads a message. Results of tools, which are a user's here, become messages of their own role.
fn message(node: &Node<'_>, messages: &mut Vec<Message>) -> Result<(), Error> {
    let mut object = node.object()?;
    let role = object.need("role")?;
    let parts = blocks::content(&object.need("content")?)?;
    // A whole answer may be sent back as it came.
    object.end(&[
        "id",
        "type",
        "model",
        "stop_reason",
        "stop_sequence",
        "stop_details",
        "usage",
        "container",
    ]);
    let role = match role.text()?.as_str() {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "system" => Role::System,
        _ => return Err(role.refuse("is not a known role")),
    };
    if role != Role::User {
        messages.push(Message { role: role.into(), parts, name: String::new() });
        return Ok(());
    }
    let first = messages.len();
    for part in parts {
        let is_result = matches!(part.kind, Some(part::Kind::ToolResult(_)));
        let role = if is_result { Role::Tool } else { Role::User };
        match messages.get_mut(first..).and_then(<[_]>::last_mut).filter(|last| last.role() == role) {
            Some(last) => last.parts.push(part),
            None => messages.push(Message { role: role.into(), parts: vec![part], name: String::new() }),
        }
    }
    Ok(())
}

fn sampling(body: &mut Object<'_>) -> Result<Option<Sampling>, Error> {
    let mut number = |name, max| body.take(name).map(|node| node.number(0.0, max)).transpose();
    let mut sampling = Sampling {
        temperature: number("temperature", 2.0)?,
        top_p: number("top_p", 1.0)?,
        ..Default::default()
    };
    sampling.top_k = body.take("top_k").map(|node| node.small_integer(0, i32::MAX)).transpose()?;
    Ok((sampling != Sampling::default()).then_some(sampling))
}

/// Reads how hard the model tries and in which form it answers; `output_format` is the older place of the form.
fn output(body: &mut Object<'_>, own: &mut Own) -> Result<(String, Option<OutputFormat>), Error> {
    let mut format = body.take("output_format");
    let mut effort = String::new();
    if let Some(config) = body.take("output_config") {
        let mut config = config.object()?;
        effort = config.text_or_empty("effort")?;
        format = config.take("format").or(format);
        own.add_rest("output_config", config);
    }
    let Some(format) = format else { return Ok((effort, None)) };
    let mut object = format.object()?;
    if object.need("type")?.text()? != "json_schema" {
        own.add("output_format", format.json());
        return Ok((effort, None));
    }
    let schema = JsonSchemaFormat {
        name: object.text_or_empty("name")?,
        schema_json: object.need("schema")?.json().to_owned(),
        ..Default::default()
    };
    object.end(&[]);
    let kind = Some(output_format::Kind::JsonSchema(schema));
    Ok((effort, Some(OutputFormat { kind })))
}

fn reasoning(
    body: &mut Object<'_>,
    effort: String,
    own: &mut Own,
) -> Result<Option<ReasoningOptions>, Error> {
    let mut reasoning = ReasoningOptions { effort, ..Default::default() };
    let Some(thinking) = body.take("thinking") else {
        return Ok((!reasoning.effort.is_empty()).then_some(reasoning));
    };
    let mut object = thinking.object()?;
    let kind = object.need("type")?.text()?;
    reasoning.summary = match object.text("display")?.as_deref() {
        Some("summarized") => "auto".to_owned(),
        Some("omitted") => "none".to_owned(),
        Some(other) => other.to_owned(),
        None => String::new(),
    };
    match kind.as_str() {
        "disabled" => reasoning.budget_tokens = Some(0),
        "enabled" => {
            reasoning.budget_tokens = Some(object.need("budget_tokens")?.integer(0, MAX_TOKENS)?);
            own.add_rest("thinking", object);
        }
        // How much to think is left to the model, which only Anthropic has a word for.
        _ => own.add("thinking", thinking.json()),
    }
    Ok(Some(reasoning))
}

/// Reads the class of service. All but `auto` are Anthropic's own words.
fn service_tier(body: &mut Object<'_>, own: &mut Own) -> Result<String, Error> {
    let Some(node) = body.take("service_tier") else { return Ok(String::new()) };
    let tier = node.text()?;
    if tier == "auto" {
        return Ok(tier);
    }
    own.add("service_tier", node.json());
    Ok(String::new())
}

fn end_user_id(body: &mut Object<'_>, own: &mut Own) -> Result<String, Error> {
    let Some(metadata) = body.take("metadata") else { return Ok(String::new()) };
    let mut metadata = metadata.object()?;
    let id = metadata.text_or_empty("user_id")?;
    own.add_rest("metadata", metadata);
    Ok(id)
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
