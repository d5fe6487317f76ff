//! What `tollgate.admin.v1.KeyService` does, without the wire. Every method blocks on the disk; a change is durable
//! and known to `authenticate` before it is answered.

use std::time::{Duration, SystemTime};

use prost::Message as _;
use secrecy::{ExposeSecret as _, SecretString, zeroize::Zeroizing};
use tollgate_api::admin;

use super::{
    Room,
    authority::Authority,
    check, key, mask, page,
    pepper::Hash,
    record::{OldSecret, Record, from_micros, to_micros},
    store::{
        Sql, Trouble, keys,
        requests::{self, Done},
        teams,
    },
};
use crate::{
    call::{Scopes, check_request_id},
    error::{Error, Reason},
};

/// How long a request with an id is answered as it was the first time.
const REPEATS: Duration = Duration::from_mins(10);
/// How long the old secret may work beside the new one.
const LONGEST_OVERLAP: Duration = Duration::from_hours(90 * 24);

/// A key that was just made or rotated, or the repeated answer of one that was.
struct Made {
    record: Option<Record>,
    key: admin::Key,
    secret: SecretString,
}

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

    /// Makes the key of the first start, if there is no key and never was.
    ///
    /// # Errors
    /// A message for the operator.
    pub(super) fn create_first(&self, now: SystemTime) -> Result<Option<SecretString>, String> {
        let done = self.store.change(
            |store| {
                if keys::any(store)? {
                    return Ok(None);
                }
                let wanted = admin::Key { name: "first-start".to_owned(), ..Default::default() };
                let mut record = new_record(&wanted, "first-start", now)?;
                // It can hand on every scope, since nobody can give what they do not have.
                record.scopes = crate::call::Scope::ALL.into_iter().collect();
                let (_, secret) = self.give_secret(&mut record)?;
                keys::put(store, &record)?;
                Ok(Some((record, secret)))
            },
            |made| made.iter().for_each(|(record, _)| self.index.put(record)),
        );
        done.map(|made| made.map(|(_, secret)| secret)).map_err(Trouble::into_message)
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

    /// Writes a record with a new secret, or answers a repeated request as it was answered the first time.
    fn make(
        &self,
        who: &Authority,
        request_id: &str,
        fingerprint: Hash,
        now: SystemTime,
        prepare: impl FnOnce(&mut dyn Sql) -> Result<Record, Trouble>,
    ) -> Result<Made, Error> {
        check_request_id("request_id", request_id)?;
        let made = self.store.change(
            |store| {
                if !request_id.is_empty()
                    && let Some(done) = requests::done(store, &who.key_id, request_id, now)?
                {
                    return self.repeat(&done, &fingerprint);
                }
                let mut record = prepare(store)?;
                let (nonce, secret) = self.give_secret(&mut record)?;
                keys::put(store, &record)?;
                let key = self.shown(&record);
                if !request_id.is_empty() {
                    let done = Done { fingerprint, nonce, key: key.encode_to_vec() };
                    requests::remember(store, (&who.key_id, request_id), &done, now, now + REPEATS)?;
                }
                Ok(Made { record: Some(record), key, secret })
            },
            |made| made.record.iter().for_each(|record| self.index.put(record)),
        );
        made.map_err(Trouble::into_error)
    }

    /// Answers a request again. The secret is not stored: nonce and pepper give it once more.
    fn repeat(&self, done: &Done, fingerprint: &Hash) -> Result<Made, Trouble> {
        if done.fingerprint != *fingerprint {
            let message = "this request_id was used for a different request; use a new one";
            return Err(Error::new(Reason::RequestIdReused, message).into());
        }
        let key = admin::Key::decode(done.key.as_slice())
            .map_err(|_| Error::internal("the answer of the first request cannot be read"))?;
        let secret = key::mint(&key.id, self.pepper()?.stretch(&done.nonce));
        Ok(Made { record: None, key, secret })
    }

    /// Draws a new secret for a key, and returns it with the nonce that gives it.
    fn give_secret(&self, record: &mut Record) -> Result<(Zeroizing<[u8; 32]>, SecretString), Error> {
        let mut nonce = Zeroizing::new([0; 32]);
        getrandom::fill(nonce.as_mut_slice()).map_err(|error| no_random(&error))?;
        let secret = key::mint(&record.id, self.pepper()?.stretch(&nonce));
        record.hash = self.pepper()?.hash(secret.expose_secret());
        record.hint = key::hint(secret.expose_secret());
        Ok((nonce, secret))
    }

    fn shown(&self, record: &Record) -> admin::Key {
        record.to_proto(self.index.last_use(record))
    }
}

/// Reads a key that is about to be made. Its secret comes later.
fn new_record(wanted: &admin::Key, created_by: &str, now: SystemTime) -> Result<Record, Error> {
    check::name("key.name", &wanted.name)?;
    check::team("key.team_id", &wanted.team_id)?;
    check::models("key.allowed_models", &wanted.allowed_models)?;
    check::limits("key.limits", &wanted.limits)?;
    let default_tags = check::tags("key.default_tags", wanted.default_tags.clone())?;
    let scopes = check::scopes("key.scopes", &wanted.scopes)?;
    let expire_time =
        wanted.expire_time.as_ref().map(|time| check::time("key.expire_time", time)).transpose()?;
    if let Some(at) = expire_time {
        check::in_future("key.expire_time", at, now)?;
    }
    Ok(Record {
        id: key::new_id().map_err(|error| no_random(&error))?,
        name: wanted.name.clone(),
        hash: [0; 32],
        old: None,
        hint: String::new(),
        team_id: wanted.team_id.clone(),
        scopes: if wanted.scopes.is_empty() { Scopes::DEFAULT } else { scopes },
        allowed_models: wanted.allowed_models.clone(),
        limits: wanted.limits.clone(),
        default_tags,
        create_time: from_micros(to_micros(now)),
        expire_time,
        last_use: 0,
        disabled: wanted.disabled,
        revoke_time: None,
        created_by: created_by.to_owned(),
        declared: false,
        version: 1,
        priority: check::priority("key.priority", wanted.priority)?,
    })
}

fn find(store: &mut dyn Sql, id: &str) -> Result<Record, Trouble> {
    if id.is_empty() {
        return Err(Error::invalid("id", "the id of the key is required").into());
    }
    keys::by_id(store, id)?.ok_or_else(|| not_found(id).into())
}

fn not_found(id: &str) -> Error {
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

/// Encodes what CreateKey was asked for, the same for the same request: maps have no order, and fields that are
/// ignored do not count.
fn create_bytes(wanted: &admin::Key) -> Vec<u8> {
    let mut tags: Vec<_> = wanted.default_tags.iter().collect();
    tags.sort_unstable();
    let plain = admin::Key {
        name: wanted.name.clone(),
        team_id: wanted.team_id.clone(),
        scopes: wanted.scopes.clone(),
        allowed_models: wanted.allowed_models.clone(),
        limits: wanted.limits.clone(),
        expire_time: wanted.expire_time,
        disabled: wanted.disabled,
        priority: wanted.priority,
        ..Default::default()
    };
    let mut bytes = b"create".to_vec();
    bytes.extend(plain.encode_length_delimited_to_vec());
    for part in tags.into_iter().flat_map(|(key, value)| [key, value]) {
        bytes.extend((part.len() as u64).to_be_bytes());
        bytes.extend(part.as_bytes());
    }
    bytes
}

fn no_random(error: &getrandom::Error) -> Error {
    tracing::error!(%error, "the system has no random numbers");
    Error::internal("the system has no random numbers to make a key of")
}
