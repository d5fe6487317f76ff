//! What an answer carries beside its words, and that the next turn brings it back: signatures, citations, log
//! probabilities, the model's name.

use serde_json::Value;
use tollgate_api::v1::{self, Part, Role, annotation, part::Kind};

use super::{Bench, grpc::question};
use crate::{
    exchange::Exchange,
    read::notes::{self, Notes},
    replay::Cut,
};

/// Compares the notes of an answer with those of the recording, and sends the answer back.
pub async fn check(
    bench: &Bench,
    exchange: &Exchange,
    answer: &v1::CompleteResponse,
    cut: Cut,
) -> Result<(), String> {
    let Some(family) = exchange.family else { return Ok(()) };
    let notes = notes::of(family, &exchange.framing.messages(&exchange.body));
    same_notes(&notes, answer)?;
    if notes.signatures.is_empty() || cut != Cut::Whole {
        return Ok(());
    }
    let ask = bench.ask(exchange, "second", cut);
    let mut input = question(ask.alias());
    input.messages.extend(answer.choices.first().and_then(|choice| choice.message.clone()));
    input.messages.push(next(answer));
    let request = v1::StreamCompleteRequest { input: Some(input), ..Default::default() };
    let outcome = bench.chat_client().stream_complete(request).await;
    let sent = bench.replay.take(&ask.ticket);
    let Some(sent) = sent.first() else {
        return Err(format!(
            "the second turn was not asked: {:?}",
            outcome.err().map(|status| status.to_string())
        ));
    };
    bench.tally.second_turn();
    let body: Value = serde_json::from_slice(&sent.body).unwrap_or_default();
    let back = notes::signatures(family, &[body]);
    if back == notes.signatures {
        Ok(())
    } else {
        Err(told("signatures in the second turn", &notes.signatures, &back))
    }
}

/// Signatures are long; how many there are, and where they first differ, tells enough.
fn told(what: &str, want: &[String], got: &[String]) -> String {
    let same = want.iter().zip(got).take_while(|(want, got)| want == got).count();
    format!("{what}: {}, not {}; alike up to number {same}", got.len(), want.len())
}

fn parts(answer: &v1::CompleteResponse) -> impl Iterator<Item = &Part> {
    answer.choices.iter().filter_map(|choice| choice.message.as_ref()).flat_map(|message| &message.parts)
}

fn same_notes(notes: &Notes, answer: &v1::CompleteResponse) -> Result<(), String> {
    if !notes.model.is_empty() && notes.model != answer.model && !answer.model.contains('~') {
        return Err(format!("the model is {:?}, not {:?}", answer.model, notes.model));
    }
    let logprobs: usize = answer.choices.iter().map(|choice| choice.logprobs.len()).sum();
    if logprobs != notes.logprobs && notes.logprobs > 0 {
        return Err(format!("{logprobs} log probabilities, not {}", notes.logprobs));
    }
    let cited: Vec<&str> = parts(answer)
        .flat_map(|part| &part.annotations)
        .filter_map(|note| match &note.kind {
            Some(annotation::Kind::Uri(uri)) => Some(uri.uri.as_str()),
            _ => None,
        })
        .collect();
    if let Some(missing) = notes.cited.iter().find(|url| !cited.contains(&url.as_str())) {
        return Err(format!("{missing:?} is not cited; {} are", cited.len()));
    }
    let unsigned =
        notes.signatures.iter().filter(|signature| !parts(answer).any(|part| holds(part, signature)));
    match unsigned.count() {
        0 => Ok(()),
        count => Err(format!("{count} of {} signatures are nobody's continuity", notes.signatures.len())),
    }
}

/// Whether a part carries a signature: as it is, decoded, or within an item.
fn holds(part: &Part, signature: &str) -> bool {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    let Some(continuity) = &part.continuity else { return false };
    let decoded = BASE64_STANDARD.decode(signature).unwrap_or_default();
    let inside = |needle: &[u8]| {
        !needle.is_empty() && continuity.token.windows(needle.len()).any(|window| window == needle)
    };
    inside(signature.as_bytes()) || inside(&decoded)
}

/// What a caller says next: results of the calls, or a word.
fn next(answer: &v1::CompleteResponse) -> v1::Message {
    let first = answer.choices.first().and_then(|choice| choice.message.as_ref());
    let calls = first.map_or(&[][..], |message| &message.parts).iter().filter_map(|part| match &part.kind {
        Some(Kind::ToolCall(call)) if !call.executed_upstream => Some(call),
        _ => None,
    });
    let text = |words: &str| Part { kind: Some(Kind::Text(words.to_owned())), ..Part::default() };
    let results: Vec<Part> = calls
        .map(|call| {
            let result =
                v1::ToolResult { tool_call_id: call.id.clone(), parts: vec![text("done")], is_error: false };
            Part { kind: Some(Kind::ToolResult(Box::new(result))), ..Part::default() }
        })
        .collect();
    let (role, parts) =
        if results.is_empty() { (Role::User, vec![text("?")]) } else { (Role::Tool, results) };
    v1::Message { role: role.into(), parts, name: String::new() }
}
