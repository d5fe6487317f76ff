//! Two ledgers side by side, by time and model.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    amounts::{Amounts, COST, FIELDS, add, nanos_of_cost},
    export::{Export, Line},
    ours::Billed,
};
use crate::{config::Share, meter::undated};

const DAY: i64 = 86_400;
/// In place of a model where an export is not by model.
const ALL: &str = "(all models)";

/// One comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct Compared {
    /// From when, in seconds since 1970.
    pub start: i64,
    /// Until when.
    pub end: i64,
    /// The model, with the names that were taken for it if there are several.
    pub model: String,
    /// What our ledger says, in the order of the fields.
    pub ours: [i128; FIELDS.len()],
    /// What the provider says; absent is what the export does not tell.
    pub theirs: [Option<i128>; FIELDS.len()],
    /// Whether they are further apart than is tolerated.
    pub differs: bool,
}

/// What came out.
#[derive(Debug)]
pub struct Outcome {
    /// Whose export it was.
    pub provider: &'static str,
    /// The configured providers whose calls counted.
    pub counted: Vec<String>,
    /// Every time and model that either side knows.
    pub rows: Vec<Compared>,
    /// What could not be compared, in words.
    pub notes: Vec<String>,
}

impl Outcome {
    /// Tells whether everything could be compared and agrees.
    pub fn agrees(&self) -> bool {
        self.notes.is_empty() && self.rows.iter().all(|row| !row.differs)
    }
}

/// What is known so far.
pub(super) struct Comparison {
    export: Export,
    span: (i64, i64),
    width: i64,
    buckets: BTreeMap<(i64, i64), Bucket>,
    /// Which fields the export tells at all.
    told: [bool; FIELDS.len()],
}

#[derive(Default)]
struct Bucket {
    ours: BTreeMap<String, Amounts>,
    theirs: BTreeMap<Option<String>, Amounts>,
}

impl Comparison {
    /// Starts with what the provider says, within the times that are asked for.
    pub(super) fn new(mut export: Export, (from, until): (Option<i64>, Option<i64>)) -> Result<Self, String> {
        let lines = std::mem::take(&mut export.lines);
        let first = lines.iter().map(|line| line.start).min();
        let last = lines.iter().map(|line| line.end).max();
        let (Some(from), Some(until)) = (from.or(first), until.or(last)) else {
            return Err("the export is empty: tell the time with --from and --to".to_owned());
        };
        if from >= until {
            return Err("the time ends before it starts: look at --from and --to".to_owned());
        }
        let width = lines.iter().map(|line| line.end - line.start).filter(|width| *width > 0).min().unwrap_or(DAY);
        let mut comparison =
            Self { export, span: (from, until), width, buckets: BTreeMap::new(), told: [false; FIELDS.len()] };
        lines.into_iter().for_each(|line| comparison.add_line(line));
        Ok(comparison)
    }

    fn add_line(&mut self, line: Line) {
        let (from, until) = self.span;
        if line.end <= from || line.start >= until {
            return;
        }
        if line.start < from || line.end > until || line.end <= line.start {
            let model = line.model.as_deref().unwrap_or(ALL);
            let note = format!("a line of {model} lies only in part within the time that is compared");
            return self.export.notes.push(note);
        }
        for (told, amount) in self.told.iter_mut().zip(&line.amounts) {
            *told |= amount.is_some();
        }
        let bucket = self.buckets.entry((line.start, line.end)).or_default();
        add(bucket.theirs.entry(line.model).or_default(), &line.amounts);
    }

    /// Returns the time that is compared, in seconds since 1970.
    pub(super) fn span(&self) -> (i64, i64) {
        self.span
    }

    /// Adds what our ledger says.
    pub(super) fn add(&mut self, billed: Billed) {
        let time = billed.time;
        let known = self.buckets.range(..=(time, i64::MAX)).next_back();
        let known = known.map(|(range, _)| *range).filter(|(_, end)| time < *end);
        let start = time - time.rem_euclid(self.width);
        let bucket = self.buckets.entry(known.unwrap_or((start, start + self.width))).or_default();
        add(bucket.ours.entry(billed.model).or_default(), &billed.amounts);
    }

    /// Compares.
    pub(super) fn finish(self, tolerance: Share, counted: Vec<String>) -> Outcome {
        let Self { export, buckets, told, .. } = self;
        let mut outcome =
            Outcome { provider: export.family.name(), counted, rows: Vec::new(), notes: export.notes };
        for ((start, end), bucket) in buckets {
            for (model, ours, theirs) in bucket.pairs() {
                outcome.rows.push(compared((start, end), model, &ours, &theirs, (&told, tolerance)));
            }
        }
        outcome
    }
}

impl Bucket {
    /// Brings the names of both sides together.
    fn pairs(self) -> Vec<(String, Amounts, Amounts)> {
        let Self { ours, theirs } = self;
        if theirs.len() == 1 && theirs.contains_key(&None) {
            let total = |side: &mut dyn Iterator<Item = Amounts>| {
                side.fold([None; FIELDS.len()], |mut sum, amounts| {
                    add(&mut sum, &amounts);
                    sum
                })
            };
            let (ours, theirs) = (total(&mut ours.into_values()), total(&mut theirs.into_values()));
            return vec![(ALL.to_owned(), ours, theirs)];
        }
        let named: BTreeMap<String, Amounts> =
            theirs.into_iter().map(|(name, amounts)| (name.unwrap_or_else(|| "(without a model)".to_owned()), amounts)).collect();
        let mut families: BTreeMap<&str, (BTreeSet<&str>, BTreeSet<&str>)> = BTreeMap::new();
        for name in ours.keys() {
            families.entry(base(name)).or_default().0.insert(name);
        }
        for name in named.keys() {
            families.entry(base(name)).or_default().1.insert(name);
        }
        let of = |side: &BTreeMap<String, Amounts>, name: &str| side.get(name).copied().unwrap_or_default();
        let mut pairs = Vec::new();
        for (base, (mine, yours)) in families {
            let all: BTreeSet<&str> = mine.union(&yours).copied().collect();
            if mine == yours || mine.is_empty() || yours.is_empty() {
                pairs.extend(all.iter().map(|name| ((*name).to_owned(), of(&ours, name), of(&named, name))));
                continue;
            }
            let (mut one, mut other) = <(Amounts, Amounts)>::default();
            all.iter().for_each(|name| add(&mut one, &of(&ours, name)));
            all.iter().for_each(|name| add(&mut other, &of(&named, name)));
            let names: Vec<&str> = all.into_iter().collect();
            pairs.push((format!("{base} ({})", names.join(", ")), one, other));
        }
        pairs
    }
}

/// Returns the name of a model without its date.
fn base(name: &str) -> &str {
    let name = name.strip_suffix("-latest").unwrap_or(name);
    undated(name).unwrap_or(name)
}

fn compared(
    (start, end): (i64, i64),
    model: String,
    ours: &Amounts,
    theirs: &Amounts,
    (told, tolerance): (&[bool; FIELDS.len()], Share),
) -> Compared {
    let whole = |at: usize, amount: i128| if at == COST { nanos_of_cost(amount) } else { amount };
    let ours = std::array::from_fn(|at| whole(at, ours[at].unwrap_or(0)));
    let theirs = std::array::from_fn(|at| told[at].then(|| whole(at, theirs[at].unwrap_or(0))));
    let differs = ours.iter().zip(&theirs).any(|(one, other)| other.is_some_and(|other| is_apart(*one, other, tolerance)));
    Compared { start, end, model, ours, theirs, differs }
}

/// Tells whether two amounts are further apart than is tolerated, as a share of the larger.
fn is_apart(one: i128, other: i128, tolerance: Share) -> bool {
    let apart = one.abs_diff(other).saturating_mul(1_000_000);
    apart > one.unsigned_abs().max(other.unsigned_abs()).saturating_mul(tolerance.0.into())
}

#[cfg(test)]
mod tests {
    use super::{super::export::Family, *};

    fn line(start: i64, model: Option<&str>, requests: i128, output: i128) -> Line {
        let mut amounts = [None; FIELDS.len()];
        (amounts[0], amounts[4]) = (Some(requests), Some(output));
        Line { start, end: start + DAY, model: model.map(str::to_owned), amounts }
    }

    fn billed(time: i64, model: &str, output: i128) -> Billed {
        let mut amounts = [Some(0); FIELDS.len()];
        (amounts[0], amounts[4]) = (Some(1), Some(output));
        Billed { time, model: model.to_owned(), amounts }
    }

    fn outcome(lines: Vec<Line>, ours: Vec<Billed>, tolerance: u32) -> Outcome {
        let export = Export { family: Family::OpenAi, lines, notes: Vec::new() };
        let mut comparison = Comparison::new(export, (None, None)).unwrap();
        ours.into_iter().for_each(|billed| comparison.add(billed));
        comparison.finish(Share(tolerance), Vec::new())
    }

    fn told(outcome: &Outcome) -> Vec<(i64, &str, i128, Option<i128>, bool)> {
        outcome.rows.iter().map(|row| (row.start, &*row.model, row.ours[4], row.theirs[4], row.differs)).collect()
    }

    #[test]
    fn names_are_matched_over_dates_and_exactly_where_both_sides_have_them() {
        let lines = vec![
            line(0, Some("gpt-4o-2024-08-06"), 1, 7),
            line(0, Some("m-2024-01-01"), 1, 1),
            line(0, Some("m-2024-02-02"), 1, 2),
        ];
        let ours = vec![billed(5, "gpt-4o", 7), billed(6, "m-2024-01-01", 2), billed(7, "m-2024-02-02", 1)];
        let outcome = outcome(lines, ours, 0);
        let expected = [
            (0, "gpt-4o (gpt-4o, gpt-4o-2024-08-06)", 7, Some(7), false),
            (0, "m-2024-01-01", 2, Some(1), true),
            (0, "m-2024-02-02", 1, Some(2), true),
        ];
        assert_eq!(told(&outcome), expected);
        assert!(!outcome.agrees());
    }

    #[test]
    fn what_only_one_side_has_is_a_difference_also_on_a_day_that_the_export_leaves_out() {
        let lines = vec![line(0, Some("a"), 1, 5), line(2 * DAY, Some("b"), 1, 6)];
        let outcome = outcome(lines, vec![billed(DAY + 1, "c", 9)], 0);
        let expected = [(0, "a", 0, Some(5), true), (DAY, "c", 9, Some(0), true), (2 * DAY, "b", 0, Some(6), true)];
        assert_eq!(told(&outcome), expected);
        assert_eq!(outcome.rows[0].theirs[1], None, "what the export never tells is not compared");
    }

    #[test]
    fn without_models_the_totals_are_compared_and_a_share_is_tolerated() {
        let ours = || vec![billed(1, "a", 990), billed(2, "b", 5)];
        for (tolerance, differs) in [(0, true), (4_999, true), (5_000, false)] {
            let outcome = outcome(vec![line(0, None, 2, 1_000)], ours(), tolerance);
            assert_eq!(told(&outcome), [(0, ALL, 995, Some(1_000), differs)], "{tolerance}");
            assert_eq!(outcome.agrees(), !differs);
        }
    }

    #[test]
    fn lines_that_the_time_cuts_are_noted() {
        let export = Export { family: Family::OpenAi, lines: vec![line(0, Some("a"), 1, 1)], notes: Vec::new() };
        let comparison = Comparison::new(export, (Some(10), None)).unwrap();
        assert!(!comparison.finish(Share(0), Vec::new()).agrees());
        let export = Export { family: Family::OpenAi, lines: Vec::new(), notes: Vec::new() };
        assert!(Comparison::new(export, (None, None)).is_err());
    }
}
