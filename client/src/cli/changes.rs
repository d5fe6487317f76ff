//! Changes of lists on the command line: in place of all, added, removed.

use clap::Args;
use tollgate_client::api::admin::Limit;

use super::amount;

/// Changes of limits.
#[derive(Args, Default)]
pub(crate) struct LimitChanges {
    /// Limits, in place of all that it has
    #[arg(long, value_name = "LIMIT", value_parser = amount::parse_limit)]
    pub(crate) limit: Vec<Limit>,
    /// Limit to add, or to set anew: requests/minute=60, 'tokens/day=1M,model=gpt-*,soft'
    #[arg(long, value_name = "LIMIT", value_parser = amount::parse_limit)]
    pub(crate) add_limit: Vec<Limit>,
    /// Limit to remove: requests/minute, 'tokens/day,model=gpt-*,soft'
    #[arg(long, value_name = "NAME", value_parser = amount::parse_limit_name)]
    pub(crate) remove_limit: Vec<Limit>,
}

impl LimitChanges {
    /// Changes limits, and tells whether anything was given.
    pub(crate) fn apply(&self, limits: &mut Vec<Limit>) -> bool {
        if self.limit.is_empty() && self.add_limit.is_empty() && self.remove_limit.is_empty() {
            return false;
        }
        if !self.limit.is_empty() {
            limits.clone_from(&self.limit);
        }
        let is_same = |one: &Limit, other: &Limit| {
            Limit { amount: 0, ..one.clone() } == Limit { amount: 0, ..other.clone() }
        };
        for gone in self.remove_limit.iter().chain(&self.add_limit) {
            limits.retain(|limit| !is_same(limit, gone));
        }
        limits.extend(self.add_limit.iter().cloned());
        true
    }
}

/// Replaces, removes and adds; tells whether anything was given.
pub(crate) fn change(values: &mut Vec<String>, all: &[String], add: &[String], remove: &[String]) -> bool {
    if !all.is_empty() {
        *values = all.to_vec();
    }
    values.retain(|value| !remove.contains(value));
    for added in add {
        if !values.contains(added) {
            values.push(added.clone());
        }
    }
    !(all.is_empty() && add.is_empty() && remove.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_other_calls_stay() {
        let limit = |text: &str| amount::parse_limit(text).unwrap();
        let mut limits =
            vec![limit("tokens/day=5"), limit("tokens/day=6,model=gpt-*"), limit("tokens/day=7,soft")];
        let changes = LimitChanges {
            add_limit: vec![limit("tokens/day=9,model=gpt-*")],
            remove_limit: vec![amount::parse_limit_name("tokens/day,soft").unwrap()],
            ..LimitChanges::default()
        };
        assert!(changes.apply(&mut limits));
        assert_eq!(amount::limits(&limits), "tokens/day=5 tokens/day=9,model=gpt-*");
        assert!(!LimitChanges::default().apply(&mut limits));
    }
}
