//! How much a key may use: rates, concurrency, budgets. Reserve before the call, settle after it.
//!
//! Place in the path: after the plan (a budget needs to know the price), before the first upstream call. One replica,
//! in memory: budgets of a day or longer are seeded from the ledger when a key is first seen. Config: `keys[].limits`,
//! `keys[].budget`. Metrics: `tollgate_limit_rejections_total`. Tests: here, `tests/e2e/limits.rs`.

mod window;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use tollgate_api::v1;

use self::window::{Full, Ticket, Window};
use crate::{
    call::{Caller, Limit, Metric, Period},
    error::{Error, Reason},
    telemetry,
};

/// What a call may use at most, or did use. Tokens and nano-USD.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    /// Input tokens.
    pub input_tokens: i64,
    /// Output tokens.
    pub output_tokens: i64,
    /// Cost; zero where no price is known.
    pub cost_nanos: i64,
}

impl Amounts {
    /// Returns the larger of each amount.
    #[must_use]
    pub fn at_least(self, other: Self) -> Self {
        Self {
            input_tokens: self.input_tokens.max(other.input_tokens),
            output_tokens: self.output_tokens.max(other.output_tokens),
            cost_nanos: self.cost_nanos.max(other.cost_nanos),
        }
    }

    /// Returns the sum of each amount.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            input_tokens: self.input_tokens.saturating_add(other.input_tokens),
            output_tokens: self.output_tokens.saturating_add(other.output_tokens),
            cost_nanos: self.cost_nanos.saturating_add(other.cost_nanos),
        }
    }

    fn of(self, metric: Metric) -> i64 {
        match metric {
            Metric::Requests | Metric::Concurrent => 1,
            Metric::InputTokens => self.input_tokens,
            Metric::OutputTokens => self.output_tokens,
            Metric::Tokens => self.input_tokens.saturating_add(self.output_tokens),
            Metric::CostNanos => self.cost_nanos,
        }
    }
}

/// The room: what every key with limits has used. An entry is some hundred bytes and is never dropped, since it is the
/// key's memory of this minute: there are at most as many as keys with limits that called since the start, which the
/// key store bounds, and a stranger never gets here.
#[derive(Default)]
pub struct Quota {
    keys: Mutex<HashMap<String, Arc<Account>>>,
}

/// The counters of one key. When its limits change it stays, so that running calls still settle into it.
struct Account {
    windows: Mutex<Vec<Window>>,
}

impl Account {
    fn windows(&self) -> MutexGuard<'_, Vec<Window>> {
        // Every change leaves the counters whole before anything can panic.
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has(&self, limits: &[Limit]) -> bool {
        self.windows().iter().map(|window| &window.limit).eq(limits)
    }
}

/// How one limit stands.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// The limit.
    pub limit: Limit,
    /// Used in the current window, without what is reserved.
    pub used: i64,
    /// What running calls hold in reserve.
    pub reserved: i64,
    /// When the window starts anew, or all that was used has left it; absent for totals and calls in flight.
    pub reset: Option<SystemTime>,
}

impl Standing {
    /// Shows the limit of this key as the contract does.
    pub fn to_proto(&self, key_id: &str) -> v1::Quota {
        let Limit { metric, period, amount } = self.limit;
        let window = if metric == Metric::Concurrent { "" } else { period.as_str() };
        v1::Quota {
            subject: format!("key:{key_id}"),
            metric: metric.as_str().to_owned(),
            window: window.to_owned(),
            limit: amount,
            used: self.used,
            reserved_amount: self.reserved,
            reset_time: self.reset.map(Into::into),
        }
    }
}

impl Quota {
    /// Tells whether what this key used before must be read from the ledger first, and since when.
    pub fn needs_history(&self, caller: &Caller, now: SystemTime) -> Option<Vec<(Period, SystemTime)>> {
        let long = |limit: &&Limit| limit.period.is_calendar() && limit.metric != Metric::Concurrent;
        if caller.limits.iter().find(long).is_none() || self.account(caller).is_some() {
            return None;
        }
        let mut periods: Vec<_> = caller.limits.iter().filter(long).map(|limit| limit.period).collect();
        periods.dedup();
        Some(periods.into_iter().map(|period| (period, window::start_of(period, now))).collect())
    }

    /// Starts a key's counters with what its ledger says. Does nothing if somebody was faster. Where the key's limits
    /// have changed, counters that exist go on; only new ones start from the ledger.
    pub fn seed(&self, caller: &Caller, history: &[(Period, i64, Amounts)], now: SystemTime) {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let account = keys
            .entry(caller.key_id.clone())
            .or_insert_with(|| Arc::new(Account { windows: Mutex::default() }));
        if account.has(&caller.limits) {
            return;
        }
        let mut windows = account.windows();
        let mut old = std::mem::take(&mut *windows);
        windows.extend(caller.limits.iter().map(|limit| {
            if let Some(at) = old.iter().position(|window| window.counts_as(*limit)) {
                let mut window = old.swap_remove(at);
                window.limit = *limit;
                return window;
            }
            let past = history.iter().find(|(period, _, _)| *period == limit.period);
            let used = past.map_or(0, |(_, requests, used)| match limit.metric {
                Metric::Requests => *requests,
                metric => used.of(metric),
            });
            Window::new(*limit, used, now)
        }));
    }

    /// Reserves the most a call may use from every limit of its key, or from none.
    ///
    /// # Errors
    /// `RATE_LIMITED` with the wait, or `BUDGET_EXHAUSTED`; both name the limit and how it stands.
    pub fn reserve(&self, caller: &Caller, most: Amounts, now: SystemTime) -> Result<Reservation, Error> {
        if caller.limits.is_empty() {
            return Ok(Reservation { account: None, tickets: Vec::new() });
        }
        let account = match self.account(caller) {
            Some(account) => account,
            None => {
                self.seed(caller, &[], now);
                self.account(caller).ok_or_else(|| Error::internal("a key's counters vanished"))?
            }
        };
        let mut windows = account.windows();
        for window in windows.iter_mut() {
            let amount = most.of(window.limit.metric);
            if let Some(full) = window.would_overflow(amount, now) {
                telemetry::metrics::limit_rejected(label(window.limit.metric), "key");
                return Err(refusal(caller, window.limit, amount, full));
            }
        }
        let tickets =
            windows.iter_mut().map(|window| window.add(most.of(window.limit.metric), now)).collect();
        drop(windows);
        Ok(Reservation { account: Some(account), tickets })
    }

    /// Tells how every limit of a key stands.
    pub fn standing(&self, caller: &Caller, now: SystemTime) -> Vec<Standing> {
        let stands = |window: &mut Window| {
            let (held, reserved) = (window.used(now), window.reserved());
            Standing { limit: window.limit, used: held - reserved, reserved, reset: window.reset(now) }
        };
        match self.account(caller) {
            Some(account) => account.windows().iter_mut().map(stands).collect(),
            None => caller.limits.iter().map(|limit| stands(&mut Window::new(*limit, 0, now))).collect(),
        }
    }

    fn account(&self, caller: &Caller) -> Option<Arc<Account>> {
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.get(&caller.key_id).filter(|account| account.has(&caller.limits)).cloned()
    }
}

/// Returns the metric label of a limit.
fn label(metric: Metric) -> &'static str {
    match metric {
        Metric::Requests => "rpm",
        Metric::InputTokens | Metric::OutputTokens | Metric::Tokens => "tpm",
        Metric::Concurrent => "concurrency",
        Metric::CostNanos => "budget",
    }
}

fn refusal(caller: &Caller, limit: Limit, amount: i64, full: Full) -> Error {
    let (metric, period) = (limit.metric.as_str(), limit.period.as_str());
    let what = if limit.metric == Metric::Concurrent {
        format!("at most {} calls at a time", limit.amount)
    } else {
        format!("{} {metric} per {period}", limit.amount)
    };
    let reason =
        if limit.metric == Metric::CostNanos { Reason::BudgetExhausted } else { Reason::RateLimited };
    let message = format!(
        "the key `{}` is limited to {what}; {} are used or reserved and this call may need {amount}",
        caller.key_name, full.used
    );
    Error::new(reason, message)
        .with("subject", format!("key:{}", caller.key_id))
        .with("metric", metric)
        .with("window", period)
        .with("limit", limit.amount.to_string())
        .with("used", full.used.to_string())
        .retry_after(full.wait.filter(|_| reason == Reason::RateLimited))
}

/// What a call holds of its key's limits. Dropping it unsettled gives everything but the request itself back.
#[derive(Default)]
pub struct Reservation {
    account: Option<Arc<Account>>,
    tickets: Vec<Ticket>,
}

impl Reservation {
    /// Replaces what was reserved by what was used.
    pub fn settle(mut self, used: Amounts) {
        self.finish(used);
    }

    fn finish(&mut self, used: Amounts) {
        let Some(account) = self.account.take() else { return };
        for window in account.windows().iter_mut() {
            // The key's limits may have changed since; what is no longer limited needs no settling.
            if let Some(at) = self.tickets.iter().position(|ticket| window.counts_as(ticket.limit)) {
                window.settle(self.tickets.swap_remove(at), used.of(window.limit.metric));
            }
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.finish(Amounts::default());
    }
}

/// How long a caller who just missed a limit should at least wait.
const LEAST_WAIT: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(limits: &[(Metric, Period, i64)]) -> Caller {
        let limits = limits.iter().map(|(metric, period, amount)| Limit {
            metric: *metric,
            period: *period,
            amount: *amount,
        });
        Caller { limits: limits.collect(), ..Caller::for_test() }
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
    }

    fn tokens(input: i64, output: i64) -> Amounts {
        Amounts { input_tokens: input, output_tokens: output, cost_nanos: input + output }
    }

    #[test]
    fn a_minute_admits_n_in_any_60_seconds() {
        let (quota, caller) = (Quota::default(), caller(&[(Metric::Requests, Period::Minute, 3)]));
        for second in [0, 30, 59] {
            quota.reserve(&caller, tokens(1, 1), at(second)).unwrap().settle(tokens(1, 1));
        }
        let refused = quota.reserve(&caller, tokens(1, 1), at(59)).err().unwrap();
        assert_eq!(refused.reason(), Reason::RateLimited);
        let wait = refused.facts().retry_after.unwrap();
        assert!(wait <= Duration::from_secs(3), "the first leaves the window at 60 s: {wait:?}");
        quota.reserve(&caller, tokens(1, 1), at(62)).unwrap();
        assert!(quota.reserve(&caller, tokens(1, 1), at(62)).is_err(), "the one at 30 still counts");
    }

    #[test]
    fn what_was_not_used_is_given_back_and_concurrency_is_released() {
        let limits = [(Metric::Tokens, Period::Minute, 100), (Metric::Concurrent, Period::Total, 1)];
        let (quota, caller) = (Quota::default(), caller(&limits));
        let first = quota.reserve(&caller, tokens(10, 80), at(0)).unwrap();
        assert!(quota.reserve(&caller, tokens(1, 1), at(0)).is_err(), "one at a time");
        first.settle(tokens(10, 5));
        let second = quota.reserve(&caller, tokens(10, 75), at(1)).unwrap();
        drop(second);
        assert_eq!(quota.standing(&caller, at(1))[0].used, 15);
        assert_eq!(quota.standing(&caller, at(1))[1].used, 0);
    }

    #[test]
    fn a_refused_call_takes_nothing_from_any_limit() {
        let limits = [(Metric::Requests, Period::Day, 10), (Metric::CostNanos, Period::Month, 5)];
        let (quota, caller) = (Quota::default(), caller(&limits));
        let refused = quota.reserve(&caller, tokens(3, 3), at(0)).err().unwrap();
        assert_eq!(refused.reason(), Reason::BudgetExhausted);
        assert!(refused.facts().retry_after.is_none());
        assert_eq!(quota.standing(&caller, at(0))[0].used, 0);
    }

    #[test]
    fn a_budget_starts_with_what_the_ledger_says() {
        let caller = caller(&[(Metric::CostNanos, Period::Day, 100)]);
        let quota = Quota::default();
        let periods = quota.needs_history(&caller, at(0)).unwrap();
        assert_eq!(periods[0].0, Period::Day);
        quota.seed(&caller, &[(Period::Day, 1, tokens(60, 30))], at(0));
        assert!(quota.needs_history(&caller, at(0)).is_none());
        assert!(quota.reserve(&caller, tokens(6, 5), at(0)).is_err());
        quota.reserve(&caller, tokens(5, 5), at(0)).unwrap();
    }

    #[test]
    fn of_two_first_calls_the_slower_seed_changes_nothing() {
        let (quota, caller) = (Quota::default(), caller(&[(Metric::CostNanos, Period::Day, 100)]));
        let history = [(Period::Day, 1, tokens(60, 30))];
        assert!(quota.needs_history(&caller, at(0)).is_some());
        quota.seed(&caller, &history, at(0));
        let _first = quota.reserve(&caller, tokens(5, 5), at(0)).unwrap();
        quota.seed(&caller, &history, at(0));
        assert!(quota.reserve(&caller, tokens(1, 0), at(0)).is_err());
    }

    #[test]
    fn changed_limits_forget_nothing_and_running_calls_settle_into_them() {
        let quota = Quota::default();
        let before = caller(&[(Metric::CostNanos, Period::Day, 100)]);
        let running = quota.reserve(&before, tokens(40, 40), at(0)).unwrap();
        let after = caller(&[(Metric::Requests, Period::Day, 9), (Metric::CostNanos, Period::Day, 90)]);
        assert!(quota.needs_history(&after, at(1)).is_some());
        quota.seed(&after, &[(Period::Day, 4, tokens(0, 0))], at(1));
        assert!(quota.reserve(&after, tokens(6, 5), at(1)).is_err(), "80 are reserved");
        let stands = quota.standing(&after, at(1));
        assert_eq!((stands[0].used, stands[1].used, stands[1].reserved), (4, 0, 80));
        running.settle(tokens(40, 45));
        let stands = quota.standing(&after, at(1));
        assert_eq!((stands[0].used, stands[1].used, stands[1].reserved), (4, 85, 0));
    }

    #[test]
    fn a_standing_tells_used_and_reserved_apart_and_when_it_ends() {
        let limits = [(Metric::Tokens, Period::Minute, 100), (Metric::Concurrent, Period::Total, 2)];
        let (quota, caller) = (Quota::default(), caller(&limits));
        quota.reserve(&caller, tokens(10, 80), at(0)).unwrap().settle(tokens(10, 5));
        let _running = quota.reserve(&caller, tokens(10, 20), at(1)).unwrap();
        let shown: Vec<_> =
            quota.standing(&caller, at(2)).iter().map(|standing| standing.to_proto("k")).collect();
        assert_eq!((&*shown[0].subject, &*shown[0].metric, &*shown[0].window), ("key:k", "tokens", "minute"));
        assert_eq!((shown[0].limit, shown[0].used, shown[0].reserved_amount), (100, 15, 30));
        assert_eq!(shown[0].reset_time, Some(at(62).into()), "the last leaves the window");
        assert_eq!((&*shown[1].window, shown[1].used, &shown[1].reset_time), ("", 1, &None));
    }

    #[test]
    fn parallel_calls_never_pass_a_limit() {
        let (quota, caller) = (Quota::default(), caller(&[(Metric::Requests, Period::Minute, 100)]));
        let admitted: usize = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..6)
                .map(|_| {
                    scope.spawn(|| {
                        (0..50).filter(|_| quota.reserve(&caller, tokens(1, 1), at(0)).is_ok()).count()
                    })
                })
                .collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).sum()
        });
        assert_eq!(admitted, 100);
    }
}
