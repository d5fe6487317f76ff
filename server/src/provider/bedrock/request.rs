//! From the contract's request to Converse's JSON.

use tollgate_api::v1::{ChatInput, JsonSchemaFormat, output_format::Kind as Format};

use super::{
    extras,
    family::{Family, Schemas},
    message::{self, To},
    tools::{self, SCHEMA_TOOL, Schema},
};
use crate::provider::{
    Error, Outgoing,
    json::write::{self, Object},
    translate::{self, Built, Lost, finite, json},
};

/// What no patch may touch: what is asked, and how long the answer is.
const PROTECTED: [&str; 3] = ["modelId", "messages", "inferenceConfig"];
/// Converse takes no more pairs of notes.
const MAX_NOTES: usize = 16;

/// A translated chat request.
#[derive(Debug)]
pub(super) struct Chat {
    pub(super) built: Built,
    /// The tool that stands for the schema of the answer.
    pub(super) schema_tool: Option<&'static str>,
}

/// Translates a request.
///
/// # Errors
/// `Unsupported` or an `INVALID_REQUEST` of the caller's, each with the field's path.
pub(super) fn build(input: &ChatInput, outgoing: &Outgoing<'_, ChatInput>) -> Result<Chat, Error> {
    let mut lost = Lost::of(outgoing, "")?;
    let family = Family::of(outgoing.model);
    let mut text = String::with_capacity(1024);
    let mut body = Object::begin(&mut text);
    let schema = schema_of(input)?;
    let way = schema.map(|_| family.schemas(outgoing.model));
    let by_tool = way == Some(Schemas::Tool);
    prompt(&mut body, input, outgoing, schema.filter(|_| by_tool), &mut lost)?;
    inference(&mut body, input, outgoing.max_output_tokens(input))?;
    extras::write(&mut body, input, outgoing.model, family, &mut lost)?;
    output(&mut body, input, way, &mut lost)?;
    service(&mut body, input, family, &mut lost)?;
    body.end();
    let (body, headers) = translate::apply(
        text,
        &input.provider_options,
        outgoing.provider,
        "input.provider_options",
        &PROTECTED,
    )?;
    let built = Built { body, headers, warnings: lost.warnings };
    Ok(Chat { built, schema_tool: by_tool.then_some(SCHEMA_TOOL) })
}

/// Translates what counts as input, as the operation that counts it wants it.
///
/// # Errors
/// As `build`.
pub(super) fn build_count(input: &ChatInput, outgoing: &Outgoing<'_, ChatInput>) -> Result<Built, Error> {
    let mut lost = Lost::of(outgoing, "")?;
    let mut text = String::with_capacity(1024);
    let mut body = Object::begin(&mut text);
    let mut wrapped = body.object("input");
    let mut converse = wrapped.object("converse");
    prompt(&mut converse, input, outgoing, None, &mut lost)?;
    extras::write(&mut converse, input, outgoing.model, Family::of(outgoing.model), &mut lost)?;
    converse.end();
    wrapped.end();
    body.end();
    Ok(Built { body: text, headers: http::HeaderMap::new(), warnings: lost.warnings })
}

/// Writes the members that make up the input: messages, instructions, tools.
fn prompt(
    body: &mut Object<'_>,
    input: &ChatInput,
    outgoing: &Outgoing<'_, ChatInput>,
    schema: Option<Schema<'_>>,
    lost: &mut Lost,
) -> Result<(), Error> {
    let to = To { provider: outgoing.provider, family: Family::of(outgoing.model) };
    message::write(body, &input.messages, to, lost)?;
    tools::write(body, input, to.family, schema, lost)
}

fn inference(body: &mut Object<'_>, input: &ChatInput, max_tokens: Option<i64>) -> Result<(), Error> {
    let mut text = String::new();
    let mut config = Object::begin(&mut text);
    config.int("maxTokens", max_tokens);
    if let Some(sampling) = &input.sampling {
        config.double("temperature", finite(sampling.temperature, "input.sampling.temperature")?);
        config.double("topP", finite(sampling.top_p, "input.sampling.top_p")?);
    }
    config.strings("stopSequences", &input.stop);
    config.end();
    if text != "{}" {
        body.raw("inferenceConfig", &text);
    }
    Ok(())
}

fn schema_format(input: &ChatInput) -> Option<&JsonSchemaFormat> {
    match input.output_format.as_ref()?.kind.as_ref()? {
        Format::JsonSchema(format) => Some(format),
        _ => None,
    }
}

fn schema_of(input: &ChatInput) -> Result<Option<Schema<'_>>, Error> {
    let Some(format) = schema_format(input) else { return Ok(None) };
    let json = json(&format.schema_json, "input.output_format.json_schema.schema_json")?;
    let description = match format.description.as_str() {
        "" => "Gives the answer. Always answer by this tool.",
        description => description,
    };
    Ok(Some(Schema { json, description }))
}

fn output(
    body: &mut Object<'_>,
    input: &ChatInput,
    way: Option<Schemas>,
    lost: &mut Lost,
) -> Result<(), Error> {
    match (input.output_format.as_ref().and_then(|format| format.kind.as_ref()), way) {
        (Some(Format::JsonObject(_)), _) => {
            lost.parameter("input.output_format.json_object", "Bedrock forces JSON by a schema only")?;
        }
        (Some(Format::Grammar(_)), _) => {
            lost.parameter("input.output_format.grammar", "Bedrock takes no grammars")?;
        }
        (Some(Format::JsonSchema(format)), Some(Schemas::Native)) => native_schema(body, format),
        (Some(Format::JsonSchema(_)), Some(Schemas::None)) => {
            lost.parameter("input.output_format.json_schema", "Bedrock takes no schemas for this model")?;
        }
        _ => {}
    }
    let more = input.output_modalities.iter().any(|modality| modality != "text");
    for (field, asked) in [
        ("input.output_modalities", more),
        ("input.audio", input.audio.is_some()),
        ("input.logprobs", input.logprobs.is_some()),
        ("input.prediction", !input.prediction.is_empty()),
        ("input.verbosity", !input.verbosity.is_empty()),
        ("input.choice_count", input.choice_count.is_some_and(|count| count > 1)),
    ] {
        if asked {
            lost.parameter(field, "Bedrock has no such parameter")?;
        }
    }
    Ok(())
}

fn native_schema(body: &mut Object<'_>, format: &JsonSchemaFormat) {
    let mut config = body.object("outputConfig");
    let mut text = config.object("textFormat");
    text.string("type", "json_schema");
    let mut structure = text.object("structure");
    let mut schema = structure.object("jsonSchema");
    schema.string("schema", &format.schema_json);
    schema.string("name", if format.name.is_empty() { "response" } else { &format.name });
    schema.text("description", &format.description);
    schema.end();
    structure.end();
    text.end();
    config.end();
}

fn service(body: &mut Object<'_>, input: &ChatInput, family: Family, lost: &mut Lost) -> Result<(), Error> {
    if !matches!(input.service_tier.as_str(), "" | "auto") {
        let mut tier = body.object("serviceTier");
        tier.string("type", &input.service_tier);
        tier.end();
    }
    if family == Family::Claude && !input.stop.is_empty() {
        // Which of them ended the answer, Converse tells on demand only.
        body.raw("additionalModelResponseFieldPaths", r#"["/stop_sequence"]"#);
    }
    if !input.metadata.is_empty() {
        let mut pairs: Vec<(&String, &String)> = input.metadata.iter().collect();
        pairs.sort_unstable();
        if pairs.len() > MAX_NOTES {
            lost.parameter("input.metadata", "Bedrock takes at most 16 pairs")?;
            pairs.truncate(MAX_NOTES);
        }
        let mut map = body.object("requestMetadata");
        for (name, value) in pairs {
            write::string(map.key(name), value);
        }
        map.end();
    }
    let asked = |text: &str| !text.is_empty();
    let cache = input.prompt_cache.as_ref();
    let cache = cache.is_some_and(|cache| asked(&cache.key) || asked(&cache.mode) || asked(&cache.ttl));
    for (field, asked, why) in [
        ("input.end_user_id", asked(&input.end_user_id), "Bedrock has no such parameter"),
        ("input.store", input.store == Some(true), "Bedrock stores no answers"),
        ("input.prompt_cache", cache, "Bedrock caches up to the breakpoints of parts only"),
    ] {
        if asked {
            lost.parameter(field, why)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
