//! What the entries of a journal amount to. Plain state: entries in, records out; no files, no clock of its own.

use std::{
    collections::{HashMap, HashSet},
    time::SystemTime,
};

use tollgate_api::v1::{self, usage::Source};
use uuid::Uuid;

use super::{
    Progress,
    entry::{self, Begun, Entry},
};
use crate::{
    edge::status::grpc_code_name,
    error::{Reason, short_name},
    meter::{Catalog, bill::price, sum::Sum},
};

/// The state after some entries.
#[derive(Default)]
pub(super) struct Replay {
    open: HashMap<Uuid, (Box<Begun>, Progress)>,
    settled: HashSet<Uuid>,
    rows: Vec<v1::UsageRecord>,
}

impl Replay {
    /// Takes a segment up to its end or its first torn or corrupt entry. Returns the bytes that were left over.
    pub(super) fn segment(&mut self, mut bytes: &[u8]) -> usize {
        while let Some((entry, rest)) = entry::read(bytes) {
            self.apply(entry);
            bytes = rest;
        }
        bytes.len()
    }

    fn apply(&mut self, entry: Entry) {
        match entry {
            Entry::Begin(id, begun) => {
                if !self.settled.contains(&id) {
                    // Progress outlives a further attempt: what was handed on stays handed on.
                    let progress =
                        self.open.get(&id).map_or_else(Progress::default, |(_, progress)| *progress);
                    self.open.insert(id, (begun, progress));
                }
            }
            Entry::Checkpoint(id, progress) => {
                if let Some((_, last)) = self.open.get_mut(&id) {
                    *last = progress;
                }
            }
            Entry::Settle(id, record) => {
                self.open.remove(&id);
                if self.settled.insert(id) {
                    self.rows.push(*record);
                }
            }
        }
    }

    /// Takes the records that were settled since the last time, in the order of their settlement.
    pub(super) fn take_settled(&mut self) -> Vec<v1::UsageRecord> {
        std::mem::take(&mut self.rows)
    }

    /// Ends the calls that nobody ended, oldest first.
    pub(super) fn cut_off(self, catalog: &Catalog, now: SystemTime) -> Vec<v1::UsageRecord> {
        let mut open: Vec<_> = self.open.into_iter().collect();
        open.sort_by_key(|(id, _)| *id);
        open.into_iter()
            .filter_map(|(_, (begun, progress))| recovered(*begun, progress, catalog, now))
            .collect()
    }
}

/// Makes the record of a call that a crash cut off: its end is the restart, its counts those of the last checkpoint on
/// top of what earlier attempts came to.
fn recovered(
    begun: Begun,
    progress: Progress,
    catalog: &Catalog,
    now: SystemTime,
) -> Option<v1::UsageRecord> {
    let target = begun.target();
    let earlier = begun.earlier.unwrap_or_default();
    let mut record = begun.record?;
    record.create_time = Some(now.into());
    record.recovered = true;
    grpc_code_name(Some(Reason::StreamInterrupted)).clone_into(&mut record.status);
    short_name(Reason::StreamInterrupted).clone_into(&mut record.error_reason);
    record.delivered_event_count = progress.content_events.max(earlier.content_events);
    for running in record.attempts.iter_mut().filter(|attempt| attempt.outcome.is_empty()) {
        "cancelled".clone_into(&mut running.outcome);
    }
    let mut usage = record.usage.take().unwrap_or_default();
    usage.set_source(Source::Estimated);
    usage.output_tokens = Some(progress.output_tokens.saturating_sub(earlier.output_tokens).max(0));
    usage.r#final = true;
    let priced = target.is_none_or(|target| price(&mut usage, &target, &record.model, catalog));
    let mut sum = Sum { parts: 0, usage: earlier.usage, unpriced: earlier.unpriced };
    if let (Some(_), Some(running)) = (&sum.usage, record.attempts.last_mut()) {
        running.input_tokens = usage.input_tokens;
        running.output_tokens = usage.output_tokens;
        running.cost_nanos = usage.cost.as_ref().map(|cost| cost.amount_nanos);
        running.estimated = true;
    }
    sum.add(&usage, priced);
    record.usage = sum.usage;
    record.unpriced = sum.unpriced;
    Some(record)
}
