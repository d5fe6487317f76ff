//! Aliases that name other aliases: that these exist, and that no way leads back to where it began.

use std::collections::{BTreeMap, VecDeque};

use super::{
    Checker, Declared,
    Step::{self, Item, Name},
    check_glob,
    models::NO_STAR,
};
use crate::{
    call::glob_matches,
    config::{problem::with_suggestion, routing::Model, tree::shown},
};

impl Checker<'_> {
    /// Checks a list of aliases to go on with; `here` is where it stands. Two may well stand in for each other.
    pub(super) fn others(&mut self, alias: &str, others: &[String], here: &[Step<'_>], declared: &Declared) {
        for (number, other) in others.iter().enumerate() {
            let here = [here, &[Item(number)]].concat();
            self.other(alias, other, &here, declared);
            if other == alias {
                self.report(&here, format!("the alias `{}` falls back to itself", shown(alias)));
            }
        }
    }

    /// Checks the name of another alias.
    pub(super) fn other(&mut self, alias: &str, other: &str, here: &[Step<'_>], declared: &Declared) {
        if let Err(message) = check_glob(other, true) {
            return self.report(here, message);
        }
        self.require(!other.contains('*') || alias.contains('*'), here, NO_STAR);
        let exists = declared.models.iter().any(|name| {
            let by_name = glob_matches(name.as_bytes(), other.as_bytes());
            // What a `*` will stand for is not known yet.
            by_name || other.contains('*') && glob_matches(other.as_bytes(), name.as_bytes())
        });
        if !exists {
            let message = format!("there is no alias `{}`", shown(other));
            self.report(here, with_suggestion(message, other, declared.models.iter().map(String::as_str)));
        }
    }

    /// Reports each way from an alias back to itself, once.
    pub(super) fn cycles<'m>(&mut self, models: impl Iterator<Item = (&'m String, &'m Model)>) {
        let models: BTreeMap<&str, &Model> = models.map(|(name, model)| (name.as_str(), model)).collect();
        for alias in models.keys() {
            if let Some((way, steps)) = way_back(alias, &models) {
                let message = format!("the alias `{}` leads to itself: {way}", shown(alias));
                self.report(&[&[Name("models"), Name(alias)], &steps[..]].concat(), message);
            }
        }
    }
}

/// Lists the aliases that take the place of targets, and where.
fn nested(model: &Model) -> Vec<(&str, Vec<Step<'_>>)> {
    let own = model.targets.iter().enumerate().filter_map(|(number, target)| {
        Some((target.alias.as_deref()?, vec![Name("targets"), Item(number), Name("alias")]))
    });
    let arms = model.experiment.iter().flat_map(|experiment| &experiment.arms);
    let arms = arms.flat_map(|(arm, of)| {
        of.targets.iter().enumerate().filter_map(move |(number, target)| {
            let steps = [Name("experiment"), Name("arms"), Name(arm), Name("targets"), Item(number)];
            Some((target.alias.as_deref()?, [&steps[..], &[Name("alias")]].concat()))
        })
    });
    own.chain(arms).collect()
}

/// Finds the shortest way from an alias to itself by aliases that come after it in the alphabet, so that each circle
/// is found at its first alias only. Returns it in words, and where in the alias it begins.
fn way_back<'m>(start: &str, models: &BTreeMap<&'m str, &'m Model>) -> Option<(String, Vec<Step<'m>>)> {
    let mut came_from: BTreeMap<&str, &str> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(at) = queue.pop_front() {
        for next in nested(models.get(at)?).into_iter().filter_map(|(name, _)| meant(name, models)) {
            if next == start {
                let mut way = vec![start, at];
                while way.last() != Some(&start) {
                    way.push(came_from.get(way.last()?)?);
                }
                let first = if way.len() > 2 { way[way.len() - 2] } else { start };
                let begins = nested(models.get(start)?)
                    .into_iter()
                    .find(|(name, _)| meant(name, models) == Some(first));
                way.reverse();
                let way: Vec<String> = way.into_iter().map(shown).collect();
                return Some((way.join(" → "), begins?.1));
            }
            if next > start && !came_from.contains_key(next) {
                came_from.insert(next, at);
                queue.push_back(next);
            }
        }
    }
    None
}

/// Finds the alias that a name means: that of the name, else the longest pattern that matches.
fn meant<'m>(name: &str, models: &BTreeMap<&'m str, &'m Model>) -> Option<&'m str> {
    let patterns = || {
        let all = models.keys().filter(|pattern| pattern.contains('*'));
        all.filter(|pattern| glob_matches(pattern.as_bytes(), name.as_bytes()))
            .max_by_key(|pattern| pattern.len())
            .copied()
    };
    models.get_key_value(name).map(|(name, _)| *name).or_else(patterns)
}
