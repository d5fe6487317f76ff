//! Points and spans of time as people write them: `24h`, `7d`, `2026-11-01`.

use std::{str::FromStr, time::Duration};

use jiff::{Timestamp, civil, tz::TimeZone};
use prost_types::Timestamp as ProtoTimestamp;

/// A point in time: fixed, or so far from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// Not bounded: `all` or `never`.
    Unbounded,
    /// This far from now, into the past or the future as the option means it.
    Span(Duration),
    /// This very moment.
    At(Timestamp),
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" | "never" => return Ok(Self::Unbounded),
            "now" => return Ok(Self::Span(Duration::ZERO)),
            _ => {}
        }
        if let Ok(span) = parse_span(text) {
            return Ok(Self::Span(span));
        }
        if let Ok(at) = text.parse::<Timestamp>() {
            return Ok(Self::At(at));
        }
        // Days and times without a zone are in UTC, as the buckets of reports are.
        let civil = text
            .parse::<civil::DateTime>()
            .or_else(|_| text.parse::<civil::Date>().map(|date| date.at(0, 0, 0, 0)));
        match civil.and_then(|civil| civil.to_zoned(TimeZone::UTC)) {
            Ok(zoned) => Ok(Self::At(zoned.timestamp())),
            Err(_) => {
                Err(format!("{text:?} is no time: write 30m, 24h, 7d, 2026-11-01 or 2026-11-01T12:00:00Z"))
            }
        }
    }
}

impl When {
    /// Returns the moment, spans counted back from `now`; `None`: not bounded, or before all time.
    pub(crate) fn before(self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Unbounded => None,
            Self::Span(span) => now.checked_sub(span).ok(),
            Self::At(at) => Some(at),
        }
    }

    /// Returns the moment, spans counted on from `now`; `None`: not bounded, or after all time.
    pub(crate) fn after(self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Unbounded => None,
            Self::Span(span) => now.checked_add(span).ok(),
            Self::At(at) => Some(at),
        }
    }
}

/// Reads a span: a whole number and `ms`, `s`, `m`, `h`, `d` or `w`.
pub(crate) fn parse_span(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no span of time: write 500ms, 30s, 15m, 24h, 7d or 2w");
    let split = text.find(|character: char| !character.is_ascii_digit()).ok_or_else(wrong)?;
    let number: u64 = text[..split].parse().map_err(|_| wrong())?;
    let seconds = match &text[split..] {
        "ms" => return Ok(Duration::from_millis(number)),
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return Err(wrong()),
    };
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(wrong)
}

/// Reads a span that is longer than nothing.
pub(crate) fn parse_timeout(text: &str) -> Result<Duration, String> {
    let span = parse_span(text)?;
    if span.is_zero() { Err("must be longer than 0".to_owned()) } else { Ok(span) }
}

/// Returns a moment in the contract's form.
pub(crate) fn to_proto(at: Timestamp) -> ProtoTimestamp {
    // Before 1970 jiff counts nanoseconds down, and the contract up from the second before.
    let (seconds, nanos) = (at.as_second(), at.subsec_nanosecond());
    if nanos < 0 {
        return ProtoTimestamp { seconds: seconds - 1, nanos: nanos + 1_000_000_000 };
    }
    ProtoTimestamp { seconds, nanos }
}

/// Returns a moment of the contract as `2026-11-01 12:00:00` in UTC; nothing if there is none.
pub(crate) fn show(at: Option<&ProtoTimestamp>) -> String {
    let Some(at) = at else { return String::new() };
    match Timestamp::new(at.seconds, at.nanos) {
        Ok(at) => at.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => format!("{} s", at.seconds),
    }
}

/// Returns a span of the contract; `None` if there is none or it is negative.
pub(crate) fn span(duration: Option<&prost_types::Duration>) -> Option<Duration> {
    duration.and_then(|duration| Duration::try_from(*duration).ok())
}

/// Returns a span for people: `12 ms`, `1.20 s`, `90.0 s`.
pub(crate) fn short(span: Duration) -> String {
    match span.as_secs_f64() {
        seconds if seconds < 1.0 => format!("{} ms", span.as_millis()),
        seconds if seconds < 10.0 => format!("{seconds:.2} s"),
        seconds => format!("{seconds:.1} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn spans_count_from_now_in_the_direction_of_the_option() {
        let now = at("2026-11-08T12:00:00Z");
        let week: When = "7d".parse().unwrap();
        assert_eq!(week.before(now), Some(at("2026-11-01T12:00:00Z")));
        assert_eq!(week.after(now), Some(at("2026-11-15T12:00:00Z")));
        assert_eq!("now".parse::<When>().unwrap().before(now), Some(now));
        assert_eq!("all".parse::<When>().unwrap().before(now), None);
        assert_eq!("9999999w".parse::<When>().unwrap().before(now), None);
    }

    #[test]
    fn days_and_times_are_in_utc_unless_they_say_otherwise() {
        let parse = |text: &str| text.parse::<When>().unwrap();
        assert_eq!(parse("2026-11-01"), When::At(at("2026-11-01T00:00:00Z")));
        assert_eq!(parse("2026-11-01T06:30"), When::At(at("2026-11-01T06:30:00Z")));
        assert_eq!(parse("2026-11-01T06:30:00+02:00"), When::At(at("2026-11-01T04:30:00Z")));
    }

    #[test]
    fn what_is_no_time_is_refused_with_examples() {
        for wrong in ["", "yesterday", "7", "d", "7y", "-7d", "2026-13-01", "99999999999999999999s"] {
            let error = wrong.parse::<When>().unwrap_err();
            assert!(error.contains("24h"), "{wrong}: {error}");
        }
        assert!(parse_timeout("0s").is_err());
        assert_eq!(parse_timeout("500ms"), Ok(Duration::from_millis(500)));
    }

    #[test]
    fn moments_are_shown_in_utc_and_kept_exactly() {
        let before_1970 = to_proto(at("1969-12-31T23:59:59.5Z"));
        assert_eq!((before_1970.seconds, before_1970.nanos), (-1, 500_000_000));
        assert_eq!(show(Some(&to_proto(at("2026-11-01T12:00:00Z")))), "2026-11-01 12:00:00");
        assert_eq!(show(None), "");
    }

    #[test]
    fn spans_are_short() {
        assert_eq!(short(Duration::from_micros(12_900)), "12 ms");
        assert_eq!(short(Duration::from_millis(1_204)), "1.20 s");
        assert_eq!(short(Duration::from_secs(90)), "90.0 s");
    }
}
