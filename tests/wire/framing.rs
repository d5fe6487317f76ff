//! How an answer's body is cut into messages: one JSON value, server-sent events, lines of JSON, or AWS frames.

use serde_json::{Value, json};

/// The framing of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Whole,
    Events,
    Lines,
    Frames,
}

/// One server-sent event.
#[derive(Clone, Debug, Default)]
pub struct Event {
    /// As it came; all of them joined are the body.
    pub raw: String,
    pub name: String,
    pub data: String,
}

impl Framing {
    /// What a server says of such a body.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Whole => "application/json",
            Self::Events => "text/event-stream",
            Self::Lines => "application/x-ndjson",
            Self::Frames => "application/vnd.amazon.eventstream",
        }
    }

    /// The framing of an answer by its content type.
    pub fn of_content_type(kind: &str) -> Self {
        [Self::Events, Self::Lines, Self::Frames]
            .into_iter()
            .find(|framing| kind.starts_with(framing.content_type()))
            .unwrap_or(Self::Whole)
    }

    /// The JSON messages of a body, in order. What is no JSON (`[DONE]`) is left out.
    pub fn messages(self, body: &[u8]) -> Vec<Value> {
        match self {
            Self::Whole => match serde_json::from_slice(body) {
                // Gemini's stream without `alt=sse` is an array.
                Ok(Value::Array(all)) => all,
                Ok(one) => vec![one],
                Err(_) => Vec::new(),
            },
            Self::Events => {
                let data = |event: Event| serde_json::from_str(&event.data).ok();
                events(body).into_iter().filter_map(data).collect()
            }
            Self::Lines => body
                .split(|byte| *byte == b'\n')
                .filter_map(|line| serde_json::from_slice(line).ok())
                .collect(),
            Self::Frames => frames(body),
        }
    }
}

/// The events of a stream.
pub fn events(body: &[u8]) -> Vec<Event> {
    let text = String::from_utf8_lossy(body);
    let (mut events, mut event) = (Vec::new(), Event::default());
    for line in text.split_inclusive('\n') {
        event.raw.push_str(line);
        let bare = line.trim_end_matches(['\r', '\n']);
        let value = |rest: &str| rest.strip_prefix(' ').unwrap_or(rest).to_owned();
        if bare.is_empty() {
            events.push(std::mem::take(&mut event));
        } else if let Some(rest) = bare.strip_prefix("data:") {
            if !event.data.is_empty() {
                event.data.push('\n');
            }
            event.data.push_str(&value(rest));
        } else if let Some(rest) = bare.strip_prefix("event:") {
            event.name = value(rest);
        }
    }
    if !event.raw.is_empty() {
        events.push(event);
    }
    events
}

/// Each AWS frame as `{"<type>": <payload>}`, the type being that of the event or of the exception.
fn frames(mut body: &[u8]) -> Vec<Value> {
    let length = |bytes: &[u8]| usize::try_from(u32::from_be_bytes(bytes[..4].try_into().unwrap())).unwrap();
    let mut found = Vec::new();
    while body.len() >= 16 {
        let (total, headers) = (length(body), length(&body[4..]));
        let (frame, rest) = body.split_at(total.min(body.len()));
        body = rest;
        if frame.len() < total || total < headers + 16 {
            break;
        }
        let payload = serde_json::from_slice(&frame[12 + headers..total - 4]).unwrap_or(Value::Null);
        let (mut kind, mut name) = (String::new(), String::new());
        for (header, value) in headers_of(&frame[12..12 + headers]) {
            match header.as_str() {
                ":message-type" => kind = value,
                ":event-type" | ":exception-type" | ":error-code" => name = value,
                _ => {}
            }
        }
        found.push(if kind == "event" { json!({name: payload}) } else { json!({"exception": name}) });
    }
    found
}

/// The headers of a frame that are strings. Others end the reading: AWS sends none here.
fn headers_of(mut bytes: &[u8]) -> Vec<(String, String)> {
    const STRING: u8 = 7;
    let mut headers = Vec::new();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    while let Some((&length, rest)) = bytes.split_first() {
        let (name, rest) = rest.split_at(usize::from(length));
        if rest[0] != STRING {
            break;
        }
        let length = usize::from(u16::from_be_bytes([rest[1], rest[2]]));
        headers.push((text(name), text(&rest[3..3 + length])));
        bytes = &rest[3 + length..];
    }
    headers
}
