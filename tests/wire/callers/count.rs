//! Callers who want a prompt's tokens counted: Anthropic's and OpenAI's endpoints, and the RPC.

use serde_json::{Value, json};
use tollgate_api::v1;

use super::{Bench, brief, grpc::question, ledger, same_but};
use crate::{exchange::Exchange, read::Expected, replay::Cut};

/// An endpoint that counts.
pub struct Counter {
    pub name: &'static str,
    path: &'static str,
    /// A small request.
    request: fn() -> Value,
}

/// Every endpoint that counts.
pub static ALL: [Counter; 2] = [
    Counter {
        name: "messages",
        path: "/v1/messages/count_tokens",
        request: || json!({"messages": [{"role": "user", "content": "?"}]}),
    },
    Counter { name: "responses", path: "/v1/responses/input_tokens", request: || json!({"input": "?"}) },
];

/// Replays the exchange on an endpoint that counts; on its own one with the recorded request.
pub async fn rest(bench: &Bench, exchange: &Exchange, counter: &Counter, cut: Cut) -> Result<(), String> {
    let ask = bench.ask(exchange, counter.name, cut);
    let expected = exchange.expected();
    let native = exchange.bare_path().ends_with(counter.path);
    let recorded = exchange.request.clone().filter(|_| native);
    let mut request = recorded.unwrap_or_else(counter.request);
    request["model"] = json!(ask.alias());
    let answer = bench.caller.try_post(counter.path, request.to_string(), &[]).await;
    let sent = bench.replay.take(&ask.ticket);
    let answer = answer.ok_or("the answer broke off")?;
    if native && let Some(sent) = sent.first() {
        let body: Value = serde_json::from_slice(&sent.body).map_err(|error| error.to_string())?;
        same_but(&request, &body, &["model"])?;
    }
    if expected.failed {
        // Where the vendor refuses to count, an upper bound is as good an answer as the refusal.
        return Ok(());
    }
    if !answer.status.is_success() || sent.len() != 1 {
        return Err(format!("asked {} times: {}", sent.len(), brief(&answer)));
    }
    let told = answer.json()["input_tokens"].as_i64();
    if told != expected.counted {
        return Err(format!("{told:?} tokens, not {:?}", expected.counted));
    }
    ledger::same(bench, exchange, &expected, answer.header("x-request-id")).await
}

/// Replays the exchange for the RPC.
pub async fn grpc(bench: &Bench, exchange: &Exchange, cut: Cut) -> Result<(), String> {
    let ask = bench.ask(exchange, "grpc", cut);
    let expected: Expected = exchange.expected();
    let request = v1::CountTokensRequest { input: Some(question(ask.alias())) };
    let answer = bench.chat_client().count_tokens(request).await;
    let sent = bench.replay.take(&ask.ticket).len();
    let told = match answer {
        Ok(answer) => answer.into_inner(),
        Err(_) if expected.failed => return Ok(()),
        Err(status) => return Err(format!("{status}")),
    };
    if expected.failed {
        return if told.estimated { Ok(()) } else { Err("a refusal became a count".to_owned()) };
    }
    if told.estimated || sent != 1 || Some(told.input_tokens) != expected.counted {
        return Err(format!("{told:?} after {sent} requests, not {:?}", expected.counted));
    }
    Ok(())
}
