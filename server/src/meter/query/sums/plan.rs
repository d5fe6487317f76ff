//! What a sum is made of: whole months, days and hours that were summed up before, and the records between.
//!
//! The pieces are disjoint and together hold each record of the span once, whatever was summed up meanwhile, as long as
//! all of them are read in one snapshot.

use jiff::{SignedDuration, Timestamp, ToSpan as _, tz::TimeZone};

use crate::meter::ledger::Level;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Start and end of some time, in milliseconds since 1970; the end is not part of it.
pub(super) type Range = (i64, i64);

/// One piece of a sum.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Piece {
    /// Sums of whole months, days or hours.
    Sums(Level, Range),
    /// Records that are in none of the sums of these times yet: by number, since they are the newest.
    Fresh(Watermark, Vec<Range>),
    /// All records of a time.
    Records(Range),
}

/// Which sums a record may not be in yet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Watermark {
    /// Those by the hour.
    Hours,
    /// Those by day and month.
    Days,
}

/// A time within a month of which there are no sums by the tag that is asked about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Gap {
    /// Start of the month.
    pub(super) month_ms: i64,
    /// Start of the first day without sums.
    pub(super) since_ms: i64,
}

impl Level {
    /// Returns the whole ones within a time: the first one's start and the last one's end.
    fn whole(self, (from, until): Range) -> Option<Range> {
        let (first, last) = (self.ceiling(from.max(0)), self.floor(until));
        (first < last).then_some((first, last))
    }

    fn floor(self, ms: i64) -> i64 {
        match self {
            Self::Hour => ms.saturating_sub(ms.rem_euclid(HOUR_MS)),
            Self::Day => ms.saturating_sub(ms.rem_euclid(DAY_MS)),
            Self::Month => month(ms, 0).unwrap_or(i64::MIN),
        }
    }

    fn ceiling(self, ms: i64) -> i64 {
        let floor = self.floor(ms);
        match self {
            _ if floor == ms => ms,
            Self::Hour => floor.saturating_add(HOUR_MS),
            Self::Day => floor.saturating_add(DAY_MS),
            Self::Month => month(ms, 1).unwrap_or(i64::MAX),
        }
    }
}

/// Returns the start of the month of a time, or of one so many months later.
fn month(ms: i64, later: i64) -> Option<i64> {
    let time = Timestamp::UNIX_EPOCH.checked_add(SignedDuration::from_millis(ms)).ok()?;
    let day = time.to_zoned(TimeZone::UTC).start_of_day().ok()?;
    let first = day.first_of_month().ok()?.checked_add(later.months()).ok()?;
    Some(first.timestamp().as_millisecond())
}

/// Returns an end after which there are no records either, at which a month ends, if nothing is lost by that.
pub(super) fn rounded_end(end_ms: i64, newest_ms: i64) -> i64 {
    if newest_ms < end_ms { Level::Month.ceiling(newest_ms.max(0).saturating_add(1)) } else { end_ms }
}

/// Divides a time into pieces, from the coarsest level on.
pub(super) fn pieces(range: Range, levels: &[Level], gaps: &[Gap]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let (mut at, end) = range;
    for gap in gaps {
        let next = month(gap.month_ms, 1).unwrap_or(i64::MAX);
        let without_months = levels.strip_prefix(&[Level::Month]).unwrap_or(levels);
        for (until, levels) in [(gap.month_ms, levels), (gap.since_ms, without_months), (next, &[])] {
            let until = until.min(end);
            divide((at, until), levels, &mut pieces);
            at = at.max(until);
        }
    }
    divide((at, end), levels, &mut pieces);
    add_fresh(&mut pieces);
    pieces
}

fn divide(range: Range, levels: &[Level], pieces: &mut Vec<Piece>) {
    let (from, until) = range;
    if from >= until {
        return;
    }
    let Some((level, finer)) = levels.split_first() else { return pieces.push(Piece::Records(range)) };
    let Some((first, last)) = level.whole(range) else { return divide(range, finer, pieces) };
    divide((from, first), finer, pieces);
    pieces.push(Piece::Sums(*level, (first, last)));
    divide((last, until), finer, pieces);
}

/// Adds what the sums do not know yet.
fn add_fresh(pieces: &mut Vec<Piece>) {
    for watermark in [Watermark::Hours, Watermark::Days] {
        let mut ranges: Vec<Range> = Vec::new();
        for piece in &*pieces {
            let Piece::Sums(level, range) = piece else { continue };
            if (*level == Level::Hour) != (watermark == Watermark::Hours) {
                continue;
            }
            match ranges.last_mut() {
                Some(last) if last.1 == range.0 => last.1 = range.1,
                _ => ranges.push(*range),
            }
        }
        if !ranges.is_empty() {
            pieces.push(Piece::Fresh(watermark, ranges));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LEVELS: [Level; 3] = [Level::Month, Level::Day, Level::Hour];

    fn ms(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    #[test]
    fn a_month_is_one_sum_and_an_odd_span_is_cut_at_its_ends() {
        let july = (ms("2026-07-01T00:00:00Z"), ms("2026-08-01T00:00:00Z"));
        let whole = [Piece::Sums(Level::Month, july), Piece::Fresh(Watermark::Days, vec![july])];
        assert_eq!(pieces(july, &LEVELS, &[]), whole);
        let odd = (ms("2026-06-29T22:30:00Z"), ms("2026-08-01T00:00:00Z"));
        let day = (ms("2026-06-30T00:00:00Z"), july.0);
        let hour = (ms("2026-06-29T23:00:00Z"), day.0);
        let expected = [
            Piece::Records((odd.0, hour.0)),
            Piece::Sums(Level::Hour, hour),
            Piece::Sums(Level::Day, day),
            Piece::Sums(Level::Month, july),
            Piece::Fresh(Watermark::Hours, vec![hour]),
            Piece::Fresh(Watermark::Days, vec![(day.0, july.1)]),
        ];
        assert_eq!(pieces(odd, &LEVELS, &[]), expected);
    }

    #[test]
    fn the_month_that_is_not_over_is_one_sum_if_nothing_is_newer_than_the_end() {
        let noon = ms("2026-07-15T12:00:00Z");
        assert_eq!(rounded_end(noon, noon - 1), ms("2026-08-01T00:00:00Z"));
        assert_eq!(rounded_end(noon, noon), noon);
    }

    proptest! {
        #[test]
        fn pieces_hold_every_moment_once(
            from in -10_000_000_i64..3_000_000_000_000,
            length in 0_i64..9_000_000_000,
            gap in prop::option::of((0_i64..9_000_000_000, 0_i64..27)),
            levels in 0_usize..4,
        ) {
            let range = (from, from + length);
            let gaps: Vec<_> = gap.into_iter().map(|(after, days)| {
                let month_ms = Level::Month.floor(from + after);
                Gap { month_ms, since_ms: month_ms + days * DAY_MS }
            }).collect();
            let mut ranges: Vec<_> = pieces(range, &LEVELS[3 - levels..], &gaps).into_iter().filter_map(|piece| match piece {
                Piece::Sums(_, range) | Piece::Records(range) => Some(range),
                Piece::Fresh(..) => None,
            }).collect();
            ranges.sort_unstable();
            let mut at = range.0;
            for (from, until) in ranges {
                prop_assert!(from == at && until > from);
                at = until;
            }
            prop_assert_eq!(at, range.1);
        }
    }
}
