//! The REST surfaces on which a caller can have a model's words.

use serde_json::{Value, json};

use super::rules;
use crate::{family::Family, framing::Framing};

/// One surface.
pub struct Surface {
    pub name: &'static str,
    pub path: &'static str,
    /// Whose clients it serves.
    pub family: Family,
    /// A small request of that dialect.
    pub request: fn(alias: &str, streamed: bool) -> Value,
    /// What that dialect's clients enforce beyond what a reading shows.
    pub rules: fn(framing: Framing, body: &[u8]) -> Result<(), String>,
}

/// Every surface.
pub static ALL: [Surface; 4] = [
    Surface {
        name: "chat",
        path: "/v1/chat/completions",
        family: Family::Chat,
        request: chat,
        rules: rules::chat,
    },
    Surface {
        name: "responses",
        path: "/v1/responses",
        family: Family::Responses,
        request: responses,
        rules: rules::responses,
    },
    Surface {
        name: "messages",
        path: "/v1/messages",
        family: Family::Messages,
        request: messages,
        rules: rules::messages,
    },
    Surface {
        name: "completions",
        path: "/v1/completions",
        family: Family::Completions,
        request: completions,
        rules: rules::completions,
    },
];

fn with_stream(mut request: Value, streamed: bool, options: bool) -> Value {
    if streamed {
        request["stream"] = json!(true);
        if options {
            request["stream_options"] = json!({"include_usage": true});
        }
    }
    request
}

fn chat(alias: &str, streamed: bool) -> Value {
    let request = json!({"model": alias, "messages": [{"role": "user", "content": "?"}]});
    with_stream(request, streamed, true)
}

fn responses(alias: &str, streamed: bool) -> Value {
    with_stream(json!({"model": alias, "input": "?"}), streamed, false)
}

fn messages(alias: &str, streamed: bool) -> Value {
    let request = json!({"model": alias, "max_tokens": 4096, "messages": [{"role": "user", "content": "?"}]});
    with_stream(request, streamed, false)
}

fn completions(alias: &str, streamed: bool) -> Value {
    with_stream(json!({"model": alias, "prompt": "?"}), streamed, true)
}
