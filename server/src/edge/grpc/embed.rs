//! `EmbedService`: vectors for texts.

use futures_util::StreamExt as _;
use tollgate_api::v1::{self, embed_service_server::EmbedService};
use tonic::{Request, Response, Status};

use super::{Services, Told, access, chat::fingerprint, status::to_call_status, validate};
use crate::{
    call::{Asked, Item, Payload, Request as Wanted},
    edge::{MAX_END_USER, arrival, cut},
    error::{Error, Reason},
};

#[tonic::async_trait]
impl EmbedService for Services {
    async fn embed(&self, request: Request<v1::EmbedRequest>) -> Result<Response<v1::EmbedResponse>, Status> {
        let mut open = access::opened(request.extensions())?;
        let mut message = request.into_inner();
        let id = open.call.id.to_string();
        fingerprint(&mut open.call, "tollgate.v1.EmbedRequest", &message, message.options.as_ref());
        let told = |error: Error| to_call_status(&error, &id);
        let options = message.options.take();
        open.call.asked = asked(&message);
        let checked = validate::options(options.as_ref())
            .and_then(|()| arrival::take_options(&mut open.call, options))
            .and_then(|()| validate::embed(&message));
        if let Err(error) = checked {
            return Err(told(open.refuse(error)));
        }
        let pipeline = self.edge.pipeline.clone();
        let mut reply =
            Box::pin(pipeline.run(open, Wanted::Embed(Payload::typed(message)))).await.map_err(told)?;
        let mut answer = None;
        while let Some(item) = reply.items.next().await {
            if let Item::Embeddings(vectors) = item.map_err(told)? {
                answer = Some(*vectors);
            }
        }
        let missing = || told(Error::new(Reason::UpstreamBadResponse, "the answer holds no embeddings"));
        let mut response = Response::new(answer.ok_or_else(missing)?);
        Told::of(&id, &reply).write(&mut response);
        Ok(response)
    }
}

fn asked(message: &v1::EmbedRequest) -> Asked {
    Asked {
        model: message.model.chars().take(validate::MAX_MODEL).collect(),
        usage_wanted: true,
        input_bytes: validate::embed_bytes(message),
        end_user_id: cut(message.end_user_id.clone(), MAX_END_USER),
        needs: crate::call::Needs::default(),
        ..Asked::default()
    }
}
