//! When an upstream says that a retry makes sense: `retry-after-ms`, `retry-after`, and the reset times of rate limits.

#[cfg(test)]
mod quirks;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ::http::{HeaderMap, header::RETRY_AFTER};

/// Longer hints are cut: SDKs ignore or give up on waits beyond a minute.
const LONGEST: Duration = Duration::from_secs(60);
/// Plain numbers from here on are moments since 1970 in seconds, and from a thousand times this on in milliseconds.
const EPOCH_SECONDS: f64 = 1e9;

/// Reads the upstream's hint, the reset times of its limits included, at most 60 s. Garbage and moments that have passed
/// are no hint; a number below zero is a wait of none.
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    of_this_answer(headers, now).or_else(|| rate_limit_reset(headers, now)).map(|wait| wait.min(LONGEST))
}

/// Reads the upstream's hint without the reset times of its limits, at most 60 s.
pub(super) fn of_this_answer(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let millis = text("retry-after-ms").and_then(|value| value.parse::<f64>().ok());
    millis
        .and_then(|millis| at_least_none(millis / 1e3))
        .or_else(|| text(RETRY_AFTER.as_str()).and_then(|value| seconds_or_date(value, now)))
        .map(|wait| wait.min(LONGEST))
}

/// Reads the hint of an error's body, a duration as Go and protobuf's JSON write it, at most 60 s.
pub(super) fn of_text(text: &str) -> Option<Duration> {
    go_duration(text).map(|wait| wait.min(LONGEST))
}

/// Reads the hint in the words of an error's message, at most 60 s: `try again in 6m0.5s`, `retry after 26 seconds`.
pub(super) fn of_words(message: &str) -> Option<Duration> {
    const BEFORE: [&str; 4] = ["try again in ", "retry in ", "retry after ", "try again after "];
    let message = message.to_ascii_lowercase();
    let (at, before) = BEFORE.iter().find_map(|words| Some((message.find(words)?, words)))?;
    let mut words = message[at + before.len()..].split_whitespace();
    let first = words.next()?.trim_end_matches(['.', ',', ';']);
    match (first.parse::<f64>(), words.next().unwrap_or_default()) {
        (Ok(number), unit) if unit.starts_with("milli") || unit.starts_with("ms") => seconds(number / 1e3),
        (Ok(number), unit) if unit.starts_with("min") => seconds(number * 60.0),
        (Ok(number), unit) if unit.starts_with('s') => seconds(number),
        (Ok(_), _) => None,
        (Err(_), _) => go_duration(first),
    }
    .map(|wait| wait.min(LONGEST))
}

fn seconds_or_date(value: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(number) = value.parse::<f64>() {
        return at_least_none(number);
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value).ok()?;
    SystemTime::from(date).duration_since(now).ok()
}

/// Of several limits the one that is used up holds; if none says so, the one that resets last.
fn rate_limit_reset(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let mut used_up = None;
    let mut any = None;
    for (name, value) in headers {
        let Some(beside) = remaining_beside(name.as_str()) else { continue };
        let Some(wait) = value.to_str().ok().and_then(|value| reset(value.trim(), now)) else { continue };
        any = any.max(Some(wait));
        let remaining = headers.get(beside);
        // Some vendors count below zero.
        let left = remaining.and_then(|left| left.to_str().ok()?.trim().parse::<f64>().ok());
        if left.is_some_and(|left| left <= 0.0) {
            used_up = used_up.max(Some(wait));
        }
    }
    used_up.or(any)
}

/// Returns the name of the header that tells what is left of the limit whose reset this one tells.
fn remaining_beside(name: &str) -> Option<String> {
    // The draft of the IETF has no `x-`; Mistral has a second one, by size.
    for limit in ["x-ratelimit", "ratelimit", "ratelimitbysize"] {
        let kind = name.strip_prefix(limit).and_then(|rest| rest.strip_prefix("-reset"));
        if let Some(kind) = kind {
            return Some(format!("{limit}-remaining{kind}"));
        }
    }
    // Anthropic: anthropic-ratelimit-input-tokens-reset.
    let limit = name.strip_suffix("-reset").filter(|name| name.starts_with("anthropic-ratelimit-"))?;
    Some(format!("{limit}-remaining"))
}

fn reset(value: &str, now: SystemTime) -> Option<Duration> {
    let Ok(number) = value.parse::<f64>() else {
        return go_duration(value).or_else(|| {
            let moment: jiff::Timestamp = value.parse().ok()?;
            SystemTime::from(moment).duration_since(now).ok()
        });
    };
    if number < EPOCH_SECONDS {
        return seconds(number);
    }
    let epoch = if number >= EPOCH_SECONDS * 1e3 { number / 1e3 } else { number };
    let moment = UNIX_EPOCH.checked_add(seconds(epoch)?)?;
    moment.duration_since(now).ok()
}

/// A hint that lies in the past says to try at once.
fn at_least_none(number: f64) -> Option<Duration> {
    seconds(if number < 0.0 { 0.0 } else { number })
}

fn seconds(number: f64) -> Option<Duration> {
    // A number that is too large for a duration is a long wait; `try_from` would call it garbage.
    if number > 1e10 { Some(LONGEST) } else { Duration::try_from_secs_f64(number).ok() }
}

/// Reads a duration as Go writes it: `12ms`, `1s`, `6m0s`, `15m50.4s`, `1h2m`.
fn go_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(unit_at);
        let unit_end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let factor = match &tail[..unit_end] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * factor;
        rest = &tail[unit_end..];
    }
    if text.is_empty() { None } else { seconds(total) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(pairs: &[(&'static str, &'static str)]) -> Option<Duration> {
        let headers = pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        retry_after(&headers.collect(), now)
    }

    fn millis(wait: u64) -> Option<Duration> {
        Some(Duration::from_millis(wait))
    }

    #[test]
    fn milliseconds_win_over_seconds() {
        assert_eq!(hint(&[("retry-after", "7"), ("retry-after-ms", "250")]), millis(250));
        assert_eq!(hint(&[("retry-after", "7")]), millis(7000));
        assert_eq!(hint(&[("retry-after", "0.5")]), millis(500));
    }

    #[test]
    fn a_date_is_a_wait_from_now() {
        assert_eq!(hint(&[("retry-after", "Tue, 14 Nov 2023 22:13:25 GMT")]), millis(5000));
        assert_eq!(hint(&[("retry-after", "Tue, 14 Nov 2023 22:13:15 GMT")]), None);
    }

    #[test]
    fn garbage_is_no_hint_and_long_waits_are_cut() {
        for value in ["soon", "abc", "", "NaN"] {
            assert_eq!(hint(&[("retry-after", value)]), None, "{value:?}");
        }
        for value in ["0", "-5", "-0.0", "-inf"] {
            assert_eq!(hint(&[("retry-after", value)]), millis(0), "{value:?}");
        }
        for value in ["3600", "1e18", "1e300", "inf"] {
            assert_eq!(hint(&[("retry-after", value)]), millis(60_000), "{value:?}");
        }
    }

    #[test]
    fn go_durations_of_the_used_up_limit_hold() {
        let both = [("x-ratelimit-reset-requests", "12ms"), ("x-ratelimit-reset-tokens", "6.5s")];
        assert_eq!(hint(&both), millis(6500));
        let requests = [both[0], both[1], ("x-ratelimit-remaining-requests", "0")];
        assert_eq!(hint(&requests), millis(12));
        assert_eq!(hint(&[("x-ratelimit-reset-tokens", "15m50.4s")]), millis(60_000));
        assert_eq!(hint(&[("x-ratelimit-reset-tokens", "1x")]), None);
    }

    #[test]
    fn an_ratelimit_headers_tell_moments_in_rfc_3339() {
        let both = [
            ("anthropic-ratelimit-requests-reset", "2023-11-14T22:13:25Z"),
            ("anthropic-ratelimit-input-tokens-reset", "2023-11-14T22:13:40Z"),
        ];
        assert_eq!(hint(&both), millis(20_000));
        let requests = [both[0], both[1], ("anthropic-ratelimit-requests-remaining", "0")];
        assert_eq!(hint(&requests), millis(5000));
        let seconds = [both[0], both[1], ("retry-after", "3")];
        assert_eq!(hint(&seconds), millis(3000));
        assert_eq!(hint(&[("anthropic-ratelimit-tokens-reset", "2023-11-14T22:13:15Z")]), None);
    }

    #[test]
    fn a_large_reset_is_a_moment() {
        assert_eq!(hint(&[("x-ratelimit-reset", "1700000003")]), millis(3000));
        assert_eq!(hint(&[("x-ratelimit-reset", "1700000003000")]), millis(3000));
    }

    #[test]
    fn of_several_limits_the_longest_of_the_used_up_holds() {
        let limits = [
            ("x-ratelimit-reset-requests-day", "33011.4"),
            ("x-ratelimit-remaining-requests-day", "812"),
            ("x-ratelimit-reset-requests-minute", "11.25"),
            ("x-ratelimit-remaining-requests-minute", "0"),
            ("x-ratelimit-reset-tokens-minute", "41"),
            ("x-ratelimit-remaining-tokens-minute", "-1"),
        ];
        assert_eq!(hint(&limits), millis(41_000));
        assert_eq!(hint(&[("ratelimit-reset", "17"), ("ratelimit-remaining", "0")]), millis(17_000));
        let by_size =
            [("ratelimit-reset", "17"), ("ratelimitbysize-reset", "23"), ("ratelimitbysize-remaining", "0")];
        assert_eq!(hint(&by_size), millis(23_000));
        assert_eq!(hint(&[("anthropic-ratelimit-unified-reset", "1700000007")]), millis(7_000));
        assert_eq!(hint(&[("x-ratelimit-reset", "9223372036854775807")]), None);
        assert_eq!(hint(&[("retry-after", "9223372036854775807")]), millis(60_000));
    }

    #[test]
    fn the_words_of_a_message_tell_a_wait() {
        for (message, wait) in [
            ("Please try again in 1.898s. Visit x", millis(1_898)),
            ("Please try again in 120ms.", millis(120)),
            ("Please try again in 6m0.5s", millis(60_000)),
            ("Please retry after 26 seconds.", millis(26_000)),
            ("Try again in 1 minute", millis(60_000)),
            ("try again in 250 milliseconds", millis(250)),
            ("Please retry in 7.5s.", millis(7_500)),
            ("Please try again in 20 apples", None),
            ("Please try again in ", None),
            ("Please try again later", None),
            ("try again in é", None),
        ] {
            assert_eq!(of_words(message), wait, "{message}");
        }
    }
}
