//! Which limits are told of: how much of a budget is used, whether it will last, and limits that only warn. Plain: from
//! how limits stand to alerts, whose identities say that each is told once in a window and for an amount.

use jiff::{SignedDuration, Timestamp, ToSpan as _, tz::TimeZone};
use serde_json::{Map, Value, json};
use tollgate_api::v1;

use super::{
    Settings,
    alert::{Alert, dollars},
};

/// A forecast from less than this part of the window would be a guess.
const EARLIEST: i128 = 10;
const COST: &str = "cost_nanos";

/// Returns what is to be told of limits that stand like this.
pub(super) fn alerts(settings: &Settings, standings: &[v1::Quota], now: Timestamp) -> Vec<Alert> {
    let of = |quota: &v1::Quota| {
        let used = settings.budget.and_then(|share| used_up(quota, share, now));
        let soft = settings.soft_limits.then(|| soft(quota, now)).flatten();
        let forecast = settings.forecast.then(|| forecast(quota, now)).flatten();
        [used, soft, forecast].into_iter().flatten()
    };
    standings.iter().filter(|quota| quota.limit > 0).flat_map(of).collect()
}

/// A budget of which at least this share is used, in millionths.
fn used_up(quota: &v1::Quota, share: u32, now: Timestamp) -> Option<Alert> {
    let reached = i128::from(quota.used) * 1_000_000 >= i128::from(quota.limit) * i128::from(share);
    if quota.metric != COST || !reached {
        return None;
    }
    let percent = percent(share);
    let spent = dollars(quota.used);
    let message = format!("{spent} of {}, at least {percent}, are spent", whose(quota));
    let identity = format!("{}/{share}", identity(quota, now));
    let mut facts = facts(quota);
    facts.insert("threshold".to_owned(), percent.into());
    Some(Alert { kind: "budget", identity, message, facts })
}

/// A limit that only warns and was passed.
fn soft(quota: &v1::Quota, now: Timestamp) -> Option<Alert> {
    if !quota.soft || quota.used.saturating_add(quota.reserved_amount) <= quota.limit {
        return None;
    }
    let message = format!("{} is passed; it only warns", whose(quota));
    Some(Alert { kind: "soft_limit", identity: identity(quota, now), message, facts: facts(quota) })
}

/// A budget that will be used up before its window ends, if it goes on like this.
fn forecast(quota: &v1::Quota, now: Timestamp) -> Option<Alert> {
    if quota.metric != COST || quota.used >= quota.limit {
        return None;
    }
    let (start, end) = span(quota)?;
    let (length, passed) = (end - start, i128::from(now.as_second()) - start);
    if passed * EARLIEST < length || passed >= length {
        return None;
    }
    let expected = i128::from(quota.used) * length / passed;
    if expected <= i128::from(quota.limit) {
        return None;
    }
    let expected = i64::try_from(expected).unwrap_or(i64::MAX);
    let message = format!(
        "{} will not last: at the present pace {} will be spent by its end",
        whose(quota),
        dollars(expected)
    );
    let mut facts = facts(quota);
    facts.insert("forecast".to_owned(), expected.into());
    Some(Alert { kind: "forecast", identity: identity(quota, now), message, facts })
}

/// Returns when a calendar window started and ends, in seconds since 1970.
fn span(quota: &v1::Quota) -> Option<(i128, i128)> {
    let end = Timestamp::from_second(quota.reset_time.as_ref()?.seconds).ok()?;
    let start = match &*quota.window {
        "day" => end.checked_sub(SignedDuration::from_hours(24)).ok()?,
        "month" => end.to_zoned(TimeZone::UTC).checked_sub(1.month()).ok()?.timestamp(),
        _ => return None,
    };
    Some((start.as_second().into(), end.as_second().into()))
}

/// Names a limit in its window, which its end names; what slides is told once in an hour, and a total has one window. The
/// amount is part of it, and what is forgiven: a limit that was raised, or reset, can be used up again.
fn identity(quota: &v1::Quota, now: Timestamp) -> String {
    let window = match (&*quota.window, &quota.reset_time) {
        ("second" | "minute" | "hour" | "", _) => (now.as_second() / 3_600).to_string(),
        (_, Some(time)) => time.seconds.to_string(),
        (_, None) => "total".to_owned(),
    };
    let v1::Quota { subject, metric, window: period, limit, model, tag, .. } = quota;
    let reset = match quota.forgiven_amount {
        0 => String::new(),
        forgiven => format!("/after {forgiven}"),
    };
    format!("{subject}/{metric}/{period}/{model}/{tag}/{limit}/{window}{reset}")
}

fn whose(quota: &v1::Quota) -> String {
    let amount =
        if quota.metric == COST { dollars(quota.limit) } else { format!("{} {}", quota.limit, quota.metric) };
    let per = if quota.window.is_empty() { String::new() } else { format!(" per {}", quota.window) };
    let mut of = quota.subject.clone();
    if !quota.model.is_empty() {
        of += &format!(" for models {}", quota.model);
    }
    if !quota.tag.is_empty() {
        of += &format!(" for calls with the tag {}", quota.tag);
    }
    format!("the limit of {amount}{per} of {of}")
}

fn facts(quota: &v1::Quota) -> Map<String, Value> {
    let reset = quota.reset_time.as_ref().and_then(|time| Timestamp::from_second(time.seconds).ok());
    let facts = json!({
        "subject": quota.subject,
        "metric": quota.metric,
        "window": quota.window,
        "limit": quota.limit,
        "used": quota.used,
        "reserved": quota.reserved_amount,
        "soft": quota.soft,
        "model": quota.model,
        "tag": quota.tag,
        "reset_time": reset.map(|time| time.to_string()),
    });
    let Value::Object(facts) = facts else { return Map::new() };
    facts.into_iter().filter(|(_, value)| !value.is_null() && value != "").collect()
}

/// Writes millionths as percent.
fn percent(share: u32) -> String {
    let (whole, rest) = (share / 10_000, share % 10_000);
    let decimals = format!("{rest:04}");
    let decimals = decimals.trim_end_matches('0');
    if decimals.is_empty() { format!("{whole}%") } else { format!("{whole}.{decimals}%") }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    const DAY: i64 = 86_400;

    fn settings(budget: u32) -> Settings {
        let webhook = secrecy::SecretString::from("http://127.0.0.1:1/");
        Settings {
            budget: Some(budget),
            forecast: true,
            soft_limits: true,
            deviation: None,
            webhook,
            secret: None,
        }
    }

    fn quota(used: i64, limit: i64, end: i64) -> v1::Quota {
        v1::Quota {
            subject: "team:search".to_owned(),
            metric: COST.to_owned(),
            window: "day".to_owned(),
            limit,
            used,
            reset_time: Some(prost_types::Timestamp { seconds: end, nanos: 0 }),
            ..Default::default()
        }
    }

    fn kinds(quota: v1::Quota, now: i64) -> Vec<&'static str> {
        let now = Timestamp::from_second(now).unwrap();
        alerts(&settings(800_000), &[quota], now).iter().map(|alert| alert.kind).collect()
    }

    #[test]
    fn a_share_is_reached_to_the_nano_dollar() {
        let late = 10 * DAY - 1;
        assert!(kinds(quota(799_999_999, 1_000_000_000, 10 * DAY), late).is_empty());
        assert_eq!(kinds(quota(800_000_000, 1_000_000_000, 10 * DAY), late), ["budget"]);
        assert!(kinds(quota(0, 0, 10 * DAY), late).is_empty(), "a limit of nothing is not used up");
        let tokens = v1::Quota { metric: "tokens".to_owned(), ..quota(900, 1_000, 10 * DAY) };
        assert!(kinds(tokens, late).is_empty(), "tokens are no budget");
    }

    #[test]
    fn a_budget_that_will_not_last_is_told_when_enough_of_its_window_has_passed() {
        let start = 9 * DAY;
        assert!(kinds(quota(500, 1_000, 10 * DAY), start + DAY / 20).is_empty(), "too early to tell");
        assert_eq!(kinds(quota(500, 1_000, 10 * DAY), start + DAY / 4), ["forecast"]);
        assert!(kinds(quota(500, 1_000, 10 * DAY), start + DAY / 2).is_empty(), "it lasts just so");
        assert_eq!(kinds(quota(1_000, 1_000, 10 * DAY), start + DAY / 4), ["budget"], "it is gone");
    }

    #[test]
    fn a_limit_that_only_warns_is_told_when_it_is_passed_and_a_sliding_one_once_an_hour() {
        let soft = |used, window: &str| v1::Quota {
            soft: true,
            metric: "requests".to_owned(),
            window: window.to_owned(),
            ..quota(used, 10, 10 * DAY)
        };
        assert!(kinds(soft(10, "day"), 9 * DAY).is_empty());
        assert_eq!(kinds(soft(11, "day"), 9 * DAY), ["soft_limit"]);
        let identity = |now| {
            let now = Timestamp::from_second(now).unwrap();
            alerts(&settings(1_000_000), &[soft(11, "minute")], now).remove(0).identity
        };
        assert_eq!(identity(3_600), identity(7_199));
        assert_ne!(identity(3_600), identity(7_200));
    }

    #[test]
    fn a_budget_that_was_reset_is_told_of_again_when_it_is_used_up_again() {
        let now = Timestamp::from_second(10 * DAY - 1).unwrap();
        let told = |forgiven_amount, used| {
            let quota = v1::Quota { forgiven_amount, ..quota(used, 1_000, 10 * DAY) };
            alerts(&settings(800_000), &[quota], now).iter().map(|one| one.id("here")).collect::<Vec<_>>()
        };
        let first = told(0, 900);
        assert_eq!((first.len(), told(900, 0).len()), (1, 0));
        assert_ne!(told(900, 800), first);
    }

    #[test]
    fn shares_are_written_as_they_are_read() {
        for (share, text) in [(800_000, "80%"), (1_000_000, "100%"), (25_000, "2.5%"), (1, "0.0001%")] {
            assert_eq!(percent(share), text);
        }
    }

    proptest! {
        /// Whatever is spent in whichever steps and however often it is looked at: each window that reaches the share is
        /// told of once, and no other.
        #[test]
        fn each_window_is_told_of_once(
            steps in prop::collection::vec((0_i64..4, 0_i64..400), 1..60),
            share in 1_u32..=1_000_000,
        ) {
            let limit = 1_000;
            let (mut day, mut used) = (1, 0);
            let mut told: HashSet<String> = HashSet::new();
            let mut reached = HashSet::new();
            for (days, more) in steps {
                if days == 3 {
                    (day, used) = (day + 1, 0);
                }
                used += more;
                if used * 1_000_000 >= limit * i64::from(share) {
                    reached.insert(day);
                }
                let now = Timestamp::from_second(day * DAY).unwrap();
                for alert in alerts(&settings(share), &[quota(used, limit, (day + 1) * DAY)], now) {
                    if alert.kind == "budget" {
                        told.insert(alert.id("here"));
                    }
                }
                prop_assert_eq!(told.len(), reached.len());
            }
        }
    }
}
