//! Aliases: their targets, conditions, arms, and what happens when a call fails.

use std::collections::BTreeMap;

use super::{
    Checker, Declared,
    Step::{self, Item, Name},
    check_glob,
};
use crate::{
    call::check_tags,
    config::{
        problem::with_suggestion,
        routing::{Experiment, Model, Strategy, Target, When},
        tree::shown,
    },
};

impl Checker<'_> {
    pub(super) fn model(&mut self, alias: &str, model: &Model, declared: &Declared) {
        let here = [Name("models"), Name(alias)];
        if let Err(message) = check_glob(alias, true) {
            self.report(&here, message);
        }
        let targets = [here[0], here[1], Name("targets")];
        let arms = model.experiment.iter().flat_map(|experiment| experiment.arms.values());
        let all_in_arms = model.experiment.is_some() && arms.clone().all(|arm| !arm.targets.is_empty());
        self.require(
            !model.targets.is_empty() || all_in_arms,
            &targets,
            "an alias needs at least one target",
        );
        self.targets(alias, &model.targets, model.strategy, &targets, declared);
        if let Some(experiment) = &model.experiment {
            self.experiment(alias, experiment, model.strategy, declared);
        }
        self.others(alias, &model.fallbacks, &[here[0], here[1], Name("fallbacks")], declared);
        let on = [
            ("context_length", &model.fallbacks_on.context_length),
            ("content_policy", &model.fallbacks_on.content_policy),
        ];
        for (name, aliases) in on {
            self.others(alias, aliases, &[here[0], here[1], Name("fallbacks_on"), Name(name)], declared);
        }
        self.failing(alias, model);
        self.allowance(model.allowance(), &here);
    }

    /// Checks what happens when a call fails.
    fn failing(&mut self, alias: &str, model: &Model) {
        let here = [Name("models"), Name(alias)];
        let at = |section, key| [here[0], here[1], Name(section), Name(key)];
        self.require(
            model.first_token.is_none_or(|span| !span.0.is_zero()),
            &[here[0], here[1], Name("first_token")],
            "must be longer than nothing, or every call fails",
        );
        self.require(
            (1..=10).contains(&model.retry.attempts),
            &at("retry", "attempts"),
            "must lie between 1 and 10",
        );
        self.require(
            model.retry.backoff.0 <= model.retry.max_backoff.0,
            &at("retry", "max_backoff"),
            "must not be shorter than `backoff`",
        );
        if let Some(hedge) = &model.hedge {
            self.require(
                !hedge.after.0.is_zero(),
                &at("hedge", "after"),
                "must be longer than nothing, or every call is asked twice",
            );
            self.require(
                model.first_token.is_none_or(|span| hedge.after.0 < span.0),
                &at("hedge", "after"),
                "must be shorter than `first_token`, or no call is asked twice",
            );
            self.require(
                hedge.at_most.0 > 0,
                &at("hedge", "at_most"),
                "must be more than nothing; without `hedge` no call is asked twice",
            );
        }
        self.require(
            model.degraded.as_ref().is_none_or(|text| !text.trim().is_empty()),
            &[here[0], here[1], Name("degraded")],
            "must not be empty; without `degraded` the call fails",
        );
    }

    /// Checks the targets of an alias or of one of its arms; `here` is where they stand.
    fn targets(
        &mut self,
        alias: &str,
        targets: &[Target],
        strategy: Strategy,
        here: &[Step<'_>],
        declared: &Declared,
    ) {
        for (number, target) in targets.iter().enumerate() {
            let here = [here, &[Item(number)]].concat();
            match &target.alias {
                Some(other) => self.nested(alias, target, other, &here, declared),
                None => self.target(alias, target, &here, declared),
            }
            self.require(
                strategy == Strategy::Weighted || target.weight.is_none(),
                &[&here[..], &[Name("weight")]].concat(),
                "counts only with `strategy: weighted`",
            );
            if let Some(when) = &target.when {
                self.when(when, &[&here[..], &[Name("when")]].concat());
            }
        }
        let all_zero = !targets.is_empty() && targets.iter().all(|target| target.weight == Some(0));
        self.require(
            strategy != Strategy::Weighted || !all_zero,
            here,
            "at least one target needs a `weight` above 0",
        );
    }

    fn target(&mut self, alias: &str, target: &Target, here: &[Step<'_>], declared: &Declared) {
        let at = |key| [here, &[Name(key)]].concat();
        if target.provider.is_empty() {
            self.report(here, "a target needs `provider` and `model`, or `alias`");
        } else if !declared.providers.contains(&target.provider) {
            let message = format!("there is no provider `{}`", shown(&target.provider));
            let known = declared.providers.iter().map(String::as_str);
            self.report(&at("provider"), with_suggestion(message, &target.provider, known));
        }
        match check_glob(&target.model, true) {
            Err(message) if !target.provider.is_empty() => self.report(&at("model"), message),
            _ => {}
        }
        self.require(!target.model.contains('*') || alias.contains('*'), &at("model"), NO_STAR);
        self.allowance(target.allowance(), here);
        self.require(target.concurrent != Some(0), &at("concurrent"), "must be at least 1");
        self.require(
            target.context_tokens.is_none_or(|tokens| tokens.0 > 0),
            &at("context_tokens"),
            "must be at least 1",
        );
    }

    /// Checks a target that is another alias.
    fn nested(&mut self, alias: &str, target: &Target, other: &str, here: &[Step<'_>], declared: &Declared) {
        let at = |key| [here, &[Name(key)]].concat();
        self.other(alias, other, &at("alias"), declared);
        let set = [
            ("provider", !target.provider.is_empty()),
            ("model", !target.model.is_empty()),
            ("region", target.region.is_some()),
            ("labels", !target.labels.is_empty()),
            ("concurrent", target.concurrent.is_some()),
            ("can", target.can.is_some()),
            ("context_tokens", target.context_tokens.is_some()),
            ("limits", !target.limits.is_empty()),
            ("budget", target.budget.is_some()),
            ("limits_by", !target.limits_by.is_empty()),
        ];
        for (key, _) in set.iter().filter(|(_, set)| *set) {
            let message = match *key {
                "provider" | "model" => {
                    format!("`{key}` and `alias` exclude each other; write one of them")
                }
                key => format!("`{key}` belongs to the targets of the alias `{}`", shown(other)),
            };
            self.report(&at(key), message);
        }
    }

    fn when(&mut self, when: &When, here: &[Step<'_>]) {
        let at = |key| [here, &[Name(key)]].concat();
        for tag in when.tags.keys() {
            let one = BTreeMap::from([(tag.clone(), String::new())]);
            if let Err(error) = check_tags("tags", &one) {
                let at = [here, &[Name("tags"), Name(tag)]].concat();
                self.report(&at, error.facts().message.clone());
            }
        }
        let fits = match (when.min_input_tokens, when.max_input_tokens) {
            (Some(least), Some(most)) => least.0 <= most.0,
            _ => true,
        };
        self.require(
            fits,
            &at("max_input_tokens"),
            "must not be less than `min_input_tokens`, or no call fits",
        );
        let both = when.needs.iter().any(|need| when.lacks.contains(need));
        self.require(!both, &at("lacks"), "must not hold what `needs` holds, or no call fits");
    }

    fn experiment(&mut self, alias: &str, experiment: &Experiment, strategy: Strategy, declared: &Declared) {
        let here = [Name("models"), Name(alias), Name("experiment")];
        let arms = [here[0], here[1], here[2], Name("arms")];
        let tag = format!("experiment.{}", experiment.name);
        let names_a_tag = |value: &str| {
            check_tags("experiment", &BTreeMap::from([(tag.clone(), value.to_owned())])).is_ok()
        };
        self.require(
            !experiment.name.is_empty() && names_a_tag(""),
            &[here[0], here[1], here[2], Name("name")],
            "the name of an experiment is made of lower-case letters, digits, `_`, `.` and `-`, at most 53",
        );
        self.require(experiment.arms.len() > 1, &arms, "an experiment needs at least two arms");
        self.require(
            experiment.arms.values().any(|arm| arm.weight > 0),
            &arms,
            "at least one arm needs a `weight` above 0",
        );
        for (name, arm) in &experiment.arms {
            let here = [&arms[..], &[Name(name)]].concat();
            let plain = |char: char| char.is_ascii_alphanumeric() || "_.-".contains(char);
            self.require(
                (1..=64).contains(&name.len()) && name.chars().all(plain),
                &here,
                "the name of an arm is made of letters, digits, `_`, `.` and `-`, at most 64",
            );
            self.targets(alias, &arm.targets, strategy, &[&here[..], &[Name("targets")]].concat(), declared);
        }
    }
}

/// What is wrong with a `*` that stands for nothing.
pub(super) const NO_STAR: &str = "a `*` stands for what the alias's `*` matched, but the alias has none";
