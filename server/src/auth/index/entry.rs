//! What is known of one key in memory.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::SystemTime,
};

use tollgate_api::admin;

use super::{adjustments::Adjustments, seconds, shown};
use crate::{
    auth::{pepper::Hash, record::Record},
    call::{Caller, ModelGlobs, Subject, Team},
    error::{Error, Reason},
};

/// When a key was last used, in seconds since 1970; 0 is never.
#[derive(Default)]
pub(super) struct Used {
    pub(super) last: AtomicU64,
    pub(super) stored: AtomicU64,
}

impl Used {
    fn of(record: &Record) -> Self {
        Self { last: record.last_use.into(), stored: record.last_use.into() }
    }
}

/// What is known of a key in memory.
pub(in crate::auth) struct Entry {
    pub(in crate::auth) caller: Arc<Caller>,
    pub(in crate::auth) limits: Vec<admin::Limit>,
    pub(super) hash: Hash,
    /// The secret that a rotation replaced, and until when it works.
    pub(super) old: Option<(Hash, SystemTime)>,
    expire_time: Option<SystemTime>,
    disabled: bool,
    revoked: bool,
    pub(super) version: i64,
    pub(super) used: Arc<Used>,
    /// The state of teams and adjustments that `caller` was made from.
    pub(super) generation: u64,
}

impl Entry {
    /// Makes the entry of a key as it is kept.
    pub(super) fn new(
        record: &Record,
        used: Option<Arc<Used>>,
        (teams, adjustments): (Arc<[Arc<Team>]>, &Adjustments),
        generation: u64,
    ) -> Self {
        let subject = Subject::Key(record.id.as_str().into());
        Self {
            caller: Arc::new(Caller {
                key_id: record.id.clone(),
                key_name: record.name.clone(),
                team_id: record.team_id.clone(),
                scopes: record.scopes,
                allowed_models: ModelGlobs::new(record.allowed_models.clone()),
                default_tags: record.default_tags.clone(),
                limits: adjustments.rules(&subject, &record.limits),
                teams,
                priority: record.priority,
            }),
            limits: record.limits.clone(),
            hash: record.hash,
            old: record.old.as_ref().map(|old| (old.hash, old.until)),
            expire_time: record.expire_time,
            disabled: record.disabled,
            revoked: record.revoke_time.is_some(),
            version: record.version,
            used: used.unwrap_or_else(|| Arc::new(Used::of(record))),
            generation,
        }
    }

    /// Makes the entry anew, since its teams or adjustments have changed.
    pub(super) fn renewed(
        &self,
        (teams, adjustments): (Arc<[Arc<Team>]>, &Adjustments),
        generation: u64,
    ) -> Self {
        let caller = &self.caller;
        let subject = Subject::Key(caller.key_id.as_str().into());
        Self {
            caller: Arc::new(Caller {
                key_id: caller.key_id.clone(),
                key_name: caller.key_name.clone(),
                team_id: caller.team_id.clone(),
                scopes: caller.scopes,
                allowed_models: caller.allowed_models.clone(),
                default_tags: caller.default_tags.clone(),
                limits: adjustments.rules(&subject, &self.limits),
                teams,
                priority: caller.priority,
            }),
            limits: self.limits.clone(),
            used: self.used.clone(),
            generation,
            ..*self
        }
    }

    /// Checks that the key works now; `until` is when its secret stops.
    ///
    /// # Errors
    /// `API_KEY_INVALID` or `API_KEY_EXPIRED`.
    pub(super) fn check(&self, until: Option<SystemTime>, now: SystemTime) -> Result<(), Error> {
        let name = &self.caller.key_name;
        if self.revoked {
            let message = format!("the key `{name}` was revoked; use another");
            return Err(Error::new(Reason::ApiKeyInvalid, message));
        }
        if self.disabled {
            let message = format!("the key `{name}` is disabled; ask an admin to enable it");
            return Err(Error::new(Reason::ApiKeyInvalid, message));
        }
        if let Some(at) = self.expire_time.filter(|at| *at <= now) {
            let message = format!("the key `{name}` expired at {}; ask an admin for another", shown(at));
            return Err(Error::new(Reason::ApiKeyExpired, message));
        }
        if let Some(at) = until.filter(|at| *at <= now) {
            let message =
                format!("this secret of the key `{name}` was rotated out at {}; use the new one", shown(at));
            return Err(Error::new(Reason::ApiKeyExpired, message));
        }
        Ok(())
    }

    /// Notes that the key is used.
    pub(super) fn touch(&self, now: SystemTime) {
        let seconds = seconds(now);
        // Most calls fall into a second that is already there; they must not fight over the cache line.
        if self.used.last.load(Relaxed) < seconds {
            self.used.last.fetch_max(seconds, Relaxed);
        }
    }
}
