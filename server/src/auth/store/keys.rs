//! The table `keys`.

use super::{Change, Sql, Trouble, Value};
use crate::auth::record::Record;

/// The columns of a key, in the order in which `Record` reads and writes them.
const COLUMNS: &str = "id, name, hash, old_hash, old_expire_time, hint, team_id, scopes, allowed_models, limits, \
    default_tags, create_time, expire_time, last_use_time, disabled, revoke_time, created_by, declared, version, \
    priority";

/// Place in the list, creation and last use of a key that is there stay as they were.
const PUT: &str = "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20) \
    ON CONFLICT (id) DO UPDATE SET name = excluded.name, hash = excluded.hash, old_hash = excluded.old_hash, \
    old_expire_time = excluded.old_expire_time, hint = excluded.hint, team_id = excluded.team_id, \
    scopes = excluded.scopes, allowed_models = excluded.allowed_models, limits = excluded.limits, \
    default_tags = excluded.default_tags, expire_time = excluded.expire_time, disabled = excluded.disabled, \
    revoke_time = excluded.revoke_time, created_by = excluded.created_by, declared = excluded.declared, \
    version = excluded.version, priority = excluded.priority";

/// Tells whether there is or was any key.
///
/// # Errors
/// The database's, as everywhere here.
pub(in crate::auth) fn any(sql: &mut dyn Sql) -> Result<bool, Trouble> {
    Ok(sql.row("SELECT id FROM keys LIMIT 1", &[])?.is_some())
}

/// Returns every key, revoked ones too.
pub(in crate::auth) fn all(sql: &mut dyn Sql) -> Result<Vec<Record>, Trouble> {
    read(sql, &format!("SELECT {COLUMNS} FROM keys ORDER BY seq"), &[])
}

/// Returns the keys that the configuration declared last.
pub(in crate::auth) fn declared(sql: &mut dyn Sql) -> Result<Vec<Record>, Trouble> {
    read(sql, &format!("SELECT {COLUMNS} FROM keys WHERE declared AND revoke_time IS NULL"), &[])
}

/// Returns the key of that id, revoked or not.
pub(in crate::auth) fn by_id(sql: &mut dyn Sql, id: &str) -> Result<Option<Record>, Trouble> {
    Ok(read(sql, &format!("SELECT {COLUMNS} FROM keys WHERE id = $1"), &[id.into()])?.pop())
}

/// Returns the declared key of that secret, revoked or not.
pub(in crate::auth) fn declared_by_hash(sql: &mut dyn Sql, hash: &[u8]) -> Result<Option<Record>, Trouble> {
    let statement = format!("SELECT {COLUMNS} FROM keys WHERE declared AND hash = $1");
    Ok(read(sql, &statement, &[hash.into()])?.pop())
}

/// Returns the id of a key that has the name and is not revoked, other than `except`.
pub(in crate::auth) fn named(sql: &mut dyn Sql, name: &str, except: &str) -> Result<Option<String>, Trouble> {
    let statement = "SELECT id FROM keys WHERE name = $1 AND id <> $2 AND revoke_time IS NULL LIMIT 1";
    sql.row(statement, &[name.into(), except.into()])?.map(|mut row| row.text()).transpose()
}

/// Returns the names of up to `most` keys of a team that are not revoked.
pub(in crate::auth) fn names_of_team(
    sql: &mut dyn Sql,
    team_id: &str,
    most: i64,
) -> Result<Vec<String>, Trouble> {
    let statement = "SELECT name FROM keys WHERE team_id = $1 AND revoke_time IS NULL ORDER BY seq LIMIT $2";
    let rows = sql.rows(statement, &[team_id.into(), most.into()])?;
    rows.into_iter().map(|mut row| row.text()).collect()
}

/// Returns up to `most` keys that are not revoked and come after `after` in the list, with their places; those of these
/// teams only, if there are any.
pub(in crate::auth) fn page(
    sql: &mut dyn Sql,
    after: i64,
    teams: Option<&[String]>,
    most: usize,
) -> Result<Vec<(i64, Record)>, Trouble> {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let mut values: Vec<Value> = vec![after.into()];
    let team = teams.map_or_else(String::new, |teams| {
        let places: Vec<_> = (0..teams.len()).map(|n| format!("${}", n + 2)).collect();
        values.extend(teams.iter().map(Value::from));
        format!("AND team_id IN ({})", places.join(", "))
    });
    values.push(most.into());
    let last = values.len();
    let statement = format!(
        "SELECT seq, {COLUMNS} FROM keys WHERE revoke_time IS NULL AND seq > $1 {team} ORDER BY seq LIMIT ${last}"
    );
    let rows = sql.rows(&statement, &values)?;
    rows.into_iter().map(|mut row| Ok((row.int()?, Record::read(&mut row)?))).collect()
}

/// Writes a key, new or changed.
pub(in crate::auth) fn put(sql: &mut dyn Sql, key: &Record) -> Result<(), Trouble> {
    sql.execute(&format!("INSERT INTO keys ({COLUMNS}) {PUT}"), &key.values()?)?;
    sql.tell(&Change::Key(key.id.clone()))
}

/// Writes when keys were last used, in seconds since 1970; an earlier time never replaces a later one.
pub(in crate::auth) fn set_last_use(sql: &mut dyn Sql, uses: &[(String, u64)]) -> Result<(), Trouble> {
    let statement = "UPDATE keys SET last_use_time = $1 WHERE id = $2 AND last_use_time < $1";
    for (id, seconds) in uses {
        let seconds = i64::try_from(*seconds).unwrap_or(i64::MAX);
        sql.execute(statement, &[seconds.into(), id.into()])?;
    }
    Ok(())
}

fn read(sql: &mut dyn Sql, statement: &str, values: &[Value]) -> Result<Vec<Record>, Trouble> {
    sql.rows(statement, values)?.iter_mut().map(Record::read).collect()
}
