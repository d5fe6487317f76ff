//! Virtual keys, for operators: make, list, change, rotate and revoke them.

use tollgate_api::admin::{
    CreateKeyRequest, CreateKeyResponse, GetKeyRequest, Key, ListKeysRequest, ListKeysResponse,
    RevokeKeyRequest, RotateKeyRequest, RotateKeyResponse, UpdateKeyRequest,
    key_service_client::KeyServiceClient,
};
use tonic::transport::Channel;

use crate::{
    builder::MAX_MESSAGE,
    client::Client,
    error::{Error, Result},
    retry::Repeat,
};

/// The calls of `KeyService`, which need the scope `admin`; made by [`Client::keys`]. A change is sent
/// again on the server's request only if it carries a `request_id`.
#[derive(Clone, Debug)]
pub struct Keys(Client);

impl Client {
    /// Returns the calls about keys.
    pub fn keys(&self) -> Keys {
        Keys(self.clone())
    }
}

fn stub(channel: Channel) -> KeyServiceClient<Channel> {
    KeyServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE)
}

impl Keys {
    /// Makes a key and returns it with its secret, which cannot be read again.
    pub async fn create(&self, request: CreateKeyRequest) -> Result<CreateKeyResponse> {
        let repeat = Repeat::with_request_id(&request.request_id);
        let response = self
            .0
            .send(repeat, request, |channel, request| async move { stub(channel).create_key(request).await })
            .await?;
        Ok(response.into_inner())
    }

    /// Returns one page of keys, oldest first.
    pub async fn list(&self, request: ListKeysRequest) -> Result<ListKeysResponse> {
        let response =
            self.0
                .send(Repeat::Safe, request, |channel, request| async move {
                    stub(channel).list_keys(request).await
                })
                .await?;
        Ok(response.into_inner())
    }

    /// Returns the keys of every page, those of one team if `team_id` is not empty.
    pub async fn list_all(&self, team_id: impl Into<String>) -> Result<Vec<Key>> {
        let mut request = ListKeysRequest { page_size: 1000, team_id: team_id.into(), ..Default::default() };
        let mut keys = Vec::new();
        loop {
            let page = self.list(request.clone()).await?;
            keys.extend(page.keys);
            if page.next_page_token.is_empty() || page.next_page_token == request.page_token {
                return Ok(keys);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Returns one key, without its secret.
    pub async fn get(&self, id: impl Into<String>) -> Result<Key> {
        let request = GetKeyRequest { id: id.into() };
        let response =
            self.0
                .send(Repeat::Safe, request, |channel, request| async move {
                    stub(channel).get_key(request).await
                })
                .await?;
        response.into_inner().key.ok_or_else(|| Error::incomplete("key"))
    }

    /// Changes the fields that the mask names, and returns the key as it is then.
    pub async fn update(&self, request: UpdateKeyRequest) -> Result<Key> {
        let response = self
            .0
            .send(Repeat::Never, request, |channel, request| async move {
                stub(channel).update_key(request).await
            })
            .await?;
        response.into_inner().key.ok_or_else(|| Error::incomplete("key"))
    }

    /// Gives a key a new secret and returns it, this one time.
    pub async fn rotate(&self, request: RotateKeyRequest) -> Result<RotateKeyResponse> {
        let repeat = Repeat::with_request_id(&request.request_id);
        let response = self
            .0
            .send(repeat, request, |channel, request| async move { stub(channel).rotate_key(request).await })
            .await?;
        Ok(response.into_inner())
    }

    /// Revokes a key for good.
    pub async fn revoke(&self, id: impl Into<String>) -> Result<()> {
        let request = RevokeKeyRequest { id: id.into() };
        self.0
            .send(Repeat::Never, request, |channel, request| async move {
                stub(channel).revoke_key(request).await
            })
            .await?;
        Ok(())
    }
}
