//! What passes through: bytes both ways, the status, and a record with what the vendor told of its usage.

use serde_json::{Value, json};

use super::{Bench, brief, ledger, same_but};
use crate::{exchange::Exchange, family::Family, replay::Cut};

/// Replays the exchange on the endpoint of ours that passes it through, or below `/providers/`.
pub async fn check(bench: &Bench, exchange: &Exchange, cut: Cut) -> Result<(), String> {
    let ask = bench.ask(exchange, "pass", cut);
    let native = exchange.family == Some(Family::Native);
    let mut request = exchange.request.clone().unwrap_or_else(|| json!({}));
    let path = if native {
        let mark = if exchange.path.contains('?') { '&' } else { '?' };
        let model = percent_encoding::utf8_percent_encode(&ask.ticket, percent_encoding::NON_ALPHANUMERIC);
        format!(
            "/providers/{}/{}{mark}wire={model}",
            exchange.provider(),
            exchange.path.trim_start_matches('/')
        )
    } else {
        request["model"] = json!(ask.alias());
        exchange.bare_path().to_owned()
    };
    let caller = if native { &bench.admin } else { &bench.caller };
    let answer = caller.try_post(&path, request.to_string(), &[]).await.ok_or("the answer broke off")?;
    let sent = bench.replay.take(&ask.ticket);
    let [sent] = sent.as_slice() else {
        return Err(format!("asked {} times: {}", sent.len(), brief(&answer)));
    };
    let body: Value = serde_json::from_slice(&sent.body).map_err(|error| error.to_string())?;
    same_but(&request, &body, if native { &[] } else { &["model"] })?;
    if native && !path.ends_with(&sent.path) {
        return Err(format!("the path {path} arrived as {}", sent.path));
    }
    if exchange.status >= 400 {
        if answer.status.is_success() {
            return Err("a refusal was passed on as a success".to_owned());
        }
    } else if answer.status != exchange.status || answer.body != exchange.body {
        return Err(format!("other bytes: {}", brief(&answer)));
    }
    ledger::same(bench, exchange, &exchange.expected(), answer.header("x-request-id")).await
}
