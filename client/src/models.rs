//! The models that the key may use.

use tollgate_api::v1::{GetModelRequest, ListModelsRequest, Model, model_service_client::ModelServiceClient};

use crate::{builder::MAX_MESSAGE, client::Client, error::Result, retry::Repeat};

impl Client {
    /// Lists every model that the key may use, ordered by name.
    pub async fn models(&self) -> Result<Vec<Model>> {
        let mut request = ListModelsRequest { page_size: 1000, ..ListModelsRequest::default() };
        let mut models = Vec::new();
        loop {
            let page = self
                .send(Repeat::Safe, request.clone(), |channel, request| async move {
                    ModelServiceClient::new(channel)
                        .max_decoding_message_size(MAX_MESSAGE)
                        .list_models(request)
                        .await
                })
                .await?
                .into_inner();
            models.extend(page.models);
            // A token that comes back unchanged would go round for ever.
            if page.next_page_token.is_empty() || page.next_page_token == request.page_token {
                return Ok(models);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Returns one model by its name or an alias of it.
    pub async fn model(&self, name: impl Into<String>) -> Result<Option<Model>> {
        let request = GetModelRequest { name: name.into() };
        let response = self
            .send(Repeat::Safe, request, |channel, request| async move {
                ModelServiceClient::new(channel).get_model(request).await
            })
            .await?;
        Ok(response.into_inner().model)
    }
}
