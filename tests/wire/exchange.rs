//! A recorded exchange, and what an independent reading of it says a caller must get.

use std::{collections::BTreeMap, path::Path};

use serde_json::{Map, Value, json};

/// One recorded request and answer.
#[derive(Clone)]
pub struct Exchange {
    pub id: String,
    pub dialect: String,
    pub embeddings: bool,
    pub request: Value,
    pub status: u16,
    pub content_type: String,
    pub body: Vec<u8>,
    pub streamed: bool,
}

/// What a caller must get out of an exchange, whatever surface it uses.
#[derive(Debug, Default, PartialEq)]
pub struct Expected {
    pub failed: bool,
    pub choices: BTreeMap<i64, ExpectedChoice>,
    pub input_tokens: Option<i64>,
    pub output_tokens: Option<i64>,
    pub vectors: usize,
}

/// One choice of an answer.
#[derive(Debug, Default, PartialEq)]
pub struct ExpectedChoice {
    pub text: String,
    pub refusal: String,
    pub calls: Vec<(String, String)>,
    pub finish: String,
}

/// Reads every exchange below the folder whose request went to an OpenAI-shaped chat or embeddings endpoint.
pub fn read_all(folder: &Path) -> Vec<Exchange> {
    let mut found = Vec::new();
    for dialect in std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let Ok(files) = std::fs::read_dir(dialect.unwrap().path()) else { continue };
        for file in files {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|ext| ext == "json") {
                let value: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
                found.extend(Exchange::read(&value));
            }
        }
    }
    found.sort_by(|a, b| (&a.dialect, &a.id).cmp(&(&b.dialect, &b.id)));
    found
}

impl Exchange {
    fn read(value: &Value) -> Option<Self> {
        let dialect = value["dialect"].as_str()?.to_owned();
        let path = value["request"]["path"].as_str().unwrap_or_default().split('?').next()?.to_owned();
        let embeddings = path.ends_with("/embeddings");
        let openai_shaped = path.ends_with("/chat/completions")
            || (embeddings && !["ollama-native", "voyage-embeddings"].contains(&dialect.as_str()));
        if !openai_shaped {
            return None;
        }
        let response = &value["response"];
        let body = ["raw", "body_text", "sse"]
            .iter()
            .find_map(|key| response[*key].as_str().map(|text| text.as_bytes().to_vec()))
            .or_else(|| response.get("body").map(|body| body.to_string().into_bytes()))?;
        let streamed = response["sse"].is_string();
        let content_type = response["headers"]["content-type"].as_str().map_or_else(
            || if streamed { "text/event-stream" } else { "application/json" }.to_owned(),
            str::to_owned,
        );
        let request = match &value["request"]["body"] {
            Value::Object(body) => Value::Object(body.clone()),
            // Recordings without a request get the least one that could have led to the answer.
            _ if embeddings => json!({"input": "?"}),
            _ => json!({"messages": [{"role": "user", "content": "?"}], "stream": streamed}),
        };
        Some(Self {
            id: value["id"].as_str()?.to_owned(),
            dialect,
            embeddings,
            request,
            status: u16::try_from(response["status"].as_u64()?).ok()?,
            content_type,
            body,
            streamed,
        })
    }

    /// The request with the model that makes the upstream serve this exchange.
    pub fn request_for(&self, alias: &str) -> Value {
        let mut request = self.request.clone();
        request["model"] = json!(alias);
        if self.streamed && request["stream"] != json!(true) {
            request["stream"] = json!(true);
        }
        request
    }

    /// Whether the recorded caller asked to see usage.
    pub fn usage_wanted(&self) -> bool {
        self.request["stream_options"]["include_usage"] == json!(true)
    }

    /// The recorded stream's events as (raw text, data), the raw texts joining to the body.
    fn events(&self) -> Vec<(String, String)> {
        let text = String::from_utf8(self.body.clone()).unwrap();
        let mut events = Vec::new();
        let (mut raw, mut data) = (String::new(), String::new());
        for line in text.split_inclusive('\n') {
            raw.push_str(line);
            let bare = line.trim_end_matches(['\r', '\n']);
            if bare.is_empty() {
                events.push((std::mem::take(&mut raw), std::mem::take(&mut data)));
            } else if let Some(rest) = bare.strip_prefix("data:") {
                data.push_str(rest.strip_prefix(' ').unwrap_or(rest));
            }
        }
        if !raw.is_empty() {
            events.push((raw, data));
        }
        events
    }

    /// The bytes an OpenAI caller must get: the recorded ones, less the usage-only event nobody asked for.
    pub fn expected_bytes(&self) -> Vec<u8> {
        if !self.streamed || self.usage_wanted() {
            return self.body.clone();
        }
        let usage_only = |data: &str| {
            serde_json::from_str::<Value>(data)
                .is_ok_and(|data| data["choices"] == json!([]) && data["usage"].is_object())
        };
        self.events()
            .into_iter()
            .filter(|(_, data)| !usage_only(data))
            .flat_map(|(raw, _)| raw.into_bytes())
            .collect()
    }

    /// What the answer says, read without any of the gateway's code.
    pub fn expected(&self) -> Expected {
        let mut expected = Expected { failed: self.status >= 400, ..Expected::default() };
        if expected.failed {
            return expected;
        }
        if self.streamed {
            for (_, data) in self.events() {
                let Ok(chunk) = serde_json::from_str::<Value>(&data) else { continue };
                expected.failed |= !chunk["error"].is_null();
                expected.add(&chunk, "delta");
            }
        } else {
            let body: Value = serde_json::from_slice(&self.body).unwrap();
            expected.failed = !body["error"].is_null();
            expected.vectors = body["data"].as_array().map_or(0, Vec::len);
            expected.add(&body, "message");
        }
        expected
    }
}

impl Expected {
    fn add(&mut self, body: &Value, holder: &str) {
        for (position, choice) in body["choices"].as_array().into_iter().flatten().enumerate() {
            let index = choice["index"].as_i64().unwrap_or(i64::try_from(position).unwrap());
            self.choices.entry(index).or_default().add(choice, &choice[holder]);
        }
        let usage = [&body["usage"], &body["x_groq"]["usage"]]
            .into_iter()
            .find(|usage| usage["prompt_tokens"].is_i64());
        if let Some(Value::Object(usage)) = usage {
            self.add_usage(usage);
        }
    }

    fn add_usage(&mut self, usage: &Map<String, Value>) {
        let count = |name: &str| usage.get(name).and_then(Value::as_i64);
        let reasoning = usage
            .get("completion_tokens_details")
            .and_then(|details| details["reasoning_tokens"].as_i64())
            .or(count("reasoning_tokens"))
            .unwrap_or(0);
        let (input, output) = (count("prompt_tokens"), count("completion_tokens"));
        self.input_tokens = input.or(self.input_tokens);
        // Some count reasoning outside the completion; the total tells.
        let outside = count("total_tokens") == Some(input.unwrap_or(0) + output.unwrap_or(0) + reasoning);
        self.output_tokens =
            output.map(|output| if outside { output + reasoning } else { output }).or(self.output_tokens);
    }
}

impl ExpectedChoice {
    fn add(&mut self, choice: &Value, said: &Value) {
        match &said["content"] {
            Value::String(text) => self.text.push_str(text),
            Value::Array(parts) => {
                for part in parts.iter().filter(|part| part["type"] == "text") {
                    self.text.push_str(part["text"].as_str().unwrap_or_default());
                }
            }
            _ => {}
        }
        self.refusal.push_str(said["refusal"].as_str().unwrap_or_default());
        for call in said["tool_calls"].as_array().into_iter().flatten() {
            self.add_call(call);
        }
        if let Some(function) = said["function_call"].as_object() {
            let name = function.get("name").and_then(Value::as_str).unwrap_or_default();
            let input = function.get("arguments").and_then(Value::as_str).unwrap_or_default();
            if self.calls.is_empty() {
                self.calls.push((String::new(), String::new()));
            }
            self.calls[0].0.push_str(name);
            self.calls[0].1.push_str(input);
        }
        if let Some(finish) = choice["finish_reason"].as_str() {
            finish.clone_into(&mut self.finish);
        }
    }

    fn add_call(&mut self, call: &Value) {
        let function = if call["function"].is_object() { &call["function"] } else { &call["custom"] };
        let name = function["name"].as_str().unwrap_or_default();
        let input = match (&function["arguments"], &function["input"]) {
            (Value::String(text), _) | (_, Value::String(text)) => text.clone(),
            (Value::Null, _) => String::new(),
            (other, _) => other.to_string(),
        };
        // A fragment belongs to the call of its index; one with a name and no index starts a new call.
        let at = match call["index"].as_u64() {
            Some(index) => usize::try_from(index).unwrap(),
            None if name.is_empty() => self.calls.len().saturating_sub(1),
            None => self.calls.len(),
        };
        while self.calls.len() <= at {
            self.calls.push((String::new(), String::new()));
        }
        if self.calls[at].0.is_empty() {
            self.calls[at].0.push_str(name);
        }
        self.calls[at].1.push_str(&input);
    }
}
