//! How much a key may use: rates, concurrency, budgets. Reserve before the call, settle after it.
//!
//! Place in the path: after the plan (a budget needs to know the price), before the first upstream call. One replica,
//! in memory: budgets of a day or longer are seeded from the ledger when a key is first seen. Config: `keys[].limits`,
//! `keys[].budget`. Metrics: `tollgate_limit_rejections_total`. Tests: here, `tests/e2e/limits.rs`.

mod window;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use self::window::{Full, Ticket, Window};
use crate::{
    call::{Caller, Limit, Metric, Period},
    error::{Error, Reason},
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

/// The room: what every key with limits has used.
#[derive(Default)]
pub struct Quota {
    keys: Mutex<HashMap<String, Arc<Account>>>,
}

/// The counters of one key. Rebuilt when the key's limits change.
struct Account {
    limits: Arc<[Limit]>,
    windows: Mutex<Vec<Window>>,
}

/// How one limit stands.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// The limit.
    pub limit: Limit,
    /// Used and reserved in the current window.
    pub used: i64,
    /// When the window starts anew; absent for sliding windows and totals.
    pub reset: Option<SystemTime>,
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

    /// Starts a key's counters with what its ledger says. Does nothing if somebody was faster.
    pub fn seed(&self, caller: &Caller, history: &[(Period, i64, Amounts)], now: SystemTime) {
        let windows = caller.limits.iter().map(|limit| {
            let used = history.iter().find(|(period, _, _)| *period == limit.period).map_or(
                0,
                |(_, requests, used)| {
                    if limit.metric == Metric::Requests { *requests } else { used.of(limit.metric) }
                },
            );
            Window::new(*limit, used, now)
        });
        let account = Account { limits: caller.limits.clone(), windows: Mutex::new(windows.collect()) };
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = keys.entry(caller.key_id.clone()).or_insert_with(|| Arc::new(account));
        if *entry.limits != *caller.limits {
            let windows = caller.limits.iter().map(|limit| Window::new(*limit, 0, now)).collect();
            *entry = Arc::new(Account { limits: caller.limits.clone(), windows: Mutex::new(windows) });
        }
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
        let mut windows = account.windows.lock().unwrap_or_else(PoisonError::into_inner);
        for window in windows.iter_mut() {
            let amount = most.of(window.limit.metric);
            if let Some(full) = window.would_overflow(amount, now) {
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
        let Some(account) = self.account(caller) else {
            return caller
                .limits
                .iter()
                .map(|limit| Standing { limit: *limit, used: 0, reset: window::end_of(limit.period, now) })
                .collect();
        };
        let mut windows = account.windows.lock().unwrap_or_else(PoisonError::into_inner);
        windows
            .iter_mut()
            .map(|window| Standing {
                limit: window.limit,
                used: window.used(now),
                reset: window::end_of(window.limit.period, now),
            })
            .collect()
    }

    fn account(&self, caller: &Caller) -> Option<Arc<Account>> {
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.get(&caller.key_id).filter(|account| *account.limits == *caller.limits).cloned()
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
        let mut windows = account.windows.lock().unwrap_or_else(PoisonError::into_inner);
        for (window, ticket) in windows.iter_mut().zip(self.tickets.drain(..)) {
            window.settle(ticket, used.of(window.limit.metric));
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
