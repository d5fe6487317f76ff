//! Teams that the file declares: ids, parents that are there, and no circle of them.

use std::collections::BTreeMap;

use super::{
    Checker,
    Step::{Item, Name},
    check_glob,
};
use crate::config::{problem::with_suggestion, sections::Team, tree::shown};

/// Longest id, in bytes.
const LONGEST: usize = 64;
/// Longest way from a team up to the one that belongs to none.
const DEEPEST: usize = 16;

impl Checker<'_> {
    pub(super) fn teams(&mut self, teams: &BTreeMap<String, Team>) {
        for (id, team) in teams {
            let at = |field| [Name("teams"), Name(id), Name(field)];
            let fits =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
            self.require(
                (1..=LONGEST).contains(&id.len()) && id.bytes().all(fits),
                &at("")[..2],
                "the id of a team is 1 to 64 lower-case letters, digits, `.`, `_` and `-`",
            );
            self.parent(id, team, teams);
            for (index, glob) in team.models.iter().enumerate() {
                if let Err(message) = check_glob(glob, false) {
                    self.report(&[Name("teams"), Name(id), Name("models"), Item(index)], message);
                }
            }
            self.allowance(team.allowance(), &at("")[..2]);
        }
    }

    fn parent(&mut self, id: &str, team: &Team, teams: &BTreeMap<String, Team>) {
        let here = [Name("teams"), Name(id), Name("parent")];
        if team.parent.is_empty() {
            return;
        }
        if !teams.contains_key(&team.parent) {
            let message = format!("there is no team `{}`", shown(&team.parent));
            let others = teams.keys().map(String::as_str).filter(|other| *other != id);
            return self.report(&here, with_suggestion(message, &team.parent, others));
        }
        let up = |id: &&str| teams.get(*id).map(|team| team.parent.as_str()).filter(|id| !id.is_empty());
        let way: Vec<&str> = std::iter::successors(Some(id), up).take(DEEPEST + 1).collect();
        if let Some(again) = way.iter().skip(1).position(|other| *other == id) {
            let circle = way[..again + 2].join("` → `");
            self.report(&here, format!("a team cannot belong to itself: `{circle}`"));
        } else if way.len() > DEEPEST {
            self.report(&here, format!("teams may belong to teams {DEEPEST} deep"));
        }
    }
}
