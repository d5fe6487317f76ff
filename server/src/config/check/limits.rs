//! Limits and budgets of any section: which calls they count, and none twice.

use super::{
    Checker,
    Step::{self, Item, Name},
    check_glob,
};
use crate::{
    call::check_tags,
    config::{Allowance, LimitsBy},
};

impl Checker<'_> {
    /// Checks what a section allows; `here` is where the section stands.
    pub(super) fn allowance(&mut self, allowance: Allowance<'_>, here: &[Step<'_>]) {
        let whole = Allowance { limits_by: &[], ..allowance };
        let mut seen = whole.to_contract();
        for (number, some) in allowance.limits_by.iter().enumerate() {
            let here = [here, &[Name("limits_by"), Item(number)]].concat();
            self.limits_of_some(some, &here);
            for mut limit in some.to_contract() {
                limit.amount = 0;
                let twice = seen.iter_mut().any(|other| {
                    other.amount = 0;
                    *other == limit
                });
                if twice {
                    let what = format!("`{}` is limited twice for the same calls", limit.metric);
                    self.report(&here, what);
                }
                seen.push(limit);
            }
        }
    }

    fn limits_of_some(&mut self, some: &LimitsBy, here: &[Step<'_>]) {
        let at = |key| [here, &[Name(key)]].concat();
        if !some.model.is_empty()
            && let Err(message) = check_glob(&some.model, false)
        {
            self.report(&at("model"), message);
        }
        match some.tag.split_once('=') {
            None if some.tag.is_empty() => {}
            None => self.report(&at("tag"), "a tag is a name and a value, like `feature=batch`"),
            Some((name, value)) => {
                if let Err(error) = check_tags("tag", &[(name.to_owned(), value.to_owned())].into()) {
                    self.report(&at("tag"), error.facts().message.clone());
                }
            }
        }
        self.require(
            !some.limits.is_empty() || some.budget.is_some(),
            here,
            "limits nothing; write `limits` or `budget`",
        );
        self.require(
            some.soft || !some.model.is_empty() || !some.tag.is_empty(),
            here,
            "counts all calls; write `model`, `tag` or `soft: true`, or put it into `limits` and `budget` beside",
        );
    }
}
