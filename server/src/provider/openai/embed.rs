//! Embeddings: the express lane's check, and the typed lane both ways.

use bytes::Bytes;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;
use tollgate_api::v1::{EmbedRequest, EmbedResponse, Embedding, embed_input::Kind as Input, part};

use super::{
    json::{Count, Text, says_something},
    refusal::{self, not_json},
    translate::{self, Built, Lost, unsupported},
    usage,
    vectors::{self, Form},
    write,
    write::Object,
};
use crate::{
    call::{Item, Seen},
    error::Error as CallerError,
    provider::{Error, Kind, Outgoing, vendors::Vendor},
};

const PROTECTED: [&str; 6] =
    ["model", "input", "encoding_format", "dimensions", "output_dimension", "output_dtype"];

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
    let seen = match without_vectors(&body).and_then(|small| look(&small).ok()) {
        Some(seen) => seen,
        None => look(&body)?,
    };
    Ok(Item::Raw(body, seen))
}

fn look(body: &[u8]) -> Result<Seen, Error> {
    let answer: Whole<'_, IgnoredAny> = serde_json::from_slice(body).map_err(|_| not_json(body))?;
    if says_something(answer.error) {
        return Err(refusal::of_payload(body));
    }
    if answer.data.is_none() {
        return Err(no_data());
    }
    Ok(Seen {
        content_events: 1,
        usage: answer.usage.and_then(|usage| usage::parse(usage.get())).map(Box::new),
        model: (!answer.model.is_empty()).then(|| answer.model.0.clone().into_owned()),
        last: true,
        progress: true,
        ..Seen::default()
    })
}

/// Returns the answer with its list of vectors emptied: to read a hundred thousand digits just to see that they are
/// digits would cost more than all the rest. None if there is no list that begins and ends.
fn without_vectors(body: &[u8]) -> Option<Vec<u8>> {
    const KEY: &[u8] = b"\"data\"";
    let after_key = memchr::memmem::find(body, KEY)? + KEY.len();
    let list = after_key
        + body[after_key..].iter().position(|byte| !matches!(byte, b' ' | b'\n' | b'\r' | b'\t' | b':'))?;
    let end = list + end_of_list(&body[list..])?;
    Some([&body[..list], b"[]", &body[end..]].concat())
}

/// Finds where the list ends with which the text begins.
fn end_of_list(text: &[u8]) -> Option<usize> {
    let mut depth = 0_u32;
    let mut at = 0;
    while let Some(found) = memchr::memchr3(b'[', b']', b'"', &text[at..]) {
        at += found + 1;
        match text[at - 1] {
            b'[' => depth += 1,
            b']' => depth = depth.checked_sub(1)?,
            _ => at += end_of_string(&text[at..])?,
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// Finds the end of a string whose opening quote stands before the text.
fn end_of_string(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr::memchr2(b'"', b'\\', &text[at..])? + 1;
        if text[at - 1] == b'"' {
            return Some(at);
        }
        // A backslash takes the next byte with it.
        at += 1;
        text.get(at)?;
    }
}

fn no_data() -> Error {
    Error::new(Kind::BadResponse, "the answer is a JSON object without `data`")
}

/// Translates a request.
pub(super) fn build(
    request: &EmbedRequest,
    outgoing: &Outgoing<'_, EmbedRequest>,
    vendor: &Vendor,
) -> Result<(Built, Form), Error> {
    let mut lost = Lost::of(outgoing, "")?;
    let mut text = String::with_capacity(256);
    let mut body = Object::begin(&mut text);
    body.string("model", outgoing.model);
    inputs(&mut body, request)?;
    // OpenAI's base64 is a quarter of the bytes and none of the rounding.
    let form = vectors::ask(&mut body, &request.encoding, vendor)?;
    body.int(vendor.embeddings.dimensions, request.dimensions.map(i64::from));
    if !vendor.end_user.is_empty() {
        body.text("user", &request.end_user_id);
    } else if !request.end_user_id.is_empty() {
        lost.parameter("end_user_id", "the provider has no such parameter")?;
    }
    purpose(&mut body, request, vendor, &mut lost)?;
    body.end();
    let (body, headers) =
        translate::apply(text, &request.provider_options, outgoing.provider, "provider_options", &PROTECTED)?;
    Ok((Built { body, headers, warnings: lost.warnings }, form))
}

/// Writes what the vectors are for and what happens to long inputs, in Voyage's words.
fn purpose(
    body: &mut Object<'_>,
    request: &EmbedRequest,
    vendor: &Vendor,
    lost: &mut Lost,
) -> Result<(), Error> {
    let knows = vendor.embeddings.input_type;
    match request.task.as_str() {
        "" => {}
        task @ ("query" | "document") if knows => body.string("input_type", task),
        _ => lost.parameter("task", "the provider has no such parameter or no such task")?,
    }
    match request.truncation.as_str() {
        "" => {}
        "none" if knows => body.raw("truncation", "false"),
        "end" if knows => body.raw("truncation", "true"),
        _ => lost.parameter("truncation", "the provider cannot cut inputs so")?,
    }
    Ok(())
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
                            return Err(unsupported(
                                &format!("inputs[{index}].parts"),
                                "it embeds text only",
                            ));
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
/// The error that the body tells, or `BadResponse` if vectors are missing, double or of another form.
pub(super) fn decode(body: &[u8], inputs: usize, form: Form) -> Result<EmbedResponse, Error> {
    let answer: Whole<'_, One<'_>> = serde_json::from_slice(body).map_err(|_| not_json(body))?;
    if says_something(answer.error) {
        return Err(refusal::of_payload(body));
    }
    let data = answer.data.ok_or_else(no_data)?;
    let mut embeddings = Vec::with_capacity(data.len());
    for (position, one) in (0..).zip(&data) {
        let vector = one.embedding.and_then(|vector| vectors::read(vector.get(), form));
        let vector =
            vector.ok_or_else(|| Error::new(Kind::BadResponse, "an embedding is no list of numbers"))?;
        let index = i32::try_from(one.index.0.unwrap_or(position)).unwrap_or(-1);
        embeddings.push(Embedding { index, vector: Some(vector) });
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

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use tollgate_api::v1::embedding::Vector;

    use super::*;

    fn kind(body: &str, inputs: usize) -> Kind {
        decode(body.as_bytes(), inputs, Form::Floats).unwrap_err().kind
    }

    #[test]
    fn floats_and_base64_are_read_and_put_in_order() {
        let base64 = STANDARD.encode([1.5_f32.to_le_bytes(), (-2.0_f32).to_le_bytes()].concat());
        let body = format!(
            r#"{{"object":"list","model":"m","data":[{{"index":1,"embedding":[0.5,1]}},{{"index":0,"embedding":"{base64}"}}],
            "usage":{{"prompt_tokens":7,"total_tokens":7}}}}"#
        );
        let answer = decode(body.as_bytes(), 2, Form::Floats).unwrap();
        let dense = |vector: &Option<Vector>| match vector {
            Some(Vector::Dense(vector)) => vector.values.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(dense(&answer.embeddings[0].vector), [1.5, -2.0]);
        assert_eq!(dense(&answer.embeddings[1].vector), [0.5, 1.0]);
        assert_eq!(answer.usage.unwrap().input_tokens, Some(7));
    }

    #[test]
    fn missing_double_or_broken_vectors_are_a_bad_response() {
        let one = r#"{"data":[{"index":0,"embedding":[1]}]}"#;
        assert_eq!(kind(one, 2), Kind::BadResponse);
        let double = r#"{"data":[{"index":0,"embedding":[1]},{"index":0,"embedding":[1]}]}"#;
        assert_eq!(kind(double, 2), Kind::BadResponse);
        for broken in
            [r#"{"data":[{"embedding":"AAA"}]}"#, r#"{"data":[{"embedding":["x"]}]}"#, r#"{"data":[{}]}"#]
        {
            assert_eq!(kind(broken, 1), Kind::BadResponse, "{broken}");
        }
        assert_eq!(kind("{}", 1), Kind::BadResponse);
        assert_eq!(
            kind(r#"{"error":{"message":"x","code":"context_length_exceeded"}}"#, 1),
            Kind::ContextLength
        );
    }

    #[test]
    fn a_raw_answer_passes_if_it_has_data() {
        let body = Bytes::from_static(br#"{"model":"m","data":[{"embedding":[1.0e-3,2]}],"usage":{"prompt_tokens":1,"total_tokens":1}}"#);
        let Item::Raw(raw, seen) = whole(body.clone()).unwrap() else { panic!() };
        assert_eq!(raw, body);
        assert!(seen.last && seen.usage.is_some());
        for broken in
            [r#"{"data":[1,"#, r#"{"data":[1]"#, r#"{"data":["a\"]}"#, r#"{"data":[1]]}"#, r#"{"data":7}"#]
        {
            assert!(whole(Bytes::from_static(broken.as_bytes())).is_err(), "{broken}");
        }
        let odd = r#"{"note":"a \"data\" [","x":{"data":[1]},"data":["]\"["],"usage":null}"#;
        assert!(whole(Bytes::from_static(odd.as_bytes())).is_ok());
        assert!(whole(Bytes::from_static(b"{}")).is_err());
    }
}
