//! What a gRPC request must fulfil before it goes anywhere; each refusal names its field by path.

use std::collections::HashSet;

use tollgate_api::v1::{self, embed_input, output_format, part::Kind, tool, tool_call};

use super::path::Path;
use crate::{
    edge::{MAX_CHOICES, MAX_TOKENS},
    error::Error,
};

/// Longest name of a model, in characters.
pub(super) const MAX_MODEL: usize = 256;
const MAX_STOPS: usize = 16;

/// Checks what is asked of a chat model.
///
/// # Errors
/// `INVALID_REQUEST` with the path of the first field that is wrong.
pub(super) fn chat(input: &v1::ChatInput) -> Result<(), Error> {
    let root = Path::root("input");
    model(&root, &input.model)?;
    root.field("messages").require(!input.messages.is_empty(), "must hold at least one message")?;
    for (index, each) in input.messages.iter().enumerate() {
        message(&root.item("messages", index), each)?;
    }
    tools(&root, input)?;
    if let Some(sampling_options) = &input.sampling {
        sampling(&root.field("sampling"), sampling_options)?;
    }
    if let Some(format) = &input.output_format {
        output_form(&root.field("output_format"), format)?;
    }
    if let Some(reasoning) = &input.reasoning {
        let path = root.field("reasoning");
        path.field("budget_tokens").integer(reasoning.budget_tokens, 0..=MAX_TOKENS)?;
    }
    root.field("max_output_tokens").integer(input.max_output_tokens, 1..=MAX_TOKENS)?;
    root.field("choice_count").integer(input.choice_count.map(i64::from), 1..=MAX_CHOICES)?;
    if let Some(logprobs) = &input.logprobs {
        root.field("logprobs").field("top").integer(logprobs.top.map(i64::from), 0..=20)?;
    }
    root.field("stop").require(input.stop.len() <= MAX_STOPS, "must hold at most 16 texts")?;
    for (index, stop) in input.stop.iter().enumerate() {
        root.item("stop", index).require(!stop.is_empty(), "must not be empty")?;
    }
    for (index, part) in input.prediction.iter().enumerate() {
        let is_text = matches!(part.kind, Some(Kind::Text(_)));
        root.item("prediction", index).require(is_text, "must be text")?;
    }
    let notes = root.field("metadata");
    notes.require(input.metadata.len() <= 16, "must hold at most 16 entries")?;
    let fits = |(key, value): (&String, &String)| key.chars().count() <= 64 && value.chars().count() <= 512;
    notes.require(
        input.metadata.iter().all(fits),
        "must have keys of at most 64 and values of at most 512 characters",
    )?;
    provider_options(&root, &input.provider_options)
}

/// Checks what is asked of an embedding model.
///
/// # Errors
/// As `chat`.
pub(super) fn embed(request: &v1::EmbedRequest) -> Result<(), Error> {
    model_at(&Path::root("model"), &request.model)?;
    Path::root("inputs").require(!request.inputs.is_empty(), "must hold at least one input")?;
    for (index, input) in request.inputs.iter().enumerate() {
        let path = Path::roots("inputs", index);
        match &input.kind {
            None => return Err(path.wrong("must hold text, token_ids or parts")),
            // Vendors embed the empty text too.
            Some(embed_input::Kind::Text(_)) => {}
            Some(embed_input::Kind::TokenIds(tokens)) => {
                let valid = !tokens.ids.is_empty() && tokens.ids.iter().all(|id| *id >= 0);
                path.field("token_ids").require(valid, "must hold at least one id, none of them negative")?;
            }
            Some(embed_input::Kind::Parts(parts)) => {
                path.field("parts").require(!parts.parts.is_empty(), "must hold at least one part")?;
                for (index, one) in parts.parts.iter().enumerate() {
                    let path = path.item("parts.parts", index);
                    let fits = matches!(one.kind, Some(Kind::Text(_) | Kind::Media(_)));
                    path.require(fits, "must be text or media")?;
                    part(&path, one, v1::Role::User)?;
                }
            }
        }
    }
    Path::root("dimensions").integer(request.dimensions.map(i64::from), 1..=i64::from(i32::MAX))?;
    let known = ["", "float", "int8", "binary", "multi", "sparse"].contains(&request.encoding.as_str());
    Path::root("encoding").require(known, "must be float, int8, binary, multi or sparse")?;
    let known = ["", "none", "start", "end"].contains(&request.truncation.as_str());
    Path::root("truncation").require(known, "must be none, start or end")?;
    for (index, options) in request.provider_options.iter().enumerate() {
        one_providers_options(&Path::roots("provider_options", index), options)?;
    }
    Ok(())
}

/// Refuses options that this server would have to ignore although the caller relies on them.
///
/// # Errors
/// `INVALID_REQUEST` for a guard that is not there.
pub(super) fn options(options: Option<&v1::CallOptions>) -> Result<(), Error> {
    let Some(options) = options else { return Ok(()) };
    let path = Path::root("options");
    if let Some(name) = options.guardrails.first() {
        let shown: String = name.escape_default().take(64).collect();
        return Err(path
            .item("guardrails", 0)
            .wrong(&format!("names `{shown}`, and there is no such guard")));
    }
    Ok(())
}

fn model(root: &Path<'_>, name: &str) -> Result<(), Error> {
    model_at(&root.field("model"), name)
}

fn model_at(path: &Path<'_>, name: &str) -> Result<(), Error> {
    path.given(name)?;
    path.require(name.len() <= MAX_MODEL, "must be at most 256 bytes")?;
    path.require(!name.chars().any(char::is_control), "must be printable")
}

fn message(path: &Path<'_>, message: &v1::Message) -> Result<(), Error> {
    let role = v1::Role::try_from(message.role).ok().filter(|role| *role != v1::Role::Unspecified);
    let role = role.ok_or_else(|| path.field("role").wrong("must be one of the roles of this contract"))?;
    path.field("parts").require(!message.parts.is_empty(), "must hold at least one part")?;
    for (index, each) in message.parts.iter().enumerate() {
        part(&path.item("parts", index), each, role)?;
    }
    Ok(())
}

fn part(path: &Path<'_>, part: &v1::Part, role: v1::Role) -> Result<(), Error> {
    let Some(kind) = &part.kind else { return Err(path.wrong("must be of some kind")) };
    let by_model = role == v1::Role::Assistant;
    match kind {
        Kind::Text(_) | Kind::Media(_) | Kind::Extension(_) => {
            path.require(role != v1::Role::Tool, "must be a tool_result in a message of ROLE_TOOL")?;
        }
        Kind::ToolResult(_) => path.require(
            by_model || role == v1::Role::Tool,
            "may stand in messages of ROLE_TOOL and ROLE_ASSISTANT only",
        )?,
        Kind::ToolCall(_) | Kind::Thought(_) | Kind::Refusal(_) => {
            path.require(by_model, "may stand in messages of ROLE_ASSISTANT only")?;
        }
    }
    match kind {
        Kind::Text(_) | Kind::Thought(_) | Kind::Refusal(_) => Ok(()),
        Kind::Media(one) => media(&path.field("media"), one),
        Kind::Extension(extension) => path.field("extension").field("json").json(&extension.json),
        Kind::ToolCall(call) => {
            let path = path.field("tool_call");
            path.field("id").given(&call.id)?;
            path.field("name").given(&call.name)?;
            match &call.input {
                Some(tool_call::Input::ArgumentsJson(json)) => path.field("arguments_json").json_object(json),
                Some(tool_call::Input::Text(_)) | None => Ok(()),
            }
        }
        Kind::ToolResult(result) => {
            let path = path.field("tool_result");
            for (index, one) in result.parts.iter().enumerate() {
                let path = path.item("parts", index);
                match &one.kind {
                    Some(Kind::Text(_)) => {}
                    Some(Kind::Media(one)) => media(&path.field("media"), one)?,
                    Some(Kind::Extension(one)) => path.field("extension").field("json").json(&one.json)?,
                    _ => return Err(path.wrong("must be text or media")),
                }
            }
            Ok(())
        }
    }
}

fn media(path: &Path<'_>, media: &v1::Media) -> Result<(), Error> {
    match &media.source {
        None => Err(path.wrong("must have data, uri or file_id")),
        Some(v1::media::Source::Data(_)) => path.field("mime_type").given(&media.mime_type),
        Some(v1::media::Source::Uri(uri)) => path.field("uri").given(uri),
        Some(v1::media::Source::FileId(id)) => path.field("file_id").given(id),
    }
}

fn tools(root: &Path<'_>, input: &v1::ChatInput) -> Result<(), Error> {
    let mut names = HashSet::with_capacity(input.tools.len());
    for (index, each) in input.tools.iter().enumerate() {
        let path = root.item("tools", index);
        let name = match &each.kind {
            None => return Err(path.wrong("must be of some kind")),
            Some(tool::Kind::Function(function)) => {
                let path = path.field("function");
                path.field("name").given(&function.name)?;
                path.field("parameters_json_schema").json_object(&function.parameters_json_schema)?;
                &function.name
            }
            Some(tool::Kind::Custom(custom)) => {
                let path = path.field("custom");
                path.field("name").given(&custom.name)?;
                custom.grammar.as_ref().map_or(Ok(()), |one| grammar(&path.field("grammar"), one))?;
                &custom.name
            }
            Some(tool::Kind::Upstream(upstream)) => {
                let path = path.field("upstream");
                path.field("type").given(&upstream.r#type)?;
                path.field("config_json").json_object(&upstream.config_json)?;
                continue;
            }
        };
        path.require(names.insert(name.as_str()), "has the name of another tool")?;
    }
    let Some(choice) = &input.tool_choice else { return Ok(()) };
    let path = root.field("tool_choice");
    let known = v1::tool_choice::Mode::try_from(choice.mode).is_ok();
    path.field("mode").require(known, "must be one of the modes of this contract")?;
    let mut upstream = input.tools.iter().any(|tool| matches!(tool.kind, Some(tool::Kind::Upstream(_))));
    // The names of tools that the provider runs are its own.
    upstream |= choice.tool_names.is_empty();
    for (index, name) in choice.tool_names.iter().enumerate() {
        let known = upstream || names.contains(name.as_str());
        path.item("tool_names", index).require(known, "names no tool of this request")?;
    }
    Ok(())
}

fn sampling(path: &Path<'_>, options: &v1::Sampling) -> Result<(), Error> {
    path.field("temperature").number(options.temperature, 0.0..=2.0)?;
    path.field("top_p").number(options.top_p, 0.0..=1.0)?;
    path.field("top_k").integer(options.top_k.map(i64::from), 0..=i64::from(i32::MAX))?;
    path.field("min_p").number(options.min_p, 0.0..=1.0)?;
    path.field("frequency_penalty").number(options.frequency_penalty, -2.0..=2.0)?;
    path.field("presence_penalty").number(options.presence_penalty, -2.0..=2.0)?;
    path.field("repetition_penalty").number(options.repetition_penalty, 0.0..=f64::MAX)?;
    for (token, bias) in &options.logit_bias {
        let path = path.field("logit_bias");
        let is_id = !token.is_empty() && token.len() <= 10 && token.bytes().all(|byte| byte.is_ascii_digit());
        path.require(is_id, "must have token ids in decimal as keys")?;
        path.number(Some(*bias), -100.0..=100.0)?;
    }
    Ok(())
}

fn output_form(path: &Path<'_>, format: &v1::OutputFormat) -> Result<(), Error> {
    match &format.kind {
        None | Some(output_format::Kind::Text(_) | output_format::Kind::JsonObject(_)) => Ok(()),
        Some(output_format::Kind::Grammar(one)) => grammar(&path.field("grammar"), one),
        Some(output_format::Kind::JsonSchema(schema)) => {
            let path = path.field("json_schema");
            path.field("schema_json").given(&schema.schema_json)?;
            path.field("schema_json").json_object(&schema.schema_json)
        }
    }
}

fn grammar(path: &Path<'_>, grammar: &v1::Grammar) -> Result<(), Error> {
    path.field("syntax").given(&grammar.syntax)?;
    path.field("definition").given(&grammar.definition)
}

fn provider_options(root: &Path<'_>, all: &[v1::ProviderOptions]) -> Result<(), Error> {
    all.iter()
        .enumerate()
        .try_for_each(|(index, one)| one_providers_options(&root.item("provider_options", index), one))
}

fn one_providers_options(path: &Path<'_>, options: &v1::ProviderOptions) -> Result<(), Error> {
    path.field("body_json").json_object(&options.body_json)?;
    let valid = |(name, value): (&String, &String)| {
        http::HeaderName::from_bytes(name.as_bytes()).is_ok() && http::HeaderValue::from_str(value).is_ok()
    };
    path.field("headers").require(options.headers.iter().all(valid), "must hold valid HTTP headers")
}

/// Sums the text that a chat model reads, in bytes.
pub(super) fn text_bytes(input: &v1::ChatInput) -> usize {
    let messages: usize = input.messages.iter().flat_map(|message| &message.parts).map(part_bytes).sum();
    let tools: usize = input
        .tools
        .iter()
        .map(|tool| match &tool.kind {
            Some(tool::Kind::Function(one)) => {
                one.name.len() + one.description.len() + one.parameters_json_schema.len()
            }
            Some(tool::Kind::Custom(one)) => {
                let grammar = one.grammar.as_ref().map_or(0, |grammar| grammar.definition.len());
                one.name.len() + one.description.len() + grammar
            }
            Some(tool::Kind::Upstream(one)) => one.config_json.len(),
            None => 0,
        })
        .sum();
    let schema = match input.output_format.as_ref().and_then(|format| format.kind.as_ref()) {
        Some(output_format::Kind::JsonSchema(one)) => {
            one.name.len() + one.description.len() + one.schema_json.len()
        }
        Some(output_format::Kind::Grammar(one)) => one.definition.len(),
        _ => 0,
    };
    let prediction: usize = input.prediction.iter().map(part_bytes).sum();
    messages + tools + schema + prediction
}

/// Sums the text that an embedding model reads, in bytes; a token id counts as four.
pub(super) fn embed_bytes(request: &v1::EmbedRequest) -> usize {
    let bytes = |input: &v1::EmbedInput| match &input.kind {
        Some(embed_input::Kind::Text(text)) => text.len(),
        Some(embed_input::Kind::TokenIds(tokens)) => 4 * tokens.ids.len(),
        Some(embed_input::Kind::Parts(parts)) => parts.parts.iter().map(part_bytes).sum(),
        None => 0,
    };
    request.inputs.iter().map(bytes).sum()
}

fn part_bytes(part: &v1::Part) -> usize {
    match &part.kind {
        Some(Kind::Text(text) | Kind::Refusal(text)) => text.len(),
        Some(Kind::Thought(thought)) => thought.text.len(),
        Some(Kind::ToolCall(call)) => {
            let input = match &call.input {
                Some(tool_call::Input::ArgumentsJson(text) | tool_call::Input::Text(text)) => text.len(),
                None => 0,
            };
            call.name.len() + input
        }
        // One level deep: deeper results are refused before anything reads them.
        Some(Kind::ToolResult(result)) => {
            let text = |part: &v1::Part| match &part.kind {
                Some(Kind::Text(text)) => text.len(),
                _ => 0,
            };
            result.parts.iter().map(text).sum()
        }
        Some(Kind::Media(_) | Kind::Extension(_)) | None => 0,
    }
}

#[cfg(test)]
mod tests;
