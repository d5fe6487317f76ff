//! What the quota room asks the ledger: how much was used before.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::future::BoxFuture;
use tollgate_api::v1;

use crate::{
    auth::Auth,
    call::{Caller, Metric, ModelGlobs, Priority, Rule, Scope, Subject, glob_matches},
    error::Error,
    meter::Meter,
    quota::{History, used as used_of},
};

/// Words of the ledger's reports. The provider is empty for calls that never got that far.
pub(super) const PROVIDER: &str = "provider";
const MODEL: &str = "model";
const TARGET: &str = "target";
const TEAM: &str = "team";
/// Rows of a page.
const PAGE: i32 = 1_000;
/// How far back a total is summed: the longest range that the ledger answers.
pub(super) const LONGEST: Duration = Duration::from_secs(9 * 365 * 86_400);

/// The ledger, as the quota room reads it.
pub struct Spent {
    /// Whose ledger it is.
    pub meter: Arc<Meter>,
    /// Who knows which teams belong to a team: what they use is what it uses.
    pub auth: Arc<Auth>,
}

/// Whose calls a report is about.
#[derive(Clone, Copy)]
pub(super) enum Reach {
    /// Those of all replicas that share the ledger.
    Everywhere,
    /// Those that this replica served.
    Here,
}

impl History for Spent {
    fn used<'a>(&'a self, rule: &'a Rule, since: SystemTime) -> BoxFuture<'a, Result<i64, Error>> {
        Box::pin(self.sum(Reach::Everywhere, rule, since))
    }

    fn used_here<'a>(
        &'a self,
        rule: &'a Rule,
        since: SystemTime,
    ) -> Option<BoxFuture<'a, Result<i64, Error>>> {
        let is_shared = self.meter.ledger().is_shared();
        is_shared.then(|| -> BoxFuture<'a, _> { Box::pin(self.sum(Reach::Here, rule, since)) })
    }
}

impl Spent {
    async fn sum(&self, reach: Reach, rule: &Rule, since: SystemTime) -> Result<i64, Error> {
        let metric = rule.limit.metric;
        let group = groups(rule);
        let request = v1::QueryUsageRequest {
            start_time: Some(since.max(SystemTime::now() - LONGEST).into()),
            bucket: "none".to_owned(),
            group_by: group.iter().map(|word| (*word).to_owned()).collect(),
            filters: filters(rule).collect(),
            ..Default::default()
        };
        let teams = match &rule.subject {
            Subject::Team(id) => self.auth.teams_below(id),
            _ => Vec::new(),
        };
        let counts = |row: &v1::UsageRow| {
            let team = row.group.get(TEAM).map_or("", String::as_str);
            counts(rule, row) && (teams.is_empty() || teams.iter().any(|below| below == team))
        };
        let mut used = 0_i64;
        report(&self.meter, reach, request, usize::MAX, |row| {
            if counts(row) {
                used = used.saturating_add(match metric {
                    Metric::Requests => row.request_count,
                    metric => row.usage.as_ref().map(used_of).unwrap_or_default().of(metric),
                });
            }
        })
        .await?;
        Ok(used)
    }
}

/// Hands over the rows of a report, from so many pages at most.
///
/// # Errors
/// `STORE_UNAVAILABLE`.
pub(super) async fn report(
    meter: &Meter,
    reach: Reach,
    mut request: v1::QueryUsageRequest,
    most: usize,
    mut take: impl FnMut(&v1::UsageRow),
) -> Result<(), Error> {
    request.page_size = PAGE;
    for _ in 0..most {
        let page = match reach {
            Reach::Everywhere => meter.query_usage(&gateway(), request.clone()).await?,
            Reach::Here => meter.query_own_usage(&gateway(), request.clone()).await?,
        };
        page.rows.iter().for_each(&mut take);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    Ok(())
}

/// Returns what the sums must be told apart by: those of calls that never got to a provider do not count, and patterns are
/// matched here.
fn groups(rule: &Rule) -> Vec<&'static str> {
    let mut groups = vec![PROVIDER];
    if is_pattern(&rule.limit.only.model) || matches!(&rule.subject, Subject::Model(name) if is_pattern(name))
    {
        groups.push(MODEL);
    }
    if matches!(&rule.subject, Subject::Target(name) if is_pattern(name)) {
        groups.push(TARGET);
    }
    if matches!(rule.subject, Subject::Team(_)) {
        groups.push(TEAM);
    }
    groups
}

fn counts(rule: &Rule, row: &v1::UsageRow) -> bool {
    let told = |word: &str| row.group.get(word).map_or("", String::as_str);
    let matches = |pattern: &str, word: &str| {
        !is_pattern(pattern) || glob_matches(pattern.as_bytes(), told(word).as_bytes())
    };
    let of_subject = match &rule.subject {
        Subject::Model(name) => matches(name, MODEL),
        Subject::Target(name) => matches(name, TARGET),
        Subject::Key(_) | Subject::Team(_) | Subject::Global => true,
    };
    !told(PROVIDER).is_empty() && of_subject && matches(&rule.limit.only.model, MODEL)
}

/// Returns what the ledger itself can tell apart.
fn filters(rule: &Rule) -> impl Iterator<Item = (String, String)> {
    let subject = match &rule.subject {
        Subject::Key(id) => Some(("key", id)),
        Subject::Model(name) => Some((MODEL, name)),
        Subject::Target(name) => Some((TARGET, name)),
        // With those below it, which are told apart here.
        Subject::Team(_) | Subject::Global => None,
    };
    let subject = subject.map(|(word, value)| (word.to_owned(), value.to_string()));
    let only = &rule.limit.only;
    let model = (!only.model.is_empty()).then(|| (MODEL.to_owned(), only.model.clone()));
    let plain = subject.into_iter().chain(model).filter(|(_, value)| !is_pattern(value));
    plain.chain(only.tag.clone().map(|(name, value)| (format!("tag:{name}"), value)))
}

fn is_pattern(text: &str) -> bool {
    text.contains('*')
}

/// The gateway itself, who sees every record.
fn gateway() -> Caller {
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
