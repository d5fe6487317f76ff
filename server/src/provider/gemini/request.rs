//! From the contract's request to `generateContent`'s JSON.

use ::http::{HeaderName, HeaderValue};
use tollgate_api::v1::{ChatInput, Continuity};

use super::{FAMILY, generation, messages, place::Api, tools};
use crate::provider::{
    Error, Outgoing,
    json::write::Object,
    translate::{self, Built, Lost},
};

/// What no patch may touch: what is asked, and how many and how long the answers are. Google takes the names of its
/// members in snake case too.
const PROTECTED: [&str; 7] = [
    "contents",
    "model",
    "generation_config",
    "generationConfig.maxOutputTokens",
    "generationConfig.max_output_tokens",
    "generationConfig.candidateCount",
    "generationConfig.candidate_count",
];

/// Where Vertex takes the class of service.
const VERTEX_TIER: HeaderName = HeaderName::from_static("x-vertex-ai-llm-shared-request-type");

/// Who is written to.
#[derive(Clone, Copy, Debug)]
pub(super) struct To<'a> {
    /// The provider's configured name, which owns continuity tokens and extensions.
    pub(super) provider: &'a str,
    /// The number in the model's name: 2 of `gemini-2.5-pro`. A name without one is that of a new model.
    pub(super) generation: Option<u32>,
}

impl<'a> To<'a> {
    pub(super) fn new(provider: &'a str, model: &str) -> Self {
        let digits = model.rsplit('/').next().unwrap_or(model).strip_prefix("gemini-").unwrap_or_default();
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        Self { provider, generation: digits[..end].parse().ok() }
    }

    /// Tells whether the model is of that generation or a later one.
    pub(super) fn is_since(self, generation: u32) -> bool {
        self.generation.is_none_or(|own| own >= generation)
    }

    /// Tells whether this provider made the token.
    pub(super) fn owns(self, continuity: &Continuity) -> bool {
        continuity.provider == self.provider || continuity.provider == FAMILY
    }
}

/// Translates a request.
///
/// # Errors
/// `Unsupported` or an `INVALID_REQUEST` of the caller's, each with the field's path.
pub(super) fn build(input: &ChatInput, outgoing: &Outgoing<'_, ChatInput>, api: Api) -> Result<Built, Error> {
    let mut lost = Lost::of(outgoing, "")?;
    let to = To::new(outgoing.provider, outgoing.model);
    let mut text = String::with_capacity(1024);
    let mut body = Object::begin(&mut text);
    messages::write(&mut body, &input.messages, to, &mut lost)?;
    tools::write(&mut body, input, &mut lost)?;
    generation::write(&mut body, input, outgoing, to, &mut lost)?;
    unknown(input, &mut lost)?;
    let tier = tier(&mut body, input, api, &mut lost)?;
    body.end();
    let (body, mut headers) = translate::apply(
        text,
        &input.provider_options,
        outgoing.provider,
        "input.provider_options",
        &PROTECTED,
    )?;
    headers.extend(tier.map(|tier| (VERTEX_TIER, tier)));
    Ok(Built { body, headers, warnings: lost.warnings })
}

/// Asks for a class of service: AI Studio in the body, Vertex in a header, which is returned.
fn tier(
    body: &mut Object<'_>,
    input: &ChatInput,
    api: Api,
    lost: &mut Lost,
) -> Result<Option<HeaderValue>, Error> {
    match (input.service_tier.as_str(), api) {
        ("" | "auto", _) | ("default" | "standard", Api::Vertex) => {}
        ("default", Api::Studio) => body.string("serviceTier", "standard"),
        (tier, Api::Studio) => body.string("serviceTier", tier),
        ("flex", Api::Vertex) => return Ok(Some(HeaderValue::from_static("flex"))),
        ("priority", Api::Vertex) => return Ok(Some(HeaderValue::from_static("priority"))),
        _ => lost.parameter("input.service_tier", "Vertex knows `flex` and `priority`")?,
    }
    Ok(None)
}

/// Tells of what neither API has.
fn unknown(input: &ChatInput, lost: &mut Lost) -> Result<(), Error> {
    let cache = input.prompt_cache.as_ref();
    for (name, is_set, why) in [
        ("end_user_id", !input.end_user_id.is_empty(), "Gemini's API has no such parameter"),
        ("store", input.store.is_some(), "Gemini's API stores no answers"),
        ("metadata", !input.metadata.is_empty(), "Gemini's API stores no answers"),
        ("prediction", !input.prediction.is_empty(), "Gemini's API has no such parameter"),
        ("verbosity", !input.verbosity.is_empty(), "Gemini's API has no such parameter"),
        ("prompt_cache.key", cache.is_some_and(|cache| !cache.key.is_empty()), "it caches prompts by itself"),
        (
            "prompt_cache.mode",
            cache.is_some_and(|cache| !cache.mode.is_empty()),
            "it caches prompts by itself",
        ),
        ("prompt_cache.ttl", cache.is_some_and(|cache| !cache.ttl.is_empty()), "it caches prompts by itself"),
    ] {
        if is_set {
            lost.parameter(&format!("input.{name}"), why)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
