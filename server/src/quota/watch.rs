//! Watching limits: whoever watches is told when what is used passes a threshold upwards.

use std::{sync::Arc, time::Duration};

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
    /// For each limit, how many of the thresholds were passed when it was last seen; absent before the first look.
    passed: Vec<Option<usize>>,
}

/// Watches these limits.
///
/// # Errors
/// `INVALID_REQUEST` for thresholds that cannot be passed.
pub(super) fn watch(
    engine: Arc<dyn Engine>,
    rules: Vec<Arc<Rule>>,
    thresholds: Vec<f64>,
) -> Result<BoxStream<'static, Result<v1::WatchQuotaResponse, Error>>, Error> {
    let watch = Watch::new(thresholds, rules.len())?;
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let looks =
        stream::unfold((engine, rules, watch, ticks), async |(engine, rules, mut watch, mut ticks)| {
            ticks.tick().await;
            let told = match engine.standing(&rules).await {
                Ok(standing) => watch.look(&standing).into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error)],
            };
            Some((stream::iter(told), (engine, rules, watch, ticks)))
        });
    Ok(looks.flatten().boxed())
}

impl Watch {
    fn new(mut thresholds: Vec<f64>, limits: usize) -> Result<Self, Error> {
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
        Ok(Self { thresholds, passed: vec![None; limits] })
    }

    /// Returns the limits that have passed a threshold since the last look, each with the highest that it passed.
    fn look(&mut self, standing: &[Standing]) -> Vec<v1::WatchQuotaResponse> {
        let mut told = Vec::new();
        for (one, passed) in standing.iter().zip(&mut self.passed) {
            let ratio = ratio(one.used, one.rule.limit.amount);
            let now = self.thresholds.partition_point(|threshold| *threshold <= ratio);
            let before = passed.replace(now).unwrap_or(now);
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
    use super::*;
    use crate::call::{Limit, Metric, Period, Subject};

    fn standing(used: i64) -> [Standing; 1] {
        let rule = Rule::new(Subject::Global, Limit::new(Metric::Tokens, Period::Day, 10));
        [Standing { rule, used, reserved: 0, reset: None }]
    }

    #[test]
    fn each_threshold_is_told_when_it_is_passed_and_the_highest_of_several() {
        let mut watch = Watch::new(Vec::new(), 1).unwrap();
        let mut told = |used| watch.look(&standing(used)).iter().map(|one| one.threshold).collect::<Vec<_>>();
        assert_eq!(told(6), [0.0; 0], "that was so before anybody watched");
        assert_eq!(told(7), [0.0; 0]);
        assert_eq!(told(8), [0.8]);
        assert_eq!(told(9), [0.0; 0]);
        assert_eq!(told(0), [0.0; 0], "a new window");
        assert_eq!(told(12), [1.0]);
    }

    #[test]
    fn thresholds_must_be_such_that_they_can_be_passed() {
        for (wrong, field) in [(vec![0.5, 0.0], "thresholds[1]"), (vec![f64::NAN], "thresholds[0]")] {
            let error = Watch::new(wrong, 1).err().unwrap();
            assert_eq!(error.facts().field.as_deref(), Some(field));
        }
        assert!(Watch::new(vec![1.0; 33], 1).is_err());
    }
}
