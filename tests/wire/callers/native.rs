//! The caller of an exchange's own dialect: gets the recorded bytes, and the upstream gets the recorded request.

use serde_json::{Value, json};

use super::{Ask, Bench, brief, ledger, same_but, surfaces::Surface};
use crate::{
    exchange::Exchange,
    family::Family,
    framing::{Framing, events},
    replay::Cut,
    support::{http::Answer, upstream::Seen},
};

/// Replays the exchange for a caller of its own dialect.
pub async fn check(bench: &Bench, exchange: &Exchange, surface: &Surface, cut: Cut) -> Result<(), String> {
    let ask = bench.ask(exchange, surface.name, cut);
    let request = request(&ask, surface);
    let headers: Vec<(&str, &str)> =
        exchange.request_headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let answer = bench.caller.try_post(surface.path, request.to_string(), &headers).await;
    let sent = bench.replay.take(&ask.ticket);
    let answer = answer.ok_or("the answer broke off")?;
    let mut expected = exchange.expected();
    // An answer in the background is none yet, and nevertheless what its own caller asked for.
    expected.failed &= !is_pending(exchange);
    let [sent] = sent.as_slice() else {
        // A request that the recorded provider refused may be refused before it gets there.
        let early = expected.failed && sent.is_empty() && answer.status.is_client_error();
        return if early { Ok(()) } else { Err(format!("asked {} times: {}", sent.len(), brief(&answer))) };
    };
    same_request(surface.family, exchange, &request, sent)?;
    if exchange.status >= 400 {
        same_refusal(surface.family, exchange, &answer)?;
    } else {
        same_answer(surface.family, exchange, &answer, expected.failed)?;
    }
    ledger::same(bench, exchange, &expected, answer.header("x-request-id")).await
}

fn is_pending(exchange: &Exchange) -> bool {
    let answer = serde_json::from_slice::<Value>(&exchange.body).unwrap_or_default();
    exchange.family == Some(Family::Responses)
        && (answer["status"] == "queued" || answer["status"] == "in_progress")
}

fn request(ask: &Ask<'_>, surface: &Surface) -> Value {
    let streamed = ask.exchange.is_streamed();
    let Some(mut request) = ask.exchange.request.clone() else {
        return (surface.request)(&ask.alias(), streamed);
    };
    request["model"] = json!(ask.alias());
    if streamed && request["stream"] != json!(true) {
        request["stream"] = json!(true);
    }
    // Vertex names the version in the body and the model in the path; its callers here are Anthropic's.
    if let Some(members) = request.as_object_mut() {
        members.remove("anthropic_version");
    }
    request
}

/// The upstream must see the caller's request but for the model and the usage option.
fn same_request(family: Family, exchange: &Exchange, request: &Value, sent: &Seen) -> Result<(), String> {
    let Ok(body) = serde_json::from_slice::<Value>(&sent.body) else {
        return Err("the upstream got no JSON".to_owned());
    };
    let of_vertex = exchange.dialect.starts_with("vertex");
    match family {
        Family::Chat | Family::Completions => {
            same_but(request, &body, &["model", "stream_options"])?;
            let others = |value: &Value| {
                let mut options = value["stream_options"].as_object().cloned().unwrap_or_default();
                options.remove("include_usage");
                options
            };
            if others(request) != others(&body) {
                return Err("other stream options".to_owned());
            }
            if request["stream"] == json!(true) && body["stream_options"]["include_usage"] != json!(true) {
                return Err("usage was not asked for".to_owned());
            }
        }
        _ if of_vertex => {
            same_but(request, &body, &["model", "anthropic_version"])?;
            if body["anthropic_version"].is_null() || !body["model"].is_null() {
                return Err("not as Vertex wants it".to_owned());
            }
        }
        _ => same_but(request, &body, &["model"])?,
    }
    for (name, value) in &exchange.request_headers {
        if sent.header(name) != value {
            return Err(format!("`{name}` was {value} and arrived as {:?}", sent.header(name)));
        }
    }
    Ok(())
}

/// A refusal arrives as a refusal; Anthropic's, whose clients read the words, unmodified.
fn same_refusal(family: Family, exchange: &Exchange, answer: &Answer) -> Result<(), String> {
    if answer.status.is_success() {
        return Err(format!("a refusal was passed on as {}", answer.status));
    }
    // Our own credentials are no caller's business.
    let ours = matches!(exchange.status, 401 | 403);
    if family == Family::Messages
        && !ours
        && (answer.status != exchange.status || answer.body != exchange.body)
    {
        return Err(format!("the refusal was changed: {}", brief(answer)));
    }
    Ok(())
}

fn same_answer(family: Family, exchange: &Exchange, answer: &Answer, failed: bool) -> Result<(), String> {
    let in_stream_error = answer.text().lines().any(|line| {
        line.starts_with("data: {\"error\"")
            || line.starts_with("data: {\"type\":\"error\"")
            || line == "event: error"
    });
    if failed {
        // Responses' own failures are events of their own, passed on as they are.
        let told = in_stream_error && !answer.text().contains("data: [DONE]") || family == Family::Responses;
        return if answer.status.is_success() && !told {
            Err(format!("a failure was passed on as {}", answer.status))
        } else {
            Ok(())
        };
    }
    if !answer.status.is_success() || in_stream_error {
        return Err(brief(answer));
    }
    let bytes = expected_bytes(family, exchange);
    if answer.body != bytes {
        let at = answer.body.iter().zip(&bytes).take_while(|(a, b)| a == b).count();
        return Err(format!("bytes differ from byte {at} of {} (got {})", bytes.len(), answer.body.len()));
    }
    Ok(())
}

/// The recorded bytes, less the usage-only event that nobody asked for.
fn expected_bytes(family: Family, exchange: &Exchange) -> Vec<u8> {
    let wanted = exchange
        .request
        .as_ref()
        .is_none_or(|request| request["stream_options"]["include_usage"] == json!(true));
    let chunked = matches!(family, Family::Chat | Family::Completions) && exchange.framing == Framing::Events;
    if !chunked || wanted {
        return exchange.body.clone();
    }
    let usage_only = |data: &str| {
        serde_json::from_str::<Value>(data)
            .is_ok_and(|data| data["choices"] == json!([]) && data["usage"].is_object())
    };
    let kept = events(&exchange.body).into_iter().filter(|event| !usage_only(&event.data));
    kept.flat_map(|event| event.raw.into_bytes()).collect()
}
