//! What our ledger says of calls to some providers, attempt by attempt.

use std::{collections::BTreeSet, path::Path};

use prost::Message as _;
use tollgate_api::v1;

use super::amounts::{Amounts, cost_of_nanos};
use crate::{
    meter::{self, Stopped},
    postgres::Postgres,
};

/// One attempt that a provider may have billed.
pub(super) struct Billed {
    /// When the call ended, in seconds since 1970.
    pub(super) time: i64,
    /// The model, by the provider's id.
    pub(super) model: String,
    pub(super) amounts: Amounts,
}

/// Reads every attempt at one of these providers that ended within a time: those of all replicas, if they share a ledger.
pub(super) fn read(
    (shared, store): (Option<&Postgres>, &Path),
    (from, until): (i64, i64),
    providers: &BTreeSet<String>,
    mut each: impl FnMut(Billed),
) -> Result<(), String> {
    let millis = (from.saturating_mul(1_000), until.saturating_mul(1_000));
    let done = meter::dump(shared, store, millis, |record| {
        let record = v1::UsageRecord::decode(record)?;
        let time = record.create_time.as_ref().map_or(0, |time| time.seconds);
        let split = record.attempts.iter().any(|attempt| attempt.input_tokens.is_some());
        let whole = record.attempts.iter().rposition(was_answered).or(record.attempts.len().checked_sub(1));
        for (at, attempt) in record.attempts.iter().enumerate() {
            if !providers.contains(&attempt.provider) {
                continue;
            }
            let is_last = whole == Some(at);
            let amounts =
                if split { of_part(attempt, &record, is_last) } else { of_call(attempt, &record, is_last) };
            // The last attempt's model is what the provider called it in its answer.
            let named = is_last && !record.model.is_empty() && record.provider == attempt.provider;
            let model = if named { record.model.clone() } else { attempt.model.clone() };
            each(Billed { time, model, amounts });
        }
        Ok(())
    });
    done.map_err(|stopped| match stopped {
        Stopped::Read(message) => message,
        Stopped::Take(error) => format!("a record of the ledger cannot be read: {error}"),
    })
}

fn was_answered(attempt: &v1::Attempt) -> bool {
    (200..300).contains(&attempt.http_status)
}

/// A call with one attempt that is billed: it has all of the call's usage.
fn of_call(attempt: &v1::Attempt, record: &v1::UsageRecord, is_it: bool) -> Amounts {
    let usage = record.usage.as_ref().filter(|_| is_it);
    let tokens = |count: Option<i64>| Some(i128::from(count.unwrap_or(0)));
    let cost = usage.and_then(|usage| usage.cost.as_ref()).map_or(0, |cost| cost.amount_nanos);
    [
        Some(i128::from(was_answered(attempt))),
        tokens(usage.and_then(|usage| usage.input_tokens)),
        tokens(usage.and_then(|usage| usage.cache_read_input_tokens)),
        tokens(usage.and_then(|usage| usage.cache_write_input_tokens)),
        tokens(usage.and_then(|usage| usage.output_tokens)),
        Some(cost_of_nanos(cost)),
    ]
}

/// A call with several attempts that are billed: each has its part. What was cached is only known of the call, and
/// counts with the last one.
fn of_part(attempt: &v1::Attempt, record: &v1::UsageRecord, is_last: bool) -> Amounts {
    let mut amounts = of_call(attempt, record, is_last);
    amounts[1] = Some(attempt.input_tokens.unwrap_or(0).into());
    amounts[4] = Some(attempt.output_tokens.unwrap_or(0).into());
    amounts[5] = Some(cost_of_nanos(attempt.cost_nanos.unwrap_or(0)));
    amounts
}
