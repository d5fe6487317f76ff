//! What the quota room is told of the past: the ledger's sums, without what resets took off.

use std::{sync::Arc, time::SystemTime};

use futures_util::future::BoxFuture;

use crate::{auth::Auth, call::Rule, error::Error, quota::History};

/// A history in which resets count.
pub(super) struct Recalled<H> {
    pub(super) ledger: H,
    pub(super) auth: Arc<Auth>,
}

impl<H: History> History for Recalled<H> {
    fn used<'a>(&'a self, rule: &'a Rule, since: SystemTime) -> BoxFuture<'a, Result<i64, Error>> {
        Box::pin(async move {
            let used = self.ledger.used(rule, since).await?;
            Ok(self.without_resets(rule, used))
        })
    }
}

impl<H> Recalled<H> {
    /// Takes off what resets took off.
    pub(super) fn without_resets(&self, rule: &Rule, used: i64) -> i64 {
        used.saturating_sub(self.auth.taken_off(&rule.counter)).max(0)
    }
}
