//! Embeddings: `batchEmbedContents` of AI Studio and `predict` of Vertex.

use serde::Deserialize;
use serde_json::value::RawValue;
use tollgate_api::v1::{
    EmbedInput, EmbedRequest, EmbedResponse, Embedding, FloatVector, Usage, embed_input::Kind as Input,
    embedding::Vector, part::Kind, usage::Source,
};

use super::{
    parts::{self, invalid},
    place::{Api, Place},
    request::To,
    usage::Told,
};
use crate::{
    error::Error as CallerError,
    provider::{
        Error, Kind as Failure, Outgoing,
        json::{
            Count,
            members::Members,
            says_something,
            write::{self, Object},
        },
        refusal,
        translate::{self, Built, Lost, unsupported},
    },
};

const PROTECTED: [&str; 6] =
    ["model", "content", "requests", "instances", "outputDimensionality", "parameters.outputDimensionality"];

/// Translates a request. What the caller's options add belongs to each input, Vertex's `parameters` to all of them.
pub(super) fn build(
    request: &EmbedRequest,
    outgoing: &Outgoing<'_, EmbedRequest>,
    place: &Place,
) -> Result<Built, Error> {
    let mut lost = Lost::of(outgoing, "")?;
    if !matches!(request.encoding.as_str(), "" | "float") {
        return Err(unsupported("encoding", "Gemini's API gives vectors of floats only"));
    }
    if !request.end_user_id.is_empty() {
        lost.parameter("end_user_id", "Gemini's API has no such parameter")?;
    }
    let (text, headers) = translate::apply(
        settings(request, place.api, &mut lost)?,
        &request.provider_options,
        outgoing.provider,
        "provider_options",
        &PROTECTED,
    )?;
    let settings: Members<'_> = serde_json::from_str(&text)
        .map_err(|_| Error::from(CallerError::internal("a translated request is no JSON object")))?;
    let to = To::new(outgoing.provider, outgoing.model);
    let mut body = String::with_capacity(256);
    let mut object = Object::begin(&mut body);
    let mut list = object.list(if place.api == Api::Vertex { "instances" } else { "requests" });
    for (index, input) in request.inputs.iter().enumerate() {
        let mut one = list.object();
        let field = format!("inputs[{index}]");
        match place.api {
            Api::Studio => {
                write::string(one.key("model"), &place.resource(outgoing.model)?);
                let mut content = one.object("content");
                content.raw("parts", &content_parts(input, &field, to, &mut lost)?);
                content.end();
            }
            Api::Vertex => one.string("content", &plain_text(input, &field)?),
        }
        let own = settings.iter().filter(|(name, _)| *name != "parameters");
        own.for_each(|(name, value)| one.raw(name, value));
        one.end();
    }
    list.end();
    if let Some(parameters) = settings.get("parameters") {
        object.raw("parameters", parameters.get());
    }
    object.end();
    Ok(Built { body, headers, warnings: lost.warnings })
}

/// Writes what holds for every input.
fn settings(request: &EmbedRequest, api: Api, lost: &mut Lost) -> Result<String, Error> {
    let mut text = String::new();
    let mut settings = Object::begin(&mut text);
    let task = match request.task.as_str() {
        "query" => "RETRIEVAL_QUERY".to_owned(),
        "document" => "RETRIEVAL_DOCUMENT".to_owned(),
        "similarity" => "SEMANTIC_SIMILARITY".to_owned(),
        word => word.to_ascii_uppercase(),
    };
    let dimensions = request.dimensions.map(i64::from);
    if api == Api::Studio {
        settings.text("taskType", &task);
        settings.int("outputDimensionality", dimensions);
        if !request.truncation.is_empty() {
            lost.parameter("truncation", "Gemini's API has no such parameter")?;
        }
    } else {
        settings.text("task_type", &task);
        let mut parameters = settings.object("parameters");
        parameters.int("outputDimensionality", dimensions);
        match request.truncation.as_str() {
            "" => {}
            "none" => parameters.raw("autoTruncate", "false"),
            "end" => parameters.raw("autoTruncate", "true"),
            _ => lost.parameter("truncation", "Vertex cuts at the end only")?,
        }
        parameters.end();
    }
    settings.end();
    Ok(text)
}

fn content_parts(input: &EmbedInput, field: &str, to: To<'_>, lost: &mut Lost) -> Result<String, Error> {
    let mut text = String::new();
    let mut list = write::List::begin(&mut text);
    match &input.kind {
        Some(Input::Parts(all)) => {
            for (at, part) in all.parts.iter().enumerate() {
                let written = parts::content(part, &format!("{field}.parts[{at}]"), "", to, lost)?;
                written.iter().for_each(|json| list.item().push_str(json));
            }
        }
        _ => {
            let mut part = list.object();
            part.string("text", &plain_text(input, field)?);
            part.end();
        }
    }
    list.end();
    Ok(text)
}

fn plain_text(input: &EmbedInput, field: &str) -> Result<String, Error> {
    match &input.kind {
        Some(Input::Text(text)) => Ok(text.clone()),
        Some(Input::TokenIds(_)) => Err(unsupported(field, "Gemini's API embeds no token ids")),
        Some(Input::Parts(all)) => {
            let texts = all.parts.iter().map(|part| match &part.kind {
                Some(Kind::Text(text)) => Ok(text.as_str()),
                _ => Err(unsupported(&format!("{field}.parts"), "it embeds text only")),
            });
            texts.collect()
        }
        None => Err(invalid(field.to_owned(), "must hold something")),
    }
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Whole<'a> {
    embeddings: Option<Vec<Values>>,
    predictions: Option<Vec<Prediction>>,
    #[serde(borrow)]
    usage_metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Values {
    values: Vec<f32>,
    statistics: Statistics,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Statistics {
    token_count: Count,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Prediction {
    embeddings: Values,
}

/// Reads an answer with one vector for each of `inputs` inputs.
///
/// # Errors
/// The error that the body tells, or `BadResponse` if vectors are missing or no floats.
pub(super) fn decode(body: &[u8], inputs: usize, model: &str) -> Result<EmbedResponse, Error> {
    let answer: Whole<'_> = serde_json::from_slice(body).map_err(|_| refusal::not_json(body))?;
    if says_something(answer.error) {
        return Err(refusal::of_payload(body));
    }
    let predictions = answer.predictions.unwrap_or_default().into_iter().map(|one| one.embeddings);
    let all: Vec<Values> = answer.embeddings.into_iter().flatten().chain(predictions).collect();
    if all.len() != inputs || all.iter().any(|one| one.values.is_empty()) {
        let message = format!("the answer has {} embeddings for {inputs} inputs", all.len());
        return Err(Error::new(Failure::BadResponse, message));
    }
    let told = answer.usage_metadata.and_then(|json| serde_json::from_str::<Told<'_>>(json.get()).ok());
    let usage = told.and_then(|told| told.usage()).or_else(|| counted(&all));
    let vectors = (0..).zip(all).map(|(index, one)| {
        let vector = Some(Vector::Dense(FloatVector { values: one.values }));
        Embedding { index, vector }
    });
    let embeddings = vectors.collect();
    Ok(EmbedResponse { model: model.to_owned(), embeddings, usage, ..EmbedResponse::default() })
}

/// Vertex counts each input by itself; AI Studio's older models do not tell at all.
fn counted(all: &[Values]) -> Option<Usage> {
    let counts: Option<Vec<i64>> = all.iter().map(|one| one.statistics.token_count.0).collect();
    let total = counts?.into_iter().fold(0, i64::saturating_add);
    let mut usage = Usage { input_tokens: Some(total), ..Usage::default() };
    usage.set_source(Source::Provider);
    Some(usage)
}

#[cfg(test)]
mod tests;
