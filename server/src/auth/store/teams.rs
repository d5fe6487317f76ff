//! The table `teams`.

use super::{Change, Sql, Trouble, Value};
use crate::auth::team::Record;

/// The columns of a team, in the order in which `Record` reads and writes them.
const COLUMNS: &str = "id, name, parent_id, allowed_models, limits, default_key_limits, create_time, disabled, \
    created_by, declared, version";

/// The creation of a team that is there stays as it was.
const PUT: &str = "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
    ON CONFLICT (id) DO UPDATE SET name = excluded.name, parent_id = excluded.parent_id, \
    allowed_models = excluded.allowed_models, limits = excluded.limits, \
    default_key_limits = excluded.default_key_limits, disabled = excluded.disabled, \
    created_by = excluded.created_by, declared = excluded.declared, version = excluded.version";

/// Longest way from a team up to the one that belongs to none.
pub(in crate::auth) const DEEPEST: usize = 16;

/// Returns every team, by id.
///
/// # Errors
/// The database's, as everywhere here.
pub(in crate::auth) fn all(sql: &mut dyn Sql) -> Result<Vec<Record>, Trouble> {
    read(sql, &format!("SELECT {COLUMNS} FROM teams ORDER BY id"), &[])
}

/// Returns the team of that id.
pub(in crate::auth) fn by_id(sql: &mut dyn Sql, id: &str) -> Result<Option<Record>, Trouble> {
    Ok(read(sql, &format!("SELECT {COLUMNS} FROM teams WHERE id = $1"), &[id.into()])?.pop())
}

/// Returns a team, the one that it belongs to, and so on. Empty if nobody made it.
pub(in crate::auth) fn lineage(sql: &mut dyn Sql, id: &str) -> Result<Vec<Record>, Trouble> {
    let (mut lineage, mut next) = (Vec::new(), id.to_owned());
    while !next.is_empty() && lineage.len() < DEEPEST {
        let Some(team) = by_id(sql, &next)? else { break };
        next.clone_from(&team.parent_id);
        lineage.push(team);
    }
    Ok(lineage)
}

/// Returns the ids of up to `most` teams that belong directly to this one.
pub(in crate::auth) fn children(sql: &mut dyn Sql, id: &str, most: i64) -> Result<Vec<String>, Trouble> {
    let statement = "SELECT id FROM teams WHERE parent_id = $1 ORDER BY id LIMIT $2";
    let rows = sql.rows(statement, &[id.into(), most.into()])?;
    rows.into_iter().map(|mut row| row.text()).collect()
}

/// Writes a team, new or changed.
pub(in crate::auth) fn put(sql: &mut dyn Sql, team: &Record) -> Result<(), Trouble> {
    sql.execute(&format!("INSERT INTO teams ({COLUMNS}) {PUT}"), &team.values()?)?;
    sql.tell(&Change::Team(team.id.clone()))
}

/// Deletes a team.
pub(in crate::auth) fn delete(sql: &mut dyn Sql, id: &str) -> Result<(), Trouble> {
    sql.execute("DELETE FROM teams WHERE id = $1", &[id.into()])?;
    sql.tell(&Change::Team(id.to_owned()))
}

fn read(sql: &mut dyn Sql, statement: &str, values: &[Value]) -> Result<Vec<Record>, Trouble> {
    sql.rows(statement, values)?.iter_mut().map(Record::read).collect()
}
