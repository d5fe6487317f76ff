//! What all replicas used of limits by the calendar, from the ledger that they share: without a Redis each counts the calls
//! that it serves itself, and a budget that is spent on several would be told by none.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
    time::SystemTime,
};

use tollgate_api::v1;

use crate::{
    app::spent::{self, LONGEST, PROVIDER, Reach, Spent},
    auth::Auth,
    call::{Metric, Only, Period, Subject},
    error::Error,
    meter::Meter,
    quota::{Amounts, Calendar, History as _, Standing, used},
};

const KEY: &str = "key";

/// The ledger, and the calendar that limits go by.
pub(super) struct SharedLedger {
    meter: Arc<Meter>,
    history: Spent,
    calendar: Calendar,
}

/// Calls, and what they used.
type Used = (i64, Amounts);

/// What one look found, so that nothing is asked twice in it.
#[derive(Default)]
pub(super) struct Look {
    /// Of the keys, in the window that runs.
    keys: HashMap<Period, HashMap<String, Used>>,
    others: HashMap<Arc<str>, i64>,
}

impl SharedLedger {
    pub(super) fn new(meter: Arc<Meter>, auth: Arc<Auth>, calendar: Calendar) -> Self {
        Self { history: Spent { meter: meter.clone(), auth }, meter, calendar }
    }

    /// Corrects how a limit stands here by what others used of it.
    ///
    /// # Errors
    /// `STORE_UNAVAILABLE`.
    pub(super) async fn correct(&self, standing: &mut Standing, look: &mut Look) -> Result<(), Error> {
        let limit = &standing.rule.limit;
        if limit.metric == Metric::Concurrent || !limit.period.is_calendar() {
            return Ok(());
        }
        let everywhere = match &standing.rule.subject {
            // Keys are many: one report has all of them.
            Subject::Key(id) if limit.only == Only::default() => self.of_key(id, standing, look).await?,
            _ => self.of_other(standing, look).await?,
        };
        let counts = everywhere.saturating_sub(standing.forgiven).max(0);
        standing.used = standing.used.max(counts);
        Ok(())
    }

    async fn of_key(&self, id: &str, standing: &Standing, look: &mut Look) -> Result<i64, Error> {
        let limit = &standing.rule.limit;
        let keys = match look.keys.entry(limit.period) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => unknown.insert(self.keys(limit.period).await?),
        };
        Ok(keys.get(id).map_or(0, |(calls, amounts)| match limit.metric {
            Metric::Requests => *calls,
            metric => amounts.of(metric),
        }))
    }

    async fn of_other(&self, standing: &Standing, look: &mut Look) -> Result<i64, Error> {
        let rule = &standing.rule;
        if let Some(known) = look.others.get(&rule.counter) {
            return Ok(*known);
        }
        let used = self.history.used(rule, self.start(rule.limit.period)).await?;
        look.others.insert(rule.counter.clone(), used);
        Ok(used)
    }

    /// Sums what each key used, but for calls that were refused before any provider was tried.
    async fn keys(&self, period: Period) -> Result<HashMap<String, Used>, Error> {
        let request = v1::QueryUsageRequest {
            start_time: Some(self.start(period).into()),
            bucket: "none".to_owned(),
            group_by: vec![KEY.to_owned(), PROVIDER.to_owned()],
            ..Default::default()
        };
        let mut keys: HashMap<String, Used> = HashMap::new();
        spent::report(&self.meter, Reach::Everywhere, request, usize::MAX, |row| {
            let word = |name| row.group.get(name).cloned().unwrap_or_default();
            if !word(PROVIDER).is_empty() {
                let (calls, amounts) = keys.entry(word(KEY)).or_default();
                *calls = calls.saturating_add(row.request_count);
                *amounts = amounts.plus(row.usage.as_ref().map(used).unwrap_or_default());
            }
        })
        .await?;
        Ok(keys)
    }

    fn start(&self, period: Period) -> SystemTime {
        let now = SystemTime::now();
        self.calendar.start(period, now).max(now - LONGEST)
    }
}
