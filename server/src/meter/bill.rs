//! What the providers bill for a call: the part of each attempt, priced by its own target, and their sum.

use tollgate_api::v1::{self, usage::Source};

use super::{Catalog, sum::Sum, tally::Tally};
use crate::call::{Asked, Attempt, Call, Operation, Target, estimate_text_tokens};

/// Returns what the attempts before the last one are billed for, and writes it into them.
pub(super) fn earlier(attempts: &mut [Attempt], asked: &Asked, catalog: &Catalog) -> Sum {
    attempts.split_last_mut().map(|(_, earlier)| in_vain(earlier, asked, catalog)).unwrap_or_default()
}

/// Returns what attempts that do not serve the call are billed for, and writes it into them.
fn in_vain(attempts: &mut [Attempt], asked: &Asked, catalog: &Catalog) -> Sum {
    let mut sum = Sum::default();
    for attempt in attempts {
        if attempt.usage.is_none() && has_read_the_prompt(attempt) {
            attempt.usage = Some(Box::new(prompt(asked, 0)));
        }
        let Attempt { usage: Some(usage), target, .. } = attempt else { continue };
        let priced = price(usage, target, "", catalog);
        sum.add(usage, priced);
    }
    sum
}

/// Returns what a call that is over is billed for. Where that is several attempts, each holds its part afterwards; else
/// none does, since all is the call's.
pub(super) fn settle(call: &mut Call, tally: &Tally, complete: bool, catalog: &Catalog) -> Sum {
    if call.operation == Operation::CountTokens {
        return Sum::default();
    }
    if complete && tally.served_by(call).is_none() {
        // The gateway's own answer uses nothing, but the attempts before it may have.
        let mut sum = in_vain(&mut call.attempts, &call.asked, catalog);
        let nothing = || v1::Usage { input_tokens: Some(0), output_tokens: Some(0), ..Default::default() };
        sum.usage.get_or_insert_with(nothing).r#final = true;
        return alone_if_one(sum, &mut call.attempts);
    }
    let mut sum = earlier(&mut call.attempts, &call.asked, catalog);
    let mut last = part(call.attempts.last(), tally, &call.asked, complete);
    if let Some(part) = &mut last {
        let priced =
            call.attempts.last().is_none_or(|attempt| price(part, &attempt.target, &tally.model, catalog));
        sum.add(part, priced);
    }
    if let Some(attempt) = call.attempts.last_mut() {
        attempt.usage = last.map(Box::new);
    }
    alone_if_one(sum, &mut call.attempts)
}

/// Takes the parts out of the attempts if there are not several.
fn alone_if_one(sum: Sum, attempts: &mut [Attempt]) -> Sum {
    if sum.parts < 2 {
        attempts.iter_mut().for_each(|attempt| attempt.usage = None);
    }
    sum
}

/// Writes into the running attempt, which has just ended with others to follow, what it is billed for.
pub(super) fn end_part(attempt: &mut Attempt, tally: &Tally, asked: &Asked, catalog: &Catalog) {
    let told = tally.content_events > 0 || tally.usage.is_some();
    attempt.usage = if told {
        tally.usage(asked, true, false)
    } else {
        has_read_the_prompt(attempt).then(|| prompt(asked, tally.carried_tokens))
    }
    .map(Box::new);
    if let Some(usage) = &mut attempt.usage {
        price(usage, &attempt.target, &tally.model, catalog);
    }
}

/// Puts the cost into a usage; false if no price is known, or not for all that is billed.
pub(super) fn price(usage: &mut v1::Usage, target: &Target, model: &str, catalog: &Catalog) -> bool {
    usage.cost = catalog.cost(target, model, usage);
    usage.cost.is_some() && !catalog.is_partly_unpriced(target, model, usage)
}

/// Estimates a prompt: what the caller sent, and what was delivered before and is sent along with it.
pub(super) fn prompt(asked: &Asked, carried_tokens: i64) -> v1::Usage {
    v1::Usage {
        input_tokens: Some(prompt_tokens(asked, carried_tokens)),
        source: Source::Estimated.into(),
        ..Default::default()
    }
}

pub(super) fn prompt_tokens(asked: &Asked, carried_tokens: i64) -> i64 {
    i64::from(estimate_text_tokens(asked.input_bytes)).saturating_add(carried_tokens)
}

fn part(last: Option<&Attempt>, tally: &Tally, asked: &Asked, complete: bool) -> Option<v1::Usage> {
    let is_silent = tally.content_events == 0 && tally.usage.is_none();
    let told = last.and_then(|attempt| attempt.usage.as_deref()).filter(|_| is_silent);
    let dispatched = match last {
        // It told its usage before any content, and then there was none.
        _ if told.is_some() => return told.map(|told| v1::Usage { r#final: true, ..told.clone() }),
        // It was to go on with an answer, and failed: what is known of earlier attempts is known of it.
        Some(attempt) if is_silent && tally.carried_tokens > 0 => has_read_the_prompt(attempt),
        last => !is_silent || last.is_some_and(may_be_billed),
    };
    tally.usage(asked, dispatched, complete)
}

/// Tells whether the provider may have worked for the last attempt: not if it refused it or was never reached, but it
/// may if it was answering, or was given up before it said anything.
fn may_be_billed(attempt: &Attempt) -> bool {
    match attempt.outcome {
        _ if attempt.unsent => false,
        "ok" | "cancelled" | "timeout" => attempt.http_status < 400,
        _ => (200..400).contains(&attempt.http_status),
    }
}

/// Tells whether the provider was at work for an earlier attempt when we gave it up: its answer had begun, so that the
/// prompt was read. One that failed by itself bills nothing that it did not tell.
fn has_read_the_prompt(attempt: &Attempt) -> bool {
    matches!(attempt.outcome, "cancelled" | "timeout")
        && !attempt.unsent
        && (200..300).contains(&attempt.http_status)
}
