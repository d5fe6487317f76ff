//! From the contract's request to Anthropic's JSON, as it is sent to Anthropic itself, to Vertex and to Bedrock.

use ::http::{HeaderMap, HeaderValue};
use tollgate_api::v1::{ChatInput, JsonSchemaFormat, Part, media::Source, output_format, part::Kind};

use super::{
    FAMILY,
    content::To,
    message::{self, Conversation},
    model::Generation,
    sampling,
    thinking::{Around, Plan},
    tools,
    translate::{self, Built, Lost, json},
    write::{self, Object},
};
use crate::provider::{Error, Outgoing, refused};

/// What no patch may touch: who answers, what is asked, streaming, and how long the answer is.
const PROTECTED: [&str; 6] = ["model", "messages", "system", "stream", "max_tokens", "anthropic_version"];
/// What the API has no parameters for.
const ABSENT: [&str; 12] = [
    "frequency_penalty",
    "presence_penalty",
    "min_p",
    "repetition_penalty",
    "logit_bias",
    "audio",
    "choice_count",
    "logprobs",
    "metadata",
    "output_modalities",
    "prediction",
    "verbosity",
];
/// The header that asks for features by name.
pub(super) const BETA: &str = "anthropic-beta";
/// What lets files be referred to by their id.
const FILES_BETA: &str = "files-api-2025-04-14";

/// Whose form of the request it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Anthropic's own, with `model` and `stream`.
    Own,
    /// Without `model`, but with a version: Google's Vertex.
    Vertex,
    /// Without `model` and `stream`, but with a version: AWS Bedrock's `InvokeModel`.
    Bedrock,
    /// For the count of tokens, with `model` and without what shapes the answer.
    Count,
}

impl Form {
    /// Returns the version that stands in the body.
    pub fn version(self) -> Option<&'static str> {
        match self {
            Self::Own | Self::Count => None,
            Self::Vertex => Some("vertex-2023-10-16"),
            Self::Bedrock => Some("bedrock-2023-05-31"),
        }
    }
}

/// Translates a request.
///
/// # Errors
/// `Unsupported` or an `INVALID_REQUEST` of the caller's, each with the field's path.
pub(in crate::provider) fn build(
    input: &ChatInput,
    outgoing: &Outgoing<'_, ChatInput>,
    form: Form,
) -> Result<Built, Error> {
    let mut lost = Lost::of(outgoing, FAMILY)?;
    let absent: &[&str] = if form == Form::Count { &[] } else { &ABSENT };
    let input = &*refused::without(input, absent, &mut lost)?;
    let generation = Generation::of(outgoing.model);
    let to = To { provider: outgoing.provider, generation };
    let max_tokens = outgoing.max_output_tokens(input).unwrap_or_else(|| generation.default_max_tokens());
    let around = Around {
        generation,
        max_tokens,
        forced_tool: tools::is_forced(input),
        in_foreign_round: message::is_in_foreign_round(&input.messages, to),
    };
    let plan = Plan::of(input.reasoning.as_ref(), around, &mut lost)?;
    let mut conversation = Conversation::of(&input.messages, to, &mut lost)?;
    let schema = format(input, generation, &mut conversation, &mut lost)?;
    let mut text = String::with_capacity(1024);
    let mut body = Object::begin(&mut text);
    if let Some(version) = form.version() {
        body.string("anthropic_version", version);
    } else {
        body.string("model", outgoing.model);
    }
    conversation.write(&mut body);
    tools::write(&mut body, input, &mut lost)?;
    plan.write(&mut body);
    output_config(&mut body, plan.effort.as_deref(), schema);
    cache(&mut body, input, &mut lost)?;
    if form != Form::Count {
        body.int("max_tokens", Some(max_tokens));
        sampling::write(&mut body, input.sampling.as_ref(), generation, plan.is_on(), &mut lost)?;
        body.strings("stop_sequences", &input.stop);
        service(&mut body, input, &mut lost)?;
        if outgoing.streamed && form != Form::Bedrock {
            body.raw("stream", "true");
        }
    }
    body.end();
    let names =
        if outgoing.provider == FAMILY { vec!["", FAMILY] } else { vec!["", FAMILY, outgoing.provider] };
    let options = &input.provider_options;
    let (body, headers) = translate::apply_all(text, options, &names, "input.provider_options", &PROTECTED)?;
    Ok(Built { body, headers: with_betas(headers, input), warnings: lost.warnings })
}

/// Finds the schema that the answer is bound to. What the model cannot be bound to is asked of it in words.
fn format<'a>(
    input: &'a ChatInput,
    generation: Generation,
    conversation: &mut Conversation<'_>,
    lost: &mut Lost,
) -> Result<Option<&'a str>, Error> {
    use output_format::Kind;
    match input.output_format.as_ref().and_then(|format| format.kind.as_ref()) {
        None | Some(Kind::Text(_)) => Ok(None),
        Some(Kind::Grammar(_)) => {
            lost.parameter("input.output_format.grammar", "Anthropic's API takes no grammars")?;
            Ok(None)
        }
        Some(Kind::JsonObject(_)) => {
            lost.changed(
                "input.output_format.json_object",
                "the model is asked for JSON in its instructions",
            )?;
            conversation.instruct("Answer with one JSON object and nothing else.".to_owned());
            Ok(None)
        }
        Some(Kind::JsonSchema(format)) => {
            let schema = json(&format.schema_json, "input.output_format.json_schema.schema_json")?;
            if generation.takes_schemas() {
                return Ok(Some(schema));
            }
            let field = "input.output_format.json_schema";
            lost.changed(field, "the model is asked for the schema in its instructions")?;
            conversation.instruct(in_words(format, schema));
            Ok(None)
        }
    }
}

fn in_words(format: &JsonSchemaFormat, schema: &str) -> String {
    let about = if format.description.is_empty() { "" } else { "\nIt is for: " };
    let description = &format.description;
    format!(
        "Answer with one JSON object that matches this JSON Schema, and nothing else.{about}{description}\n{schema}"
    )
}

fn output_config(body: &mut Object<'_>, effort: Option<&str>, schema: Option<&str>) {
    if effort.is_none() && schema.is_none() {
        return;
    }
    let mut config = body.object("output_config");
    config.text("effort", effort.unwrap_or_default());
    if let Some(schema) = schema {
        let mut format = config.object("format");
        format.string("type", "json_schema");
        format.raw("schema", schema);
        format.end();
    }
    config.end();
}

/// Writes the mark at the top, by which the API places the breakpoints itself.
fn cache(body: &mut Object<'_>, input: &ChatInput, lost: &mut Lost) -> Result<(), Error> {
    let Some(cache) = &input.prompt_cache else { return Ok(()) };
    if !cache.key.is_empty() {
        lost.parameter("input.prompt_cache.key", "Anthropic's prompt cache has no keys")?;
    }
    let automatic = matches!(cache.mode.as_str(), "auto" | "automatic") || !cache.ttl.is_empty();
    if cache.mode == "explicit" && !cache.ttl.is_empty() {
        lost.parameter("input.prompt_cache.ttl", "each breakpoint has its own")?;
    }
    if automatic && cache.mode != "explicit" {
        let mut mark = body.object("cache_control");
        mark.string("type", "ephemeral");
        mark.text("ttl", &cache.ttl);
        mark.end();
    }
    Ok(())
}

fn service(body: &mut Object<'_>, input: &ChatInput, lost: &mut Lost) -> Result<(), Error> {
    if input.store == Some(true) {
        lost.parameter("input.store", "Anthropic's API stores no answers")?;
    }
    match input.service_tier.as_str() {
        "" => {}
        tier @ ("auto" | "standard_only") => body.string("service_tier", tier),
        "priority" => body.string("service_tier", "auto"),
        "default" | "standard" => body.string("service_tier", "standard_only"),
        _ => lost.parameter("input.service_tier", "Anthropic's API knows `auto` and `default` only")?,
    }
    if !input.end_user_id.is_empty() {
        let mut metadata = body.object("metadata");
        write::string(metadata.key("user_id"), &input.end_user_id);
        metadata.end();
    }
    Ok(())
}

/// Adds the betas that the content needs to those that the caller asks for.
fn with_betas(mut headers: HeaderMap, input: &ChatInput) -> HeaderMap {
    let all = input.messages.iter().flat_map(|message| &message.parts);
    if !all.into_iter().any(refers_to_file) {
        return headers;
    }
    let told = headers.get(BETA).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if told.contains(FILES_BETA) {
        return headers;
    }
    let betas = if told.is_empty() { FILES_BETA.to_owned() } else { format!("{told},{FILES_BETA}") };
    if let Ok(betas) = HeaderValue::try_from(betas) {
        headers.insert(BETA, betas);
    }
    headers
}

fn refers_to_file(part: &Part) -> bool {
    match &part.kind {
        Some(Kind::Media(media)) => matches!(media.source, Some(Source::FileId(_))),
        Some(Kind::ToolResult(result)) => result.parts.iter().any(refers_to_file),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
