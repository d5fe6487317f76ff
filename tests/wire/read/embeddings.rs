//! Vectors, in any vendor's wire.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::Value;

use super::{Expected, count_at, list_at};

/// Reads an answer of vectors.
pub fn answer(messages: &[Value]) -> Expected {
    let mut expected = Expected::default();
    for message in messages {
        expected.failed |= !message["error"].is_null();
        expected.vectors = vectors(message);
        let told = [
            "/usage/prompt_tokens",
            "/usage/total_tokens",
            "/usageMetadata/promptTokenCount",
            "/meta/billed_units/input_tokens",
            "/inputTextTokenCount",
        ];
        expected.usage.input = told.iter().find_map(|place| count_at(message, place));
        // Vertex counts each vector by itself.
        let each: Vec<i64> = list_at(message, "/predictions")
            .filter_map(|vector| count_at(vector, "/embeddings/statistics/token_count"))
            .collect();
        if !each.is_empty() {
            expected.usage.input = Some(each.iter().sum());
        }
    }
    expected.failed |= expected.vectors.is_empty();
    expected
}

fn vectors(message: &Value) -> Vec<Vec<f32>> {
    let one =
        |places: &[&str], holder: &Value| places.iter().find_map(|place| vector(holder.pointer(place)?));
    let mut found: Vec<_> = list_at(message, "/data").filter_map(|item| one(&["/embedding"], item)).collect();
    found
        .extend(list_at(message, "/embeddings").filter_map(|item| one(&["/values", "/embedding", ""], item)));
    found.extend(list_at(message, "/embeddings/float").filter_map(|item| one(&[""], item)));
    found.extend(list_at(message, "/predictions").filter_map(|item| one(&["/embeddings/values"], item)));
    found.extend(one(&["/embedding/values", "/embedding"], message));
    found
}

fn vector(value: &Value) -> Option<Vec<f32>> {
    match value {
        Value::Array(numbers) => numbers.iter().map(|number| Some(number.as_f64()? as f32)).collect(),
        Value::String(packed) => {
            let bytes = BASE64_STANDARD.decode(packed).ok()?;
            let floats: Vec<f32> =
                bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
            // Bytes that are no floats are eight-bit numbers.
            let sane =
                bytes.len() % 4 == 0 && floats.iter().all(|number| number.is_finite() && number.abs() < 1e3);
            Some(if sane { floats } else { Vec::new() })
        }
        _ => None,
    }
}
