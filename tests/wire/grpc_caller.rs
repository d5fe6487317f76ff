//! The gRPC caller of an exchange: gets the same text, tool calls, finish reasons and usage.

use std::collections::BTreeMap;

use tollgate_api::v1::{self, part::Kind, stream_complete_response::Event, tool_call::Input};
use tollgate_server::edge::openai;
use tonic::{Response, Status};

use crate::{
    exchange::{Exchange, Expected, ExpectedChoice},
    openai_caller::same_record,
    support::{Gateway, KEY},
};

/// Replays the exchange for a gRPC caller.
pub async fn check(gateway: &Gateway, exchange: &Exchange, alias: &str) -> Result<(), String> {
    let channel = gateway.channel(KEY).await;
    let request = exchange.request_for(alias).to_string();
    let (id, got) = if exchange.embeddings {
        let request = openai::parse_embed(request.as_bytes()).map_err(|error| format!("request: {error}"))?;
        let mut client = v1::embed_service_client::EmbedServiceClient::new(channel);
        take(client.embed(request).await, |answer| Ok(vectors(&answer)))?
    } else {
        let input = openai::parse_chat(request.as_bytes()).map_err(|error| format!("request: {error}"))?;
        let mut client =
            v1::chat_service_client::ChatServiceClient::new(channel).max_decoding_message_size(64 << 20);
        if exchange.streamed {
            stream(&mut client, input).await?
        } else {
            let request = v1::CompleteRequest { input: Some(input), options: None };
            take(client.complete(request).await, |answer| folded(&answer))?
        }
    };
    compare(&exchange.expected(), &got)?;
    same_record(gateway, exchange, &id).await
}

type Chat = v1::chat_service_client::ChatServiceClient<
    tonic::service::interceptor::InterceptedService<
        tonic::transport::Channel,
        crate::support::gateway::BearerKey,
    >,
>;

fn take<T>(
    answer: Result<Response<T>, Status>,
    read: impl FnOnce(T) -> Result<Expected, String>,
) -> Result<(String, Expected), String> {
    match answer {
        Ok(answer) => Ok((id_of(answer.metadata()), read(answer.into_inner())?)),
        Err(status) => Ok((id_of(status.metadata()), Expected { failed: true, ..Expected::default() })),
    }
}

fn id_of(metadata: &tonic::metadata::MetadataMap) -> String {
    metadata.get("x-request-id").map_or_else(String::new, |id| id.to_str().unwrap().to_owned())
}

async fn stream(client: &mut Chat, input: v1::ChatInput) -> Result<(String, Expected), String> {
    let request = v1::StreamCompleteRequest { input: Some(input), ..Default::default() };
    let answer = match client.stream_complete(request).await {
        Ok(answer) => answer,
        Err(status) => return take::<()>(Err(status), |()| Ok(Expected::default())),
    };
    let id = id_of(answer.metadata());
    let mut events = answer.into_inner();
    let mut told = Told::default();
    loop {
        match events.message().await {
            Ok(Some(message)) => told.add(message.event.ok_or("an empty event")?)?,
            Ok(None) => return told.complete().map(|expected| (id, expected)),
            Err(_) => return Ok((id, Expected { failed: true, ..Expected::default() })),
        }
    }
}

/// What a stream has told so far, with the grammar of its events checked.
#[derive(Default)]
struct Told {
    started: bool,
    ended: bool,
    parts: BTreeMap<(i32, i32), ExpectedChoice>,
    choices: BTreeMap<i64, ExpectedChoice>,
    usage: Option<v1::Usage>,
}

impl Told {
    fn add(&mut self, event: Event) -> Result<(), String> {
        if self.ended {
            return Err("an event after the end".to_owned());
        }
        if self.started == matches!(event, Event::Start(_)) {
            return Err(format!("the stream must start once, and first: {event:?}"));
        }
        match event {
            Event::Start(_) => self.started = true,
            Event::End(_) => self.ended = true,
            Event::Text(delta) => self.part(delta.choice, delta.part).text.push_str(&delta.text),
            Event::Refusal(delta) => self.part(delta.choice, delta.part).refusal.push_str(&delta.text),
            Event::ToolCall(delta) => {
                let calls = &mut self.part(delta.choice, delta.part).calls;
                calls.last_mut().ok_or("tool input before its call")?.1.push_str(&delta.input);
            }
            Event::PartStart(start) => {
                let part = start.initial.ok_or("a part that starts with nothing")?;
                add_part(self.part(start.choice, start.part), &part);
            }
            Event::ChoiceEnd(end) => {
                self.choices.entry(i64::from(end.choice)).or_default().finish =
                    end.upstream_finish_reason.clone();
            }
            Event::Usage(usage) if usage.r#final => {
                let before = self.usage.replace(*usage);
                if before.is_some() {
                    return Err("two final usages".to_owned());
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn part(&mut self, choice: i32, part: i32) -> &mut ExpectedChoice {
        self.choices.entry(i64::from(choice)).or_default();
        self.parts.entry((choice, part)).or_default()
    }

    fn complete(mut self) -> Result<Expected, String> {
        if !self.ended {
            return Err("OK without an end event".to_owned());
        }
        for ((choice, _), part) in std::mem::take(&mut self.parts) {
            let all = self.choices.entry(i64::from(choice)).or_default();
            all.text.push_str(&part.text);
            all.refusal.push_str(&part.refusal);
            all.calls.extend(part.calls);
        }
        Ok(with_usage(self.choices, self.usage.as_ref()))
    }
}

fn add_part(into: &mut ExpectedChoice, part: &v1::Part) {
    match &part.kind {
        Some(Kind::Text(text)) => into.text.push_str(text),
        Some(Kind::Refusal(text)) => into.refusal.push_str(text),
        Some(Kind::ToolCall(call)) => {
            let input = match &call.input {
                Some(Input::ArgumentsJson(text) | Input::Text(text)) => text.clone(),
                None => String::new(),
            };
            into.calls.push((call.name.clone(), input));
        }
        _ => {}
    }
}

fn with_usage(choices: BTreeMap<i64, ExpectedChoice>, usage: Option<&v1::Usage>) -> Expected {
    let told = usage.filter(|usage| usage.source() == v1::usage::Source::Provider);
    Expected {
        choices,
        input_tokens: told.and_then(|usage| usage.input_tokens),
        output_tokens: told.and_then(|usage| usage.output_tokens),
        ..Expected::default()
    }
}

fn folded(answer: &v1::CompleteResponse) -> Result<Expected, String> {
    let mut choices = BTreeMap::new();
    for choice in &answer.choices {
        let mut got = ExpectedChoice { finish: choice.upstream_finish_reason.clone(), ..Default::default() };
        let message = choice.message.as_ref().ok_or("a choice without a message")?;
        message.parts.iter().for_each(|part| add_part(&mut got, part));
        choices.insert(i64::from(choice.index), got);
    }
    Ok(with_usage(choices, answer.usage.as_ref()))
}

fn vectors(answer: &v1::EmbedResponse) -> Expected {
    Expected { vectors: answer.embeddings.len(), ..with_usage(BTreeMap::new(), answer.usage.as_ref()) }
}

fn compare(expected: &Expected, got: &Expected) -> Result<(), String> {
    if expected.failed || got.failed {
        return if expected.failed == got.failed { Ok(()) } else { Err(format!("failed: {}", got.failed)) };
    }
    if expected.choices.len() != got.choices.len() || expected.vectors != got.vectors {
        return Err(format!("{} choices, {} vectors", got.choices.len(), got.vectors));
    }
    for (index, want) in &expected.choices {
        let have = got.choices.get(index).ok_or_else(|| format!("choice {index} is missing"))?;
        if want != have {
            return Err(format!("choice {index}: expected {want:?}, got {have:?}"));
        }
    }
    if expected.input_tokens.is_some()
        && (expected.input_tokens, expected.output_tokens.or(got.output_tokens))
            != (got.input_tokens, got.output_tokens)
    {
        return Err(format!("usage {:?}/{:?}, expected {expected:?}", got.input_tokens, got.output_tokens));
    }
    Ok(())
}
