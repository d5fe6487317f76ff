//! How the gateway is, for operators.

use tollgate_api::admin::{GetStatusRequest, GetStatusResponse, config_service_client::ConfigServiceClient};

use crate::{builder::MAX_MESSAGE, client::Client, error::Result, retry::Repeat};

impl Client {
    /// Returns how the replica that answers is: its targets, its load, its stores. Needs the scope `admin`.
    pub async fn status(&self) -> Result<GetStatusResponse> {
        let response = self
            .send(Repeat::Safe, GetStatusRequest {}, |channel, request| async move {
                ConfigServiceClient::new(channel)
                    .max_decoding_message_size(MAX_MESSAGE)
                    .get_status(request)
                    .await
            })
            .await?;
        Ok(response.into_inner())
    }
}
