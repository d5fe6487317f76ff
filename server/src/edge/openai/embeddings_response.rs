//! A typed answer of embeddings as OpenAI's list.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;
use tollgate_api::v1::{EmbedResponse, embedding};

use crate::error::{Error, Reason};

#[derive(Serialize)]
struct List<'a> {
    object: &'static str,
    data: Vec<Entry<'a>>,
    model: &'a str,
    usage: Usage,
}

#[derive(Serialize)]
struct Entry<'a> {
    object: &'static str,
    index: i32,
    embedding: Vector<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Vector<'a> {
    Floats(&'a [f32]),
    Base64(String),
}

#[derive(Serialize)]
struct Usage {
    prompt_tokens: i64,
    total_tokens: i64,
}

/// Writes vectors as OpenAI does: floats, or base64 of little-endian floats, which SDKs ask for by default.
///
/// # Errors
/// `UPSTREAM_BAD_RESPONSE` if a vector is not of floats.
pub(super) fn write(answer: &EmbedResponse, base64: bool) -> Result<Vec<u8>, Error> {
    let mut data = Vec::with_capacity(answer.embeddings.len());
    for entry in &answer.embeddings {
        let Some(embedding::Vector::Dense(vector)) = &entry.vector else {
            return Err(Error::new(
                Reason::UpstreamBadResponse,
                "the answer holds a vector that is not of floats",
            ));
        };
        let embedding = if base64 {
            let bytes: Vec<u8> = vector.values.iter().flat_map(|value| value.to_le_bytes()).collect();
            Vector::Base64(STANDARD.encode(bytes))
        } else {
            Vector::Floats(&vector.values)
        };
        data.push(Entry { object: "embedding", index: entry.index, embedding });
    }
    data.sort_by_key(|entry| entry.index);
    let tokens = answer.usage.as_ref().and_then(|usage| usage.input_tokens).unwrap_or(0);
    let usage = Usage { prompt_tokens: tokens, total_tokens: tokens };
    let list = List { object: "list", data, model: &answer.model, usage };
    serde_json::to_vec(&list).map_err(|_| Error::internal("the vectors cannot be written as JSON"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tollgate_api::v1::{Embedding, FloatVector, Usage};

    use super::*;

    fn answer() -> EmbedResponse {
        let entry = |index, values: &[f32]| Embedding {
            index,
            vector: Some(embedding::Vector::Dense(FloatVector { values: values.to_vec() })),
        };
        EmbedResponse {
            model: "e-1".to_owned(),
            embeddings: vec![entry(1, &[0.5]), entry(0, &[1.0, -2.0])],
            usage: Some(Usage { input_tokens: Some(7), ..Default::default() }),
            ..Default::default()
        }
    }

    #[test]
    fn floats_are_listed_by_index() {
        let written: Value = serde_json::from_slice(&write(&answer(), false).unwrap()).unwrap();
        assert_eq!(
            written,
            json!({"object": "list", "model": "e-1", "usage": {"prompt_tokens": 7, "total_tokens": 7}, "data": [
                {"object": "embedding", "index": 0, "embedding": [1.0, -2.0]},
                {"object": "embedding", "index": 1, "embedding": [0.5]}]})
        );
    }

    #[test]
    fn base64_is_of_little_endian_floats() {
        let written: Value = serde_json::from_slice(&write(&answer(), true).unwrap()).unwrap();
        // 1.0 is 00 00 80 3f, -2.0 is 00 00 00 c0.
        assert_eq!(written["data"][0]["embedding"], "AACAPwAAAMA=");
    }
}
