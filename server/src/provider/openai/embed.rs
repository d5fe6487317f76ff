//! Embeddings: the express lane's check, and the typed lane both ways.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;
use tollgate_api::v1::{
    EmbedRequest, EmbedResponse, Embedding, FloatVector, embed_input::Kind as Input, embedding::Vector, part,
};

use super::{
    error,
    express::not_json,
    json::{Count, Text, says_something},
    options::{self, Built, Lost, unsupported},
    usage, write,
    write::Object,
};
use crate::{
    call::{Item, Seen},
    error::Error as CallerError,
    provider::{Error, Kind, Outgoing, vendors::Vendor},
};

const PROTECTED: [&str; 4] = ["model", "input", "encoding_format", "dimensions"];

#[derive(Default, Deserialize)]
#[serde(default)]
struct Whole<'a, D> {
    #[serde(borrow)]
    model: Text<'a>,
    data: Option<Vec<D>>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

/// Checks a whole answer and hands it on untouched.
pub(super) fn whole(body: Bytes) -> Result<Item, Error> {
    let answer: Whole<'_, IgnoredAny> = serde_json::from_slice(&body).map_err(|_| not_json(&body))?;
    if says_something(answer.error) {
        return Err(error::of_payload(&body));
    }
    if answer.data.is_none() {
        return Err(no_data());
    }
    let seen = Seen {
        content_events: 1,
        usage: answer.usage.and_then(|usage| usage::parse(usage.get())).map(Box::new),
        model: (!answer.model.is_empty()).then(|| answer.model.0.clone().into_owned()),
        last: true,
        progress: true,
        ..Seen::default()
    };
    Ok(Item::Raw(body, seen))
}

fn no_data() -> Error {
    Error::new(Kind::BadResponse, "the answer is a JSON object without `data`")
}

/// Translates a request.
pub(super) fn build(
    request: &EmbedRequest,
    outgoing: &Outgoing<'_, EmbedRequest>,
    vendor: &Vendor,
) -> Result<Built, Error> {
    let mut lost = Lost::new(outgoing.strict);
    if !matches!(request.encoding.as_str(), "" | "float") {
        return Err(unsupported("encoding", "OpenAI's API gives vectors of floats only"));
    }
    let mut text = String::with_capacity(256);
    let mut body = Object::begin(&mut text);
    body.string("model", outgoing.model);
    inputs(&mut body, request)?;
    // A quarter of the bytes and none of the rounding, where the vendor knows it.
    body.string("encoding_format", if vendor.base64_embeddings { "base64" } else { "float" });
    body.int("dimensions", request.dimensions.map(i64::from));
    body.text("user", &request.end_user_id);
    for (name, value) in [("task", &request.task), ("truncation", &request.truncation)] {
        if !value.is_empty() {
            lost.parameter(name, "OpenAI's API has no such parameter")?;
        }
    }
    body.end();
    let (body, headers) =
        options::apply(text, &request.provider_options, outgoing.provider, "provider_options", &PROTECTED)?;
    Ok(Built { body, headers, warnings: lost.warnings })
}

fn inputs(body: &mut Object<'_>, request: &EmbedRequest) -> Result<(), Error> {
    let ids = request.inputs.iter().filter(|input| matches!(input.kind, Some(Input::TokenIds(_)))).count();
    if ids != 0 && ids != request.inputs.len() {
        return Err(CallerError::invalid("inputs", "texts and token ids cannot be mixed in one call").into());
    }
    let mut list = body.list("input");
    for (index, input) in request.inputs.iter().enumerate() {
        match &input.kind {
            Some(Input::Text(text)) => write::string(list.item(), text),
            Some(Input::TokenIds(tokens)) => {
                let numbers: Vec<String> = tokens.ids.iter().map(i32::to_string).collect();
                let item = list.item();
                item.push('[');
                item.push_str(&numbers.join(","));
                item.push(']');
            }
            Some(Input::Parts(parts)) => {
                let mut joined = String::new();
                for part in &parts.parts {
                    match &part.kind {
                        Some(part::Kind::Text(text)) => joined.push_str(text),
                        _ => {
                            return Err(unsupported(&format!("inputs[{index}].parts"), "it embeds text only"));
                        }
                    }
                }
                write::string(list.item(), &joined);
            }
            None => {
                return Err(CallerError::invalid(format!("inputs[{index}]"), "must hold something").into());
            }
        }
    }
    list.end();
    Ok(())
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct One<'a> {
    index: Count,
    #[serde(borrow)]
    embedding: Option<&'a RawValue>,
}

/// Reads an answer with one vector for each of `inputs` inputs.
///
/// # Errors
/// The error that the body tells, or `BadResponse` if vectors are missing, double or no floats.
pub(super) fn decode(body: &[u8], inputs: usize) -> Result<EmbedResponse, Error> {
    let answer: Whole<'_, One<'_>> = serde_json::from_slice(body).map_err(|_| not_json(body))?;
    if says_something(answer.error) {
        return Err(error::of_payload(body));
    }
    let data = answer.data.ok_or_else(no_data)?;
    let mut embeddings = Vec::with_capacity(data.len());
    for (position, one) in (0..).zip(&data) {
        let values = one.embedding.and_then(|vector| floats(vector.get()));
        let values =
            values.ok_or_else(|| Error::new(Kind::BadResponse, "an embedding is no list of floats"))?;
        let index = i32::try_from(one.index.0.unwrap_or(position)).unwrap_or(-1);
        embeddings.push(Embedding { index, vector: Some(Vector::Dense(FloatVector { values })) });
    }
    embeddings.sort_by_key(|embedding| embedding.index);
    let in_order = (0..).zip(&embeddings).all(|(index, embedding)| embedding.index == index);
    if embeddings.len() != inputs || !in_order {
        let message = format!("the answer has {} embeddings for {inputs} inputs", embeddings.len());
        return Err(Error::new(Kind::BadResponse, message));
    }
    Ok(EmbedResponse {
        model: answer.model.0.into_owned(),
        embeddings,
        usage: answer.usage.and_then(|usage| usage::parse(usage.get())),
        ..EmbedResponse::default()
    })
}

/// Reads a vector: a list of numbers, or base64 of little-endian 32-bit floats.
fn floats(json: &str) -> Option<Vec<f32>> {
    if !json.starts_with('"') {
        return serde_json::from_str(json).ok();
    }
    let text: Text<'_> = serde_json::from_str(json).ok()?;
    let bytes = STANDARD.decode(text.0.as_bytes()).ok()?;
    if bytes.len() % 4 != 0 {
        return None;
    }
    Some(bytes.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect())
}
