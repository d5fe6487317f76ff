//! What the caller of an admin RPC may hand on: nobody gives what they do not have.

use tollgate_api::admin;

use super::{ADMIN_KEY, index::Index, permit, record::Record};
use crate::{
    call::{Caller, ModelGlobs, Scope, Scopes},
    error::{Error, Reason},
};

/// The caller of an admin RPC.
pub(super) struct Authority {
    pub(super) key_id: String,
    key_name: String,
    team_id: String,
    scopes: Scopes,
    models: ModelGlobs,
    limits: Vec<admin::Limit>,
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
            root: caller.key_id == ADMIN_KEY,
        })
    }

    /// Checks that a key, as it is about to be, can do nothing that the caller cannot. Holds for rotation too, since
    /// it hands out the key's new secret.
    ///
    /// # Errors
    /// `SCOPE_DENIED` or `MODEL_NOT_ALLOWED`, naming the field.
    pub(super) fn may_give(&self, key: &Record) -> Result<(), Error> {
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
        if !self.team_id.is_empty() && self.team_id != key.team_id {
            let message =
                format!("the key `{}` belongs to a team and can only give keys of that team", self.key_name);
            return Err(denied("key.team_id", message));
        }
        self.limits.iter().try_for_each(|limit| self.covers_limit(limit, key))
    }

    /// Tells whether the caller has a scope, or has it as a part of `admin`, which sees everybody's usage.
    fn has(&self, scope: Scope) -> bool {
        let part_of_admin = matches!(scope, Scope::Usage | Scope::UsageTeam) && self.scopes.has(Scope::Admin);
        self.scopes.has(scope) || part_of_admin
    }

    fn covers_limit(&self, own: &admin::Limit, key: &Record) -> Result<(), Error> {
        let as_tight = |limit: &admin::Limit| {
            limit.metric == own.metric && limit.window == own.window && limit.amount <= own.amount
        };
        if key.limits.iter().any(as_tight) {
            return Ok(());
        }
        let window = if own.window.is_empty() { String::new() } else { format!(" per {}", own.window) };
        let message = format!(
            "the key `{}` has a limit of {} {}{window}, so a key that it gives needs the same or a lower one",
            self.key_name, own.amount, own.metric
        );
        Err(denied("key.limits", message))
    }
}

fn denied(field: &str, message: String) -> Error {
    Error::new(Reason::ScopeDenied, message).at_field(field.to_owned())
}
