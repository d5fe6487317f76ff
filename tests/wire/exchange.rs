//! A recorded exchange, as it lies in the folder.

use std::path::Path;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::Value;

use crate::{
    family::Family,
    framing::Framing,
    read::{self, Expected},
};

/// One recorded request and answer.
#[derive(Clone, Debug)]
pub struct Exchange {
    pub id: String,
    pub dialect: String,
    /// None if no family claims it, which is a failure of its own.
    pub family: Option<Family>,
    pub model: String,
    /// As recorded, with its query.
    pub path: String,
    /// None where the recorder kept no request.
    pub request: Option<Value>,
    /// Those of the recorded caller that a dialect of ours hands on.
    pub request_headers: Vec<(String, String)>,
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub framing: Framing,
    pub body: Vec<u8>,
    pub quirks: Vec<String>,
}

/// Reads every exchange below the folder.
pub fn read_all(folder: &Path) -> Vec<Exchange> {
    let mut found = Vec::new();
    for dialect in std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let Ok(files) = std::fs::read_dir(dialect.unwrap().path()) else { continue };
        for file in files {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|ext| ext == "json") {
                let value: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
                found.push(Exchange::read(&value));
            }
        }
    }
    found.sort_by(|a, b| (&a.dialect, &a.id).cmp(&(&b.dialect, &b.id)));
    found
}

impl Exchange {
    fn read(value: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (request, response) = (&value["request"], &value["response"]);
        let (dialect, path) = (text(&value["dialect"]), text(&request["path"]));
        let (framing, body) = body_of(response);
        Self {
            id: text(&value["id"]),
            family: Family::of(&dialect, &path),
            model: value["model"].as_str().unwrap_or("m").to_owned(),
            request: Some(request["body"].clone()).filter(Value::is_object),
            request_headers: handed_on(&request["headers"]),
            status: response["status"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap_or(200),
            headers: headers_of(&response["headers"], framing),
            quirks: value["quirks"].as_array().into_iter().flatten().map(text).collect(),
            dialect,
            path,
            framing,
            body,
        }
    }

    /// The path without its query.
    pub fn bare_path(&self) -> &str {
        self.path.split('?').next().unwrap_or_default()
    }

    /// Whether the caller asked for a stream, and gets one if nothing fails.
    pub fn is_streamed(&self) -> bool {
        let asked = self.bare_path().to_ascii_lowercase().contains("stream")
            || self.request.as_ref().is_some_and(|request| request["stream"] == true);
        self.framing != Framing::Whole || (asked && (self.status >= 400 || self.body.starts_with(b"[")))
    }

    /// A header of the answer, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// The configured provider through which it is replayed.
    pub fn provider(&self) -> String {
        format!("{}--{}", self.dialect, self.family.map_or("none", Family::name))
    }

    /// What the answer says, read without any of the gateway's code.
    pub fn expected(&self) -> Expected {
        let Some(family) = self.family.filter(|_| self.status < 400) else {
            return Expected { failed: true, ..Expected::default() };
        };
        let mut expected = read::answer(family, self.framing, &self.body);
        if matches!(family, Family::Native | Family::PassThrough | Family::Embeddings) {
            read::native::add_headers(&mut expected, |name| self.header(name).parse().ok());
        }
        expected
    }
}

fn body_of(response: &Value) -> (Framing, Vec<u8>) {
    let text = |key: &str| response[key].as_str().map(|text| text.as_bytes().to_vec());
    if let Some(body) = text("sse") {
        return (Framing::Events, body);
    }
    if let Some(body) = text("ndjson") {
        return (Framing::Lines, body);
    }
    if let Some(frames) = response["eventstream_base64"].as_str() {
        return (Framing::Frames, BASE64_STANDARD.decode(frames).unwrap());
    }
    let body = text("raw").or_else(|| text("body_text")).or_else(|| {
        response.get("body").filter(|body| !body.is_null()).map(|body| body.to_string().into_bytes())
    });
    (Framing::Whole, body.unwrap_or_default())
}

/// Headers that say how a body travelled, not what it is.
const OF_TRANSPORT: [&str; 5] =
    ["transfer-encoding", "content-length", "connection", "content-encoding", "date"];

fn headers_of(recorded: &Value, framing: Framing) -> Vec<(String, String)> {
    let all = recorded.as_object().into_iter().flatten();
    let mut headers: Vec<(String, String)> = all
        .filter_map(|(name, value)| Some((name.to_ascii_lowercase(), value.as_str()?.to_owned())))
        .filter(|(name, value)| !OF_TRANSPORT.contains(&name.as_str()) && !value.contains(['\r', '\n']))
        .collect();
    if !headers.iter().any(|(name, _)| name == "content-type") {
        headers.push(("content-type".to_owned(), framing.content_type().to_owned()));
    }
    headers
}

/// Headers of Anthropic's callers, which reach Anthropic.
fn handed_on(recorded: &Value) -> Vec<(String, String)> {
    let all = recorded.as_object().into_iter().flatten();
    all.filter(|(name, _)| {
        ["anthropic-beta", "anthropic-version"].contains(&name.to_ascii_lowercase().as_str())
    })
    .filter_map(|(name, value)| Some((name.to_ascii_lowercase(), value.as_str()?.to_owned())))
    .collect()
}
