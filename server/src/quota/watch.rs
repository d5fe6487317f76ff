//! Watching limits: whoever watches is told when what is used passes a threshold upwards.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream, stream::BoxStream};
use tokio::time::{MissedTickBehavior, interval};
use tollgate_api::v1;

use super::{Engine, Standing};
use crate::{call::Rule, error::Error};

/// How often is looked. What rises and falls in between is not seen.
const EVERY: Duration = Duration::from_millis(250);
/// Most thresholds of one watch.
const MOST_THRESHOLDS: usize = 32;
/// What is told where the caller names no thresholds.
const DEFAULT: [f64; 3] = [0.5, 0.8, 1.0];

/// What was passed so far.
struct Watch {
    thresholds: Vec<f64>,
    /// How many of the thresholds each limit had passed when it was last seen, by its counter.
    passed: HashMap<Arc<str>, usize>,
}

/// Watches limits, which may change meanwhile.
///
/// # Errors
/// `INVALID_REQUEST` for thresholds that cannot be passed.
pub(super) fn watch(
    engine: Arc<dyn Engine>,
    rules: impl Fn() -> Vec<Arc<Rule>> + Send + 'static,
    thresholds: Vec<f64>,
) -> Result<BoxStream<'static, Result<v1::WatchQuotaResponse, Error>>, Error> {
    let watch = Watch::new(thresholds)?;
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let looks =
        stream::unfold((engine, rules, watch, ticks), async |(engine, rules, mut watch, mut ticks)| {
            ticks.tick().await;
            let told = match engine.standing(&rules()).await {
                Ok(standing) => watch.look(&standing).into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error)],
            };
            Some((stream::iter(told), (engine, rules, watch, ticks)))
        });
    Ok(looks.flatten().boxed())
}

impl Watch {
    fn new(mut thresholds: Vec<f64>) -> Result<Self, Error> {
        if thresholds.len() > MOST_THRESHOLDS {
            let message = format!("at most {MOST_THRESHOLDS} thresholds are allowed");
            return Err(Error::invalid("thresholds", message));
        }
        if let Some(wrong) = thresholds.iter().position(|one| !one.is_finite() || *one <= 0.0) {
            let field = format!("thresholds[{wrong}]");
            return Err(Error::invalid(&field, format!("{field} must be a ratio greater than 0, like 0.8")));
        }
        if thresholds.is_empty() {
            thresholds.extend(DEFAULT);
        }
        thresholds.sort_by(f64::total_cmp);
        Ok(Self { thresholds, passed: HashMap::new() })
    }

    /// Returns the limits that have passed a threshold since the last look, each with the highest that it passed.
    fn look(&mut self, standing: &[Standing]) -> Vec<v1::WatchQuotaResponse> {
        let mut told = Vec::new();
        let mut before = std::mem::take(&mut self.passed);
        for one in standing {
            let ratio = ratio(one.used, one.limit);
            let now = self.thresholds.partition_point(|threshold| *threshold <= ratio);
            let before = before.remove(&one.rule.counter).unwrap_or(now);
            self.passed.insert(one.rule.counter.clone(), now);
            if now > before {
                let (quota, threshold) = (Some(one.to_proto()), self.thresholds[now - 1]);
                told.push(v1::WatchQuotaResponse { quota, threshold });
            }
        }
        told
    }
}

/// Returns which part of a limit is used. Of one that allows nothing, all is.
#[expect(clippy::cast_precision_loss, reason = "a ratio for thresholds, no amount")]
fn ratio(used: i64, limit: i64) -> f64 {
    if limit <= 0 { 1.0 } else { used as f64 / limit as f64 }
}

#[cfg(test)]
mod tests {
    use std::{sync::Mutex, time::SystemTime};

    use futures_util::future::BoxFuture;

    use super::*;
    use crate::{
        call::{Adjusted, Limit, Metric, Period, Subject},
        quota::{Amounts, Calendar, Charge, Claim, History, Local},
    };

    fn standing(used: i64) -> [Standing; 1] {
        let rule = Rule::new(Subject::Global, Limit::new(Metric::Tokens, Period::Day, 10));
        [Standing::new(&rule, (used, 0), None, std::time::SystemTime::now())]
    }

    #[test]
    fn each_threshold_is_told_when_it_is_passed_and_the_highest_of_several() {
        let mut watch = Watch::new(Vec::new()).unwrap();
        let mut told = |used| watch.look(&standing(used)).iter().map(|one| one.threshold).collect::<Vec<_>>();
        assert_eq!(told(6), [0.0; 0], "that was so before anybody watched");
        assert_eq!(told(7), [0.0; 0]);
        assert_eq!(told(8), [0.8]);
        assert_eq!(told(9), [0.0; 0]);
        assert_eq!(told(0), [0.0; 0], "a new window");
        assert_eq!(told(12), [1.0]);
    }

    /// Nothing was used before.
    struct Nothing;

    impl History for Nothing {
        fn used<'a>(&'a self, _: &'a Rule, _: SystemTime) -> BoxFuture<'a, Result<i64, Error>> {
            Box::pin(std::future::ready(Ok(0)))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_reset_is_seen_by_whoever_watches_already() {
        let limit = || Limit::new(Metric::Tokens, Period::Total, 10);
        let plain = Rule::new(Subject::Global, limit());
        let reset = Adjusted { forgiven: 9, ..Adjusted::default() };
        let reset = Rule::adjusted(Subject::Global, limit(), |_| reset);
        let engine: Arc<dyn Engine> = Arc::new(Local::new(Arc::new(Nothing), Calendar::utc()));
        let spend = async |rule: &Arc<Rule>, amount| {
            let charges = vec![Charge { rule: rule.clone(), amount }];
            let claim = Claim { call: uuid::Uuid::nil(), charges, deadline: crate::call::now() };
            let held = engine.reserve(claim).await.unwrap();
            engine.settle(held, Amounts { input_tokens: amount, ..Amounts::default() });
        };
        let current = Arc::new(Mutex::new(plain.clone()));
        let rules = current.clone();
        let rules = move || vec![rules.lock().unwrap().clone()];
        let mut looks = watch(engine.clone(), rules, vec![0.8]).unwrap();
        // The clock stands still: this is as many looks as fit into the time.
        let mut next = async || tokio::time::timeout(EVERY * 4, looks.next()).await.ok().flatten();
        assert!(next().await.is_none());
        spend(&plain, 9).await;
        assert_eq!(next().await.unwrap().unwrap().quota.unwrap().used, 9);
        *current.lock().unwrap() = reset.clone();
        assert!(next().await.is_none());
        spend(&reset, 8).await;
        let quota = next().await.unwrap().unwrap().quota.unwrap();
        assert_eq!((quota.used, quota.limit, quota.forgiven_amount), (8, 10, 9));
    }

    #[test]
    fn thresholds_must_be_such_that_they_can_be_passed() {
        for (wrong, field) in [(vec![0.5, 0.0], "thresholds[1]"), (vec![f64::NAN], "thresholds[0]")] {
            let error = Watch::new(wrong).err().unwrap();
            assert_eq!(error.facts().field.as_deref(), Some(field));
        }
        assert!(Watch::new(vec![1.0; 33]).is_err());
    }
}
