//! From the contract's request to Cohere's JSON.

use tollgate_api::v1::{ChatInput, ReasoningOptions, Sampling, output_format::Kind as Format};

use super::{content, tools};
use crate::{
    error::Error as CallerError,
    provider::{
        Error, Outgoing,
        json::write::Object,
        refused,
        translate::{self, Built, Lost, json},
    },
};

/// What no patch may touch.
const PROTECTED: [&str; 4] = ["model", "messages", "stream", "max_tokens"];
/// Fields of the contract that Cohere has nothing for.
const REFUSES: [&str; 13] = [
    "audio",
    "choice_count",
    "end_user_id",
    "logit_bias",
    "message_name",
    "metadata",
    "min_p",
    "output_modalities",
    "prediction",
    "prompt_cache",
    "repetition_penalty",
    "store",
    "verbosity",
];

/// Translates a request.
///
/// # Errors
/// `Unsupported` or an `INVALID_REQUEST` of the caller's, each with the field's path.
pub(super) fn build(input: &ChatInput, outgoing: &Outgoing<'_, ChatInput>) -> Result<Built, Error> {
    let mut lost = Lost::of(outgoing, "")?;
    let input = &*refused::without(input, &REFUSES, &mut lost)?;
    let mut text = String::with_capacity(1024);
    let mut body = Object::begin(&mut text);
    body.string("model", outgoing.model);
    let documents = content::messages(&mut body, &input.messages, outgoing.provider, &mut lost)?;
    if !documents.is_empty() {
        body.raw("documents", &format!("[{}]", documents.join(",")));
    }
    tools::write(&mut body, input, &mut lost)?;
    if let Some(sampling) = &input.sampling {
        sampling_members(&mut body, sampling)?;
    }
    body.int("max_tokens", outgoing.max_output_tokens(input));
    body.strings("stop_sequences", &input.stop);
    format(&mut body, input, &mut lost)?;
    if let Some(reasoning) = &input.reasoning {
        thinking(&mut body, reasoning, &mut lost)?;
    }
    if let Some(logprobs) = &input.logprobs {
        body.raw("logprobs", "true");
        if logprobs.top.is_some_and(|top| top > 0) {
            lost.parameter("input.logprobs.top", "Cohere tells the chosen tokens only")?;
        }
    }
    if !input.service_tier.is_empty() {
        lost.parameter("input.service_tier", "Cohere has no classes of service")?;
    }
    body.bool("stream", Some(outgoing.streamed));
    body.end();
    let (body, headers) = translate::apply(
        text,
        &input.provider_options,
        outgoing.provider,
        "input.provider_options",
        &PROTECTED,
    )?;
    Ok(Built { body, headers, warnings: lost.warnings })
}

fn sampling_members(body: &mut Object<'_>, sampling: &Sampling) -> Result<(), Error> {
    for (name, path, value) in [
        ("temperature", "input.sampling.temperature", sampling.temperature),
        ("p", "input.sampling.top_p", sampling.top_p),
        ("frequency_penalty", "input.sampling.frequency_penalty", sampling.frequency_penalty),
        ("presence_penalty", "input.sampling.presence_penalty", sampling.presence_penalty),
    ] {
        if value.is_some_and(|value| !value.is_finite()) {
            return Err(CallerError::invalid(path, format!("`{path}` must be a finite number")).into());
        }
        body.double(name, value);
    }
    body.int("k", sampling.top_k.map(i64::from));
    body.int("seed", sampling.seed);
    Ok(())
}

fn format(body: &mut Object<'_>, input: &ChatInput, lost: &mut Lost) -> Result<(), Error> {
    match input.output_format.as_ref().and_then(|format| format.kind.as_ref()) {
        None => {}
        Some(Format::Text(_)) => body.raw("response_format", r#"{"type":"text"}"#),
        Some(Format::JsonObject(_)) => body.raw("response_format", r#"{"type":"json_object"}"#),
        Some(Format::JsonSchema(format)) => {
            let schema = json(&format.schema_json, "input.output_format.json_schema.schema_json")?;
            let mut member = body.object("response_format");
            member.string("type", "json_object");
            member.raw("json_schema", schema);
            member.end();
        }
        Some(Format::Grammar(_)) => {
            lost.parameter("input.output_format.grammar", "Cohere takes no grammars")?;
        }
    }
    Ok(())
}

fn thinking(body: &mut Object<'_>, reasoning: &ReasoningOptions, lost: &mut Lost) -> Result<(), Error> {
    if !reasoning.summary.is_empty() {
        lost.parameter("input.reasoning.summary", "Cohere gives no summaries")?;
    }
    let off = reasoning.effort == "none" || reasoning.budget_tokens == Some(0);
    if reasoning.effort.is_empty() && reasoning.budget_tokens.is_none() {
        return Ok(());
    }
    let mut member = body.object("thinking");
    member.string("type", if off { "disabled" } else { "enabled" });
    if !off {
        member.int("token_budget", reasoning.budget_tokens);
    }
    member.end();
    if !off && !reasoning.effort.is_empty() {
        lost.parameter("input.reasoning.effort", "Cohere's models think or do not; set `budget_tokens`")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
