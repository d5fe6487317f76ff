//! The RPCs of `KeyService`, off the async threads. A call that is dropped half-way is done all the same.

use std::{sync::Arc, time::SystemTime};

use tollgate_api::admin;

use super::{Auth, Room, authority::Authority};
use crate::{call::Caller, error::Error};

impl Auth {
    /// Makes a key and returns its secret, this one time.
    ///
    /// # Errors
    /// `SCOPE_DENIED`, `MODEL_NOT_ALLOWED`, `INVALID_REQUEST`, `REQUEST_ID_REUSED`, `STORE_UNAVAILABLE`.
    pub async fn create_key(
        &self,
        caller: &Caller,
        request: admin::CreateKeyRequest,
    ) -> Result<admin::CreateKeyResponse, Error> {
        self.run(caller, move |room, who, now| room.create(who, &request, now)).await
    }

    /// Returns one key, revoked ones too, without its secret.
    ///
    /// # Errors
    /// `SCOPE_DENIED`, `NOT_FOUND`, `STORE_UNAVAILABLE`.
    pub async fn get_key(
        &self,
        caller: &Caller,
        request: admin::GetKeyRequest,
    ) -> Result<admin::GetKeyResponse, Error> {
        self.run(caller, move |room, _, _| room.get(&request.id)).await
    }

    /// Lists the keys that are not revoked, oldest first.
    ///
    /// # Errors
    /// `SCOPE_DENIED`, `INVALID_REQUEST` for a bad page token or size, `STORE_UNAVAILABLE`.
    pub async fn list_keys(
        &self,
        caller: &Caller,
        request: admin::ListKeysRequest,
    ) -> Result<admin::ListKeysResponse, Error> {
        self.run(caller, move |room, _, _| room.list(&request)).await
    }

    /// Changes the fields of a key that the mask names.
    ///
    /// # Errors
    /// `SCOPE_DENIED`, `MODEL_NOT_ALLOWED`, `INVALID_REQUEST`, `NOT_FOUND`, `ETAG_MISMATCH`, `DECLARED_IN_CONFIG`,
    /// `STORE_UNAVAILABLE`.
    pub async fn update_key(
        &self,
        caller: &Caller,
        request: admin::UpdateKeyRequest,
    ) -> Result<admin::UpdateKeyResponse, Error> {
        self.run(caller, move |room, who, now| room.update(who, &request, now)).await
    }

    /// Gives a key a new secret and returns it, this one time.
    ///
    /// # Errors
    /// As `update_key`, without `ETAG_MISMATCH`, and `REQUEST_ID_REUSED`.
    pub async fn rotate_key(
        &self,
        caller: &Caller,
        request: admin::RotateKeyRequest,
    ) -> Result<admin::RotateKeyResponse, Error> {
        self.run(caller, move |room, who, now| room.rotate(who, &request, now)).await
    }

    /// Revokes a key for good, from the next call on; again is fine.
    ///
    /// # Errors
    /// `SCOPE_DENIED`, `NOT_FOUND`, `DECLARED_IN_CONFIG`, `STORE_UNAVAILABLE`.
    pub async fn revoke_key(
        &self,
        caller: &Caller,
        request: admin::RevokeKeyRequest,
    ) -> Result<admin::RevokeKeyResponse, Error> {
        self.run(caller, move |room, _, now| room.revoke(&request.id, now)).await
    }

    /// Runs `work` where it may block.
    async fn run<T: Send + 'static>(
        &self,
        caller: &Caller,
        work: impl FnOnce(&Room, &Authority, SystemTime) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let room = Arc::clone(&self.room);
        let who = Authority::of(caller, &room.index)?;
        tokio::task::spawn_blocking(move || work(&room, &who, SystemTime::now()))
            .await
            .map_err(|_| Error::internal("a task of the key store failed"))?
    }
}
