//! JSON to `v1::ChatInput`: the typed view of a Responses request, made only when somebody needs it.

use tollgate_api::v1::{
    ChatInput, JsonObjectFormat, JsonSchemaFormat, LogprobOptions, Message, OutputFormat, Part,
    ProviderOptions, ReasoningOptions, Role, TextFormat, output_format, part,
};

use super::{items, tools};
use crate::{
    call::Unread,
    edge::{
        openai::{chat_parse, tokens::VENDOR},
        rest::node::{Node, Object},
    },
    error::{Error, Reason},
};

/// What only OpenAI's own servers can do, since it refers to what they keep.
const STATEFUL: [&str; 3] = ["previous_response_id", "conversation", "prompt"];
/// Members that speak of this API alone: they go to OpenAI and mean nothing to others.
const OF_OPENAI: [&str; 4] = ["max_tool_calls", "context_management", "moderation", "truncation"];
/// The part of `include` that asks for log probabilities.
const WITH_LOGPROBS: &str = "message.output_text.logprobs";
/// The parts of `include` that answers have.
const INCLUDED: [&str; 2] = [WITH_LOGPROBS, "reasoning.encrypted_content"];

/// Makes the typed view of a body that the scan has accepted.
///
/// # Errors
/// `INVALID_REQUEST` with the JSON path of what does not fit the contract, `UNSUPPORTED_PARAMETER` with the name of
/// what needs a server that keeps responses.
pub(in crate::edge::openai) fn parse(body: &[u8], unread: &Unread) -> Result<ChatInput, Error> {
    let raw = serde_json::from_slice(body)
        .map_err(|_| Error::new(Reason::InvalidRequest, "the body is not valid JSON"))?;
    let mut body = Node::root(raw, unread).object()?;
    refuse_state(&mut body)?;
    for ours in ["stream", "stream_options"] {
        body.take(ours);
    }
    let (output_format, verbosity) = text(&mut body)?;
    let (tool_choice, tools) = (tools::choice(&mut body)?, tools::parse(&mut body)?);
    Ok(ChatInput {
        model: body.need("model")?.text()?,
        messages: messages(&mut body)?,
        tools,
        tool_choice,
        parallel_tool_calls: body.flag("parallel_tool_calls")?,
        sampling: chat_parse::sampling(&mut body)?,
        output_format,
        reasoning: reasoning(&mut body)?,
        max_output_tokens: body
            .take("max_output_tokens")
            .map(|node| node.integer(1, i32::MAX.into()))
            .transpose()?,
        logprobs: logprobs(&mut body, unread)?,
        verbosity,
        service_tier: body.text_or_empty("service_tier")?,
        end_user_id: chat_parse::end_user_id(&mut body)?,
        prompt_cache: chat_parse::prompt_cache(&mut body)?,
        store: body.flag("store")?,
        metadata: chat_parse::metadata(&mut body)?,
        provider_options: provider_options(body, unread),
        ..Default::default()
    })
}

fn refuse_state(body: &mut Object<'_>) -> Result<(), Error> {
    let mut refused = STATEFUL.into_iter().find(|name| body.take(name).is_some());
    if body.flag("background")?.unwrap_or(false) {
        refused = refused.or(Some("background"));
    }
    let Some(field) = refused else { return Ok(()) };
    let message = format!(
        "`{field}` needs a target that keeps responses, and this one does not: send the whole conversation in `input`"
    );
    Err(Error::new(Reason::UnsupportedParameter, message).at_field(field.to_owned()))
}

fn messages(body: &mut Object<'_>) -> Result<Vec<Message>, Error> {
    let mut messages = Vec::new();
    if let Some(instructions) = body.text("instructions")?.filter(|text| !text.is_empty()) {
        messages.push(said(Role::System, instructions));
    }
    let input = body.need("input")?;
    if input.is_string() {
        messages.push(said(Role::User, input.text()?));
    } else {
        messages.extend(items::parse(&input)?);
    }
    Ok(messages)
}

fn said(role: Role, text: String) -> Message {
    let part = Part { kind: Some(part::Kind::Text(text)), ..Part::default() };
    Message { role: role.into(), parts: vec![part], name: String::new() }
}

fn text(body: &mut Object<'_>) -> Result<(Option<OutputFormat>, String), Error> {
    let Some(text) = body.take("text") else { return Ok((None, String::new())) };
    let mut text = text.object()?;
    let format = text.take("format").map(|node| output_format(&node)).transpose()?;
    let verbosity = text.text_or_empty("verbosity")?;
    text.end(&[]);
    Ok((format, verbosity))
}

fn output_format(node: &Node<'_>) -> Result<OutputFormat, Error> {
    let mut format = node.object()?;
    let kind = format.need("type")?;
    let kind = match kind.text()?.as_str() {
        "text" => output_format::Kind::Text(TextFormat {}),
        "json_object" => output_format::Kind::JsonObject(JsonObjectFormat {}),
        "json_schema" => output_format::Kind::JsonSchema(JsonSchemaFormat {
            name: format.text_or_empty("name")?,
            description: format.text_or_empty("description")?,
            schema_json: format.need("schema")?.json().to_owned(),
            strict: format.flag("strict")?,
        }),
        _ => return Err(kind.refuse("must be one of text, json_object, json_schema")),
    };
    format.end(&[]);
    Ok(OutputFormat { kind: Some(kind) })
}

fn reasoning(body: &mut Object<'_>) -> Result<Option<ReasoningOptions>, Error> {
    let Some(reasoning) = body.take("reasoning") else { return Ok(None) };
    let mut reasoning = reasoning.object()?;
    let old = reasoning.text("generate_summary")?;
    let options = ReasoningOptions {
        effort: reasoning.text_or_empty("effort")?,
        budget_tokens: None,
        summary: reasoning.text("summary")?.or(old).unwrap_or_default(),
    };
    reasoning.end(&[]);
    Ok((options != ReasoningOptions::default()).then_some(options))
}

/// Reads who wants log probabilities. Of what else `include` asks for, encrypted reasoning comes by itself.
fn logprobs(body: &mut Object<'_>, unread: &Unread) -> Result<Option<LogprobOptions>, Error> {
    let top = body.take("top_logprobs").map(|node| node.small_integer(0, 20)).transpose()?;
    let include = body.take("include").map(|node| node.texts()).transpose()?.unwrap_or_default();
    for (at, _) in include.iter().enumerate().filter(|(_, part)| !INCLUDED.contains(&part.as_str())) {
        unread.note(format!("include[{at}]"));
    }
    let wanted = include.iter().any(|part| part == WITH_LOGPROBS) || top.is_some_and(|top| top > 0);
    Ok(wanted.then_some(LogprobOptions { top }))
}

/// Keeps what the contract has no field for: what is this API's own for OpenAI, the rest for whoever serves the call.
fn provider_options(mut body: Object<'_>, unread: &Unread) -> Vec<ProviderOptions> {
    let own = OF_OPENAI.into_iter().filter_map(|name| {
        let value = body.take(name)?;
        if value.json() == "\"disabled\"" {
            return None; // what is the default everywhere
        }
        unread.note_kept(name.to_owned(), VENDOR);
        Some(format!("\"{name}\":{}", value.json()))
    });
    let own: Vec<String> = own.collect();
    let mut options = Vec::new();
    if !own.is_empty() {
        let body_json = format!("{{{}}}", own.join(","));
        options.push(ProviderOptions { provider: VENDOR.to_owned(), body_json, ..Default::default() });
    }
    options.extend(body.rest().map(chat_parse::unmodelled));
    options
}
