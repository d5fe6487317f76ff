//! What `tollgate.admin.v1.TeamService` does, without the wire. Every method blocks on the store; a change is durable and
//! known to every call before it is answered.

use std::{collections::HashMap, time::SystemTime};

use tollgate_api::admin;

use super::{
    Room,
    authority::Authority,
    check, mask, page,
    record::{from_micros, to_micros},
    store::{self, Sql, Trouble, keys},
    team::Record,
};
use crate::error::{Error, Reason};

/// How many keys and teams a refusal to delete a team names.
const NAMED: i64 = 5;

impl Room {
    /// Makes a team.
    ///
    /// # Errors
    /// As `TeamService.CreateTeam`.
    pub(super) fn create_team(
        &self,
        who: &Authority,
        request: &admin::CreateTeamRequest,
        now: SystemTime,
    ) -> Result<admin::CreateTeamResponse, Error> {
        let wanted = request.team.as_ref().ok_or_else(|| Error::invalid("team", "team is required"))?;
        let record = new_record(wanted, &who.key_id, now)?;
        let made = self.store.change(
            |store| {
                check_parent(store, who, &record)?;
                if store::teams::by_id(store, &record.id)?.is_some() {
                    let message = format!("there is a team `{}` already", record.id);
                    return Err(Error::new(Reason::AlreadyExists, message).with("id", &record.id).into());
                }
                who.may_give_team(&record)?;
                store::teams::put(store, &record)?;
                Ok(record.to_proto())
            },
            |_| self.index.put_team(record.clone()),
        );
        Ok(admin::CreateTeamResponse { team: Some(made.map_err(Trouble::into_error)?) })
    }

    /// Returns one team.
    ///
    /// # Errors
    /// `NOT_FOUND`, `SCOPE_DENIED`, `STORE_UNAVAILABLE`.
    pub(super) fn get_team(&self, who: &Authority, id: &str) -> Result<admin::GetTeamResponse, Error> {
        let found = self.store.read(|store| find(store, who, id)).map_err(Trouble::into_error)?;
        Ok(admin::GetTeamResponse { team: Some(found.to_proto()) })
    }

    /// Returns a page of the teams that the caller sees, by id.
    ///
    /// # Errors
    /// `INVALID_REQUEST` for a bad page size or token, `STORE_UNAVAILABLE`.
    pub(super) fn list_teams(
        &self,
        who: &Authority,
        request: &admin::ListTeamsRequest,
    ) -> Result<admin::ListTeamsResponse, Error> {
        let size = page::size(request.page_size)?;
        let parent = &request.parent_id;
        let after = page::place(&request.page_token, parent)?.unwrap_or_default();
        let all = self.store.read(store::teams::all).map_err(Trouble::into_error)?;
        let seen = (!who.is_of_all()).then(|| self.index.below(&who.team_id));
        let is_seen = |id: &String| seen.as_ref().is_none_or(|seen| seen.contains(id) && *id != who.team_id);
        let mut teams: Vec<_> = all
            .into_iter()
            .filter(|team| team.id.as_bytes() > after.as_slice() && is_seen(&team.id))
            .filter(|team| parent.is_empty() || team.parent_id == *parent)
            .take(size + 1)
            .map(|team| team.to_proto())
            .collect();
        let next_page_token = page::cut(&mut teams, size, parent, |team| team.id.clone().into_bytes());
        Ok(admin::ListTeamsResponse { teams, next_page_token })
    }

    /// Changes the fields of a team that the mask names.
    ///
    /// # Errors
    /// As `TeamService.UpdateTeam`.
    pub(super) fn update_team(
        &self,
        who: &Authority,
        request: &admin::UpdateTeamRequest,
    ) -> Result<admin::UpdateTeamResponse, Error> {
        let wanted = request.team.as_ref().ok_or_else(|| Error::invalid("team", "team is required"))?;
        let fields = mask::fields(request.update_mask.as_ref(), wanted, mask::TEAM)?;
        let changed = self.store.change(
            |store| {
                let mut record = find(store, who, &wanted.id)?;
                check_not_declared(&record)?;
                if !wanted.etag.is_empty() && wanted.etag != record.etag() {
                    let message =
                        format!("the team `{}` was changed by somebody else; read it again", record.id);
                    return Err(Error::new(Reason::EtagMismatch, message).with("id", &record.id).into());
                }
                mask::apply_to_team(&mut record, wanted, &fields)?;
                who.may_give_team(&record)?;
                record.version = record.version.saturating_add(1);
                store::teams::put(store, &record)?;
                Ok(record)
            },
            |record| self.index.put_team(record.clone()),
        );
        let record = changed.map_err(Trouble::into_error)?;
        Ok(admin::UpdateTeamResponse { team: Some(record.to_proto()) })
    }

    /// Deletes a team that has neither keys nor teams.
    ///
    /// # Errors
    /// As `TeamService.DeleteTeam`.
    pub(super) fn delete_team(&self, who: &Authority, id: &str) -> Result<admin::DeleteTeamResponse, Error> {
        let deleted = self.store.change(
            |store| {
                let record = find(store, who, id)?;
                check_not_declared(&record)?;
                let keys = keys::names_of_team(store, id, NAMED)?;
                let teams = store::teams::children(store, id, NAMED)?;
                if !keys.is_empty() || !teams.is_empty() {
                    return Err(not_empty(id, &keys, &teams).into());
                }
                store::teams::delete(store, id)
            },
            |()| self.index.remove_team(id),
        );
        deleted.map(|()| admin::DeleteTeamResponse {}).map_err(Trouble::into_error)
    }
}

/// Reads a team that is about to be made.
fn new_record(wanted: &admin::Team, created_by: &str, now: SystemTime) -> Result<Record, Error> {
    check::team_id("team.id", &wanted.id)?;
    check::team_name("team.name", &wanted.name)?;
    if !wanted.parent_id.is_empty() {
        check::team_id("team.parent_id", &wanted.parent_id)?;
    }
    check::models("team.allowed_models", &wanted.allowed_models)?;
    check::limits("team.limits", &wanted.limits)?;
    check::limits("team.default_key_limits", &wanted.default_key_limits)?;
    Ok(Record {
        id: wanted.id.clone(),
        name: wanted.name.clone(),
        parent_id: wanted.parent_id.clone(),
        allowed_models: wanted.allowed_models.clone(),
        limits: wanted.limits.clone(),
        default_key_limits: wanted.default_key_limits.clone(),
        create_time: from_micros(to_micros(now)),
        disabled: wanted.disabled,
        created_by: created_by.to_owned(),
        declared: false,
        version: 1,
    })
}

/// Checks that a new team stands below one that there is, not too deep, and where the caller may make it.
fn check_parent(store: &mut dyn Sql, who: &Authority, record: &Record) -> Result<(), Trouble> {
    let lineage = store::teams::lineage(store, &record.parent_id)?;
    if !who.is_over(&record.parent_id, &lineage) {
        return Err(who.own_team("team.parent_id").into());
    }
    if lineage.is_empty() && !record.parent_id.is_empty() {
        let message = format!("there is no team `{}`; make it first", record.parent_id);
        return Err(Error::invalid("team.parent_id", message).into());
    }
    if lineage.len() >= store::teams::DEEPEST {
        let message = format!("teams may belong to teams {} deep", store::teams::DEEPEST);
        return Err(Error::invalid("team.parent_id", message).into());
    }
    Ok(())
}

/// Finds a team that the caller may see.
fn find(store: &mut dyn Sql, who: &Authority, id: &str) -> Result<Record, Trouble> {
    if id.is_empty() {
        return Err(Error::invalid("id", "the id of the team is required").into());
    }
    if !who.is_of_all() && who.team_id == id {
        return Err(who.own_team("id").into());
    }
    let lineage = store::teams::lineage(store, id)?;
    let is_seen = who.is_above(&lineage);
    match lineage.into_iter().next().filter(|_| is_seen) {
        Some(team) => Ok(team),
        None => Err(unknown(store, who, id)),
    }
}

/// Makes the error for a team that nobody made, or that the caller may not see. Names the nearest of those that it may.
pub(super) fn unknown(store: &mut dyn Sql, who: &Authority, id: &str) -> Trouble {
    let all = match store::teams::all(store) {
        Ok(all) => all,
        Err(trouble) => return trouble,
    };
    let parents: HashMap<&str, &str> = all.iter().map(|team| (&*team.id, &*team.parent_id)).collect();
    let is_seen = |team: &&Record| {
        let above = std::iter::successors(parents.get(&*team.id), |id| parents.get(**id));
        who.is_of_all() || above.take(store::teams::DEEPEST).any(|parent| *parent == who.team_id)
    };
    let seen: Vec<&str> = all.iter().filter(is_seen).map(|team| &*team.id).collect();
    let shown: String = id.escape_default().take(64).collect();
    let message = format!("there is no team `{shown}` that this key may see");
    let error = match check::nearest(id, &seen) {
        Some(nearest) => Error::new(Reason::NotFound, format!("{message}; did you mean `{nearest}`?"))
            .with("nearest", nearest),
        None => Error::new(Reason::NotFound, message),
    };
    error.with("id", shown).into()
}

fn check_not_declared(record: &Record) -> Result<(), Error> {
    if !record.declared {
        return Ok(());
    }
    let message = format!("the team `{}` is declared in the configuration; change it there", record.id);
    Err(Error::new(Reason::DeclaredInConfig, message).with("id", &record.id))
}

fn not_empty(id: &str, keys: &[String], teams: &[String]) -> Error {
    let named = |what: &str, names: &[String]| match names {
        [] => None,
        names => Some(format!("the {what} {}", names.join(", "))),
    };
    let has: Vec<_> = [named("keys", keys), named("teams", teams)].into_iter().flatten().collect();
    let message = format!("the team `{id}` has {}; revoke or delete them first", has.join(" and "));
    Error::new(Reason::TeamNotEmpty, message).with("id", id)
}
