//! Days and months of the calendar, in the time zone that is configured.

use std::time::SystemTime;

use jiff::{Timestamp, ToSpan as _, tz::TimeZone};

use crate::call::Period;

/// The calendar by which days and months are counted.
#[derive(Clone, Debug)]
pub struct Calendar(TimeZone);

/// A day, a month, or all time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// The first moment that belongs to it.
    pub(super) start: SystemTime,
    /// The first that does not; absent for all time.
    pub(super) end: Option<SystemTime>,
}

/// All time, and what is not of the calendar.
const ALWAYS: Span = Span { start: SystemTime::UNIX_EPOCH, end: None };

impl Calendar {
    /// The calendar of a time zone.
    pub fn new(zone: TimeZone) -> Self {
        Self(zone)
    }

    /// The calendar of UTC.
    pub fn utc() -> Self {
        Self(TimeZone::UTC)
    }

    /// Returns when the day or month began that holds this moment; long ago for all else.
    pub fn start(&self, period: Period, now: SystemTime) -> SystemTime {
        self.span(period, now).start
    }

    /// Returns the day or month that holds this moment. A day begins at its first moment, which need not be midnight, and
    /// is as long as it is where clocks are changed.
    pub(super) fn span(&self, period: Period, now: SystemTime) -> Span {
        self.of_calendar(period, now).unwrap_or(ALWAYS)
    }

    fn of_calendar(&self, period: Period, now: SystemTime) -> Option<Span> {
        let today = || Some(Timestamp::try_from(now).ok()?.to_zoned(self.0.clone()).date());
        let (first, next) = match period {
            Period::Day => (today()?, today()?.tomorrow().ok()?),
            Period::Month => {
                let first = today()?.first_of_month();
                (first, first.checked_add(1.month()).ok()?)
            }
            Period::Second | Period::Minute | Period::Hour | Period::Total => return None,
        };
        let at = |date: jiff::civil::Date| Some(date.to_zoned(self.0.clone()).ok()?.timestamp().into());
        Some(Span { start: at(first)?, end: Some(at(next)?) })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn time(text: &str) -> SystemTime {
        text.parse::<Timestamp>().unwrap().into()
    }

    fn calendar(zone: &str) -> Calendar {
        Calendar::new(TimeZone::get(zone).unwrap())
    }

    #[test]
    fn periods_follow_the_calendar_of_utc() {
        let now = time("2027-02-28T23:59:59Z");
        let month = Calendar::utc().span(Period::Month, now);
        assert_eq!(month.start, time("2027-02-01T00:00:00Z"));
        assert_eq!(month.end, Some(time("2027-03-01T00:00:00Z")));
        assert_eq!(Calendar::utc().span(Period::Day, now).end, Some(time("2027-03-01T00:00:00Z")));
        assert_eq!(Calendar::utc().span(Period::Total, now), ALWAYS);
    }

    #[test]
    fn days_are_as_long_as_they_are_where_clocks_are_changed() {
        let hours = |zone: &str, at: &str| {
            let day = calendar(zone).span(Period::Day, time(at));
            day.end.unwrap().duration_since(day.start).unwrap().as_secs() / 3600
        };
        assert_eq!(hours("Europe/Berlin", "2027-03-28T12:00:00Z"), 23);
        assert_eq!(hours("Europe/Berlin", "2027-10-31T12:00:00Z"), 25);
        assert_eq!(hours("Europe/Berlin", "2027-07-01T12:00:00Z"), 24);
        // Where clocks go forward at midnight, the day has none.
        let cairo = calendar("Africa/Cairo").span(Period::Day, time("2026-04-24T12:00:00Z"));
        assert_eq!(cairo.start, time("2026-04-23T22:00:00Z"));
    }

    proptest! {
        #[test]
        fn spans_hold_their_moment_and_follow_each_other_without_a_gap(
            zone in prop::sample::select(vec![
                "UTC", "Europe/Berlin", "America/New_York", "Africa/Cairo", "Asia/Kolkata", "Australia/Lord_Howe",
                "America/Santiago", "Pacific/Apia",
            ]),
            seconds in 0_u64..4_000_000_000,
            month in any::<bool>(),
        ) {
            let period = if month { Period::Month } else { Period::Day };
            let (calendar, now) = (calendar(zone), SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
            let span = calendar.span(period, now);
            let end = span.end.unwrap();
            prop_assert!(span.start <= now && now < end);
            prop_assert_eq!(calendar.span(period, span.start), span);
            prop_assert_eq!(calendar.span(period, end - Duration::from_nanos(1)), span);
            prop_assert_eq!(calendar.span(period, end).start, end);
        }
    }
}
