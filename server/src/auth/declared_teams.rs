//! Teams that the configuration declares. They have rows too, so that every replica and every list has them; what they
//! may do comes from the configuration alone.

use std::{collections::HashSet, time::SystemTime};

use tollgate_api::admin;

use super::{
    CONFIG, check,
    record::{from_micros, to_micros},
    store::{Sql, Trouble, teams},
    team::Record,
};
use crate::error::Error;

/// A team of the configuration's `teams`.
#[derive(Clone, Debug, Default)]
pub struct DeclaredTeam {
    /// Its id.
    pub id: String,
    /// Name for people; empty if none.
    pub name: String,
    /// The team that it belongs to; empty if none. Must be declared too.
    pub parent: String,
    /// Patterns of models its keys may call; empty means all.
    pub models: Vec<String>,
    /// Limits and budgets over all that is below it.
    pub limits: Vec<admin::Limit>,
    /// Limits of new keys that are made without any.
    pub key_limits: Vec<admin::Limit>,
    /// Whether the calls of its keys are refused.
    pub disabled: bool,
}

/// Turns the declared teams into records.
///
/// # Errors
/// Every problem, one a line, for the operator.
pub(super) fn read(declared: &[DeclaredTeam], now: SystemTime) -> Result<Vec<Record>, String> {
    let read = |team: &DeclaredTeam| {
        record(team, now).map_err(|error| format!("teams: `{}`: {error}", team.id.escape_default()))
    };
    let (records, problems): (Vec<_>, Vec<_>) = declared.iter().map(read).partition(Result::is_ok);
    if problems.is_empty() {
        return Ok(records.into_iter().flatten().collect());
    }
    Err(problems.into_iter().filter_map(Result::err).collect::<Vec<_>>().join("\n"))
}

fn record(declared: &DeclaredTeam, now: SystemTime) -> Result<Record, Error> {
    check::team_id("id", &declared.id)?;
    check::team_name("name", &declared.name)?;
    check::models("models", &declared.models)?;
    check::limits("limits", &declared.limits)?;
    check::limits("key_limits", &declared.key_limits)?;
    Ok(Record {
        id: declared.id.clone(),
        name: declared.name.clone(),
        parent_id: declared.parent.clone(),
        allowed_models: declared.models.clone(),
        limits: declared.limits.clone(),
        default_key_limits: declared.key_limits.clone(),
        create_time: from_micros(to_micros(now)),
        disabled: declared.disabled,
        created_by: CONFIG.to_owned(),
        declared: true,
        version: 1,
    })
}

/// Brings the rows of declared teams in line with the configuration: new ones come, changed ones change, and those that
/// are no longer declared go. A team of run time that is declared belongs to the configuration.
///
/// # Errors
/// The database's.
pub(super) fn apply(store: &mut dyn Sql, declared: Vec<Record>) -> Result<(), Trouble> {
    let ids: HashSet<&str> = declared.iter().map(|record| record.id.as_str()).collect();
    let before = teams::all(store)?;
    for gone in before.iter().filter(|team| team.declared && !ids.contains(team.id.as_str())) {
        teams::delete(store, &gone.id)?;
    }
    for mut record in declared {
        if let Some(before) = before.iter().find(|before| before.id == record.id) {
            record.create_time = before.create_time;
            record.version = before.version;
            // Replicas with the same configuration must not change each other's rows for nothing.
            if *before == record {
                continue;
            }
            record.version = before.version.saturating_add(1);
        }
        teams::put(store, &record)?;
    }
    Ok(())
}
