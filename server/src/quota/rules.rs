//! Which limits hold for a call: those of its key, the key's teams, the model that it asks for, and the gateway. Those of
//! a target hold for each attempt at it.

use std::{collections::BTreeMap, sync::Arc};

use super::{Amounts, Charge};
use crate::call::{Caller, Metric, Rule};

/// Limits of one subject, ready for calls.
pub type Rules = Arc<[Arc<Rule>]>;

/// What decides which limits hold for a call.
#[derive(Clone, Copy, Debug)]
pub struct Applies<'c> {
    /// Who calls.
    pub caller: &'c Caller,
    /// The model that is asked for.
    pub model: &'c str,
    /// The call's tags, its key's included.
    pub tags: &'c BTreeMap<String, String>,
}

impl<'c> Applies<'c> {
    /// Returns the limits that hold for a call, of its key, its teams, and these.
    pub(super) fn rules(
        self,
        model: &'c [Arc<Rule>],
        gateway: &'c [Arc<Rule>],
    ) -> impl Iterator<Item = &'c Arc<Rule>> {
        let teams = self.caller.teams.iter().flat_map(|team| team.limits.iter());
        self.of(self.caller.limits.iter().chain(teams).chain(model).chain(gateway))
    }

    /// Returns those of some limits that hold for a call.
    pub fn of(self, rules: impl Iterator<Item = &'c Arc<Rule>>) -> impl Iterator<Item = &'c Arc<Rule>> {
        rules.filter(move |rule| rule.limit.only.counts(self.model, self.tags))
    }
}

/// Returns what is asked for of a limit.
pub fn charge(rule: &Arc<Rule>, most: Amounts) -> Charge {
    Charge { rule: rule.clone(), amount: most.of(rule.limit.metric) }
}

/// Tells whether a limit must know beforehand how long the answer can get.
pub fn needs_cap(rule: &Rule) -> bool {
    let counts_output =
        matches!(rule.limit.metric, Metric::OutputTokens | Metric::Tokens | Metric::CostNanos);
    counts_output && !rule.limit.soft
}

/// Tells whether a limit must know what the call may cost.
pub fn needs_price(rule: &Rule) -> bool {
    rule.limit.metric == Metric::CostNanos && !rule.limit.soft
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{Limit, Only, Period, Subject, Team};

    fn rule(subject: Subject, only: Only) -> Arc<Rule> {
        Rule::new(subject, Limit { only, ..Limit::new(Metric::Requests, Period::Minute, 9) })
    }

    #[test]
    fn a_call_has_the_limits_of_key_teams_model_and_gateway_that_count_it() {
        let gpt = || Only { model: "gpt-*".to_owned(), tag: None };
        let batch = || Only { model: String::new(), tag: Some(("feature".to_owned(), "batch".to_owned())) };
        let team = |id: &str, only: Only| {
            let limits = [rule(Subject::Team(id.into()), only)].into();
            Arc::new(Team { id: id.to_owned(), limits, ..Team::default() })
        };
        let caller = Caller {
            limits: [rule(Subject::Key("k".into()), Only::default()), rule(Subject::Key("k".into()), gpt())]
                .into(),
            teams: [team("own", batch()), team("above", Only::default())].into(),
            ..Caller::for_test()
        };
        let (model, gateway) =
            ([rule(Subject::Model("m".into()), Only::default())], [rule(Subject::Global, gpt())]);
        let subjects = |name: &str, tags: &[(&str, &str)]| -> Vec<String> {
            let tags = tags.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            let applies = Applies { caller: &caller, model: name, tags: &tags };
            applies.rules(&model, &gateway).map(|rule| rule.subject.to_string()).collect()
        };
        assert_eq!(subjects("m", &[]), ["key:k", "team:above", "model:m"]);
        assert_eq!(subjects("gpt-5", &[]), ["key:k", "key:k", "team:above", "model:m", "global"]);
        assert_eq!(subjects("m", &[("feature", "batch")]), ["key:k", "team:own", "team:above", "model:m"]);
    }
}
