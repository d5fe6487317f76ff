//! The order of an alias's targets: what the strategy measures, best first.

use std::{cell::OnceCell, time::Instant};

use super::{
    Asking,
    alias::{AliasTarget, Strategy},
    health::{State, View},
    hints::Measure,
    lot::Lot,
    plan::Candidate,
    reason::Placed,
    sticky::race,
};

/// One in so many calls goes to the slower of two, so that a target that has become fast is found out.
const SLOWER_ONE_IN: usize = 50;
/// What a target counts that nobody knows while somebody finds out: behind all that are known, the idlest first.
const BEING_FOUND_OUT: f64 = 1e9;
/// A target that only fails still has a time.
const LEAST_SUCCESS: f64 = 0.02;

/// A target on its way into a plan.
pub(super) struct Draft<'r> {
    pub(super) candidate: Candidate,
    /// What is configured of it.
    pub(super) line: &'r AliasTarget,
    view: OnceCell<View>,
}

/// What one line of an alias leads to, best first; never empty.
pub(super) struct Group<'r> {
    pub(super) line: &'r AliasTarget,
    pub(super) members: Vec<Draft<'r>>,
}

/// What an order depends on.
pub(super) struct Order<'o, 'a> {
    pub(super) measure: Measure,
    /// What keeps the call together with others.
    pub(super) key: Option<&'o str>,
    pub(super) lot: &'o Lot,
    pub(super) asking: &'o Asking<'a>,
}

/// Tells whether a target is left alone at the moment.
pub(super) fn is_unwell(view: &View, now: Instant) -> bool {
    let left_alone = matches!(view.state, State::Open | State::CoolingDown | State::Ejected);
    left_alone && view.retry_at.is_none_or(|at| at > now)
}

impl<'r> Draft<'r> {
    pub(super) fn new(candidate: Candidate, line: &'r AliasTarget) -> Self {
        Self { candidate, line, view: OnceCell::new() }
    }

    fn view(&self, asking: &Asking<'_>) -> &View {
        self.view.get_or_init(|| asking.health.of(&self.candidate.target).view(asking.now))
    }
}

/// Puts targets that are left alone behind those that are well, and leaves the order as it is otherwise.
pub(super) fn unwell_last(drafts: &mut [Draft<'_>], asking: &Asking<'_>) {
    if drafts.len() > 1 {
        drafts.sort_by_key(|draft| is_unwell(draft.view(asking), asking.now));
    }
}

/// Orders the credentials of one target: the idlest first, or the same for calls that are kept together.
pub(super) fn order_credentials(drafts: &mut [Draft<'_>], key: Option<&str>, lot: &Lot, asking: &Asking<'_>) {
    if drafts.len() < 2 {
        return;
    }
    best_first(drafts, |draft| {
        let running = if key.is_some() { 0.0 } else { running(draft, asking) };
        (-running, race(key, &[&draft.candidate.provider.credential], 1, lot))
    });
    unwell_last(drafts, asking);
}

impl Order<'_, '_> {
    /// Orders what the lines of an alias lead to; each is judged by the best it has.
    pub(super) fn sort(&self, groups: &mut [Group<'_>]) {
        let (asking, placed) = (self.asking, self.placed());
        for draft in groups.iter_mut().flat_map(|group| &mut group.members) {
            draft.candidate.reason = placed;
        }
        if groups.len() < 2 {
            return;
        }
        groups.sort_by_key(|group| is_unwell(group.best().view(asking), asking.now));
        let well = groups.partition_point(|group| !is_unwell(group.best().view(asking), asking.now));
        let (well, unwell) = groups.split_at_mut(well);
        self.sort_equals(well);
        self.sort_equals(unwell);
    }

    fn placed(&self) -> Placed {
        match self.measure {
            Measure::By(Strategy::Ordered) => Placed::ByFile,
            Measure::By(Strategy::Weighted | Strategy::Fastest | Strategy::LeastBusy)
                if self.key.is_some() =>
            {
                Placed::Kept
            }
            Measure::By(Strategy::Weighted) => Placed::ByWeight,
            Measure::By(Strategy::Cheapest) | Measure::Cost => Placed::ByPrice,
            Measure::By(Strategy::Fastest) | Measure::Latency => Placed::ByLatency,
            Measure::By(Strategy::LeastBusy) => Placed::ByLoad,
            Measure::Throughput => Placed::ByThroughput,
        }
    }

    fn sort_equals(&self, groups: &mut [Group<'_>]) {
        let asking = self.asking;
        match self.placed() {
            Placed::ByFile => {}
            Placed::ByWeight | Placed::Kept => {
                best_first(groups, |group| (race(self.key, &group.name(), group.line.weight, self.lot), 0.0));
            }
            Placed::ByPrice => groups.sort_by_cached_key(|group| {
                let price = asking.models.at_most(asking.call, &group.best().candidate.target);
                (price.is_none(), price)
            }),
            Placed::ByLoad => {
                best_first(groups, |group| (-running(group.best(), asking), race(None, &[], 1, self.lot)));
            }
            Placed::ByLatency => self.better_of_two(groups, |view| Some(view.first_token?.as_secs_f64())),
            Placed::ByThroughput => self.better_of_two(groups, |view| {
                Some(view.tokens_per_second.filter(|speed| *speed > 0.0)?.recip())
            }),
        }
    }

    fn below(&self, bound: usize) -> usize {
        let drawn = self.lot.below(u64::try_from(bound).unwrap_or(u64::MAX));
        usize::try_from(drawn).unwrap_or_default()
    }

    /// Draws two and puts the one with the shorter time first (power of two choices: the best target of all does not get
    /// all the calls at once); the others follow by their time.
    fn better_of_two(&self, groups: &mut [Group<'_>], time: impl Fn(&View) -> Option<f64>) {
        let asking = self.asking;
        best_first(groups, |group| (-expected(group.best().view(asking), &time), 0.0));
        if groups.len() < 2 {
            return;
        }
        let one = self.below(groups.len());
        let other = (one + 1 + self.below(groups.len() - 1)) % groups.len();
        let slower = self.below(SLOWER_ONE_IN) == 0;
        let chosen = if slower { one.max(other) } else { one.min(other) };
        groups[..=chosen].rotate_right(1);
    }
}

impl<'r> Group<'r> {
    /// The one that would be tried first.
    fn best(&self) -> &Draft<'r> {
        &self.members[0]
    }

    /// Names it for a draw that comes out the same each time, whatever the order of the credentials.
    fn name(&self) -> [&str; 2] {
        match &self.line.leads_to {
            super::LeadsTo::Alias(alias) => ["", alias],
            super::LeadsTo::Model { .. } => {
                let target = &self.best().candidate.target;
                [&target.provider, &target.model]
            }
        }
    }
}

/// Returns the time that a target takes until it succeeds. A target that nobody knows counts as good, so that it becomes
/// known, but only for one call at a time.
fn expected(view: &View, time: impl Fn(&View) -> Option<f64>) -> f64 {
    match time(view) {
        Some(time) => time / (1.0 - view.failure_ratio.unwrap_or(0.0)).max(LEAST_SUCCESS),
        None if view.running == 0 => 0.0,
        None => BEING_FOUND_OUT + f64::from(u32::try_from(view.running).unwrap_or(u32::MAX)),
    }
}

fn running(draft: &Draft<'_>, asking: &Asking<'_>) -> f64 {
    f64::from(u32::try_from(draft.view(asking).running).unwrap_or(u32::MAX))
}

/// Sorts by a score that is worked out once for each, the highest first.
fn best_first<T>(items: &mut [T], mut score: impl FnMut(&T) -> (f64, f64)) {
    // The bits of a float, with those of a negative one turned around, are in the order of the numbers.
    let rank = |float: f64| {
        let bits = float.to_bits().cast_signed();
        bits ^ (((bits >> 63).cast_unsigned()) >> 1).cast_signed()
    };
    items.sort_by_cached_key(|item| {
        let (first, second) = score(item);
        (std::cmp::Reverse(rank(first)), std::cmp::Reverse(rank(second)))
    });
}

#[cfg(test)]
mod tests;
