//! An answer as the contract tells it, in one text that is the same whenever the exchange is replayed: what a run makes
//! up (ids, times, costs, the ticket) is masked.

use std::collections::BTreeMap;

use tollgate_api::v1::{self, part::Kind};

use crate::exchange::Exchange;

/// Writes an answer.
pub fn text(exchange: &Exchange, ticket: &str, answer: &v1::CompleteResponse) -> String {
    let mut answer = answer.clone();
    let body = String::from_utf8_lossy(&exchange.body).into_owned();
    let mask = |id: &mut String| {
        if !id.is_empty() && !body.contains(id.as_str()) {
            "made".clone_into(id);
        }
    };
    answer.id.clear();
    answer.route = None;
    answer.create_time = None;
    mask(&mut answer.upstream_response_id);
    for warning in &mut answer.warnings {
        warning.message.clear();
    }
    for part in
        answer.choices.iter_mut().filter_map(|choice| choice.message.as_mut()).flat_map(|it| &mut it.parts)
    {
        match &mut part.kind {
            Some(Kind::ToolCall(call)) => mask(&mut call.id),
            Some(Kind::ToolResult(result)) => mask(&mut result.tool_call_id),
            _ => {}
        }
    }
    let mut maps = Vec::new();
    if let Some(usage) = &mut answer.usage {
        usage.cost = None;
        for map in [&mut usage.billable_units, &mut usage.cache_write_by_ttl] {
            maps.push(std::mem::take(map).into_iter().collect::<BTreeMap<_, _>>());
        }
    }
    format!("{answer:#?}\n{maps:?}").replace(ticket, "<model>")
}
