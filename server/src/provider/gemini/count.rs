//! Counting the tokens of a prompt, which both APIs do for the same request without answering it.

use serde::Deserialize;
use serde_json::value::RawValue;
use tollgate_api::v1::{ChatInput, CountTokensResponse};

use super::{
    place::{Api, Place},
    request,
};
use crate::provider::{
    Error, Kind, Outgoing,
    json::{Count, members::Members, says_something, write, write::Object},
    refusal,
    translate::Built,
};

/// What Vertex's `countTokens` takes of a request; more is an unknown field to it.
const COUNTED_BY_VERTEX: [&str; 4] = ["contents", "systemInstruction", "tools", "generationConfig"];

/// Translates a request.
///
/// # Errors
/// As `request::build`.
pub(super) fn build(
    input: &ChatInput,
    outgoing: &Outgoing<'_, ChatInput>,
    place: &Place,
) -> Result<Built, Error> {
    let built = request::build(input, outgoing, place.api)?;
    let mut text = String::with_capacity(built.body.len() + 64);
    let mut body = Object::begin(&mut text);
    let members: Members<'_> = serde_json::from_str(&built.body)
        .map_err(|_| Error::from(crate::error::Error::internal("a translated request is no JSON object")))?;
    match place.api {
        Api::Vertex => {
            let counted = members.iter().filter(|(name, _)| COUNTED_BY_VERTEX.contains(name));
            counted.for_each(|(name, value)| body.raw(name, value));
        }
        Api::Studio => {
            let mut inner = body.object("generateContentRequest");
            write::string(inner.key("model"), &place.resource(outgoing.model)?);
            members.iter().for_each(|(name, value)| inner.raw(name, value));
            inner.end();
        }
    }
    body.end();
    Ok(Built { body: text, ..built })
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Told<'a> {
    total_tokens: Count,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

/// Reads an answer.
///
/// # Errors
/// The error that the body tells, or `BadResponse` if it has no count.
pub(super) fn decode(body: &[u8], model: &str) -> Result<CountTokensResponse, Error> {
    let told: Told<'_> = serde_json::from_slice(body).map_err(|_| refusal::not_json(body))?;
    if says_something(told.error) {
        return Err(refusal::of_payload(body));
    }
    let input_tokens = told
        .total_tokens
        .0
        .ok_or_else(|| Error::new(Kind::BadResponse, "the answer has no `totalTokens`"))?;
    Ok(CountTokensResponse { input_tokens, estimated: false, model: model.to_owned() })
}

#[cfg(test)]
mod tests {
    use tollgate_api::v1::ToolChoice;
    use uuid::Uuid;

    use super::*;
    use crate::{call::Payload, provider::gemini::place};

    #[test]
    fn each_api_is_asked_in_its_own_way() {
        let payload = Payload::typed(ChatInput {
            max_output_tokens: Some(1),
            service_tier: "flex".to_owned(),
            tool_choice: Some(ToolChoice::default()),
            ..ChatInput::default()
        });
        let outgoing = Outgoing {
            call_id: Uuid::nil(),
            provider: "mine",
            model: "g",
            payload: &payload,
            streamed: false,
            usage_wanted: false,
            strict: true,
            traceparent: None,
            output_cap: None,
        };
        let inner = r#""contents":[],"generationConfig":{"maxOutputTokens":1}"#;
        for (api, expected) in [
            (Api::Vertex, format!("{{{inner}}}")),
            (
                Api::Studio,
                format!(
                    r#"{{"generateContentRequest":{{"model":"models/g",{inner},"serviceTier":"flex"}}}}"#
                ),
            ),
        ] {
            let place = place::at(api, "http://h", "");
            assert_eq!(build(payload.view().unwrap(), &outgoing, &place).unwrap().body, expected);
        }
    }

    #[test]
    fn the_count_is_exact_or_there_is_none() {
        let counted = decode(br#"{"totalTokens":10,"promptTokensDetails":[]}"#, "m").unwrap();
        assert_eq!((counted.input_tokens, counted.estimated, counted.model.as_str()), (10, false, "m"));
        for (body, kind) in [
            ("{}", Kind::BadResponse),
            ("<html>", Kind::BadResponse),
            (r#"{"error":{"code":404,"message":"x","status":"NOT_FOUND"}}"#, Kind::Invalid),
        ] {
            assert_eq!(decode(body.as_bytes(), "m").unwrap_err().kind, kind, "{body}");
        }
    }
}
