//! Tests that nothing is lost in silence: every feature that a caller's dialect can ask for, sent to every target's,
//! is carried, told in a warning (and refused in strict mode), or refused. What is told is listed in `told`, so that a
//! new loss fails here.

mod chat;
mod features;
mod messages;
mod responses;
mod told;

use std::collections::BTreeSet;

use prost_reflect::{DescriptorPool, DynamicMessage};
use tollgate_api::v1::ChatInput;
use uuid::Uuid;

use self::{
    chat::CHAT,
    features::{COMPLETIONS, Feature, GRPC},
    messages::MESSAGES,
    responses::RESPONSES,
};
use crate::{
    call::Payload,
    edge,
    provider::{Outgoing, built_for},
};

/// A target's dialect and a model of it.
const TARGETS: [(&str, &str); 8] = [
    ("openai", "gpt-5.2"),
    ("openai-responses", "gpt-5.2"),
    ("anthropic", "claude-sonnet-4-5"),
    ("gemini", "gemini-2.5-pro"),
    ("bedrock", "anthropic.claude-sonnet-4-5-20250929-v1:0"),
    ("cohere", "command-a-03-2025"),
    ("mistral", "mistral-large-latest"),
    ("compatible", "some-model"),
];

/// What became of a feature on its way to a target.
#[derive(Debug)]
enum Fate {
    Carried,
    /// The field of the warning, or of the refusal.
    Told(String),
    Lost(String),
}

fn fate(payload: &Payload<ChatInput>, (target, model): (&str, &str), feature: &Feature) -> Fate {
    let outgoing = |strict| Outgoing {
        call_id: Uuid::nil(),
        provider: "mine",
        model,
        payload,
        streamed: false,
        usage_wanted: true,
        strict,
        traceparent: None,
        output_cap: None,
    };
    let (body, warnings) = match built_for(target, &outgoing(false)) {
        Ok(built) => built,
        Err(refused) => return Fate::Told(refused.field.expect("a refusal names the field")),
    };
    let shows = |mark: &str| match mark.strip_prefix('!') {
        Some(absent) => !body.contains(absent),
        None => body.contains(mark),
    };
    if feature.marks.iter().any(|mark| shows(mark)) {
        return Fate::Carried;
    }
    let Some(warning) = warnings.first() else { return Fate::Lost(body) };
    if warning.code.starts_with("parameter_") {
        let refused = built_for(target, &outgoing(true)).expect_err("strict mode refuses what is dropped");
        assert_eq!(refused.field.as_deref(), Some(warning.field.as_str()), "{target}: {}", feature.name);
    }
    Fate::Told(warning.field.clone())
}

/// Reads the contract's own JSON.
fn input(json: &str) -> ChatInput {
    let pool = DescriptorPool::decode(tollgate_api::DESCRIPTORS).unwrap();
    let descriptor = pool.get_message_by_name("tollgate.v1.ChatInput").unwrap();
    let mut json = serde_json::Deserializer::from_str(json);
    DynamicMessage::deserialize(descriptor, &mut json).unwrap().transcode_to().unwrap()
}

/// Sends every feature of a caller's to every target, and compares what was not carried with the list.
fn check(caller: &str, base: &str, features: &[Feature]) {
    let mut told = BTreeSet::new();
    let mut lost = Vec::new();
    for feature in features {
        let body = features::merged(base, feature.members);
        let payload = if caller == "grpc" {
            Ok(Payload::typed(input(&body)))
        } else {
            edge::parsed_from(caller, body.as_bytes())
        };
        let payload = payload.unwrap_or_else(|error| panic!("{caller} {}: {error}", feature.name));
        for target in TARGETS {
            match fate(&payload, target, feature) {
                Fate::Carried => {}
                Fate::Told(field) => {
                    told.insert((feature.name, target.0, field));
                }
                Fate::Lost(body) => lost.push(format!("{} to {}: {body}", feature.name, target.0)),
            }
        }
    }
    let listed: BTreeSet<_> = told::of(caller)
        .flat_map(|(name, field, targets)| targets.iter().map(move |to| (*name, *to, (*field).to_owned())))
        .collect();
    assert!(lost.is_empty(), "{caller}: lost in silence:\n{}", lost.join("\n"));
    let new: Vec<_> = told.difference(&listed).collect();
    let carried: Vec<_> = listed.difference(&told).collect();
    assert!(
        new.is_empty() && carried.is_empty(),
        "{caller}: not listed {new:#?}\nlisted, but carried {carried:#?}"
    );
}

#[test]
fn chat_callers_lose_nothing_in_silence() {
    check("chat", r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#, CHAT);
}

#[test]
fn responses_callers_lose_nothing_in_silence() {
    check("responses", r#"{"model":"m","input":[{"role":"user","content":"hi"}]}"#, RESPONSES);
}

#[test]
fn messages_callers_lose_nothing_in_silence() {
    check(
        "messages",
        r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#,
        MESSAGES,
    );
}

#[test]
fn completions_callers_lose_nothing_in_silence() {
    check("completions", r#"{"model":"m","prompt":"hi"}"#, COMPLETIONS);
}

/// Over gRPC the contract itself is the caller's dialect; its JSON is `ChatInput`'s.
#[test]
fn grpc_callers_lose_nothing_in_silence() {
    check("grpc", r#"{"model":"m","messages":[{"role":"ROLE_USER","parts":[{"text":"hi"}]}]}"#, GRPC);
}
