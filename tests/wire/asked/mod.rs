//! What a request asks. A recorded request is asked of the gateway, by a caller of its own dialect who is kept off the
//! express lane or by a gRPC caller, and what the upstream gets must ask the same, member by member, but for what the
//! table in `normal` lists.

mod changes;
mod cohere;
mod converse;
mod gemini;
mod lost;
mod normal;
mod place;
mod words;

use serde_json::Value;
use tollgate_api::v1::ChatInput;
use tollgate_server::edge::openai;

use crate::{exchange::Exchange, family::Family};

/// Differences that are told of one request.
const TOLD: usize = 4;

/// The recorded request as a gRPC caller would ask it, or why it cannot be.
pub fn input(exchange: &Exchange, alias: String) -> Result<ChatInput, String> {
    let request = exchange.request.as_ref().ok_or("no request was recorded")?;
    let provider = exchange.provider();
    match exchange.family {
        Some(Family::Chat) => {
            let mut request = request.clone();
            request["model"] = alias.into();
            openai::parse_chat(request.to_string().as_bytes())
                .map_err(|error| format!("an old vendor's shape ({error})"))
        }
        Some(Family::Gemini) => gemini::input(request, alias, &provider),
        Some(Family::Converse) => converse::input(request, alias, &provider),
        Some(Family::Cohere) => cohere::input(request, alias, &provider),
        _ => Err("asked by callers of its own dialect".to_owned()),
    }
}

/// Compares what the upstream got with what the vendor's SDK sent. Returns what the typed lane is known to lose of it.
pub fn same(exchange: &Exchange, sent: &[u8]) -> Result<Vec<&'static str>, String> {
    let (Some(family), Some(recorded)) = (exchange.family, &exchange.request) else { return Ok(Vec::new()) };
    let mut recorded = recorded.clone();
    let mut sent: Value =
        serde_json::from_slice(sent).map_err(|error| format!("the upstream got {error}"))?;
    let taken = lost::take(family, &mut recorded);
    lost::take(family, &mut sent);
    let [want, got] = [recorded, sent].map(|body| normal::normal(family, &body));
    let differences = place::differences(&want, &got, TOLD);
    // What the vendor refused may be asked better.
    if differences.is_empty() || exchange.status >= 400 {
        return Ok(taken);
    }
    Err(format!("asks otherwise: {}", differences.join("; ")))
}
