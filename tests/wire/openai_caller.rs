//! The OpenAI caller of an exchange: gets the recorded bytes, and the upstream gets the recorded request.

use serde_json::{Value, json};

use crate::{
    exchange::Exchange,
    support::{ADMIN_KEY, Gateway, KEY, http::Caller, upstream::Upstream},
};

/// Replays the exchange for an OpenAI caller.
pub async fn check(
    gateway: &Gateway,
    upstream: &Upstream,
    exchange: &Exchange,
    alias: &str,
) -> Result<(), String> {
    let caller = Caller::new(gateway.addr, KEY);
    let path = if exchange.embeddings { "/v1/embeddings" } else { "/v1/chat/completions" };
    let request = exchange.request_for(alias);
    let asked_before = upstream.seen().len();
    let answer = caller.post(path, request.to_string()).await;
    let expected = exchange.expected();
    let asked = upstream.seen();
    let Some(sent) = asked.get(asked_before) else {
        // A request that the recorded provider refused may be refused before it gets there.
        let early = expected.failed && answer.status.is_client_error();
        return if early { Ok(()) } else { Err(format!("refused: {} {}", answer.status, answer.text())) };
    };
    same_request(&request, &sent.json())?;

    let in_stream_error = answer.text().lines().any(|line| line.starts_with("data: {\"error\""));
    if expected.failed {
        let told = in_stream_error && !answer.text().contains("data: [DONE]");
        if answer.status.is_success() && !told {
            return Err(format!("a failure was passed on as {}", answer.status));
        }
    } else {
        if !answer.status.is_success() || in_stream_error {
            return Err(format!("{} {}", answer.status, answer.text().chars().take(300).collect::<String>()));
        }
        let bytes = exchange.expected_bytes();
        if answer.body != bytes {
            let at = answer.body.iter().zip(&bytes).take_while(|(a, b)| a == b).count();
            return Err(format!(
                "bytes differ from byte {at} of {} (got {})",
                bytes.len(),
                answer.body.len()
            ));
        }
    }
    same_record(gateway, exchange, answer.header("x-request-id")).await
}

/// The upstream must see the caller's request but for the model and the usage option.
fn same_request(request: &Value, sent: &Value) -> Result<(), String> {
    let stripped = |value: &Value| {
        let mut value = value.clone();
        if let Some(object) = value.as_object_mut() {
            object.remove("model");
            if let Some(options) = object.get_mut("stream_options").and_then(Value::as_object_mut) {
                options.remove("include_usage");
            }
            if object.get("stream_options").is_none_or(|options| options.is_null() || *options == json!({})) {
                object.remove("stream_options");
            }
        }
        value
    };
    if stripped(request) != stripped(sent) {
        return Err("the upstream got another request than the caller sent".to_owned());
    }
    if request["stream"] == json!(true) && sent["stream_options"]["include_usage"] != json!(true) {
        return Err("usage was not asked for".to_owned());
    }
    Ok(())
}

/// The ledger must hold the provider's own counts, or flag an estimate.
pub async fn same_record(gateway: &Gateway, exchange: &Exchange, id: &str) -> Result<(), String> {
    let expected = exchange.expected();
    let answer = Caller::new(gateway.addr, ADMIN_KEY).get(&format!("/v1/usage/records/{id}")).await;
    if !answer.status.is_success() {
        return Err(format!("no record {id}: {}", answer.text()));
    }
    let record = &answer.json()["record"];
    if (record["status"] == "OK") == expected.failed {
        return Err(format!("the record says {} {}", record["status"], record["error_reason"]));
    }
    if expected.failed {
        return Ok(());
    }
    let count = |name: &str| record["usage"][name].as_str().and_then(|text| text.parse::<i64>().ok());
    let told = expected.input_tokens.is_some();
    let source = if told { "SOURCE_PROVIDER" } else { "SOURCE_ESTIMATED" };
    if record["usage"]["source"] != source {
        return Err(format!("the record's source is {}, not {source}", record["usage"]["source"]));
    }
    if told
        && (count("input_tokens"), count("output_tokens"))
            != (expected.input_tokens, expected.output_tokens.or(count("output_tokens")))
    {
        return Err(format!(
            "the record counts {:?} and {:?}, the provider {:?} and {:?}",
            count("input_tokens"),
            count("output_tokens"),
            expected.input_tokens,
            expected.output_tokens
        ));
    }
    Ok(())
}
