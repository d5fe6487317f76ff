//! Embeddings by Cohere's `/v2/embed`.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::value::RawValue;
use tollgate_api::v1::{
    EmbedInput, EmbedRequest, EmbedResponse, Embedding, Media, embed_input::Kind as Input, media::Source,
    part::Kind as PartKind,
};

use super::usage;
use crate::{
    error::Error as CallerError,
    provider::{
        Error, Kind, Outgoing,
        json::{
            members::Members,
            write::{self, List, Object},
        },
        openai::vectors::{self, Form},
        refusal,
        translate::{self, Built, Lost, unsupported},
    },
};

const PROTECTED: [&str; 5] = ["model", "texts", "inputs", "embedding_types", "output_dimension"];

/// What is asked for: Cohere's name of it, and how it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    name: &'static str,
    form: Form,
}

/// Plain numbers, for the readers of `provider/lanes.rs`.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) const FLOATS: Wanted = Wanted { name: "float", form: Form::Floats };

/// Translates a request.
///
/// # Errors
/// `Unsupported` or an `INVALID_REQUEST` of the caller's, each with the field's path.
pub(super) fn build(
    request: &EmbedRequest,
    outgoing: &Outgoing<'_, EmbedRequest>,
) -> Result<(Built, Wanted), Error> {
    let mut lost = Lost::of(outgoing, "")?;
    let wanted = match request.encoding.as_str() {
        "" | "float" => Wanted { name: "float", form: Form::Floats },
        "int8" => Wanted { name: "int8", form: Form::Bytes },
        // Unsigned: the bits as they are, without the offset of the signed form.
        "binary" => Wanted { name: "ubinary", form: Form::Bits },
        other => return Err(unsupported("encoding", &format!("it gives no vectors of `{other}`"))),
    };
    let mut text = String::with_capacity(256);
    let mut body = Object::begin(&mut text);
    body.string("model", outgoing.model);
    body.string("input_type", input_type(request, &mut lost)?);
    body.raw("embedding_types", &format!("[\"{}\"]", wanted.name));
    body.int("output_dimension", request.dimensions.map(i64::from));
    match request.truncation.as_str() {
        "" => {}
        "none" => body.string("truncate", "NONE"),
        "start" => body.string("truncate", "START"),
        "end" => body.string("truncate", "END"),
        _ => lost.parameter("truncation", "Cohere knows none, start and end")?,
    }
    if !request.end_user_id.is_empty() {
        lost.parameter("end_user_id", "Cohere has no such parameter")?;
    }
    inputs(&mut body, &request.inputs)?;
    body.end();
    let (body, headers) =
        translate::apply(text, &request.provider_options, outgoing.provider, "provider_options", &PROTECTED)?;
    Ok((Built { body, headers, warnings: lost.warnings }, wanted))
}

/// Cohere must be told what the vectors are for; documents are what most vectors are made of.
fn input_type<'a>(request: &'a EmbedRequest, lost: &mut Lost) -> Result<&'a str, Error> {
    Ok(match request.task.as_str() {
        "" | "document" => "search_document",
        "query" => "search_query",
        "similarity" => {
            lost.parameter("task", "Cohere has no such task; the vectors are made for search")?;
            "search_document"
        }
        // `classification` and `clustering` have Cohere's own names, as have other words of it.
        other => other,
    })
}

fn inputs(body: &mut Object<'_>, inputs: &[EmbedInput]) -> Result<(), Error> {
    let plain = inputs.iter().all(|input| matches!(input.kind, Some(Input::Text(_))));
    let mut list = body.list(if plain { "texts" } else { "inputs" });
    for (index, input) in inputs.iter().enumerate() {
        match &input.kind {
            Some(Input::Text(text)) if plain => write::string(list.item(), text),
            Some(Input::Text(text)) => {
                let mut item = list.object();
                let mut content = item.list("content");
                text_item(&mut content, text);
                content.end();
                item.end();
            }
            Some(Input::Parts(parts)) => {
                let mut item = list.object();
                let mut content = item.list("content");
                for (at, part) in parts.parts.iter().enumerate() {
                    let field = format!("inputs[{index}].parts[{at}]");
                    match &part.kind {
                        Some(PartKind::Text(text)) => text_item(&mut content, text),
                        Some(PartKind::Media(media)) => image_item(&mut content, media, &field)?,
                        _ => return Err(unsupported(&field, "Cohere embeds texts and images only")),
                    }
                }
                content.end();
                item.end();
            }
            Some(Input::TokenIds(_)) => {
                return Err(unsupported(&format!("inputs[{index}].token_ids"), "Cohere embeds no token ids"));
            }
            None => {
                return Err(CallerError::invalid(format!("inputs[{index}]"), "must hold something").into());
            }
        }
    }
    list.end();
    Ok(())
}

fn text_item(content: &mut List<'_>, text: &str) {
    let mut item = content.object();
    item.string("type", "text");
    item.string("text", text);
    item.end();
}

fn image_item(content: &mut List<'_>, media: &Media, field: &str) -> Result<(), Error> {
    let url = match &media.source {
        Some(Source::Uri(uri)) if uri.starts_with("data:") => uri.clone(),
        Some(Source::Data(data)) if media.mime_type.starts_with("image/") => {
            format!("data:{};base64,{}", media.mime_type, STANDARD.encode(data))
        }
        _ => return Err(unsupported(field, "Cohere embeds images that are sent as bytes only")),
    };
    let mut item = content.object();
    item.string("type", "image_url");
    let mut image = item.object("image_url");
    image.string("url", &url);
    image.end();
    item.end();
    Ok(())
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Whole<'a> {
    #[serde(borrow)]
    embeddings: Option<Members<'a>>,
    #[serde(borrow)]
    meta: Option<Meta<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Meta<'a> {
    #[serde(borrow)]
    billed_units: Option<&'a RawValue>,
}

/// Reads an answer with one vector for each of `inputs` inputs.
///
/// # Errors
/// The error that the body tells, or `BadResponse` if vectors are missing or of another form.
pub(super) fn decode(
    body: &[u8],
    inputs: usize,
    wanted: Wanted,
    model: String,
) -> Result<EmbedResponse, Error> {
    let answer: Whole<'_> = serde_json::from_slice(body).map_err(|_| refusal::not_json(body))?;
    let Some(embeddings) = answer.embeddings else { return Err(refusal::of_payload(body)) };
    let list = embeddings.get(wanted.name).map(|list| serde_json::from_str::<Vec<&RawValue>>(list.get()));
    let Some(Ok(list)) = list else {
        let message = format!("the answer has no list of embeddings of `{}`", wanted.name);
        return Err(Error::new(Kind::BadResponse, message));
    };
    if list.len() != inputs {
        let message = format!("the answer has {} embeddings for {inputs} inputs", list.len());
        return Err(Error::new(Kind::BadResponse, message));
    }
    let mut vectors = Vec::with_capacity(inputs);
    for (index, json) in (0..).zip(list) {
        let vector = vectors::read(json.get(), wanted.form)
            .ok_or_else(|| Error::new(Kind::BadResponse, "an embedding is no list of numbers"))?;
        vectors.push(Embedding { index, vector: Some(vector) });
    }
    Ok(EmbedResponse {
        model,
        embeddings: vectors,
        usage: answer.meta.and_then(|meta| meta.billed_units).and_then(usage::of_embeddings),
        ..EmbedResponse::default()
    })
}

#[cfg(test)]
mod tests;
