//! The vectors of an embedding answer, in each vendor's own JSON.

use serde::Deserialize;
use serde_json::value::RawValue;
use tollgate_api::v1::{FloatVector, embedding::Vector};

use super::citations::within;
use crate::provider::{Error, Kind, json::Count, refusal::not_json};

/// What one upstream call gave.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) vectors: Vec<Vector>,
    pub(super) tokens: Option<i64>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Answer<'a> {
    /// Titan: one vector.
    #[serde(borrow)]
    embedding: Option<&'a RawValue>,
    /// Titan, if other forms were asked for: one vector for each form.
    #[serde(borrow)]
    embeddings_by_type: Option<&'a RawValue>,
    /// Cohere: a list of vectors, or one for each form; Nova: a list of objects.
    #[serde(borrow)]
    embeddings: Option<&'a RawValue>,
    /// A shape of OpenAI's, which some proxies before Cohere have.
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    input_text_token_count: Count,
}

/// A vector in one of its forms, or a list of them.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Forms<'a> {
    #[serde(borrow)]
    float: Option<&'a RawValue>,
    #[serde(borrow)]
    int8: Option<&'a RawValue>,
    #[serde(borrow)]
    ubinary: Option<&'a RawValue>,
    #[serde(borrow)]
    binary: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct One<'a> {
    #[serde(borrow)]
    embedding: Option<&'a RawValue>,
}

/// Reads an answer with one vector for each of `inputs` inputs. `header_tokens` is the count that the head told.
///
/// # Errors
/// `BadResponse` if vectors are missing or are none.
pub(super) fn decode(body: &[u8], inputs: usize, header_tokens: Option<i64>) -> Result<Told, Error> {
    let answer: Answer<'_> = serde_json::from_slice(body).map_err(|_| not_json(body))?;
    let tokens = answer.input_text_token_count.0.or(header_tokens);
    let vectors = read(&answer)
        .ok_or_else(|| Error::new(Kind::BadResponse, "the answer has no embeddings that can be read"))?;
    if vectors.len() != inputs {
        let message = format!("the answer has {} embeddings for {inputs} inputs", vectors.len());
        return Err(Error::new(Kind::BadResponse, message));
    }
    Ok(Told { vectors, tokens })
}

fn read(answer: &Answer<'_>) -> Option<Vec<Vector>> {
    if let Some(forms) = answer.embeddings_by_type {
        let forms: Forms<'_> = within(Some(forms));
        let one = match (forms.float, forms.binary) {
            (Some(float), _) => dense(float)?,
            (None, binary) => {
                Vector::PackedBits(packed(&serde_json::from_str::<Vec<u8>>(binary?.get()).ok()?).into())
            }
        };
        return Some(vec![one]);
    }
    if let Some(one) = answer.embedding {
        return Some(vec![dense(one)?]);
    }
    let list = answer.embeddings.or(answer.data)?;
    if list.get().starts_with('{') {
        return by_form(&within(Some(list)));
    }
    let list: Vec<&RawValue> = serde_json::from_str(list.get()).ok()?;
    let vector = |one: &RawValue| {
        if one.get().starts_with('[') { dense(one) } else { dense(within::<One<'_>>(Some(one)).embedding?) }
    };
    list.into_iter().map(vector).collect()
}

fn by_form(forms: &Forms<'_>) -> Option<Vec<Vector>> {
    if let Some(list) = forms.float {
        let list: Vec<&RawValue> = serde_json::from_str(list.get()).ok()?;
        return list.into_iter().map(dense).collect();
    }
    if let Some(list) = forms.int8 {
        let list: Vec<Vec<i8>> = serde_json::from_str(list.get()).ok()?;
        let bytes = |one: Vec<i8>| one.into_iter().map(|byte| byte.to_ne_bytes()[0]).collect::<Vec<u8>>();
        return Some(list.into_iter().map(|one| Vector::Int8(bytes(one).into())).collect());
    }
    let list: Vec<Vec<u8>> = serde_json::from_str(forms.ubinary?.get()).ok()?;
    Some(list.into_iter().map(|one| Vector::PackedBits(one.into())).collect())
}

fn dense(json: &RawValue) -> Option<Vector> {
    let values = serde_json::from_str(json.get()).ok()?;
    Some(Vector::Dense(FloatVector { values }))
}

/// Packs bits that stand in one number each, the first one in the most significant place.
fn packed(bits: &[u8]) -> Vec<u8> {
    let pack = |eight: &[u8]| {
        eight.iter().enumerate().fold(0, |byte, (at, bit)| byte | (u8::from(*bit != 0) << (7 - at)))
    };
    bits.chunks(8).map(pack).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(body: &str, inputs: usize) -> Vec<Vec<f32>> {
        let told = decode(body.as_bytes(), inputs, None).unwrap();
        let values = |vector| match vector {
            Vector::Dense(vector) => vector.values,
            other => panic!("{other:?}"),
        };
        told.vectors.into_iter().map(values).collect()
    }

    #[test]
    fn every_makers_shape_is_read() {
        assert_eq!(floats(r#"{"embedding":[0.5,1],"inputTextTokenCount":3}"#, 1), [[0.5, 1.0]]);
        let cohere = r#"{"id":"x","texts":["a","b"],"embeddings":{"float":[[1],[2]]},"response_type":"embeddings_by_type"}"#;
        assert_eq!(floats(cohere, 2), [[1.0], [2.0]]);
        assert_eq!(
            floats(r#"{"embeddings":[[1],[2]],"response_type":"embeddings_floats"}"#, 2),
            [[1.0], [2.0]]
        );
        assert_eq!(floats(r#"{"embeddings":[{"embeddingType":"TEXT","embedding":[7]}]}"#, 1), [[7.0]]);
        assert_eq!(floats(r#"{"data":[{"embedding":[7],"index":0}]}"#, 1), [[7.0]]);
    }

    #[test]
    fn br_invoke_header_usage_counts_where_the_body_does_not() {
        assert_eq!(decode(br#"{"embedding":[1]}"#, 1, Some(5)).unwrap().tokens, Some(5));
        assert_eq!(
            decode(br#"{"embedding":[1],"inputTextTokenCount":3}"#, 1, Some(5)).unwrap().tokens,
            Some(3)
        );
        assert_eq!(decode(br#"{"embedding":[1]}"#, 1, None).unwrap().tokens, None);
    }

    #[test]
    fn bytes_and_bits_are_packed_as_the_contract_wants() {
        let told = decode(br#"{"embeddings":{"int8":[[-1,127]]}}"#, 1, None).unwrap();
        assert_eq!(told.vectors, [Vector::Int8(vec![255, 127].into())]);
        let told = decode(br#"{"embeddings":{"ubinary":[[200,1]]}}"#, 1, None).unwrap();
        assert_eq!(told.vectors, [Vector::PackedBits(vec![200, 1].into())]);
        let titan = br#"{"embeddingsByType":{"binary":[1,0,0,0,0,0,0,1,1]},"inputTextTokenCount":3}"#;
        let told = decode(titan, 1, None).unwrap();
        assert_eq!(told.vectors, [Vector::PackedBits(vec![0x81, 0x80].into())]);
    }

    #[test]
    fn missing_and_broken_vectors_are_a_bad_response() {
        for body in [
            "",
            "{}",
            "[]",
            "<html>",
            r#"{"embedding":"x"}"#,
            r#"{"embeddings":[[1],["x"]]}"#,
            r#"{"embeddings":[[1]]}"#,
        ] {
            assert_eq!(decode(body.as_bytes(), 2, None).unwrap_err().kind, Kind::BadResponse, "{body}");
        }
    }
}
