//! What `tollgate.admin.v1.BudgetService` does to keys and teams, without the wire and without the counters, which belong
//! to another room. Every method that is not about memory blocks on the store.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use tollgate_api::admin;
use uuid::Uuid;

use super::{
    Room,
    adjustment::{Kind, Record},
    admin as of_keys,
    authority::Authority,
    check, page,
    record::{from_micros, to_micros},
    store::{Sql, Trouble, adjustments, keys, teams},
};
use crate::{
    call::{Metric, Rule, Subject, check_request_id},
    error::{Error, Reason},
};

/// Longest reason.
const MAX_REASON: usize = 256;
/// Entries that are read at a time for a caller who may not see all.
const BATCH: usize = 1000;
/// Windows that can be topped up and reset.
const WINDOWS: [&str; 3] = ["day", "month", "total"];

/// How the limits stand that a change is about, as the counters say.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// What is used, and counts: the most of any of them.
    pub used: i64,
    /// What each counter has come to, by its name.
    pub counted: BTreeMap<String, i64>,
    /// When the window ends that runs; absent: never.
    pub end: Option<SystemTime>,
}

/// Which limits a change is about.
#[derive(Clone, Copy)]
pub(super) struct About<'r> {
    pub(super) subject: &'r str,
    pub(super) metric: &'r str,
    pub(super) window: &'r str,
}

impl<'r> About<'r> {
    /// Reads what a request names.
    ///
    /// # Errors
    /// `INVALID_REQUEST`, naming the field.
    pub(super) fn read(subject: &'r str, metric: &'r str, window: &'r str) -> Result<Self, Error> {
        let metric = if metric.is_empty() { Metric::CostNanos.as_str() } else { metric };
        let known = Metric::ALL.map(Metric::as_str);
        if !known.contains(&metric) {
            return Err(check::unknown("metric", "metric", metric, &known));
        }
        if metric == Metric::Concurrent.as_str() {
            return Err(Error::invalid("metric", "calls at a time have no window to top up or reset"));
        }
        if !WINDOWS.contains(&window) {
            return Err(check::unknown("window", "window that can be changed", window, &WINDOWS));
        }
        Ok(Self { subject, metric, window })
    }

    fn is_of(self, limit: &admin::Limit) -> bool {
        limit.metric == self.metric && limit.window == self.window
    }
}

/// Whose limits, with the team that they belong to.
struct Owner {
    limits: Vec<admin::Limit>,
    subject: Subject,
}

impl Room {
    /// Returns the limits that a change is about, as they are counted.
    ///
    /// # Errors
    /// `NOT_FOUND` if there are none that the caller may see, `SCOPE_DENIED` if they are not its to change.
    pub(super) fn limits_of(&self, who: &Authority, about: About<'_>) -> Result<Arc<[Arc<Rule>]>, Error> {
        let read = self.store.read(|store| {
            let owner = find(store, who, about)?;
            Ok(self.index.rules(&owner.subject, &owner.limits))
        });
        read.map_err(Trouble::into_error)
    }

    /// Raises a limit for the window that runs.
    ///
    /// # Errors
    /// As `BudgetService.TopUp`.
    pub(super) fn top_up(
        &self,
        who: &Authority,
        request: &admin::TopUpRequest,
        measured: &Measured,
        now: SystemTime,
    ) -> Result<admin::TopUpResponse, Error> {
        let about = About::read(&request.subject, &request.metric, &request.window)?;
        check_request_id("request_id", &request.request_id)?;
        if request.amount <= 0 {
            return Err(Error::invalid("amount", "amount must be greater than 0"));
        }
        let mut record = new_record(who, about, (Kind::TopUp, request.amount), &request.reason, now)?;
        record.end = measured.end;
        record.request_id = Some(request.request_id.clone()).filter(|id| !id.is_empty());
        let adjustment = self.adjust(who, about, record, now)?;
        Ok(admin::TopUpResponse { adjustment: Some(adjustment) })
    }

    /// Sets what was used in the window that runs to zero.
    ///
    /// # Errors
    /// As `BudgetService.ResetUsage`.
    pub(super) fn reset(
        &self,
        who: &Authority,
        request: &admin::ResetUsageRequest,
        measured: &Measured,
        now: SystemTime,
    ) -> Result<admin::ResetUsageResponse, Error> {
        let about = About::read(&request.subject, &request.metric, &request.window)?;
        let mut record = new_record(who, about, (Kind::Reset, measured.used), &request.reason, now)?;
        record.end = measured.end;
        record.used.clone_from(&measured.counted);
        let adjustment = self.adjust(who, about, record, now)?;
        Ok(admin::ResetUsageResponse { adjustment: Some(adjustment) })
    }

    /// Writes an entry and has it hold, or returns the one that the same request made before.
    fn adjust(
        &self,
        who: &Authority,
        about: About<'_>,
        record: Record,
        now: SystemTime,
    ) -> Result<admin::Adjustment, Error> {
        let written = self.store.change(
            |store| {
                if let Some(id) = &record.request_id
                    && let Some(done) = adjustments::of_request(store, &record.created_by, id)?
                {
                    return repeated(done, &record);
                }
                let owner = find(store, who, about)?;
                if record.kind == Kind::TopUp {
                    self.check_raise(who, &owner, record.amount, now)?;
                }
                adjustments::add(store, &record)?;
                Ok(record)
            },
            |record| self.index.put_adjustment(record.clone(), now),
        );
        written.map(|record| record.to_proto()).map_err(Trouble::into_error)
    }

    /// Checks that a raised limit is no higher than what binds the caller.
    fn check_raise(&self, who: &Authority, owner: &Owner, raise: i64, now: SystemTime) -> Result<(), Error> {
        let mut raised = owner.limits.clone();
        for limit in &mut raised {
            let rules = self.index.rules(&owner.subject, std::slice::from_ref(limit));
            let amount = rules.iter().map(|rule| rule.amount(now)).sum::<i64>();
            limit.amount = amount.checked_add(raise).ok_or_else(|| {
                Error::invalid("amount", "the limit and what it is raised by are more than can be counted")
            })?;
        }
        match owner.subject {
            Subject::Key(_) => who.covers("amount", &raised),
            _ => who.within_team("amount", &raised),
        }
    }

    /// Returns a page of the entries that the caller sees, the newest first.
    ///
    /// # Errors
    /// `INVALID_REQUEST` for a bad page size or token, `STORE_UNAVAILABLE`.
    pub(super) fn list_adjustments(
        &self,
        who: &Authority,
        request: &admin::ListAdjustmentsRequest,
    ) -> Result<admin::ListAdjustmentsResponse, Error> {
        let size = page::size(request.page_size)?;
        let subject = &request.subject;
        let mut before = page::number(&request.page_token, subject)?.unwrap_or(i64::MAX);
        let seen = (!who.is_of_all()).then(|| self.index.below(&who.team_id));
        let sees =
            |record: &Record| seen.as_ref().is_none_or(|teams| self.is_of(&record.subject, teams, who));
        let batch = if seen.is_none() { size + 1 } else { BATCH };
        let mut found = Vec::new();
        while found.len() <= size {
            let read = self.store.read(|store| adjustments::page(store, before, subject, batch));
            let rows = read.map_err(Trouble::into_error)?;
            let is_last = rows.len() < batch;
            before = rows.last().map_or(before, |(seq, _)| *seq);
            found.extend(rows.into_iter().filter(|(_, record)| sees(record)));
            if is_last {
                break;
            }
        }
        let next_page_token = page::cut(&mut found, size, subject, |(seq, _)| seq.to_be_bytes().to_vec());
        let adjustments = found.iter().map(|(_, record)| record.to_proto()).collect();
        Ok(admin::ListAdjustmentsResponse { adjustments, next_page_token })
    }

    /// Tells whether a subject is a key of these teams, or one of them other than the caller's own.
    fn is_of(&self, subject: &str, teams: &[String], who: &Authority) -> bool {
        match subject.split_once(':') {
            Some(("key", id)) => {
                self.index.by_id(id).is_some_and(|entry| teams.contains(&entry.caller.team_id))
            }
            Some(("team", id)) => id != who.team_id && teams.iter().any(|team| team == id),
            _ => false,
        }
    }
}

fn new_record(
    who: &Authority,
    about: About<'_>,
    (kind, amount): (Kind, i64),
    reason: &str,
    now: SystemTime,
) -> Result<Record, Error> {
    if reason.chars().count() > MAX_REASON || reason.chars().any(char::is_control) {
        let message = format!("reason must be at most {MAX_REASON} printable characters");
        return Err(Error::invalid("reason", message));
    }
    Ok(Record {
        id: Uuid::now_v7().to_string(),
        create_time: from_micros(to_micros(now)),
        kind,
        subject: about.subject.to_owned(),
        metric: about.metric.to_owned(),
        window: about.window.to_owned(),
        amount,
        used: BTreeMap::new(),
        end: None,
        created_by: who.key_id.clone(),
        reason: reason.to_owned(),
        request_id: None,
    })
}

/// Finds the limits that a change is about, if they are the caller's to change.
fn find(store: &mut dyn Sql, who: &Authority, about: About<'_>) -> Result<Owner, Trouble> {
    let (kind, id) = about.subject.split_once(':').unwrap_or_default();
    let (limits, subject) = match kind {
        "key" => {
            let key = keys::by_id(store, id)?.ok_or_else(|| of_keys::not_found(id))?;
            if !who.is_over(&key.team_id, &teams::lineage(store, &key.team_id)?) {
                return Err(of_keys::not_found(id).into());
            }
            who.is_other("subject", id)?;
            (key.limits, Subject::Key(id.into()))
        }
        "team" => {
            if !who.is_of_all() && who.team_id == id {
                return Err(who.own_team("subject").into());
            }
            let lineage = teams::lineage(store, id)?;
            let is_seen = who.is_above(&lineage);
            let Some(team) = lineage.into_iter().next().filter(|_| is_seen) else {
                return Err(super::teams::unknown(store, who, id));
            };
            (team.limits, Subject::Team(id.into()))
        }
        _ => {
            let message = "subject must be `key:` or `team:` and its id";
            return Err(Error::invalid("subject", message).into());
        }
    };
    let limits: Vec<_> = limits.into_iter().filter(|limit| about.is_of(limit)).collect();
    if limits.is_empty() {
        return Err(not_found(about).into());
    }
    Ok(Owner { limits, subject })
}

fn not_found(about: About<'_>) -> Error {
    let shown: String = about.subject.escape_default().take(80).collect();
    let metric = if about.metric == "cost_nanos" { "money" } else { about.metric };
    let message = format!("`{shown}` has no limit of {metric} per {}", about.window);
    Error::new(Reason::NotFound, message).with("id", shown)
}

fn repeated(done: Record, record: &Record) -> Result<Record, Trouble> {
    if done.is_same_request(record) {
        return Ok(done);
    }
    let message = "this request_id was used for a different request; use a new one";
    Err(Error::new(Reason::RequestIdReused, message).into())
}
