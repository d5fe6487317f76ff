//! The RPCs of `KeyService`, `TeamService` and `BudgetService`, off the async threads. A call that is dropped half-way is done all the same.

use std::{sync::Arc, time::SystemTime};

use tollgate_api::admin;

use super::{Auth, Measured, Room, authority::Authority, budgets::About};
use crate::{
    call::{Caller, Rule},
    error::Error,
};

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
        self.run(caller, move |room, who, _| room.get(who, &request.id)).await
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
        self.run(caller, move |room, who, _| room.list(who, &request)).await
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
        self.run(caller, move |room, who, now| room.revoke(who, &request.id, now)).await
    }

    /// Makes a team.
    ///
    /// # Errors
    /// `SCOPE_DENIED`, `MODEL_NOT_ALLOWED`, `INVALID_REQUEST`, `ALREADY_EXISTS`, `STORE_UNAVAILABLE`.
    pub async fn create_team(
        &self,
        caller: &Caller,
        request: admin::CreateTeamRequest,
    ) -> Result<admin::CreateTeamResponse, Error> {
        self.run(caller, move |room, who, now| room.create_team(who, &request, now)).await
    }

    /// Returns one team.
    ///
    /// # Errors
    /// `SCOPE_DENIED`, `NOT_FOUND`, `STORE_UNAVAILABLE`.
    pub async fn get_team(
        &self,
        caller: &Caller,
        request: admin::GetTeamRequest,
    ) -> Result<admin::GetTeamResponse, Error> {
        self.run(caller, move |room, who, _| room.get_team(who, &request.id)).await
    }

    /// Lists the teams that the caller sees, by id.
    ///
    /// # Errors
    /// `SCOPE_DENIED`, `INVALID_REQUEST` for a bad page token or size, `STORE_UNAVAILABLE`.
    pub async fn list_teams(
        &self,
        caller: &Caller,
        request: admin::ListTeamsRequest,
    ) -> Result<admin::ListTeamsResponse, Error> {
        self.run(caller, move |room, who, _| room.list_teams(who, &request)).await
    }

    /// Changes the fields of a team that the mask names.
    ///
    /// # Errors
    /// `SCOPE_DENIED`, `MODEL_NOT_ALLOWED`, `INVALID_REQUEST`, `NOT_FOUND`, `ETAG_MISMATCH`, `DECLARED_IN_CONFIG`,
    /// `STORE_UNAVAILABLE`.
    pub async fn update_team(
        &self,
        caller: &Caller,
        request: admin::UpdateTeamRequest,
    ) -> Result<admin::UpdateTeamResponse, Error> {
        self.run(caller, move |room, who, _| room.update_team(who, &request)).await
    }

    /// Deletes a team that has neither keys nor teams.
    ///
    /// # Errors
    /// `SCOPE_DENIED`, `NOT_FOUND`, `TEAM_NOT_EMPTY`, `DECLARED_IN_CONFIG`, `STORE_UNAVAILABLE`.
    pub async fn delete_team(
        &self,
        caller: &Caller,
        request: admin::DeleteTeamRequest,
    ) -> Result<admin::DeleteTeamResponse, Error> {
        self.run(caller, move |room, who, _| room.delete_team(who, &request.id)).await
    }

    /// Returns the limits that a top-up or a reset is about, as they are counted.
    ///
    /// # Errors
    /// `SCOPE_DENIED`, `INVALID_REQUEST`, `NOT_FOUND`, `STORE_UNAVAILABLE`.
    pub async fn limits_of(
        &self,
        caller: &Caller,
        subject: String,
        metric: String,
        window: String,
    ) -> Result<Arc<[Arc<Rule>]>, Error> {
        let find = move |room: &Room, who: &Authority, _| {
            room.limits_of(who, About::read(&subject, &metric, &window)?)
        };
        self.run(caller, find).await
    }

    /// Raises a limit for the window that runs.
    ///
    /// # Errors
    /// As `limits_of`, and `REQUEST_ID_REUSED`.
    pub async fn top_up(
        &self,
        caller: &Caller,
        request: admin::TopUpRequest,
        measured: Measured,
    ) -> Result<admin::TopUpResponse, Error> {
        self.run(caller, move |room, who, now| room.top_up(who, &request, &measured, now)).await
    }

    /// Sets what was used in the window that runs to zero.
    ///
    /// # Errors
    /// As `limits_of`.
    pub async fn reset_usage(
        &self,
        caller: &Caller,
        request: admin::ResetUsageRequest,
        measured: Measured,
    ) -> Result<admin::ResetUsageResponse, Error> {
        self.run(caller, move |room, who, now| room.reset(who, &request, &measured, now)).await
    }

    /// Lists the top-ups and resets that the caller sees, the newest first.
    ///
    /// # Errors
    /// `SCOPE_DENIED`, `INVALID_REQUEST` for a bad page token or size, `STORE_UNAVAILABLE`.
    pub async fn list_adjustments(
        &self,
        caller: &Caller,
        request: admin::ListAdjustmentsRequest,
    ) -> Result<admin::ListAdjustmentsResponse, Error> {
        self.run(caller, move |room, who, _| room.list_adjustments(who, &request)).await
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
