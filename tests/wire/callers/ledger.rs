//! The record of a call: right status, and the provider's own counts or a flagged estimate.

use serde_json::Value;

use super::{Bench, compare};
use crate::{
    exchange::Exchange,
    read::{Counts, Expected},
};

/// Compares the record of a call with what the recording says.
pub async fn same(bench: &Bench, exchange: &Exchange, expected: &Expected, id: &str) -> Result<(), String> {
    let answer = bench.admin.get(&format!("/v1/usage/records/{id}")).await;
    if !answer.status.is_success() {
        return Err(format!("no record {id}: {}", answer.text()));
    }
    let record = &answer.json()["record"];
    if (record["status"] == "OK") == expected.failed {
        return Err(format!("the record says {} {}", record["status"], record["error_reason"]));
    }
    if record["provider"] != exchange.provider() {
        return Err(format!("the record's provider is {}", record["provider"]));
    }
    same_attempt(exchange, &record["attempts"])?;
    if expected.failed {
        return Ok(());
    }
    let usage = &record["usage"];
    let tokens = expected.usage.input.or(expected.usage.output);
    let told = tokens.or(expected.search_units).is_some();
    let source = if told { "SOURCE_PROVIDER" } else { "SOURCE_ESTIMATED" };
    // A guardrail bills units of its own.
    let other_units = !told && usage["billable_units"].as_object().is_some_and(|units| !units.is_empty());
    if usage["source"] != source && expected.counted.is_none() && !other_units {
        return Err(format!("the record's source is {}, not {source}", usage["source"]));
    }
    let units = usage["billable_units"]["search_units"].as_str().and_then(|text| text.parse::<i64>().ok());
    if expected.search_units != units && expected.search_units.is_some() {
        return Err(format!("the record: {units:?} units of search, not {:?}", expected.search_units));
    }
    let count = |name: &str| usage[name].as_str().and_then(|text| text.parse::<i64>().ok());
    let got = Counts {
        input: count("input_tokens"),
        output: count("output_tokens"),
        cache_read: count("cache_read_input_tokens"),
        cache_write: count("cache_write_input_tokens"),
        reasoning: count("reasoning_output_tokens"),
    };
    compare::counts(&expected.usage, &got).map_err(|why| format!("the record: {why}"))?;
    let written = expected.usage.cache_write.filter(|count| *count > 0 && told);
    if written.is_some() && written != got.cache_write {
        return Err(format!("the record: {written:?} tokens were cached, not {:?}", got.cache_write));
    }
    same_ttls(exchange, usage)
}

/// Headers that hold the vendor's id of a request.
const REQUEST_IDS: [&str; 13] = [
    "x-request-id",
    "request-id",
    "apim-request-id",
    "x-amzn-requestid",
    "x-goog-request-id",
    "mistral-correlation-id",
    "x-debug-trace-id",
    "x-ds-trace-id",
    "nvcf-reqid",
    "x-ms-request-id",
    "x-correlation-id",
    "x-generation-id",
    "cf-ray",
];

/// The attempt has the vendor's status and id, and a refusal the kind that its status allows.
fn same_attempt(exchange: &Exchange, attempts: &Value) -> Result<(), String> {
    let Some([attempt]) = attempts.as_array().map(Vec::as_slice) else { return Ok(()) };
    // Refused before it was sent.
    if attempt["http_status"].as_u64().unwrap_or(0) == 0 {
        return Ok(());
    }
    if attempt["http_status"] != exchange.status {
        return Err(format!("the attempt's status is {}, not {}", attempt["http_status"], exchange.status));
    }
    let id =
        REQUEST_IDS.iter().map(|name| exchange.header(name)).find(|id| !id.is_empty()).unwrap_or_default();
    let told = attempt["upstream_request_id"].as_str().unwrap_or_default();
    // Anthropic's refusals tell it in the body too.
    if told != id && !(id.is_empty() && exchange.status >= 400) {
        return Err(format!("the attempt's id is {told:?}, not {id:?}"));
    }
    let allowed: &[&str] = match exchange.status {
        429 => &["rate_limited"],
        401 => &["denied"],
        403 => &["denied", "content_policy", "rate_limited"],
        408 | 504 => &["timeout", "unavailable"],
        500.. => &["unavailable", "rate_limited", "timeout"],
        400.. => &["invalid", "context_length", "content_policy", "denied", "rate_limited"],
        _ => return Ok(()),
    };
    let outcome = attempt["outcome"].as_str().unwrap_or_default();
    if allowed.contains(&outcome) {
        return Ok(());
    }
    Err(format!("{} is told as {outcome}, not one of {allowed:?}", exchange.status))
}

/// Anthropic tells what it cached by how long.
fn same_ttls(exchange: &Exchange, usage: &Value) -> Result<(), String> {
    if exchange.family != Some(crate::family::Family::Messages) {
        return Ok(());
    }
    let messages = exchange.framing.messages(&exchange.body);
    let told = messages.iter().rev().find_map(|message| {
        ["/usage/cache_creation", "/message/usage/cache_creation"]
            .iter()
            .find_map(|place| message.pointer(place))
    });
    for (ttl, member) in [("5m", "ephemeral_5m_input_tokens"), ("1h", "ephemeral_1h_input_tokens")] {
        let want = told.and_then(|told| told[member].as_i64()).filter(|count| *count > 0);
        let got = usage["cache_write_by_ttl"][ttl].as_str().and_then(|text| text.parse::<i64>().ok());
        if want.is_some() && want != got {
            return Err(format!("the record: {want:?} tokens were cached for {ttl}, not {got:?}"));
        }
    }
    Ok(())
}
