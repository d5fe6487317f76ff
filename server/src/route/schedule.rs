//! What is tried next: a plain state machine over the targets of one plan. It makes no calls and has no clock.

mod pauses;
mod standing;

use std::time::{Duration, Instant};

pub(super) use self::standing::Lesson;
use self::standing::{Lane, Mark, Standing};
use super::{
    Candidate, Plan,
    backoff::Backoff,
    health::{Refused, View},
};
use crate::{call::Deadline, provider::Kind};

/// What to do next. Targets are told by their place in `Plan::all`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Try this target, if it is well and has room.
    Try(usize),
    /// Those that are well are full: wait for a place at this one.
    Wait(usize),
    /// None is well, but this one is about to be: wait for that.
    Rest(Refused, usize),
    /// None is well: try this one, if it may be tried all the same.
    LastResort(usize),
    /// Try this one again after that long.
    Pause(Duration, usize),
    /// Nothing is left to do.
    Stop,
}

/// The schedule of one call.
#[derive(Debug)]
pub(super) struct Schedule {
    targets: Vec<Standing>,
    lane: Lane,
    attempts: usize,
    backoff: Backoff,
    deadline: Deadline,
    made: usize,
    waited: bool,
    /// Since when it waits for targets to become well, if it does or did.
    rests_since: Option<Instant>,
    /// Whether that was in vain.
    rested: bool,
    /// Whether no target is asked again.
    no_repeats: bool,
    over: bool,
}

impl Schedule {
    /// Starts at the beginning of a plan.
    pub(super) fn new(plan: &Plan, deadline: Deadline) -> Self {
        let lanes = [
            (Lane::Ordinary, &plan.candidates),
            (Lane::ContextLength, &plan.on_context_length),
            (Lane::ContentPolicy, &plan.on_content_policy),
        ];
        let mut targets: Vec<Standing> = Vec::with_capacity(plan.all().count());
        for (lane, candidates) in lanes {
            for candidate in candidates {
                let same_as = first_of(plan, candidate).unwrap_or(targets.len());
                let kin = kin_of(plan, candidate).unwrap_or(targets.len());
                targets.push(Standing { lane, same_as, kin, calls: 0, last: None, mark: Mark::None });
            }
        }
        Self {
            targets,
            lane: Lane::Ordinary,
            attempts: plan.policy.attempts.max(1),
            backoff: Backoff { first: plan.policy.backoff, most: plan.policy.max_backoff },
            deadline,
            made: 0,
            waited: false,
            rests_since: None,
            rested: false,
            no_repeats: false,
            over: false,
        }
    }

    /// Says what to do next. `view` tells how a target is; `draw`, from 0 to 1, how long a pause is within its bounds.
    pub(super) fn next(&self, view: impl Fn(usize) -> View, draw: f64, now: Instant) -> Step {
        if self.over || self.made >= self.attempts || now >= self.deadline.at {
            return Step::Stop;
        }
        let untried = |mark: Mark| self.untried().find(move |(_, standing)| standing.mark == mark);
        if let Some(index) = self.first_untried() {
            return Step::Try(index);
        }
        if let Some((index, _)) = untried(Mark::Full).filter(|_| !self.waited) {
            return Step::Wait(index);
        }
        let again = self.tried().filter_map(|(index, standing)| {
            self.again(standing, &view(index), draw, now).map(|(least, pause)| (least, index, pause))
        });
        if let Some((_, index, pause)) = again.filter(|_| !self.no_repeats).min() {
            return Step::Pause(pause, index);
        }
        match self.soonest_well() {
            Some((refused, index)) if self.may_rest(refused, &view(index), now) => Step::Rest(refused, index),
            Some((_, index)) if self.made == 0 => Step::LastResort(index),
            _ => Step::Stop,
        }
    }

    /// Names those that could serve the call after the attempt that runs at a target, each once. Another credential of
    /// the same server, or of one that did not answer, is no help against silence.
    pub(super) fn others(&self, index: usize) -> impl Iterator<Item = usize> {
        let left = if self.over { 0 } else { self.attempts.saturating_sub(self.made) };
        let here = self.targets[index].kin;
        let free = self.untried().filter(move |(_, Standing { mark, kin, .. })| {
            *mark == Mark::None && *kin != here && !self.is_down(*kin)
        });
        free.map(|(index, _)| index).take(left)
    }

    /// Names a target to ask beside the one that is running.
    pub(super) fn beside(&self) -> Option<usize> {
        let left = !self.over && self.made < self.attempts;
        self.first_untried().filter(|_| left)
    }

    /// Tells whether the next attempt at a target draws on the retry budget: any but the first, and but the second
    /// if that is at another target.
    pub(super) fn is_charged(&self, index: usize) -> bool {
        self.made >= 2 || self.calls(index) > 0
    }

    /// Returns how many attempts were made.
    pub(super) fn made(&self) -> usize {
        self.made
    }

    /// Returns how often a target was called.
    pub(super) fn calls(&self, index: usize) -> u32 {
        self.targets[self.targets[index].same_as].calls
    }

    /// The attempt at a target was made.
    pub(super) fn started(&mut self, index: usize) {
        let same = self.targets[index].same_as;
        self.targets[same].calls += 1;
        self.made += 1;
        self.waited = false;
    }

    /// The attempt at a target failed.
    pub(super) fn failed(&mut self, index: usize, lesson: Lesson, now: Instant) {
        let same = self.targets[index].same_as;
        self.targets[same].last = Some((lesson, now));
        // Since they were looked at, the others may be well again, or have room.
        self.targets.iter_mut().for_each(|standing| standing.mark = Mark::None);
        match lesson.kind {
            _ if lesson.is_callers => self.over = true,
            Kind::ContextLength => self.go_on_in(Lane::ContextLength),
            Kind::ContentPolicy => self.go_on_in(Lane::ContentPolicy),
            // The model or the path is not known there, which says nothing of the next target.
            Kind::Invalid if matches!(lesson.http_status, 404 | 405) => {}
            Kind::Invalid | Kind::Unsupported => self.over = true,
            Kind::RateLimited { .. }
            | Kind::Timeout
            | Kind::Unavailable
            | Kind::Denied
            | Kind::BadResponse => {}
        }
    }

    /// The target is not well, and is tried again at that moment.
    pub(super) fn refused(&mut self, index: usize, refused: Refused) {
        self.targets[index].mark = Mark::Refused(refused);
    }

    /// The call waits for a target to become well.
    pub(super) fn rests(&mut self, now: Instant) {
        self.rests_since.get_or_insert(now);
    }

    /// That was in vain.
    pub(super) fn rested_in_vain(&mut self) {
        self.rested = true;
    }

    /// The target has no room.
    pub(super) fn full(&mut self, index: usize) {
        self.targets[index].mark = Mark::Full;
    }

    /// A limit of the target has no room, which no wait for a place helps.
    pub(super) fn limited(&mut self, index: usize) {
        self.targets[index].mark = Mark::Busy;
    }

    /// A wait for room at the target was in vain.
    pub(super) fn busy(&mut self, index: usize) {
        self.targets[index].mark = Mark::Busy;
        self.waited = true;
    }

    /// No target is asked again; one that was not tried and has become well may be.
    pub(super) fn repeat_nothing(&mut self) {
        self.no_repeats = true;
    }

    /// A pause is over, in which targets that were not tried may have become well.
    pub(super) fn look_again(&mut self) {
        let untried: Vec<usize> = self.untried().map(|(index, _)| index).collect();
        untried.into_iter().for_each(|index| self.targets[index].mark = Mark::None);
    }

    /// Nothing more is tried.
    pub(super) fn give_up(&mut self) {
        self.over = true;
    }

    /// Returns the soonest moment at which a target that asked for a wait may be asked again.
    pub(super) fn soonest(&self) -> Option<Instant> {
        let told = self.targets.iter().filter_map(|standing| standing.last);
        told.filter_map(|(lesson, at)| at.checked_add(lesson.retry_after?)).min()
    }

    fn go_on_in(&mut self, lane: Lane) {
        self.lane = lane;
        let any = self.untried().next().is_some();
        self.over = !any;
    }

    /// Returns the targets of the lane, each once.
    fn of_lane(&self) -> impl Iterator<Item = (usize, &Standing)> {
        let here = self.targets.iter().enumerate().filter(|(_, standing)| standing.lane == self.lane);
        here.filter(|(index, standing)| {
            standing.same_as == *index || self.targets[standing.same_as].lane != self.lane
        })
    }

    fn untried(&self) -> impl Iterator<Item = (usize, &Standing)> {
        self.of_lane().filter(|(index, _)| self.calls(*index) == 0)
    }

    /// Returns the first target that was not tried and may be. Another credential of a server that does not answer comes
    /// last, or a provider with many would use up the attempts.
    fn first_untried(&self) -> Option<usize> {
        let free = || self.untried().filter(|(_, standing)| standing.mark == Mark::None);
        let elsewhere = free().find(|(_, standing)| !self.is_down(standing.kin));
        elsewhere.or_else(|| free().next()).map(|(index, _)| index)
    }

    /// Tells whether what failed of a provider's model was its server, not the credential.
    fn is_down(&self, kin: usize) -> bool {
        let of_kin = self.targets.iter().filter(|standing| standing.kin == kin);
        of_kin
            .filter_map(|standing| standing.last)
            .any(|(lesson, _)| matches!(lesson.kind, Kind::Timeout | Kind::Unavailable | Kind::BadResponse))
    }

    fn tried(&self) -> impl Iterator<Item = (usize, &Standing)> {
        self.of_lane().filter(|(index, _)| self.calls(*index) > 0)
    }
}

/// Returns the first place of a plan that has the same target as a candidate.
fn first_of(plan: &Plan, candidate: &Candidate) -> Option<usize> {
    plan.all().position(|other| other.target.name == candidate.target.name)
}

/// Returns the first place of a plan that has a candidate's model of the same provider.
fn kin_of(plan: &Plan, candidate: &Candidate) -> Option<usize> {
    fn of(candidate: &Candidate) -> (&str, &str) {
        (&candidate.target.provider, &candidate.target.model)
    }
    plan.all().position(|other| of(other) == of(candidate))
}

#[cfg(test)]
mod tests;
