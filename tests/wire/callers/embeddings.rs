//! Callers who want vectors: OpenAI's endpoint and the RPC.

use serde_json::{Value, json};
use tollgate_api::v1::{self, embed_input, embedding::Vector};

use super::{Bench, brief, compare, ledger, same_but};
use crate::{
    exchange::Exchange,
    family::Family,
    framing::Framing,
    read::{self, Counts, Expected},
    replay::Cut,
};

/// Whether the recorded wire is OpenAI's own, so that bytes pass.
fn is_openai(exchange: &Exchange) -> bool {
    exchange.bare_path().ends_with("/embeddings") && super::has_express_lane(exchange)
}

/// Replays the exchange on `/v1/embeddings`.
pub async fn rest(bench: &Bench, exchange: &Exchange, cut: Cut) -> Result<(), String> {
    let ask = bench.ask(exchange, "embeddings", cut);
    let expected = exchange.expected();
    let express = is_openai(exchange);
    let mut request = exchange.request.clone().filter(|_| express).unwrap_or_else(
        || json!({"input": vec!["?"; expected.vectors.len().max(1)], "encoding_format": "float"}),
    );
    request["model"] = json!(ask.alias());
    let answer = bench.caller.try_post("/v1/embeddings", request.to_string(), &[]).await;
    let sent = bench.replay.take(&ask.ticket);
    let answer = answer.ok_or("the answer broke off")?;
    if sent.is_empty() {
        let early = expected.failed && answer.status.is_client_error();
        return if early { Ok(()) } else { Err(format!("not asked: {}", brief(&answer))) };
    }
    if answer.status.is_success() == expected.failed {
        return Err(brief(&answer));
    }
    if !expected.failed {
        if express {
            let body: Value = serde_json::from_slice(&sent[0].body).map_err(|error| error.to_string())?;
            same_but(&request, &body, &["model"])?;
            if answer.body != exchange.body {
                return Err("the recorded bytes were changed".to_owned());
            }
        }
        let got = read::answer(Family::Embeddings, Framing::Whole, &answer.body);
        same_vectors(&expected, &got, sent.len())?;
    }
    ledger::same(bench, exchange, &asked(&expected, sent.len()), answer.header("x-request-id")).await
}

/// Replays the exchange for the RPC.
pub async fn grpc(bench: &Bench, exchange: &Exchange, cut: Cut) -> Result<(), String> {
    let ask = bench.ask(exchange, "grpc", cut);
    let expected = exchange.expected();
    let text = |text: &str| v1::EmbedInput { kind: Some(embed_input::Kind::Text(text.to_owned())) };
    let request = v1::EmbedRequest {
        model: ask.alias(),
        inputs: vec![text("?"); expected.vectors.len().max(1)],
        ..v1::EmbedRequest::default()
    };
    let client = v1::embed_service_client::EmbedServiceClient::new(bench.channel.clone());
    let answer = client.max_decoding_message_size(64 << 20).embed(request).await;
    let sent = bench.replay.take(&ask.ticket).len();
    let (metadata, got) = match answer {
        Ok(answer) => (answer.metadata().clone(), vectors(answer.get_ref())),
        Err(status) if expected.failed => {
            (status.metadata().clone(), Expected { failed: true, ..Expected::default() })
        }
        Err(status) => return Err(format!("{status}")),
    };
    same_vectors(&expected, &got, sent)?;
    let id = metadata.get("x-request-id").map_or("", |id| id.to_str().unwrap());
    ledger::same(bench, exchange, &asked(&expected, sent), id).await
}

/// A wire that takes one text at a time is asked once per text, and each answer counts.
fn asked(expected: &Expected, times: usize) -> Expected {
    let times = i64::try_from(times.max(1)).unwrap();
    let usage = Counts { input: expected.usage.input.map(|input| input * times), ..Counts::default() };
    Expected { usage, ..expected.clone() }
}

fn vectors(answer: &v1::EmbedResponse) -> Expected {
    let numbers = |embedding: &v1::Embedding| match &embedding.vector {
        Some(Vector::Dense(dense)) => dense.values.clone(),
        _ => Vec::new(),
    };
    let input = answer.usage.as_ref().and_then(|usage| usage.input_tokens);
    Expected {
        vectors: answer.embeddings.iter().map(numbers).collect(),
        usage: Counts { input, ..Counts::default() },
        ..Expected::default()
    }
}

fn same_vectors(expected: &Expected, got: &Expected, times: usize) -> Result<(), String> {
    if expected.failed || got.failed {
        return if expected.failed == got.failed { Ok(()) } else { Err("one failed".to_owned()) };
    }
    if expected.vectors.len() != got.vectors.len() {
        return Err(format!("{} vectors, not {}", got.vectors.len(), expected.vectors.len()));
    }
    for (want, got) in expected.vectors.iter().zip(&got.vectors) {
        // Packed vectors have no numbers that this reading knows.
        let packed = want.is_empty() || got.is_empty();
        if !packed && want != got {
            return Err(format!("other numbers: {} of them, not {}", got.len(), want.len()));
        }
    }
    compare::counts(&asked(expected, times).usage, &got.usage)
}
