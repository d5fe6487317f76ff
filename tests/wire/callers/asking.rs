//! The caller of an exchange's own dialect who is kept off the express lane: what the typed lane makes of the request is
//! what the vendor's SDK sent, and what it makes of the answer is what the recording says.

use serde_json::{Value, json};

use super::{Bench, brief, compare::compare, surfaces::Surface};
use crate::{asked, exchange::Exchange, framing::Framing, read, replay::Cut};

/// A text that begins as the gateway's own continuity tokens do, which the express lane does not carry.
const MARK: &str = "tollgate.lane";

/// Replays the exchange with its own request through the typed lane.
pub async fn check(bench: &Bench, exchange: &Exchange, surface: &Surface, cut: Cut) -> Result<(), String> {
    let left_out = |why: &str| bench.tally.note(&exchange.dialect, &exchange.id, Err(why));
    let Some(mut request) = exchange.request.clone() else {
        left_out("without a recorded request");
        return Ok(());
    };
    let ask = bench.ask(exchange, &format!("{}-typed", surface.name), cut);
    request["model"] = json!(ask.alias());
    request[MARK] = json!(true);
    if let Some(members) = request.as_object_mut() {
        members.remove("anthropic_version");
    }
    if exchange.is_streamed() {
        request["stream"] = json!(true);
    }
    let headers: Vec<(&str, &str)> =
        exchange.request_headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let answer = bench.caller.try_post(surface.path, request.to_string(), &headers).await;
    let sent = bench.replay.take(&ask.ticket);
    let answer = answer.ok_or("the answer broke off")?;
    let expected = exchange.expected();
    let Some(sent) = sent.first() else {
        if answer.status.is_client_error() && (expected.failed || is_stateful(&request)) {
            left_out(if expected.failed {
                "refused before they are sent"
            } else {
                "of state that a server keeps"
            });
            return Ok(());
        }
        return Err(format!("not asked: {}", brief(&answer)));
    };
    bench.tally.note(&exchange.dialect, &exchange.id, Ok(()));
    bench.tally.lose(&exchange.dialect, &exchange.id, &asked::same(exchange, &sent.body)?);
    if expected.failed || !answer.status.is_success() {
        return if answer.status.is_success() && !expected.failed { Err(brief(&answer)) } else { Ok(()) };
    }
    let framing = Framing::of_content_type(answer.header("content-type"));
    let got = read::answer(surface.family, framing, &answer.body);
    compare(surface.family, &expected, &got)?;
    (surface.rules)(framing, &answer.body)
}

/// Whether a request needs what only OpenAI keeps.
fn is_stateful(request: &Value) -> bool {
    let refers = ["previous_response_id", "conversation", "prompt"];
    refers.iter().any(|name| !request[*name].is_null()) || request["background"] == true
}
