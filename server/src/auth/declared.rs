//! Keys that the configuration declares. They have rows too, so that their creation, last use and place in the list
//! survive restarts; what they may do comes from the configuration alone.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::SystemTime,
};

use secrecy::{ExposeSecret as _, SecretString};
use tollgate_api::admin;

use super::{
    CONFIG, check, key,
    pepper::{Hash, Pepper},
    record::{Record, from_micros, to_micros},
    store::{Sql, Trouble, keys},
};
use crate::{
    call::{Priority, Scopes},
    error::Error,
};

/// A key of the configuration's `keys`.
#[derive(Clone, Debug)]
pub struct DeclaredKey {
    /// Name for people, unique in the configuration.
    pub name: String,
    /// The key itself: 32 to 512 visible ASCII characters.
    pub key: SecretString,
    /// Team that owns the key; empty if none.
    pub team: String,
    /// Names of scopes; the default scopes if absent.
    pub scopes: Option<Vec<String>>,
    /// Patterns of models the key may call; empty means all.
    pub models: Vec<String>,
    /// Tags of every call of the key.
    pub tags: BTreeMap<String, String>,
    /// Limits and budgets of the key.
    pub limits: Vec<admin::Limit>,
    /// How important the calls of the key are.
    pub priority: Priority,
    /// When the key stops working.
    pub expires: Option<SystemTime>,
}

/// Turns the declared keys into records.
///
/// # Errors
/// Every problem, one a line, for the operator.
pub(super) fn read(
    declared: &[DeclaredKey],
    pepper: &Pepper,
    now: SystemTime,
) -> Result<Vec<Record>, String> {
    let mut problems = Vec::new();
    let mut records: Vec<Record> = Vec::new();
    let mut names = HashSet::new();
    let mut by_id: HashMap<String, (Hash, &str)> = HashMap::new();
    for declared in declared {
        let name = &declared.name;
        let record = match record(declared, pepper, now) {
            Ok(record) => record,
            Err(problem) => {
                problems.push(format!("keys: `{}`: {problem}", shown(name)));
                continue;
            }
        };
        if !names.insert(name) {
            problems.push(format!("keys: the name `{name}` is declared twice"));
        }
        if let Some((hash, other)) = by_id.get(&record.id) {
            let what = if *hash == record.hash { "key" } else { "public id" };
            problems.push(format!("keys: `{other}` and `{name}` have the same {what}; give each its own"));
        }
        if let Some(other) = records.iter().find(|other| other.hash == record.hash && other.id != record.id) {
            problems
                .push(format!("keys: `{}` and `{name}` have the same key; give each its own", other.name));
        }
        by_id.insert(record.id.clone(), (record.hash, name));
        records.push(record);
    }
    if problems.is_empty() { Ok(records) } else { Err(problems.join("\n")) }
}

/// Checks that a key from elsewhere is long enough to be a secret, and can stand in a header.
///
/// # Errors
/// What is wrong with it, without the key.
pub(super) fn check_secret(secret: &str, min: usize) -> Result<(), String> {
    let len = secret.len();
    if !(min..=key::MAX_LEN).contains(&len) {
        return Err(format!("a key must have {min} to {} characters, and this one has {len}", key::MAX_LEN));
    }
    if !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("a key must consist of visible ASCII characters".to_owned());
    }
    Ok(())
}

fn record(declared: &DeclaredKey, pepper: &Pepper, now: SystemTime) -> Result<Record, String> {
    let secret = declared.key.expose_secret();
    check_secret(secret, key::MIN_LEN)?;
    let checked = || -> Result<_, Error> {
        check::name("name", &declared.name)?;
        check::team("team", &declared.team)?;
        check::models("models", &declared.models)?;
        check::limits("limits", &declared.limits)?;
        let tags = check::tags("tags", declared.tags.clone())?;
        let scopes = declared.scopes.as_ref().map(|names| check::scopes("scopes", names)).transpose()?;
        Ok((tags, scopes.unwrap_or(Scopes::DEFAULT)))
    };
    let (default_tags, scopes) = checked().map_err(|error| error.to_string())?;
    Ok(Record {
        id: key::public_id(secret).map_or_else(|| key::id_of_name(&declared.name), str::to_owned),
        name: declared.name.clone(),
        hash: pepper.hash(secret),
        old: None,
        hint: key::hint(secret),
        team_id: declared.team.clone(),
        scopes,
        allowed_models: declared.models.clone(),
        limits: declared.limits.clone(),
        default_tags,
        create_time: now,
        expire_time: declared.expires.map(|at| from_micros(to_micros(at))),
        last_use: 0,
        disabled: false,
        revoke_time: None,
        created_by: CONFIG.to_owned(),
        declared: true,
        version: 1,
        priority: declared.priority,
    })
}

/// Shows a name that may be anything, even a key in the wrong place.
fn shown(name: &str) -> String {
    if key::public_id(name).is_some() {
        return key::hint(name);
    }
    name.escape_default().take(key::MIN_LEN).collect()
}

/// Brings the rows of declared keys in line with the configuration: new ones come, changed ones change, and those
/// that are no longer declared are revoked, but come back if they are declared again.
///
/// # Errors
/// A message that names the key whose secret or id belongs to a key that was made at run time.
pub(super) fn apply(store: &mut dyn Sql, mut declared: Vec<Record>, now: SystemTime) -> Result<(), Trouble> {
    keep_ids(store, &mut declared)?;
    let ids: HashSet<String> = declared.iter().map(|record| record.id.clone()).collect();
    for mut gone in keys::declared(store)? {
        if !ids.contains(&gone.id) {
            gone.revoke_time = Some(now);
            gone.version = gone.version.saturating_add(1);
            keys::put(store, &gone)?;
        }
    }
    for mut record in declared {
        if let Some(other) = keys::named(store, &record.name, &record.id)? {
            tracing::warn!(key = record.name, other, "a declared key has the name of another key");
        }
        let Some(before) = keys::by_id(store, &record.id)? else {
            keys::put(store, &record)?;
            continue;
        };
        check_conflict(&before, &record)?;
        record.create_time = before.create_time;
        record.version = before.version;
        if before.to_proto(0) != record.to_proto(0) || before.hash != record.hash {
            record.version = before.version.saturating_add(1);
            keys::put(store, &record)?;
        }
    }
    Ok(())
}

/// Has keys that were declared before keep their ids: under another name, or with an id that was derived otherwise.
fn keep_ids(store: &mut dyn Sql, declared: &mut [Record]) -> Result<(), Trouble> {
    let mut taken = HashSet::new();
    for record in &mut *declared {
        if let Some(same) = keys::declared_by_hash(store, &record.hash)? {
            record.id.clone_from(&same.id);
            taken.insert(same.id);
        }
    }
    for record in declared {
        // Its name's id belongs to a key that had the name before.
        let is_other = |before: &Record| before.declared && before.hash != record.hash;
        if taken.contains(&record.id)
            && keys::by_id(store, &record.id)?.is_some_and(|before| is_other(&before))
        {
            record.id = key::id_of_name(&format!("{}#{}", record.name, taken.len()));
        }
    }
    Ok(())
}

fn check_conflict(before: &Record, declared: &Record) -> Result<(), Trouble> {
    let problem = if before.declared {
        return Ok(());
    } else if before.hash != declared.hash {
        "has the public id of a key that was made at run time, but another secret"
    } else if before.revoke_time.is_some() {
        "was made at run time and revoked, which is for good"
    } else {
        // A key that was made at run time and then written into the configuration belongs to the configuration.
        return Ok(());
    };
    let message = format!("keys: `{}` {problem} (`{}`); declare another key", declared.name, before.name);
    Err(Error::internal(message).into())
}
