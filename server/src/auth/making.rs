//! How a key gets its secret: drawn once, given once, and given again to who repeats the same request.

use std::time::{Duration, SystemTime};

use prost::Message as _;
use secrecy::{ExposeSecret as _, SecretString, zeroize::Zeroizing};
use tollgate_api::admin;

use super::{
    Room,
    authority::Authority,
    check, key,
    pepper::Hash,
    record::{Record, from_micros, to_micros},
    store::{
        Sql, Trouble, keys,
        requests::{self, Done},
    },
};
use crate::{
    call::{Scope, Scopes, check_request_id},
    error::{Error, Reason},
};

/// How long a request with an id is answered as it was the first time.
const REPEATS: Duration = Duration::from_mins(10);
/// A key that was just made or rotated, or the repeated answer of one that was.
pub(super) struct Made {
    record: Option<Record>,
    pub(super) key: admin::Key,
    pub(super) secret: SecretString,
}

impl Room {
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
                record.scopes = Scope::ALL.into_iter().collect();
                let (_, secret) = self.give_secret(&mut record)?;
                keys::put(store, &record)?;
                Ok(Some((record, secret)))
            },
            |made| made.iter().for_each(|(record, _)| self.index.put(record)),
        );
        done.map(|made| made.map(|(_, secret)| secret)).map_err(Trouble::into_message)
    }

    /// Writes a record with a new secret, or answers a repeated request as it was answered the first time.
    pub(super) fn make(
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
}

/// Reads a key that is about to be made. Its secret comes later.
pub(super) fn new_record(wanted: &admin::Key, created_by: &str, now: SystemTime) -> Result<Record, Error> {
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

/// Encodes what CreateKey was asked for, the same for the same request: maps have no order, and fields that are
/// ignored do not count.
pub(super) fn create_bytes(wanted: &admin::Key) -> Vec<u8> {
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
