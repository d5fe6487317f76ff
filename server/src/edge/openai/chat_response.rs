//! A whole typed answer as a `chat.completion` object.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;
use tollgate_api::v1::{self, CompleteResponse, media, part};

use super::{
    calls::Call,
    shapes::{Annotation, Aside, Audio, Image, Logprobs, Usage, finish_reason},
    tokens::{Detail, Extra},
};
use crate::error::Error;

#[derive(Serialize)]
struct Completion<'a> {
    id: String,
    object: &'static str,
    created: i64,
    model: &'a str,
    choices: Vec<Choice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
    #[serde(skip_serializing_if = "str::is_empty")]
    service_tier: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    system_fingerprint: &'a str,
}

#[derive(Serialize)]
struct Choice<'a> {
    index: i32,
    message: Message<'a>,
    logprobs: Option<Logprobs<'a>>,
    finish_reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    x_tollgate: Option<Aside<'a>>,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: Option<String>,
    refusal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasoning_details: Vec<Detail>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extra_content: Option<Extra>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    annotations: Vec<Annotation<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    audio: Option<Audio>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    images: Vec<Image>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Call<'a>>,
}

/// Writes an answer as OpenAI does.
///
/// # Errors
/// `INTERNAL` if it cannot be written, which no answer is known to cause.
pub(super) fn write(answer: &CompleteResponse) -> Result<Vec<u8>, Error> {
    let created = answer.create_time.as_ref().map_or(0, |time| time.seconds);
    let completion = Completion {
        id: format!("chatcmpl-{}", answer.id),
        object: "chat.completion",
        created,
        model: &answer.model,
        choices: answer.choices.iter().map(|choice| show(choice, &answer.id, created)).collect(),
        usage: answer.usage.as_ref().map(Usage::of),
        service_tier: &answer.service_tier,
        system_fingerprint: &answer.system_fingerprint,
    };
    serde_json::to_vec(&completion).map_err(|_| Error::internal("the answer cannot be written as JSON"))
}

fn show<'a>(choice: &'a v1::Choice, id: &str, created: i64) -> Choice<'a> {
    let mapped = finish_reason(choice.finish_reason());
    Choice {
        index: choice.index,
        message: message(choice.message.as_ref(), id, created),
        logprobs: Logprobs::of(&choice.logprobs),
        finish_reason: mapped,
        x_tollgate: Aside::of(mapped, &choice.upstream_finish_reason),
    }
}

fn message<'a>(answer: Option<&'a v1::Message>, id: &str, created: i64) -> Message<'a> {
    let mut message = Message {
        role: "assistant",
        content: None,
        refusal: None,
        reasoning_content: None,
        reasoning_details: Vec::new(),
        extra_content: None,
        annotations: Vec::new(),
        audio: None,
        images: Vec::new(),
        tool_calls: Vec::new(),
    };
    let parts = answer.map_or(&[][..], |answer| &answer.parts);
    for part in parts {
        message.annotations.extend(part.annotations.iter().filter_map(Annotation::of));
        match &part.kind {
            Some(part::Kind::Text(text)) => {
                append(&mut message.content, text);
                message.extra_content = Extra::of(part.continuity.as_ref()).or(message.extra_content);
            }
            Some(part::Kind::Refusal(text)) => append(&mut message.refusal, text),
            Some(part::Kind::Thought(thought)) => {
                if !thought.text.is_empty() {
                    append(&mut message.reasoning_content, &thought.text);
                }
                let index = message.reasoning_details.len();
                message.reasoning_details.extend(Detail::of(index, thought, part.continuity.as_ref()));
            }
            // A call that the provider ran itself is not for the caller to run.
            Some(part::Kind::ToolCall(call)) if !call.executed_upstream => {
                let extra_content = Extra::of(part.continuity.as_ref());
                message.tool_calls.push(Call::whole(None, call).with(extra_content));
            }
            Some(part::Kind::Media(media)) if media.mime_type.starts_with("audio/") => {
                message.audio = Some(audio(media, id, created));
            }
            Some(part::Kind::Media(media)) => message.images.extend(Image::of(media)),
            _ => {}
        }
    }
    // An answer of nothing is an empty text; null means that something else stands in its place.
    let nothing_else = message.refusal.is_none()
        && message.tool_calls.is_empty()
        && message.audio.is_none()
        && message.images.is_empty();
    if message.content.is_none() && nothing_else {
        message.content = Some(String::new());
    }
    message
}

fn audio(media: &v1::Media, id: &str, created: i64) -> Audio {
    let data = match &media.source {
        Some(media::Source::Data(data)) => STANDARD.encode(data),
        _ => String::new(),
    };
    Audio { id: format!("audio_{id}"), data, transcript: media.transcript.clone(), expires_at: Some(created) }
}

fn append(text: &mut Option<String>, more: &str) {
    text.get_or_insert_default().push_str(more);
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tollgate_api::v1::{FinishReason, Part, Thought, ToolCall, tool_call::Input};

    use super::*;

    fn of(kind: part::Kind) -> Part {
        Part { kind: Some(kind), ..Default::default() }
    }

    fn answer(parts: Vec<Part>, finish_reason: FinishReason) -> CompleteResponse {
        let message = v1::Message { role: v1::Role::Assistant.into(), parts, name: String::new() };
        CompleteResponse {
            id: "id".to_owned(),
            model: "m-1".to_owned(),
            create_time: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 5 }),
            choices: vec![v1::Choice {
                message: Some(message),
                finish_reason: finish_reason.into(),
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    fn written(answer: &CompleteResponse) -> Value {
        serde_json::from_slice(&write(answer).unwrap()).unwrap()
    }

    #[test]
    fn a_text_answer_has_every_member_that_clients_read() {
        let mut text = answer(
            vec![of(part::Kind::Text("Hel".into())), of(part::Kind::Text("lo".into()))],
            FinishReason::Stop,
        );
        text.usage = Some(v1::Usage {
            input_tokens: Some(3),
            output_tokens: Some(2),
            reasoning_output_tokens: Some(1),
            ..Default::default()
        });
        assert_eq!(
            written(&text),
            json!({"id": "chatcmpl-id", "object": "chat.completion", "created": 1_700_000_000, "model": "m-1",
                "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello", "refusal": null},
                    "logprobs": null, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5,
                    "completion_tokens_details": {"reasoning_tokens": 1}}})
        );
    }

    #[test]
    fn only_tool_calls_leave_the_content_null_and_upstreams_own_calls_are_not_shown() {
        let call = |id: &str, input, executed_upstream| {
            let call = ToolCall { id: id.into(), name: "f".into(), input: Some(input), executed_upstream };
            of(part::Kind::ToolCall(call))
        };
        let parts = vec![
            call("a", Input::ArgumentsJson("{\"x\": 1}".into()), false),
            call("b", Input::ArgumentsJson(String::new()), true),
            call("c", Input::Text("free".into()), false),
        ];
        let message = &written(&answer(parts, FinishReason::ToolCalls))["choices"][0]["message"];
        assert_eq!(message["content"], Value::Null);
        assert_eq!(
            message["tool_calls"],
            json!([{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"x\": 1}"}},
                {"id": "c", "type": "custom", "custom": {"name": "f", "input": "free"}}])
        );
    }

    #[test]
    fn thoughts_refusals_and_unknown_reasons_keep_their_places() {
        let thought = Thought { text: "hm".into(), ..Default::default() };
        let parts = vec![of(part::Kind::Thought(thought)), of(part::Kind::Refusal("no".into()))];
        let mut refused = answer(parts, FinishReason::Other);
        refused.choices[0].upstream_finish_reason = "weird".into();
        let choice = &written(&refused)["choices"][0];
        assert_eq!(
            choice["message"],
            json!({"role": "assistant", "content": null, "refusal": "no", "reasoning_content": "hm"})
        );
        assert_eq!(choice["finish_reason"], "stop");
        assert_eq!(choice["x_tollgate"]["upstream_finish_reason"], "weird");
    }

    #[test]
    fn an_empty_answer_is_an_empty_text() {
        let choice = &written(&answer(Vec::new(), FinishReason::Length))["choices"][0];
        assert_eq!(choice["message"]["content"], "");
        assert_eq!(choice["finish_reason"], "length");
    }
}
