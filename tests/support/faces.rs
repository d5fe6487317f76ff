//! How the fake provider's answers look, in three dialects.

use serde_json::{Value, json};

/// A dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Face {
    OpenAi,
    Anthropic,
    Gemini,
}

pub const FACES: [Face; 3] = [Face::OpenAi, Face::Anthropic, Face::Gemini];

/// What a provider tells of usage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Told {
    /// At the end.
    #[default]
    Final,
    /// With every token.
    Each,
    /// Never.
    Absent,
    /// At the end, as nought.
    Zero,
}

/// Tokens so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub input: i64,
    pub output: i64,
}

/// The n-th token of every answer: short enough to be estimated as one, and with bytes that are no ASCII.
pub fn token(n: usize) -> String {
    format!("wé{n} ")
}

/// The first tokens of an answer.
pub fn text(tokens: usize) -> String {
    (0..tokens).map(token).collect()
}

impl Face {
    /// The dialect of a request, by its path.
    pub fn of(path: &str) -> Self {
        if path.ends_with("/messages") {
            Self::Anthropic
        } else if path.contains("enerateContent") {
            Self::Gemini
        } else {
            Self::OpenAi
        }
    }

    /// The name of the dialect in a configuration; also that of the alias which goes there.
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
        }
    }

    /// What comes before the first token: no content.
    pub fn opening(self, input: Option<i64>) -> Vec<String> {
        match self {
            Self::OpenAi => vec![openai(json!({"role": "assistant", "content": ""}), Value::Null, None)],
            Self::Anthropic => {
                let usage = input.map(|input| json!({"input_tokens": input, "output_tokens": 1}));
                let message = json!({"id": "msg_up", "type": "message", "role": "assistant", "model": "m-1",
                    "content": [], "stop_reason": null, "stop_sequence": null, "usage": usage});
                let block = json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}});
                vec![
                    named(&json!({"type": "message_start", "message": message})),
                    named(&block),
                    named(&json!({"type": "ping"})),
                ]
            }
            Self::Gemini => Vec::new(),
        }
    }

    /// The event of a token, with the count up to it if it is told.
    pub fn delta(self, text: &str, count: Option<Count>) -> String {
        match self {
            Self::OpenAi => openai(json!({"content": text}), Value::Null, count),
            Self::Anthropic => named(
                &json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}),
            ),
            Self::Gemini => gemini(text, None, count),
        }
    }

    /// What comes after the last token: the dialect's own end.
    pub fn closing(self, count: Option<Count>) -> Vec<String> {
        match self {
            Self::OpenAi => {
                let usage = count.map(|count| {
                    let usage = openai_usage(count);
                    data(&json!({"id": "up", "object": "chat.completion.chunk", "created": 1, "model": "m-1",
                        "choices": [], "usage": usage}))
                });
                let finish = openai(json!({}), json!("stop"), None);
                [Some(finish), usage, Some("data: [DONE]\n\n".to_owned())].into_iter().flatten().collect()
            }
            Self::Anthropic => {
                let mut delta = json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null}});
                if let Some(count) = count {
                    delta["usage"] = json!({"input_tokens": count.input, "output_tokens": count.output});
                }
                let stop = json!({"type": "content_block_stop", "index": 0});
                vec![named(&stop), named(&delta), named(&json!({"type": "message_stop"}))]
            }
            Self::Gemini => vec![gemini("", Some("STOP"), count)],
        }
    }

    /// A whole stream of so many tokens, event by event.
    pub fn events(self, tokens: usize) -> Vec<String> {
        let count = Count { input: 11, output: i64::try_from(tokens).unwrap() };
        let deltas = (0..tokens).map(|n| self.delta(&token(n), None));
        self.opening(Some(count.input)).into_iter().chain(deltas).chain(self.closing(Some(count))).collect()
    }

    /// A failure told inside a stream.
    pub fn failure(self, with_name: bool) -> String {
        let error = match self {
            Self::OpenAi => {
                json!({"error": {"message": "overloaded", "type": "server_error", "code": "server_error"}})
            }
            Self::Anthropic => {
                json!({"type": "error", "error": {"type": "overloaded_error", "message": "overloaded"}})
            }
            Self::Gemini => {
                json!({"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}})
            }
        };
        if with_name { format!("event: error\n{}", data(&error)) } else { data(&error) }
    }

    /// A whole answer that is not streamed.
    pub fn whole(self, text: &str, count: Option<Count>) -> String {
        let mut answer = match self {
            Self::OpenAi => {
                json!({"id": "up", "object": "chat.completion", "created": 1, "model": "m-1", "choices":
                [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]})
            }
            Self::Anthropic => json!({"id": "msg_up", "type": "message", "role": "assistant", "model": "m-1",
                "content": [{"type": "text", "text": text}], "stop_reason": "end_turn", "stop_sequence": null}),
            Self::Gemini => json!({"candidates": [{"content": {"parts": [{"text": text}], "role": "model"},
                "finishReason": "STOP", "index": 0}], "modelVersion": "m-1", "responseId": "up"}),
        };
        if let Some(count) = count {
            match self {
                Self::OpenAi => answer["usage"] = openai_usage(count),
                Self::Anthropic => {
                    answer["usage"] = json!({"input_tokens": count.input, "output_tokens": count.output});
                }
                Self::Gemini => answer["usageMetadata"] = gemini_usage(count),
            }
        }
        answer.to_string()
    }
}

fn data(json: &Value) -> String {
    format!("data: {json}\n\n")
}

fn named(json: &Value) -> String {
    format!("event: {}\n{}", json["type"].as_str().unwrap(), data(json))
}

fn openai(delta: Value, finish: Value, count: Option<Count>) -> String {
    let mut chunk = json!({"id": "up", "object": "chat.completion.chunk", "created": 1, "model": "m-1",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]});
    if let Some(count) = count {
        chunk["usage"] = openai_usage(count);
    }
    data(&chunk)
}

fn openai_usage(Count { input, output }: Count) -> Value {
    json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output})
}

fn gemini(text: &str, finish: Option<&str>, count: Option<Count>) -> String {
    let mut candidate = json!({"content": {"parts": [{"text": text}], "role": "model"}, "index": 0});
    if let Some(finish) = finish {
        candidate["finishReason"] = finish.into();
    }
    let mut chunk = json!({"candidates": [candidate], "modelVersion": "m-1", "responseId": "up"});
    if let Some(count) = count {
        chunk["usageMetadata"] = gemini_usage(count);
    }
    data(&chunk)
}

fn gemini_usage(Count { input, output }: Count) -> Value {
    json!({"promptTokenCount": input, "candidatesTokenCount": output, "totalTokenCount": input + output})
}
