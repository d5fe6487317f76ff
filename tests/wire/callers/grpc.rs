//! The gRPC caller of an exchange: gets the same text, thoughts, tool calls, finish reasons and usage.

use std::collections::BTreeMap;

use tollgate_api::v1::{self, part::Kind, stream_complete_response::Event, tool_call::Input};
use tollgate_server::edge::fold::Folder;
use tonic::{Status, metadata::MetadataMap};

use super::{Ask, Bench, compare::compare, deep, ledger};
use crate::{
    asked, canonical,
    exchange::Exchange,
    family::Family,
    read::{Call, Choice, Counts, Expected, Finish},
    replay::Cut,
    support::upstream::Seen,
};

/// Replays the exchange for a gRPC caller.
pub async fn check(bench: &Bench, exchange: &Exchange, cut: Cut) -> Result<(), String> {
    let ask = bench.ask(exchange, "grpc", cut);
    let input = input(&ask);
    let outcome = if exchange.is_streamed() { stream(&ask, input).await } else { whole(&ask, input).await };
    let sent = bench.replay.take(&ask.ticket);
    let Answered { id, got, failure, answer } = outcome?;
    let expected = exchange.expected();
    let told = || failure.as_ref().map_or_else(String::new, |status| format!("; {status}"));
    compare(Family::Cohere, &expected, &got).map_err(|why| format!("{why}{}", told()))?;
    if !expected.failed && exchange.family == Some(Family::Chat) {
        same_words(&expected, &got)?;
    }
    if sent.len() > 1 {
        return Err(format!("asked {} times", sent.len()));
    }
    same_request(bench, exchange, sent.first())?;
    if let Some(answer) = answer.filter(|_| !expected.failed) {
        let canonical = canonical::text(exchange, &ask.ticket, &answer);
        bench.snapshots.check(&exchange.dialect, &exchange.id, &canonical)?;
        deep::check(bench, exchange, &answer, cut).await?;
    }
    ledger::same(bench, exchange, &expected, &id).await
}

/// A chat's own words for its ends are kept.
fn same_words(expected: &Expected, got: &Expected) -> Result<(), String> {
    for (index, want) in &expected.choices {
        let got = &got.choices[index].raw_finish;
        if want.raw_finish != *got {
            return Err(format!("choice {index} ended with {got:?}, not {:?}", want.raw_finish));
        }
    }
    Ok(())
}

/// An exchange is asked for with its own request, if the contract can ask it, else with a small one.
fn input(ask: &Ask<'_>) -> v1::ChatInput {
    asked::input(ask.exchange, ask.alias()).unwrap_or_else(|_| question(ask.alias()))
}

/// Where a recorded request could be asked of the gateway, the upstream must be asked the same again.
fn same_request(bench: &Bench, exchange: &Exchange, sent: Option<&Seen>) -> Result<(), String> {
    let outcome = match (asked::input(exchange, String::new()), sent) {
        (Err(why), _) => Err(why),
        (Ok(_), None) => Err("refused before they are sent".to_owned()),
        (Ok(_), Some(_)) => Ok(()),
    };
    // Callers of these have a dialect of their own, and are compared by it.
    if !matches!(exchange.family, Some(Family::Messages | Family::Responses)) {
        let why = outcome.as_ref().copied().map_err(String::as_str);
        bench.tally.note(&exchange.dialect, &exchange.id, why);
    }
    match (outcome, sent) {
        (Ok(()), Some(sent)) => {
            bench.tally.lose(&exchange.dialect, &exchange.id, &asked::same(exchange, &sent.body)?);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// The least that can be asked.
pub fn question(model: String) -> v1::ChatInput {
    let part = v1::Part { kind: Some(Kind::Text("?".to_owned())), ..v1::Part::default() };
    let message = v1::Message { role: v1::Role::User.into(), parts: vec![part], ..v1::Message::default() };
    v1::ChatInput {
        model,
        messages: vec![message],
        max_output_tokens: Some(4096),
        ..v1::ChatInput::default()
    }
}

/// What a call brought.
struct Answered {
    id: String,
    got: Expected,
    /// Why it failed, if it did.
    failure: Option<Status>,
    /// The whole answer, if it did not.
    answer: Option<v1::CompleteResponse>,
}

type Outcome = Result<Answered, String>;

fn failed(id: String, status: Status) -> Outcome {
    let got = Expected { failed: true, ..Expected::default() };
    Ok(Answered { id, got, failure: Some(status), answer: None })
}

fn id_of(metadata: &MetadataMap) -> String {
    metadata.get("x-request-id").map_or_else(String::new, |id| id.to_str().unwrap().to_owned())
}

async fn whole(ask: &Ask<'_>, input: v1::ChatInput) -> Outcome {
    let request = v1::CompleteRequest { input: Some(input), options: None };
    let answer = match ask.bench.chat_client().complete(request).await {
        Ok(answer) => answer,
        Err(status) => return failed(id_of(status.metadata()), status),
    };
    let id = id_of(answer.metadata());
    let answer = answer.into_inner();
    let mut choices = BTreeMap::new();
    for choice in &answer.choices {
        let mut got = Choice::default();
        let message = choice.message.as_ref().ok_or("a choice without a message")?;
        message.parts.iter().for_each(|part| add_part(&mut got, part));
        got.finish = finish(choice.finish_reason());
        got.raw_finish.clone_from(&choice.upstream_finish_reason);
        choices.insert(i64::from(choice.index), got);
    }
    let got = with_usage(choices, answer.usage.as_ref());
    Ok(Answered { id, got, failure: None, answer: Some(answer) })
}

async fn stream(ask: &Ask<'_>, input: v1::ChatInput) -> Outcome {
    let request = v1::StreamCompleteRequest { input: Some(input), ..Default::default() };
    let answer = match ask.bench.chat_client().stream_complete(request).await {
        Ok(answer) => answer,
        Err(status) => return failed(id_of(status.metadata()), status),
    };
    let id = id_of(answer.metadata());
    let mut events = answer.into_inner();
    let (mut told, mut folder) = (Told::default(), Folder::default());
    loop {
        match events.message().await {
            Ok(Some(message)) => {
                let event = message.event.ok_or("an empty event")?;
                folder.take(event.clone()).map_err(|error| error.to_string())?;
                told.add(event)?;
            }
            Ok(None) => {
                let (got, answer) = (told.complete()?, folder.finish().map_err(|error| error.to_string())?);
                return Ok(Answered { id, got, failure: None, answer: Some(answer) });
            }
            Err(status) => return failed(id, status),
        }
    }
}

/// What a stream has told so far, with the grammar of its events checked.
#[derive(Default)]
struct Told {
    started: bool,
    ended: bool,
    parts: BTreeMap<(i32, i32), Choice>,
    choices: BTreeMap<i64, Choice>,
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
            Event::Thought(delta) => self.part(delta.choice, delta.part).thoughts.push_str(&delta.text),
            Event::Refusal(delta) => self.part(delta.choice, delta.part).refusal.push_str(&delta.text),
            // The input of a call that the provider runs itself is nobody's to run.
            Event::ToolCall(delta) => {
                if let Some(call) = self.part(delta.choice, delta.part).calls.last_mut() {
                    call.input.push_str(&delta.input);
                }
            }
            Event::PartStart(start) => {
                let part = start.initial.ok_or("a part that starts with nothing")?;
                add_part(self.part(start.choice, start.part), &part);
            }
            Event::ChoiceEnd(end) => {
                let choice = self.choices.entry(i64::from(end.choice)).or_default();
                choice.finish = finish(end.finish_reason());
                choice.raw_finish.clone_from(&end.upstream_finish_reason);
            }
            Event::Usage(usage) if usage.r#final && self.usage.is_some() => {
                return Err(format!("two final usages: {usage:?}"));
            }
            Event::Usage(usage) if usage.r#final => self.usage = Some(*usage),
            _ => {}
        }
        Ok(())
    }

    fn part(&mut self, choice: i32, part: i32) -> &mut Choice {
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
            all.thoughts.push_str(&part.thoughts);
            all.refusal.push_str(&part.refusal);
            all.calls.extend(part.calls);
        }
        Ok(with_usage(self.choices, self.usage.as_ref()))
    }
}

fn add_part(into: &mut Choice, part: &v1::Part) {
    match &part.kind {
        Some(Kind::Text(text)) => into.text.push_str(text),
        Some(Kind::Thought(thought)) => into.thoughts.push_str(&thought.text),
        Some(Kind::Refusal(text)) => into.refusal.push_str(text),
        Some(Kind::ToolCall(call)) if !call.executed_upstream => {
            let input = match &call.input {
                Some(Input::ArgumentsJson(text) | Input::Text(text)) => text.clone(),
                None => String::new(),
            };
            into.calls.push(Call { name: call.name.clone(), input });
        }
        _ => {}
    }
}

fn finish(reason: v1::FinishReason) -> Finish {
    match reason {
        v1::FinishReason::Unspecified => Finish::Unknown,
        v1::FinishReason::Stop => Finish::Stop,
        v1::FinishReason::Length => Finish::Length,
        v1::FinishReason::ToolCalls => Finish::ToolCalls,
        v1::FinishReason::ContentFilter => Finish::ContentFilter,
        v1::FinishReason::Refusal => Finish::Refusal,
        v1::FinishReason::ContextLength => Finish::ContextLength,
        v1::FinishReason::Paused => Finish::Paused,
        v1::FinishReason::Other => Finish::Other,
    }
}

fn with_usage(choices: BTreeMap<i64, Choice>, usage: Option<&v1::Usage>) -> Expected {
    let told = usage.filter(|usage| usage.source() == v1::usage::Source::Provider);
    let usage = told.map_or_else(Counts::default, |usage| Counts {
        input: usage.input_tokens,
        output: usage.output_tokens,
        cache_read: usage.cache_read_input_tokens,
        cache_write: usage.cache_write_input_tokens,
        reasoning: usage.reasoning_output_tokens,
    });
    Expected { choices, usage, ..Expected::default() }
}
