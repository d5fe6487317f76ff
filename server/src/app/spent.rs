//! What the quota room asks the ledger: how much was used before.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::future::BoxFuture;
use tollgate_api::v1;

use crate::{
    call::{Caller, Metric, ModelGlobs, Priority, Rule, Scope, Subject},
    error::Error,
    meter::Meter,
    quota::{Amounts, History, used},
};

/// What history is grouped by; empty for calls that never got that far.
const PROVIDER: &str = "provider";
/// A configuration has fewer providers.
const MOST_PROVIDERS: i32 = 1_000;
/// How far back a total is summed: the longest range that the ledger answers.
const LONGEST: Duration = Duration::from_secs(9 * 365 * 86_400);

/// The ledger, as the quota room reads it.
pub struct Spent(pub Arc<Meter>);

impl History for Spent {
    fn used<'a>(&'a self, rule: &'a Rule, since: SystemTime) -> BoxFuture<'a, Result<i64, Error>> {
        Box::pin(async move {
            let request = v1::QueryUsageRequest {
                start_time: Some(since.max(SystemTime::now() - LONGEST).into()),
                bucket: "none".to_owned(),
                group_by: vec![PROVIDER.to_owned()],
                page_size: MOST_PROVIDERS,
                filters: filter(&rule.subject).into_iter().collect(),
                ..Default::default()
            };
            let rows = self.0.query_usage(&gateway(), request).await?.rows;
            let tried =
                rows.into_iter().filter(|row| row.group.get(PROVIDER).is_some_and(|name| !name.is_empty()));
            let (requests, amounts) = tried.fold((0_i64, Amounts::default()), |(requests, amounts), row| {
                let amounts = amounts.plus(used(&row.usage.unwrap_or_default()));
                (requests.saturating_add(row.request_count), amounts)
            });
            Ok(match rule.limit.metric {
                Metric::Requests => requests,
                metric => amounts.of(metric),
            })
        })
    }
}

/// The gateway itself, who sees every record.
pub(super) fn gateway() -> Caller {
    Caller {
        key_id: String::new(),
        key_name: String::new(),
        team_id: String::new(),
        scopes: [Scope::Admin].into_iter().collect(),
        allowed_models: ModelGlobs::default(),
        default_tags: BTreeMap::new(),
        limits: Arc::default(),
        teams: Arc::default(),
        priority: Priority::default(),
    }
}

fn filter(subject: &Subject) -> Option<(String, String)> {
    let (name, value) = match subject {
        Subject::Key(id) => ("key", id),
        Subject::Team(id) => ("team", id),
        Subject::Model(name) => ("model", name),
        Subject::Target(name) => ("target", name),
        Subject::Global => return None,
    };
    Some((name.to_owned(), value.to_string()))
}
