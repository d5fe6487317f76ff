//! JSON to `v1::ChatInput`: the typed view of a chat request, made only when somebody needs it.

use tollgate_api::v1::{
    AudioOptions, CacheBreakpoint, ChatInput, CustomTool, FunctionTool, Grammar, JsonObjectFormat,
    JsonSchemaFormat, LogprobOptions, OutputFormat, Part, PromptCacheOptions, ProviderOptions,
    ReasoningOptions, Sampling, TextFormat, Tool, ToolChoice, UpstreamTool, output_format, part, tool,
    tool_choice::Mode,
};

use super::chat_messages;
use crate::{
    call::Unread,
    edge::rest::node::{Node, Object},
    error::{Error, Reason},
};

/// Makes the typed view of a body that the scan has accepted.
///
/// # Errors
/// `INVALID_REQUEST` with the JSON path of what does not fit the contract.
pub(in crate::edge::openai) fn parse(body: &[u8], unread: &Unread) -> Result<ChatInput, Error> {
    let raw = serde_json::from_slice(body)
        .map_err(|_| Error::new(Reason::InvalidRequest, "the body is not valid JSON"))?;
    let mut body = Node::root(raw, unread).object()?;
    for ours in ["stream", "stream_options"] {
        body.take(ours);
    }
    Ok(ChatInput {
        model: body.need("model")?.text()?,
        messages: chat_messages::parse(&body.need("messages")?)?,
        tools: tools(&mut body)?,
        tool_choice: choice(&mut body)?,
        parallel_tool_calls: body.flag("parallel_tool_calls")?,
        sampling: sampling(&mut body)?,
        output_format: body.take("response_format").map(|node| output_format(&node)).transpose()?,
        reasoning: body
            .text("reasoning_effort")?
            .map(|effort| ReasoningOptions { effort, ..Default::default() }),
        max_output_tokens: max_output_tokens(&mut body)?,
        stop: stop(&mut body)?,
        choice_count: body.take("n").map(|node| node.small_integer(1, 128)).transpose()?,
        output_modalities: body.take("modalities").map(|node| node.texts()).transpose()?.unwrap_or_default(),
        audio: body.take("audio").map(|node| audio(&node)).transpose()?,
        logprobs: logprobs(&mut body)?,
        verbosity: body.text_or_empty("verbosity")?,
        service_tier: body.text_or_empty("service_tier")?,
        end_user_id: end_user_id(&mut body)?,
        prompt_cache: prompt_cache(&mut body)?,
        prediction: body.take("prediction").map(|node| prediction(&node)).transpose()?.unwrap_or_default(),
        store: body.flag("store")?,
        metadata: metadata(&mut body)?,
        provider_options: body.rest().map(unmodelled).into_iter().collect(),
    })
}

/// Keeps what the contract has no field for, for whichever provider serves the call.
pub(super) fn unmodelled(body_json: String) -> ProviderOptions {
    ProviderOptions { body_json, ..Default::default() }
}

fn max_output_tokens(body: &mut Object<'_>) -> Result<Option<i64>, Error> {
    let old = body.take("max_tokens");
    let limit = body.take("max_completion_tokens").or(old);
    limit.map(|node| node.integer(1, i32::MAX.into())).transpose()
}

pub(super) fn sampling(body: &mut Object<'_>) -> Result<Option<Sampling>, Error> {
    let mut number = |name, min, max| body.take(name).map(|node| node.number(min, max)).transpose();
    let mut sampling = Sampling {
        temperature: number("temperature", 0.0, 2.0)?,
        top_p: number("top_p", 0.0, 1.0)?,
        frequency_penalty: number("frequency_penalty", -2.0, 2.0)?,
        presence_penalty: number("presence_penalty", -2.0, 2.0)?,
        ..Default::default()
    };
    sampling.seed = body.take("seed").map(|node| node.integer(i64::MIN, i64::MAX)).transpose()?;
    if let Some(bias) = body.take("logit_bias") {
        for (token, bias) in bias.object()?.into_members() {
            sampling.logit_bias.insert(token, bias.number(-100.0, 100.0)?);
        }
    }
    Ok((sampling != Sampling::default()).then_some(sampling))
}

pub(super) fn stop(body: &mut Object<'_>) -> Result<Vec<String>, Error> {
    match body.take("stop") {
        None => Ok(Vec::new()),
        Some(node) if node.is_string() => Ok(vec![node.text()?]),
        Some(node) => node.texts(),
    }
}

fn logprobs(body: &mut Object<'_>) -> Result<Option<LogprobOptions>, Error> {
    let top = body.take("top_logprobs").map(|node| node.small_integer(0, 20)).transpose()?;
    let wanted = body.flag("logprobs")?.unwrap_or(false);
    Ok(wanted.then_some(LogprobOptions { top }))
}

pub(super) fn end_user_id(body: &mut Object<'_>) -> Result<String, Error> {
    let old = body.text("user")?;
    Ok(body.text("safety_identifier")?.or(old).unwrap_or_default())
}

pub(super) fn metadata(body: &mut Object<'_>) -> Result<std::collections::HashMap<String, String>, Error> {
    let Some(notes) = body.take("metadata") else { return Ok(Default::default()) };
    notes.object()?.into_members().map(|(key, value)| Ok((key, value.text()?))).collect()
}

pub(super) fn prompt_cache(body: &mut Object<'_>) -> Result<Option<PromptCacheOptions>, Error> {
    let mut cache = PromptCacheOptions { key: body.text_or_empty("prompt_cache_key")?, ..Default::default() };
    let retention = body.text_or_empty("prompt_cache_retention")?;
    if let Some(options) = body.take("prompt_cache_options") {
        let mut options = options.object()?;
        cache.mode = options.text_or_empty("mode")?;
        cache.ttl = options.text_or_empty("ttl")?;
        options.end(&[]);
    }
    if cache.ttl.is_empty() {
        cache.ttl = retention;
    }
    Ok((cache != PromptCacheOptions::default()).then_some(cache))
}

fn audio(node: &Node<'_>) -> Result<AudioOptions, Error> {
    let mut audio = node.object()?;
    let voice = match audio.take("voice") {
        // A custom voice is told by its id.
        Some(voice) if voice.is_object() => voice.object()?.need("id")?.text()?,
        Some(voice) => voice.text()?,
        None => String::new(),
    };
    let format = audio.text_or_empty("format")?;
    audio.end(&[]);
    Ok(AudioOptions { voice, format })
}

fn prediction(node: &Node<'_>) -> Result<Vec<Part>, Error> {
    let mut prediction = node.object()?;
    let kind = prediction.need("type")?;
    if kind.text()? != "content" {
        return Err(kind.refuse("must be `content`"));
    }
    let parts = chat_messages::content(&prediction.need("content")?)?;
    if parts.iter().any(|part| !matches!(part.kind, Some(part::Kind::Text(_)))) {
        return Err(node.refuse("must hold text only"));
    }
    Ok(parts)
}

fn output_format(node: &Node<'_>) -> Result<OutputFormat, Error> {
    let mut format = node.object()?;
    let kind = format.need("type")?;
    let kind = match kind.text()?.as_str() {
        "text" => output_format::Kind::Text(TextFormat {}),
        "json_object" => output_format::Kind::JsonObject(JsonObjectFormat {}),
        "json_schema" => output_format::Kind::JsonSchema(json_schema(&format.need("json_schema")?)?),
        _ => return Err(kind.refuse("must be one of text, json_object, json_schema")),
    };
    Ok(OutputFormat { kind: Some(kind) })
}

fn json_schema(node: &Node<'_>) -> Result<JsonSchemaFormat, Error> {
    let mut schema = node.object()?;
    let read = JsonSchemaFormat {
        name: schema.text_or_empty("name")?,
        description: schema.text_or_empty("description")?,
        schema_json: schema.take("schema").map_or_else(|| "{}".to_owned(), |node| node.json().to_owned()),
        strict: schema.flag("strict")?,
    };
    schema.end(&[]);
    Ok(read)
}

fn tools(body: &mut Object<'_>) -> Result<Vec<Tool>, Error> {
    let mut tools = Vec::new();
    if let Some(list) = body.take("tools") {
        for node in list.elements()? {
            tools.push(tool(&node)?);
        }
    }
    if let Some(functions) = body.take("functions") {
        for node in functions.elements()? {
            let (function, cache_breakpoint) = function(&node)?;
            tools.push(Tool { kind: Some(tool::Kind::Function(function)), cache_breakpoint });
        }
    }
    Ok(tools)
}

fn tool(node: &Node<'_>) -> Result<Tool, Error> {
    let mut object = node.object()?;
    let outer = chat_messages::breakpoint(&mut object)?;
    let kind = object.text("type")?.unwrap_or_else(|| "function".to_owned());
    let (kind, inner) = match kind.as_str() {
        "function" => {
            let (function, mark) = function(&object.need("function")?)?;
            object.end(&[]);
            (tool::Kind::Function(function), mark)
        }
        "custom" => {
            let custom = custom(&object.need("custom")?)?;
            object.end(&[]);
            (tool::Kind::Custom(custom), None)
        }
        _ => {
            let config_json = object.rest().unwrap_or_default();
            (tool::Kind::Upstream(UpstreamTool { r#type: kind, config_json }), None)
        }
    };
    Ok(Tool { kind: Some(kind), cache_breakpoint: outer.or(inner) })
}

/// Reads a function, and the mark of the cache that LiteLLM's callers put into it.
fn function(node: &Node<'_>) -> Result<(FunctionTool, Option<CacheBreakpoint>), Error> {
    let mut function = node.object()?;
    let mark = chat_messages::breakpoint(&mut function)?;
    let read = FunctionTool {
        name: function.need("name")?.text()?,
        description: function.text_or_empty("description")?,
        parameters_json_schema: function
            .take("parameters")
            .map(|node| node.json().to_owned())
            .unwrap_or_default(),
        strict: function.flag("strict")?,
    };
    function.end(&[]);
    Ok((read, mark))
}

fn custom(node: &Node<'_>) -> Result<CustomTool, Error> {
    let mut custom = node.object()?;
    let grammar = match custom.take("format") {
        Some(format) => grammar(&format)?,
        None => None,
    };
    let read = CustomTool {
        name: custom.need("name")?.text()?,
        description: custom.text_or_empty("description")?,
        grammar,
    };
    custom.end(&[]);
    Ok(read)
}

fn grammar(node: &Node<'_>) -> Result<Option<Grammar>, Error> {
    let mut format = node.object()?;
    let kind = format.need("type")?;
    match kind.text()?.as_str() {
        "text" => Ok(None),
        "grammar" => {
            let mut grammar = format.need("grammar")?.object()?;
            let (syntax, definition) = (grammar.need("syntax")?.text()?, grammar.need("definition")?.text()?);
            Ok(Some(Grammar { syntax, definition }))
        }
        _ => Err(kind.refuse("must be `text` or `grammar`")),
    }
}

fn choice(body: &mut Object<'_>) -> Result<Option<ToolChoice>, Error> {
    let old = body.take("function_call");
    if let Some(node) = body.take("tool_choice") {
        return tool_choice(&node).map(Some);
    }
    let Some(node) = old else { return Ok(None) };
    if node.is_string() {
        return mode(&node).map(|mode| Some(chosen(mode, Vec::new())));
    }
    let name = node.object()?.need("name")?.text()?;
    Ok(Some(chosen(Mode::Required, vec![name])))
}

fn tool_choice(node: &Node<'_>) -> Result<ToolChoice, Error> {
    if node.is_string() {
        return Ok(chosen(mode(node)?, Vec::new()));
    }
    let mut choice = node.object()?;
    let kind = choice.need("type")?;
    if kind.text()? != "allowed_tools" {
        return Ok(chosen(Mode::Required, vec![tool_name(node)?]));
    }
    let mut allowed = choice.need("allowed_tools")?.object()?;
    let mode = mode(&allowed.need("mode")?)?;
    let tools = allowed.need("tools")?;
    let names = tools.elements()?.iter().map(tool_name).collect::<Result<_, _>>()?;
    Ok(chosen(mode, names))
}

/// Reads `{"type":"function","function":{"name":…}}` and its kin.
fn tool_name(node: &Node<'_>) -> Result<String, Error> {
    let mut object = node.object()?;
    let kind = object.need("type")?;
    match kind.text()?.as_str() {
        known @ ("function" | "custom") => object.need(known)?.object()?.need("name")?.text(),
        // Anthropic's spelling, which compatible vendors take too.
        "tool" => object.need("name")?.text(),
        _ => Err(kind.refuse("must be one of function, custom, allowed_tools")),
    }
}

pub(super) fn mode(node: &Node<'_>) -> Result<Mode, Error> {
    match node.text()?.as_str() {
        "auto" => Ok(Mode::Auto),
        "none" => Ok(Mode::None),
        // `any` is Mistral's and Anthropic's word for it.
        "required" | "any" => Ok(Mode::Required),
        _ => Err(node.refuse("must be one of none, auto, required")),
    }
}

pub(super) fn chosen(mode: Mode, tool_names: Vec<String>) -> ToolChoice {
    ToolChoice { mode: mode.into(), tool_names }
}

#[cfg(test)]
#[path = "chat_parse_tests.rs"]
mod tests;
