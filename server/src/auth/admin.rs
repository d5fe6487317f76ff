//! What `tollgate.admin.v1.KeyService` does, without the wire. Every method blocks on the disk; a change is durable
//! and known to `authenticate` before it is answered.

use std::time::{Duration, SystemTime};

use prost::Message as _;
use secrecy::ExposeSecret as _;
use tollgate_api::admin;

use super::{
    Room,
    authority::Authority,
    check, key,
    making::{create_bytes, new_record},
    mask, page,
    record::{OldSecret, Record},
    store::{Sql, Trouble, keys, teams},
};
use crate::error::{Error, Reason};

/// How long the old secret may work beside the new one.
const LONGEST_OVERLAP: Duration = Duration::from_hours(90 * 24);

impl Room {
    /// Makes a key.
    ///
    /// # Errors
    /// As `KeyService.CreateKey`.
    pub(super) fn create(
        &self,
        who: &Authority,
        request: &admin::CreateKeyRequest,
        now: SystemTime,
    ) -> Result<admin::CreateKeyResponse, Error> {
        let wanted = request.key.as_ref().ok_or_else(|| Error::invalid("key", "key is required"))?;
        let fingerprint = self.pepper()?.fingerprint(&create_bytes(wanted));
        let made = self.make(who, &request.request_id, fingerprint, now, |store| {
            let mut record = new_record(wanted, &who.key_id, now)?;
            let lineage = teams::lineage(store, &record.team_id)?;
            if record.limits.is_empty() {
                // Those of its own team, or else of the nearest that has any.
                let defaults = lineage.iter().map(|team| &team.default_key_limits);
                record.limits =
                    defaults.into_iter().find(|limits| !limits.is_empty()).cloned().unwrap_or_default();
            }
            who.may_give(&record, &lineage)?;
            check_name_is_free(store, &record)?;
            Ok(record)
        })?;
        Ok(admin::CreateKeyResponse { key: Some(made.key), secret: made.secret.expose_secret().to_owned() })
    }

    /// Returns one key.
    ///
    /// # Errors
    /// `NOT_FOUND`, `STORE_UNAVAILABLE`.
    pub(super) fn get(&self, who: &Authority, id: &str) -> Result<admin::GetKeyResponse, Error> {
        let read = self.store.read(|store| {
            let record = find(store, id)?;
            let lineage = teams::lineage(store, &record.team_id)?;
            if who.is_over(&record.team_id, &lineage) { Ok(record) } else { Err(not_found(id).into()) }
        });
        let record = read.map_err(Trouble::into_error)?;
        Ok(admin::GetKeyResponse { key: Some(self.shown(&record)) })
    }

    /// Returns a page of the keys that the caller sees and that are not revoked, oldest first.
    ///
    /// # Errors
    /// `INVALID_REQUEST` for a bad page size or token, `STORE_UNAVAILABLE`.
    pub(super) fn list(
        &self,
        who: &Authority,
        request: &admin::ListKeysRequest,
    ) -> Result<admin::ListKeysResponse, Error> {
        let size = page::size(request.page_size)?;
        let team = &request.team_id;
        let after = page::number(&request.page_token, team)?.unwrap_or(0);
        let seen = (!who.is_of_all()).then(|| self.index.below(&who.team_id));
        let teams = match seen {
            None if team.is_empty() => None,
            None => Some(vec![team.clone()]),
            Some(seen) => Some(seen.into_iter().filter(|one| team.is_empty() || one == team).collect()),
        };
        if teams.as_ref().is_some_and(Vec::is_empty) {
            return Ok(admin::ListKeysResponse::default());
        }
        let read = self.store.read(|store| keys::page(store, after, teams.as_deref(), size + 1));
        let mut rows = read.map_err(Trouble::into_error)?;
        let next_page_token = page::cut(&mut rows, size, team, |(seq, _)| seq.to_be_bytes().to_vec());
        let keys = rows.iter().map(|(_, record)| self.shown(record)).collect();
        Ok(admin::ListKeysResponse { keys, next_page_token })
    }

    /// Changes the fields of a key that the mask names.
    ///
    /// # Errors
    /// As `KeyService.UpdateKey`.
    pub(super) fn update(
        &self,
        who: &Authority,
        request: &admin::UpdateKeyRequest,
        now: SystemTime,
    ) -> Result<admin::UpdateKeyResponse, Error> {
        let wanted = request.key.as_ref().ok_or_else(|| Error::invalid("key", "key is required"))?;
        let fields = mask::fields(request.update_mask.as_ref(), wanted, mask::KEY)?;
        let changed = self.store.change(
            |store| {
                let mut record = find_own(store, &wanted.id)?;
                if !wanted.etag.is_empty() && wanted.etag != record.etag() {
                    let message =
                        format!("the key `{}` was changed by somebody else; read it again", record.name);
                    return Err(Error::new(Reason::EtagMismatch, message).with("id", &record.id).into());
                }
                mask::apply(&mut record, wanted, &fields, now)?;
                who.may_give(&record, &teams::lineage(store, &record.team_id)?)?;
                check_name_is_free(store, &record)?;
                record.version = record.version.saturating_add(1);
                keys::put(store, &record)?;
                Ok(record)
            },
            |record| self.index.put(record),
        );
        let record = changed.map_err(Trouble::into_error)?;
        Ok(admin::UpdateKeyResponse { key: Some(self.shown(&record)) })
    }

    /// Gives a key a new secret.
    ///
    /// # Errors
    /// As `KeyService.RotateKey`.
    pub(super) fn rotate(
        &self,
        who: &Authority,
        request: &admin::RotateKeyRequest,
        now: SystemTime,
    ) -> Result<admin::RotateKeyResponse, Error> {
        let until =
            request.old_expire_time.as_ref().map(|time| check::time("old_expire_time", time)).transpose()?;
        if until.and_then(|until| until.duration_since(now).ok()).is_some_and(|wait| wait > LONGEST_OVERLAP) {
            let message = "the old secret may work for at most 90 days beside the new one";
            return Err(Error::invalid("old_expire_time", message));
        }
        let plain = admin::RotateKeyRequest { request_id: String::new(), ..request.clone() };
        let fingerprint = self.pepper()?.fingerprint(&[b"rotate", plain.encode_to_vec().as_slice()].concat());
        let made = self.make(who, &request.request_id, fingerprint, now, |store| {
            let mut record = find_own(store, &request.id)?;
            who.may_give(&record, &teams::lineage(store, &record.team_id)?)?;
            record.old =
                until.filter(|until| *until > now).map(|until| OldSecret { hash: record.hash, until });
            record.version = record.version.saturating_add(1);
            Ok(record)
        })?;
        Ok(admin::RotateKeyResponse { key: Some(made.key), secret: made.secret.expose_secret().to_owned() })
    }

    /// Revokes a key for good; again is fine.
    ///
    /// # Errors
    /// `NOT_FOUND`, `SCOPE_DENIED`, `DECLARED_IN_CONFIG`, `STORE_UNAVAILABLE`.
    pub(super) fn revoke(
        &self,
        who: &Authority,
        id: &str,
        now: SystemTime,
    ) -> Result<admin::RevokeKeyResponse, Error> {
        let changed = self.store.change(
            |store| {
                let mut record = find(store, id)?;
                who.within("id", &record.team_id, &teams::lineage(store, &record.team_id)?)?;
                check_not_declared(&record)?;
                if record.revoke_time.is_none() {
                    record.revoke_time = Some(now);
                    record.version = record.version.saturating_add(1);
                    keys::put(store, &record)?;
                }
                Ok(record)
            },
            |record| self.index.put(record),
        );
        changed.map(|_| admin::RevokeKeyResponse {}).map_err(Trouble::into_error)
    }

    pub(super) fn shown(&self, record: &Record) -> admin::Key {
        record.to_proto(self.index.last_use(record))
    }
}

fn find(store: &mut dyn Sql, id: &str) -> Result<Record, Trouble> {
    if id.is_empty() {
        return Err(Error::invalid("id", "the id of the key is required").into());
    }
    keys::by_id(store, id)?.ok_or_else(|| not_found(id).into())
}

/// Makes the error for a key that nobody made, or that the caller may not see.
pub(super) fn not_found(id: &str) -> Error {
    // Whoever pastes a whole key where its id belongs must not find it in a log.
    let is_id = id.len() == key::ID_LEN && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let shown = if is_id { id } else { "…" };
    let message = format!("there is no key with the id `{shown}`; ids are 12 letters and digits");
    Error::new(Reason::NotFound, message).with("id", shown)
}

/// Finds a key that may be changed: neither declared nor revoked.
fn find_own(store: &mut dyn Sql, id: &str) -> Result<Record, Trouble> {
    let record = find(store, id)?;
    check_not_declared(&record)?;
    if record.revoke_time.is_some() {
        let message = format!("the key `{}` is revoked, which is for good; make a new one", record.name);
        return Err(Error::invalid("id", message).into());
    }
    Ok(record)
}

fn check_not_declared(record: &Record) -> Result<(), Error> {
    if !record.declared {
        return Ok(());
    }
    let message = format!("the key `{}` is declared in the configuration; change it there", record.name);
    Err(Error::new(Reason::DeclaredInConfig, message).with("id", &record.id))
}

fn check_name_is_free(store: &mut dyn Sql, record: &Record) -> Result<(), Trouble> {
    let Some(other) = keys::named(store, &record.name, &record.id)? else { return Ok(()) };
    let message = format!("the name `{}` is taken by the key {other}; names are unique", record.name);
    Err(Error::invalid("key.name", message).into())
}
