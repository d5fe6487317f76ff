//! How the plan of one call is made: an alias and those behind it become targets in order.

use super::{
    Asking, LeadsTo, Plan, Routes, capability,
    condition::unmet,
    entry::{Entry, Line},
    experiment,
    hints::Hints,
    lot::Lot,
    plan::{Candidate, PassedOver},
    reason::Why,
    star::{with_star, with_stars},
    sticky,
    strategy::{Draft, Group, Order, order_credentials, unwell_last},
};
use crate::error::{Error, Reason};

/// Most aliases of aliases. A configuration that was checked has no cycle; patterns can still make one.
pub(super) const MOST_NESTED: usize = 8;
/// Most aliases that a call may fall back to.
const MOST_FALLBACKS: usize = 32;

/// A plan in the making.
struct Planner<'r, 'a> {
    routes: &'r Routes,
    asking: &'r Asking<'a>,
    hints: Hints<'r>,
    lot: Lot,
    passed_over: Vec<PassedOver>,
    /// Whether the alias at hand is another than the one that was asked for.
    fallback: bool,
}

/// Makes the plan of a call to an alias; `star` is what the alias's `*` matched.
///
/// # Errors
/// `SCOPE_DENIED`, `INVALID_REQUEST`, `MODEL_NOT_FOUND` or `MODEL_NOT_ALLOWED` for hints. That conditions and hints leave
/// no target is none: such a plan has no candidates, and says why.
pub(super) fn plan<'r>(
    routes: &'r Routes,
    entry: &'r Entry,
    star: &str,
    asking: &'r Asking<'_>,
) -> Result<Plan, Error> {
    let call = asking.call;
    let mut planner = Planner {
        routes,
        asking,
        hints: Hints::of(call, routes)?,
        lot: sticky::lot_of(call),
        passed_over: Vec::new(),
        fallback: false,
    };
    let key = sticky::key_of(entry.alias.sticky, call);
    let arm = experiment::draw(entry, key, &planner.lot);
    let lines = arm.as_ref().map_or(entry.lines.as_slice(), |arm| arm.lines);
    let own = planner.arrange(entry, lines, star, 0);
    let fallbacks = planner.fallbacks(entry, star)?;
    let mut on_context_length = planner.of_aliases(&entry.alias.on_context_length, star);
    let mut on_content_policy = planner.of_aliases(&entry.alias.on_content_policy, star);
    let mut drafts = own;
    drafts.extend(fallbacks);
    first_of_each(&mut drafts);
    for list in [&mut drafts, &mut on_context_length, &mut on_content_policy] {
        planner.drop_dear(list);
    }
    planner.keep_able(&mut drafts, &mut on_context_length);
    planner.drop_unable(&mut on_content_policy);
    Ok(Plan {
        candidates: candidates(drafts),
        on_context_length: candidates(on_context_length),
        on_content_policy: candidates(on_content_policy),
        passed_over: planner.passed_over,
        policy: entry.alias.policy.clone(),
        strategy: planner.hints.measure(entry.alias.strategy).strategy(),
        rule: arm.as_ref().map(|arm| arm.rule()).unwrap_or_default(),
        tags: arm.and_then(|arm| arm.tag(call)).into_iter().collect(),
        limits: entry.limits.clone(),
    })
}

impl<'r> Planner<'r, '_> {
    /// Returns the targets behind these lines of an alias that may serve the call, best first.
    fn arrange(&mut self, entry: &'r Entry, lines: &'r [Line], star: &str, depth: usize) -> Vec<Draft<'r>> {
        let key = sticky::key_of(entry.alias.sticky, self.asking.call);
        let mut groups = Vec::with_capacity(lines.len());
        for line in lines {
            if let Some(unmet) = line.target.when.as_ref().and_then(|when| unmet(when, self.asking.call)) {
                let left_out = self.routes.behind(entry, line, star);
                self.pass_over(left_out, &Why::Unmet(unmet));
                continue;
            }
            let members = match &line.target.leads_to {
                LeadsTo::Model { .. } => self.credentials(entry, line, star, key),
                LeadsTo::Alias(name) => self.nested(entry, name, star, depth),
            };
            if !members.is_empty() {
                groups.push(Group { line: &line.target, members });
            }
        }
        let measure = self.hints.measure(entry.alias.strategy);
        Order { measure, key, lot: &self.lot, asking: self.asking }.sort(&mut groups);
        if groups.len() == 1 {
            return groups.pop().map(|group| group.members).unwrap_or_default();
        }
        let mut drafts: Vec<Draft<'r>> = groups.into_iter().flat_map(|group| group.members).collect();
        unwell_last(&mut drafts, self.asking);
        drafts
    }

    /// Returns a line's own target, once for each credential.
    fn credentials(
        &mut self,
        entry: &'r Entry,
        line: &'r Line,
        star: &str,
        key: Option<&str>,
    ) -> Vec<Draft<'r>> {
        let mut drafts = Vec::with_capacity(line.ready.len());
        for candidate in line.candidates(&entry.alias, star) {
            match self.hints.excludes(&candidate.target, &line.target) {
                None => drafts.push(Draft::new(candidate, &line.target)),
                Some(hint) => self.pass_over(vec![candidate], &Why::Hinted(hint)),
            }
        }
        order_credentials(&mut drafts, key, &self.lot, self.asking);
        drafts
    }

    /// Returns the targets of an alias that takes the place of one.
    fn nested(&mut self, outer: &'r Entry, name: &str, star: &str, depth: usize) -> Vec<Draft<'r>> {
        let name = with_star(name, star);
        let Some((entry, star)) = self.routes.find(&name).filter(|_| depth < MOST_NESTED) else {
            return Vec::new();
        };
        let mut drafts = self.arm_of(entry, star, depth + 1);
        for draft in &mut drafts {
            entry.limit(&mut draft.candidate);
            outer.hand_down(&mut draft.candidate);
        }
        drafts
    }

    /// Arranges the targets of an alias, or of one arm of it: whoever comes by another alias is no part of the
    /// experiment, but is split as its calls are.
    fn arm_of(&mut self, entry: &'r Entry, star: &str, depth: usize) -> Vec<Draft<'r>> {
        let key = sticky::key_of(entry.alias.sticky, self.asking.call);
        let arm = experiment::draw(entry, key, &self.lot);
        self.arrange(entry, arm.map_or(&entry.lines, |arm| arm.lines), star, depth)
    }

    /// Returns the targets of the models that may take the call over.
    fn fallbacks(&mut self, entry: &'r Entry, star: &str) -> Result<Vec<Draft<'r>>, Error> {
        let hinted = self.hints.fallback_models();
        for (number, model) in hinted.iter().enumerate() {
            self.check_hinted(number, model)?;
        }
        if !self.hints.allow_fallback() {
            return Ok(Vec::new());
        }
        if !hinted.is_empty() {
            return Ok(self.of_aliases(hinted, star));
        }
        // A fallback's own fallbacks come after all of the alias's.
        let mut names: Vec<String> = with_stars(&entry.alias.fallbacks, star).collect();
        let mut at = 0;
        while let Some(name) = names.get(at).filter(|_| at < MOST_FALLBACKS) {
            at += 1;
            let Some((next, star)) = self.routes.find(name).filter(|_| self.allows(name)) else { continue };
            let more: Vec<String> = with_stars(&next.alias.fallbacks, star).collect();
            names.extend(more.into_iter().filter(|name| !names.contains(name)).collect::<Vec<_>>());
        }
        Ok(self.of_aliases(&names, star))
    }

    fn check_hinted(&self, number: usize, model: &str) -> Result<(), Error> {
        let at = |error: Error| error.at_field(format!("options.route.fallback_models[{number}]"));
        self.routes.find(model).ok_or_else(|| at(self.routes.not_found(model)))?;
        if self.allows(model) {
            return Ok(());
        }
        let caller = &self.asking.call.caller;
        let shown: String = model.chars().take(100).collect();
        let message = format!("the key `{}` may not fall back to the model `{shown}`", caller.key_name);
        Err(at(Error::new(Reason::ModelNotAllowed, message).with("model", shown)))
    }

    fn allows(&self, model: &str) -> bool {
        self.asking.call.caller.may_call(model)
    }

    /// Returns the targets of other aliases, one alias after the other.
    fn of_aliases(&mut self, names: &[String], star: &str) -> Vec<Draft<'r>> {
        if names.is_empty() || !self.hints.allow_fallback() {
            return Vec::new();
        }
        self.fallback = true;
        let mut drafts = Vec::new();
        for name in with_stars(names, star) {
            let Some((entry, star)) = self.routes.find(&name) else { continue };
            if self.allows(&name) {
                let mut behind = self.arm_of(entry, star, 0);
                behind.iter_mut().for_each(|draft| entry.limit(&mut draft.candidate));
                drafts.extend(behind);
            } else {
                let left_out = self.routes.every_target(entry, star);
                self.pass_over(left_out, &Why::NotAllowed(name));
            }
        }
        self.fallback = false;
        for draft in &mut drafts {
            draft.candidate.fallback = true;
        }
        first_of_each(&mut drafts);
        unwell_last(&mut drafts, self.asking);
        drafts
    }

    /// Passes over what may cost more than the caller allows, and what nobody knows the price of.
    fn drop_dear(&mut self, drafts: &mut Vec<Draft<'r>>) {
        let Some(cap) = self.asking.call.options.max_cost_nanos else { return };
        let all = std::mem::take(drafts);
        for draft in all {
            match self.asking.models.at_most(self.asking.call, &draft.candidate.target) {
                Some(most) if most <= cap => drafts.push(draft),
                Some(most) => self.passed_over.push(left_out(draft.candidate, Why::TooDear { most })),
                None => self.passed_over.push(left_out(draft.candidate, Why::Unpriced)),
            }
        }
    }

    /// Passes over what surely cannot serve the call, as long as something else is left: the catalog may be behind the
    /// times. A prompt that is too long for all begins where such prompts go.
    fn keep_able(&mut self, drafts: &mut Vec<Draft<'r>>, on_context_length: &mut Vec<Draft<'r>>) {
        if drafts.len() == 1 && on_context_length.is_empty() {
            return;
        }
        let lacks = self.drop_unable(drafts);
        let too_long = |lack: &Option<Why>| matches!(lack, Some(Why::TooLong { .. }));
        self.drop_unable(on_context_length);
        if !on_context_length.is_empty() && !lacks.is_empty() && lacks.iter().all(too_long) {
            let short = std::mem::replace(drafts, std::mem::take(on_context_length));
            for (draft, lack) in short.into_iter().zip(lacks.into_iter().flatten()) {
                self.passed_over.push(left_out(draft.candidate, lack));
            }
        }
    }

    /// Passes over what surely cannot serve the call, unless that is all there is: then it stays, and what each lacks is
    /// returned.
    fn drop_unable(&mut self, drafts: &mut Vec<Draft<'r>>) -> Vec<Option<Why>> {
        let lack = |draft: &Draft<'_>| capability::lack(&draft.candidate.target, draft.line, self.asking);
        let lacks: Vec<Option<Why>> = drafts.iter().map(lack).collect();
        if lacks.iter().all(Option::is_some) {
            return lacks;
        }
        let all = std::mem::take(drafts);
        for (draft, lack) in all.into_iter().zip(lacks) {
            match lack {
                None => drafts.push(draft),
                Some(why) => self.passed_over.push(left_out(draft.candidate, why)),
            }
        }
        Vec::new()
    }

    fn pass_over(&mut self, candidates: Vec<Candidate>, why: &Why) {
        let fallback = self.fallback;
        let passed = |candidate| PassedOver { fallback, ..left_out(candidate, why.clone()) };
        self.passed_over.extend(candidates.into_iter().map(passed));
    }
}

fn left_out(candidate: Candidate, reason: Why) -> PassedOver {
    PassedOver { target: candidate.target, reason, fallback: candidate.fallback }
}

/// Keeps the first of several ways to the same target.
fn first_of_each(drafts: &mut Vec<Draft<'_>>) {
    let mut at = 0;
    while at < drafts.len() {
        let (before, rest) = drafts.split_at(at);
        let same = |other: &Draft<'_>| name(other) == name(&rest[0]);
        if before.iter().any(same) { _ = drafts.remove(at) } else { at += 1 }
    }
}

fn name<'d>(draft: &'d Draft<'_>) -> &'d str {
    &draft.candidate.target.name
}

fn candidates(drafts: Vec<Draft<'_>>) -> Vec<Candidate> {
    drafts.into_iter().map(|draft| draft.candidate).collect()
}

#[cfg(test)]
mod tests;
