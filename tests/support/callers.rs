//! Callers on every surface, whose answers are told in the same words: what came, and how it ended.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tollgate_api::v1::{self, chat_service_client::ChatServiceClient, stream_complete_response::Event};
use tonic_types::StatusExt as _;

use super::{Gateway, KEY, http::Caller};

/// By what a caller speaks to the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surface {
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/messages`.
    Messages,
    Grpc,
}

/// One call.
#[derive(Clone, Debug)]
pub struct Ask {
    pub surface: Surface,
    pub model: String,
    /// Goes into the prompt and into the record's tags, so that all views can be put together.
    pub case: String,
    pub streamed: bool,
    /// Goes away after so many pieces of text.
    pub leaves_after: Option<usize>,
    /// Goes away once it has this text.
    pub leaves_with: Option<String>,
    pub timeout: Option<Duration>,
}

impl Ask {
    pub fn new(surface: Surface, model: &str, case: impl ToString) -> Self {
        let (model, case) = (model.to_owned(), case.to_string());
        Self { surface, model, case, streamed: true, leaves_after: None, leaves_with: None, timeout: None }
    }

    /// Not streamed.
    pub fn whole(self) -> Self {
        Self { streamed: false, ..self }
    }

    pub fn leaving_after(self, pieces: usize) -> Self {
        Self { leaves_after: Some(pieces), ..self }
    }

    pub fn leaving_with(self, text: String) -> Self {
        Self { leaves_with: Some(text), ..self }
    }

    pub fn within(self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..self }
    }

    fn prompt(&self) -> String {
        format!("case:{} please", self.case)
    }

    pub fn body(&self) -> String {
        json!({"model": self.model, "stream": self.streamed, "max_tokens": 4096,
            "messages": [{"role": "user", "content": self.prompt()}]})
        .to_string()
    }

    fn input(&self) -> v1::ChatInput {
        let text = v1::Part { kind: Some(v1::part::Kind::Text(self.prompt())), ..Default::default() };
        let message = v1::Message { role: v1::Role::User.into(), parts: vec![text], ..Default::default() };
        v1::ChatInput { model: self.model.clone(), messages: vec![message], ..Default::default() }
    }
}

/// What a caller saw.
#[derive(Clone, Debug)]
pub struct Saw {
    pub ask: Ask,
    pub text: String,
    pub pieces: usize,
    pub end: End,
    pub sent: Instant,
    pub first: Option<Instant>,
    /// When it ended, or when the caller left.
    pub ended: Instant,
    /// How long to wait, if the refusal told.
    pub retry_after: Option<Duration>,
}

/// How an answer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    Ok,
    /// An error before any content, with a status of its own: HTTP's, or gRPC's code. The reason in lower case.
    Refused(u16, String),
    /// An error after content.
    Interrupted(String),
    Left,
    /// It just stopped. Never right.
    Broken(String),
}

impl Saw {
    fn new(ask: &Ask) -> Self {
        let now = Instant::now();
        let (ask, text, end) = (ask.clone(), String::new(), End::Broken("no end".to_owned()));
        Self { ask, text, pieces: 0, end, sent: now, first: None, ended: now, retry_after: None }
    }

    /// A caller that has just gone away with nothing.
    pub fn left(ask: &Ask) -> Self {
        Self { end: End::Left, ..Self::new(ask) }
    }

    fn piece(&mut self, text: &str) {
        if !text.is_empty() {
            self.first.get_or_insert_with(Instant::now);
            self.text.push_str(text);
            self.pieces += 1;
        }
    }

    fn failed(&mut self, status: u16, reason: &str) {
        self.end = if self.first.is_some() {
            End::Interrupted(reason.to_owned())
        } else {
            End::Refused(status, reason.to_owned())
        };
    }

    fn leaves(&self) -> bool {
        self.ask.leaves_after.is_some_and(|most| self.pieces >= most)
            || self.ask.leaves_with.as_ref().is_some_and(|text| self.text == *text)
    }

    /// Tokens of the fake provider in the text; the gateway may put several into one piece.
    pub fn tokens(&self) -> usize {
        self.text.matches(' ').count()
    }

    pub fn took(&self) -> Duration {
        self.ended - self.sent
    }
}

/// Makes the call and follows it to its end.
pub async fn call(gateway: &Gateway, ask: &Ask) -> Saw {
    let mut saw = Saw::new(ask);
    if ask.surface == Surface::Grpc {
        if let Err(status) = grpc(gateway, &mut saw).await {
            let reason = status.get_details_error_info().map_or_else(String::new, |info| info.reason);
            let reason = reason.trim_start_matches("ERROR_REASON_").to_ascii_lowercase();
            saw.retry_after = status.get_details_retry_info().and_then(|retry| retry.retry_delay);
            // Tonic's own client gives up at the deadline as well, in these words; the gateway's have a reason.
            let gave_up = status.code() == tonic::Code::Cancelled && reason.is_empty();
            if gave_up && ask.timeout.is_some() {
                saw.end = End::Left;
            } else {
                saw.failed(u16::try_from(i32::from(status.code())).unwrap(), &reason);
            }
        }
    } else {
        rest(gateway, &mut saw).await;
    }
    saw.ended = Instant::now();
    saw
}

/// Makes these calls beside each other.
pub async fn call_all(gateway: &Gateway, asks: &[Ask]) -> Vec<Saw> {
    join_all(asks.iter().map(|ask| call(gateway, ask))).await
}

async fn rest(gateway: &Gateway, saw: &mut Saw) {
    let ask = saw.ask.clone();
    let path = if ask.surface == Surface::Chat { "/v1/chat/completions" } else { "/v1/messages" };
    let tags = format!("case={}", ask.case);
    let timeout = ask.timeout.map(|timeout| timeout.as_millis().to_string());
    let mut headers = vec![("x-tollgate-tags", tags.as_str())];
    headers.extend(timeout.as_deref().map(|timeout| ("x-tollgate-timeout-ms", timeout)));
    let caller = Caller::new(gateway.addr, KEY);
    let Ok(answer) = caller.try_open(path, ask.body(), &headers).await else {
        return saw.end = End::Broken("no answer".to_owned());
    };
    let status = answer.status();
    let retry = answer.headers().get("retry-after-ms").and_then(|wait| wait.to_str().ok()?.parse().ok());
    saw.retry_after = retry.map(Duration::from_millis);
    let mut body = answer.into_body();
    let mut unread = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return saw.end = End::Broken("the connection broke".to_owned()) };
        let Ok(data) = frame.into_data() else { continue };
        unread.extend_from_slice(&data);
        while let Some(end) = end_of_event(&unread).filter(|_| ask.streamed && status == 200) {
            let event: Vec<_> = unread.drain(..end).collect();
            read_event(saw, &String::from_utf8(event).expect("an event is whole UTF-8"));
            if saw.leaves() {
                return saw.end = End::Left;
            }
        }
    }
    if status != 200 || !ask.streamed {
        read_whole(saw, status.as_u16(), &unread);
    } else if matches!(saw.end, End::Broken(_)) {
        // After a CR the event is whole, whether the LF of the pair still came or not.
        read_event(saw, &String::from_utf8_lossy(&unread));
    }
}

fn read_whole(saw: &mut Saw, status: u16, body: &[u8]) {
    let Ok(json) = serde_json::from_slice::<Value>(body) else { return };
    if status != 200 {
        return saw.failed(status, &reason(&json));
    }
    let text = &json["choices"][0]["message"]["content"];
    saw.piece(text.as_str().or(json["content"][0]["text"].as_str()).unwrap_or_default());
    saw.end = End::Ok;
}

/// The reason of an error body: OpenAI's `code`, or what an Anthropic one says in our words.
fn reason(json: &Value) -> String {
    let error = &json["error"];
    let code = [&error["code"], &error["reason"], &error["type"]].into_iter().find_map(Value::as_str);
    code.unwrap_or_default().to_owned()
}

/// Where the first event ends, with any of the three line ends.
fn end_of_event(bytes: &[u8]) -> Option<usize> {
    let after = |blank: &[u8]| Some(bytes.windows(blank.len()).position(|at| at == blank)? + blank.len());
    [after(b"\n\n"), after(b"\r\n\r\n"), after(b"\r\r")].into_iter().flatten().min()
}

fn read_event(saw: &mut Saw, event: &str) {
    let lines = event.trim_start_matches('\u{feff}').split(['\r', '\n']);
    let data: Vec<_> = lines.filter_map(|line| line.strip_prefix("data: ")).collect();
    let data = data.join("\n");
    if data.is_empty() {
        return;
    }
    if data == "[DONE]" {
        return saw.end = End::Ok;
    }
    let Ok(json) = serde_json::from_str::<Value>(&data) else {
        return saw.end = End::Broken(format!("half an event: {data}"));
    };
    if json["error"].is_object() {
        return saw.failed(200, &reason(&json));
    }
    match json["type"].as_str() {
        Some("message_stop") => saw.end = End::Ok,
        Some(_) => saw.piece(json["delta"]["text"].as_str().unwrap_or_default()),
        None => saw.piece(json["choices"][0]["delta"]["content"].as_str().unwrap_or_default()),
    }
}

async fn grpc(gateway: &Gateway, saw: &mut Saw) -> Result<(), tonic::Status> {
    let ask = saw.ask.clone();
    let mut client = ChatServiceClient::new(gateway.shared_channel().await);
    saw.sent = Instant::now();
    let (input, options) = (Some(ask.input()), None);
    if !ask.streamed {
        let answer = client.complete(asked(&ask, v1::CompleteRequest { input, options })).await?.into_inner();
        let message = answer.choices[0].message.as_ref().unwrap();
        if let Some(v1::part::Kind::Text(text)) = &message.parts[0].kind {
            saw.piece(text);
        }
        saw.end = End::Ok;
        return Ok(());
    }
    let request = v1::StreamCompleteRequest { input, options, ..Default::default() };
    let mut stream = client.stream_complete(asked(&ask, request)).await?.into_inner();
    let mut whole = false;
    while let Some(message) = stream.message().await? {
        match message.event {
            Some(Event::Text(delta)) => saw.piece(&delta.text),
            Some(Event::End(_)) => whole = true,
            _ => {}
        }
        if saw.leaves() {
            saw.end = End::Left;
            return Ok(());
        }
    }
    saw.end = if whole { End::Ok } else { End::Broken("no end event".to_owned()) };
    Ok(())
}

fn asked<T>(ask: &Ask, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    let metadata = request.metadata_mut();
    metadata.insert("x-tollgate-tags", format!("case={}", ask.case).parse().unwrap());
    if let Some(timeout) = ask.timeout {
        metadata.insert("grpc-timeout", format!("{}m", timeout.as_millis()).parse().unwrap());
    }
    request
}
