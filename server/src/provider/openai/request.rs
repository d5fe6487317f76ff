//! From the contract's request to OpenAI's JSON.

use tollgate_api::v1::{ChatInput, Sampling, output_format::Kind as Format};

use super::{
    message::{self, To},
    options::{self, Built, Lost, json},
    tools,
    write::{self, Object},
};
use crate::{
    error::Error as CallerError,
    provider::{
        Error, Outgoing,
        vendors::{OPENAI, Vendor},
    },
};

/// What no patch may touch: who answers, what is asked, streaming, and how many and how long the answers are.
const PROTECTED: [&str; 7] =
    ["model", "messages", "stream", "stream_options", "n", "max_tokens", "max_completion_tokens"];

/// Translates a request.
///
/// # Errors
/// `Unsupported` or an `INVALID_REQUEST` of the caller's, each with the field's path.
pub(super) fn build(
    input: &ChatInput,
    outgoing: &Outgoing<'_, ChatInput>,
    vendor: &Vendor,
) -> Result<Built, Error> {
    let mut lost = Lost::new(outgoing.strict);
    let native = vendor.name == OPENAI.name;
    let mut text = String::with_capacity(1024);
    let mut body = Object::begin(&mut text);
    body.string("model", outgoing.model);
    let to = To { provider: outgoing.provider, native };
    message::write_all(body.key("messages"), &input.messages, to, &mut lost)?;
    tools::write(&mut body, input, native, &mut lost)?;
    if let Some(sampling) = &input.sampling {
        sampling_members(&mut body, sampling, vendor, &mut lost)?;
    }
    body.int(vendor.max_tokens, input.max_output_tokens);
    body.strings("stop", &input.stop);
    body.int("n", input.choice_count.map(i64::from));
    output(&mut body, input, &mut lost)?;
    reasoning(&mut body, input, &mut lost)?;
    service(&mut body, input, vendor)?;
    if outgoing.streamed {
        body.raw("stream", "true");
        body.raw("stream_options", r#"{"include_usage":true}"#);
    }
    body.end();
    let (body, headers) = options::apply(
        text,
        &input.provider_options,
        outgoing.provider,
        "input.provider_options",
        &PROTECTED,
    )?;
    Ok(Built { body, headers, warnings: lost.warnings })
}

fn finite(value: Option<f64>, field: &str) -> Result<Option<f64>, Error> {
    match value {
        Some(value) if !value.is_finite() => {
            Err(CallerError::invalid(field, format!("`{field}` must be a finite number")).into())
        }
        value => Ok(value),
    }
}

fn sampling_members(
    body: &mut Object<'_>,
    sampling: &Sampling,
    vendor: &Vendor,
    lost: &mut Lost,
) -> Result<(), Error> {
    for (name, value, open) in [
        ("temperature", sampling.temperature, false),
        ("top_p", sampling.top_p, false),
        ("frequency_penalty", sampling.frequency_penalty, false),
        ("presence_penalty", sampling.presence_penalty, false),
        ("min_p", sampling.min_p, true),
        ("repetition_penalty", sampling.repetition_penalty, true),
        ("top_k", sampling.top_k.map(f64::from), true),
    ] {
        let field = format!("input.sampling.{name}");
        let Some(value) = finite(value, &field)? else { continue };
        if open && !vendor.open_sampling {
            lost.parameter(&field, "OpenAI's API has no such parameter")?;
        } else if name == "top_k" {
            body.int(name, sampling.top_k.map(i64::from));
        } else {
            body.double(name, Some(value));
        }
    }
    body.int("seed", sampling.seed);
    if sampling.logit_bias.is_empty() {
        return Ok(());
    }
    let mut biases: Vec<(&String, f64)> = sampling.logit_bias.iter().map(|(id, bias)| (id, *bias)).collect();
    biases.sort_unstable_by_key(|(id, _)| *id);
    let mut map = body.object("logit_bias");
    for (id, bias) in biases {
        map.double(id, finite(Some(bias), "input.sampling.logit_bias")?);
    }
    map.end();
    Ok(())
}

fn output(body: &mut Object<'_>, input: &ChatInput, lost: &mut Lost) -> Result<(), Error> {
    match input.output_format.as_ref().and_then(|format| format.kind.as_ref()) {
        None => {}
        Some(Format::Text(_)) => body.raw("response_format", r#"{"type":"text"}"#),
        Some(Format::JsonObject(_)) => body.raw("response_format", r#"{"type":"json_object"}"#),
        Some(Format::Grammar(_)) => {
            lost.parameter(
                "input.output_format.grammar",
                "OpenAI's API takes grammars for custom tools only",
            )?;
        }
        Some(Format::JsonSchema(format)) => {
            let schema = json(&format.schema_json, "input.output_format.json_schema.schema_json")?;
            let mut member = body.object("response_format");
            member.string("type", "json_schema");
            let mut inner = member.object("json_schema");
            inner.string("name", if format.name.is_empty() { "response" } else { &format.name });
            inner.text("description", &format.description);
            inner.raw("schema", schema);
            inner.bool("strict", format.strict);
            inner.end();
            member.end();
        }
    }
    body.strings("modalities", &input.output_modalities);
    if let Some(audio) = &input.audio {
        let mut member = body.object("audio");
        member.text("voice", &audio.voice);
        member.text("format", &audio.format);
        member.end();
    }
    if let Some(logprobs) = &input.logprobs {
        body.raw("logprobs", "true");
        body.int("top_logprobs", logprobs.top.map(i64::from));
    }
    if !input.prediction.is_empty() {
        let mut member = body.object("prediction");
        member.string("type", "content");
        message::texts(&mut member, &input.prediction, "input.prediction")?;
        member.end();
    }
    body.text("verbosity", &input.verbosity);
    Ok(())
}

fn reasoning(body: &mut Object<'_>, input: &ChatInput, lost: &mut Lost) -> Result<(), Error> {
    let Some(reasoning) = &input.reasoning else { return Ok(()) };
    body.text("reasoning_effort", &reasoning.effort);
    if reasoning.budget_tokens.is_some() {
        lost.parameter("input.reasoning.budget_tokens", "OpenAI's API knows efforts only; set `effort`")?;
    }
    if !reasoning.summary.is_empty() {
        lost.parameter("input.reasoning.summary", "OpenAI's chat API gives no summaries")?;
    }
    Ok(())
}

fn service(body: &mut Object<'_>, input: &ChatInput, vendor: &Vendor) -> Result<(), Error> {
    body.text("service_tier", &input.service_tier);
    body.text(vendor.end_user, &input.end_user_id);
    body.bool("store", input.store);
    if let Some(cache) = &input.prompt_cache {
        body.text("prompt_cache_key", &cache.key);
        if !cache.mode.is_empty() || !cache.ttl.is_empty() {
            let mut member = body.object("prompt_cache_options");
            member.text("mode", &cache.mode);
            member.text("ttl", &cache.ttl);
            member.end();
        }
    }
    if !input.metadata.is_empty() {
        let mut pairs: Vec<(&String, &String)> = input.metadata.iter().collect();
        pairs.sort_unstable();
        let mut map = body.object("metadata");
        for (name, value) in pairs {
            write::string(map.key(name), value);
        }
        map.end();
    }
    Ok(())
}
