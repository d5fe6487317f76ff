//! What the caller of an admin RPC may see, change and hand on: nobody gives what they do not have, and whoever belongs to
//! a team stays within it.

use std::sync::Arc;

use tollgate_api::admin;

use super::{ADMIN_KEY, index::Index, permit, record::Record, team};
use crate::{
    call::{Caller, ModelGlobs, Scope, Scopes, Team},
    error::{Error, Reason},
};

/// The caller of an admin RPC.
pub(super) struct Authority {
    pub(super) key_id: String,
    key_name: String,
    pub(super) team_id: String,
    scopes: Scopes,
    models: ModelGlobs,
    limits: Vec<admin::Limit>,
    /// Its team, and those that that belongs to.
    teams: Arc<[Arc<Team>]>,
    team_limits: Vec<admin::Limit>,
    /// True for the configuration's `admin_key`: the operator's own, which may give everything.
    root: bool,
}

impl Authority {
    /// Checks that the caller may administrate, and notes what it may hand on.
    ///
    /// # Errors
    /// `SCOPE_DENIED` without the scope `admin`.
    pub(super) fn of(caller: &Caller, index: &Index) -> Result<Self, Error> {
        permit(caller, Scope::Admin)?;
        Ok(Self {
            key_id: caller.key_id.clone(),
            key_name: caller.key_name.clone(),
            team_id: caller.team_id.clone(),
            scopes: caller.scopes,
            models: caller.allowed_models.clone(),
            limits: index.by_id(&caller.key_id).map(|entry| entry.limits.clone()).unwrap_or_default(),
            teams: caller.teams.clone(),
            team_limits: index.team(&caller.team_id).map(|team| team.limits).unwrap_or_default(),
            root: caller.key_id == ADMIN_KEY,
        })
    }

    /// Tells whether the caller belongs to no team, and so to none in particular.
    pub(super) fn is_of_all(&self) -> bool {
        self.team_id.is_empty()
    }

    /// Tells whether a team is below the caller's. `lineage` is the team and those that it belongs to.
    pub(super) fn is_above(&self, lineage: &[team::Record]) -> bool {
        self.is_of_all() || lineage.iter().skip(1).any(|team| team.id == self.team_id)
    }

    /// Tells whether keys of a team belong to the caller's or to one below it.
    pub(super) fn is_over(&self, team_id: &str, lineage: &[team::Record]) -> bool {
        self.team_id == team_id || self.is_above(lineage)
    }

    /// Checks that a key, as it is about to be, can do nothing that the caller cannot. Holds for rotation too, since
    /// it hands out the key's new secret. `lineage` is the key's team and those that it belongs to.
    ///
    /// # Errors
    /// `SCOPE_DENIED` or `MODEL_NOT_ALLOWED`, naming the field.
    pub(super) fn may_give(&self, key: &Record, lineage: &[team::Record]) -> Result<(), Error> {
        if self.root {
            return Ok(());
        }
        if let Some(scope) = Scope::ALL.into_iter().find(|scope| key.scopes.has(*scope) && !self.has(*scope))
        {
            let message = format!(
                "the key `{}` lacks the scope `{}` and cannot give it to another key",
                self.key_name,
                scope.as_str()
            );
            return Err(denied("key.scopes", message).with("scope", scope.as_str()));
        }
        if !self.models.covers(&ModelGlobs::new(key.allowed_models.clone())) {
            let message = format!(
                "the key `{}` may only give models that it may call itself: {}",
                self.key_name,
                self.models.as_slice().join(", ")
            );
            let error = Error::new(Reason::ModelNotAllowed, message);
            return Err(error.at_field("key.allowed_models".to_owned()));
        }
        self.within("key.team_id", &key.team_id, lineage)?;
        self.covers("key.limits", &key.limits)
    }

    /// Checks that keys of a team are the caller's to change.
    ///
    /// # Errors
    /// `SCOPE_DENIED`, naming the field.
    pub(super) fn within(&self, field: &str, team_id: &str, lineage: &[team::Record]) -> Result<(), Error> {
        if self.is_over(team_id, lineage) {
            return Ok(());
        }
        let message = format!(
            "the key `{}` belongs to the team `{}`, so only keys of that team and of those below it are its to give \
             and to change",
            self.key_name, self.team_id
        );
        Err(denied(field, message))
    }

    /// Checks that a key with these limits is bound at least as tightly as the caller.
    ///
    /// # Errors
    /// `SCOPE_DENIED`, naming the field.
    pub(super) fn covers(&self, field: &str, limits: &[admin::Limit]) -> Result<(), Error> {
        let own = self.limits.iter().filter(|_| !self.root);
        let Some(own) = own.filter(|own| !own.soft).find(|own| !limits.iter().any(|one| binds(one, own)))
        else {
            return Ok(());
        };
        let message = format!(
            "the key `{}` has a limit of {}, so a key that it gives needs the same or a lower one",
            self.key_name,
            words(own)
        );
        Err(denied(field, message))
    }

    /// Checks that a team, as it is about to be, has no more than the caller's own.
    ///
    /// # Errors
    /// `SCOPE_DENIED` or `MODEL_NOT_ALLOWED`, naming the field.
    pub(super) fn may_give_team(&self, team: &team::Record) -> Result<(), Error> {
        let models = ModelGlobs::new(team.allowed_models.clone());
        let outside = self.teams.iter().find(|own| !own.allowed_models.covers(&models));
        // A team without models of its own has those of the teams that it belongs to.
        if let Some(own) = outside.filter(|_| !team.allowed_models.is_empty()) {
            let shown = own.allowed_models.as_slice().join(", ");
            let message =
                format!("the team `{}` may only call {shown}, and so may the teams below it", own.id);
            let error = Error::new(Reason::ModelNotAllowed, message);
            return Err(error.at_field("team.allowed_models".to_owned()));
        }
        self.within_team("team.limits", &team.limits)?;
        self.within_team("team.default_key_limits", &team.default_key_limits)
    }

    /// Checks that limits below the caller's team are no higher than the team's own.
    ///
    /// # Errors
    /// `SCOPE_DENIED`, naming the field.
    pub(super) fn within_team(&self, field: &str, limits: &[admin::Limit]) -> Result<(), Error> {
        let hard = || self.team_limits.iter().filter(|own| !own.soft);
        let Some(own) = hard().find(|own| limits.iter().any(|one| exceeds(one, own))) else { return Ok(()) };
        let message = format!(
            "the team `{}` has a limit of {}, and what is below it cannot have more",
            self.team_id,
            words(own)
        );
        Err(denied(field, message))
    }

    /// Refuses what would give the caller itself more.
    ///
    /// # Errors
    /// `SCOPE_DENIED`, naming the field.
    pub(super) fn is_other(&self, field: &str, key_id: &str) -> Result<(), Error> {
        if self.root || self.key_id != key_id {
            return Ok(());
        }
        let message = format!("the key `{}` cannot give more to itself; ask another admin", self.key_name);
        Err(denied(field, message))
    }

    /// Makes the refusal of a change of the caller's own team.
    pub(super) fn own_team(&self, field: &str) -> Error {
        let message = format!(
            "the key `{}` belongs to the team `{}` and may only see and change the teams below it",
            self.key_name, self.team_id
        );
        denied(field, message)
    }

    /// Tells whether the caller has a scope, or has it as a part of `admin`, which sees everybody's usage.
    fn has(&self, scope: Scope) -> bool {
        let part_of_admin = matches!(scope, Scope::Usage | Scope::UsageTeam) && self.scopes.has(Scope::Admin);
        self.scopes.has(scope) || part_of_admin
    }
}

/// Tells whether a limit refuses at least what another does.
fn binds(one: &admin::Limit, other: &admin::Limit) -> bool {
    let as_wide = |one: &str, other: &str| one.is_empty() || one == other;
    let counts_as_much = as_wide(&one.model, &other.model) && as_wide(&one.tag, &other.tag);
    let same = one.metric == other.metric && one.window == other.window;
    same && !one.soft && counts_as_much && one.amount <= other.amount
}

/// Tells whether a limit allows more than another of the same calls.
fn exceeds(one: &admin::Limit, other: &admin::Limit) -> bool {
    let calls = |limit: &admin::Limit| (limit.model.clone(), limit.tag.clone());
    let same = one.metric == other.metric && one.window == other.window && calls(one) == calls(other);
    same && one.amount > other.amount
}

fn words(limit: &admin::Limit) -> String {
    let window = if limit.window.is_empty() { String::new() } else { format!(" per {}", limit.window) };
    format!("{} {}{window}", limit.amount, limit.metric)
}

fn denied(field: &str, message: String) -> Error {
    Error::new(Reason::ScopeDenied, message).at_field(field.to_owned())
}
