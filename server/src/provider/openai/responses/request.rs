//! From the contract's request to the JSON of the Responses API.

use tollgate_api::v1::{ChatInput, output_format::Kind as Format};

use super::{
    super::{
        FAMILY,
        request::service,
        translate::{self, Built, Lost, finite, json},
        write::Object,
    },
    input::{self, To},
    tools,
};
use crate::provider::{
    Error, Outgoing,
    vendors::{OPENAI, ResponsesApi, Vendor},
};

/// What no patch may touch: who answers, what is asked, streaming, and how long the answer is.
const PROTECTED: [&str; 6] = ["model", "input", "instructions", "stream", "background", "max_output_tokens"];
/// Why a parameter is left out.
const NO_SUCH: &str = "the Responses API has no such parameter";

/// Translates a request.
///
/// # Errors
/// `Unsupported` or an `INVALID_REQUEST` of the caller's, each with the field's path.
pub(super) fn build(
    input: &ChatInput,
    outgoing: &Outgoing<'_, ChatInput>,
    vendor: &Vendor,
    api: ResponsesApi,
) -> Result<Built, Error> {
    let mut lost = Lost::of(outgoing, FAMILY)?;
    let mut text = String::with_capacity(1024);
    let mut body = Object::begin(&mut text);
    prompt(&mut body, input, outgoing, vendor, &mut lost)?;
    for (name, value) in
        input.sampling.iter().flat_map(|one| [("temperature", one.temperature), ("top_p", one.top_p)])
    {
        body.double(name, finite(value, &format!("input.sampling.{name}"))?);
    }
    body.int("max_output_tokens", outgoing.max_output_tokens(input));
    include(&mut body, input, api.encrypted_reasoning && reasons(outgoing.model));
    service(&mut body, input, vendor, &mut lost)?;
    if input.store.is_none() {
        body.raw("store", "false");
    }
    unknown(input, &mut lost)?;
    if outgoing.streamed {
        body.raw("stream", "true");
    }
    body.end();
    let (body, headers) = translate::apply_all(
        text,
        &input.provider_options,
        &["", FAMILY, outgoing.provider],
        "input.provider_options",
        &PROTECTED,
    )?;
    Ok(Built { body, headers, warnings: lost.warnings })
}

/// Translates a request whose tokens are to be counted: of all members, those that the count depends on.
///
/// # Errors
/// As `build`.
pub(super) fn build_count(
    input: &ChatInput,
    outgoing: &Outgoing<'_, ChatInput>,
    vendor: &Vendor,
) -> Result<Built, Error> {
    let mut lost = Lost::of(outgoing, FAMILY)?;
    let mut body = String::with_capacity(1024);
    let mut object = Object::begin(&mut body);
    prompt(&mut object, input, outgoing, vendor, &mut lost)?;
    object.end();
    Ok(Built { body, headers: ::http::HeaderMap::new(), warnings: lost.warnings })
}

/// Writes what the model reads.
fn prompt(
    body: &mut Object<'_>,
    input: &ChatInput,
    outgoing: &Outgoing<'_, ChatInput>,
    vendor: &Vendor,
    lost: &mut Lost,
) -> Result<(), Error> {
    body.string("model", outgoing.model);
    let to = To {
        provider: outgoing.provider,
        native: vendor.name == OPENAI.name,
        stored: input.store == Some(true),
        breakpoints: input.prompt_cache.as_ref().is_some_and(|cache| cache.mode == "explicit"),
    };
    input::write(body, &input.messages, to, lost)?;
    tools::write(body, input, lost)?;
    reasoning(body, input, lost)?;
    text(body, input, lost)
}

fn reasoning(body: &mut Object<'_>, input: &ChatInput, lost: &mut Lost) -> Result<(), Error> {
    let Some(reasoning) = &input.reasoning else { return Ok(()) };
    if reasoning.budget_tokens.is_some() {
        lost.parameter("input.reasoning.budget_tokens", "OpenAI's API knows efforts only; set `effort`")?;
    }
    let summary = if reasoning.summary == "none" { "" } else { &reasoning.summary };
    if reasoning.effort.is_empty() && summary.is_empty() {
        return Ok(());
    }
    let mut member = body.object("reasoning");
    member.text("effort", &reasoning.effort);
    member.text("summary", summary);
    member.end();
    Ok(())
}

fn text(body: &mut Object<'_>, input: &ChatInput, lost: &mut Lost) -> Result<(), Error> {
    let format = input.output_format.as_ref().and_then(|format| format.kind.as_ref());
    if matches!(format, Some(Format::Grammar(_))) {
        lost.parameter("input.output_format.grammar", "OpenAI's API takes grammars for custom tools only")?;
    }
    let written = match format {
        None | Some(Format::Grammar(_)) => None,
        Some(format) => Some(format),
    };
    if written.is_none() && input.verbosity.is_empty() {
        return Ok(());
    }
    let mut member = body.object("text");
    match written {
        Some(Format::Text(_)) => member.raw("format", r#"{"type":"text"}"#),
        Some(Format::JsonObject(_)) => member.raw("format", r#"{"type":"json_object"}"#),
        Some(Format::JsonSchema(format)) => {
            let schema = json(&format.schema_json, "input.output_format.json_schema.schema_json")?;
            let mut inner = member.object("format");
            inner.string("type", "json_schema");
            inner.string("name", if format.name.is_empty() { "response" } else { &format.name });
            inner.text("description", &format.description);
            inner.raw("schema", schema);
            inner.bool("strict", format.strict);
            inner.end();
        }
        Some(Format::Grammar(_)) | None => {}
    }
    member.text("verbosity", &input.verbosity);
    member.end();
    Ok(())
}

/// Asks for what an answer does not hold by itself: log probabilities, and the state of reasoning that the vendor
/// does not keep.
fn include(body: &mut Object<'_>, input: &ChatInput, encrypted: bool) {
    if let Some(logprobs) = &input.logprobs {
        body.int("top_logprobs", logprobs.top.map(i64::from));
    }
    let wanted = [
        ("reasoning.encrypted_content", encrypted && input.store != Some(true)),
        ("message.output_text.logprobs", input.logprobs.is_some()),
    ];
    let wanted: Vec<String> =
        wanted.into_iter().filter(|(_, wanted)| *wanted).map(|(name, _)| name.to_owned()).collect();
    body.strings("include", &wanted);
}

/// Beginnings of the names of OpenAI's models that do not reason; asked for the state of it, they refuse the call.
const WITHOUT_REASONING: [&str; 3] = ["gpt-4", "gpt-3.5", "chatgpt-4"];

fn reasons(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or(model).trim_start_matches("ft:");
    !WITHOUT_REASONING.iter().any(|beginning| name.starts_with(beginning))
}

/// Notes what the API cannot take.
fn unknown(input: &ChatInput, lost: &mut Lost) -> Result<(), Error> {
    let none = tollgate_api::v1::Sampling::default();
    let sampling = input.sampling.as_ref().unwrap_or(&none);
    let other_output = input.output_modalities.iter().any(|one| one != "text");
    for (field, there) in [
        ("sampling.top_k", sampling.top_k.is_some()),
        ("sampling.min_p", sampling.min_p.is_some()),
        ("sampling.frequency_penalty", sampling.frequency_penalty.is_some()),
        ("sampling.presence_penalty", sampling.presence_penalty.is_some()),
        ("sampling.repetition_penalty", sampling.repetition_penalty.is_some()),
        ("sampling.seed", sampling.seed.is_some()),
        ("sampling.logit_bias", !sampling.logit_bias.is_empty()),
        ("stop", !input.stop.is_empty()),
        ("choice_count", input.choice_count.is_some_and(|count| count > 1)),
        ("output_modalities", other_output),
        ("audio", input.audio.is_some()),
        ("prediction", !input.prediction.is_empty()),
    ] {
        if there {
            lost.parameter(&format!("input.{field}"), NO_SUCH)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
