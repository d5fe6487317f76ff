//! `ChatService`: completions, whole or as a stream.

use futures_util::{StreamExt as _, future::BoxFuture, stream::BoxStream};
use tollgate_api::v1::{self, chat_service_server::ChatService};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{
    Services, Told, access, needs,
    status::{to_call_status, to_status},
    stream::{Message, Messages, Shape},
    validate,
};
use crate::{
    call::{Asked, Call, Fingerprint, Item, Payload, Reply, Request as Wanted},
    edge::{MAX_END_USER, arrival, cut, explain::explain, fold::fold, proto_json},
    error::{Error, Reason},
    meter::Open,
};

#[tonic::async_trait]
impl ChatService for Services {
    type StreamCompleteStream = BoxStream<'static, Message>;

    async fn complete(
        &self,
        request: Request<v1::CompleteRequest>,
    ) -> Result<Response<v1::CompleteResponse>, Status> {
        let mut open = access::opened(request.extensions())?;
        let message = request.into_inner();
        let id = open.call.id.to_string();
        fingerprint(&mut open.call, "tollgate.v1.CompleteRequest", &message, message.options.as_ref());
        let (open, input) = begin(open, message.input, message.options, Ok(()))?;
        let told = |error: Error| to_call_status(&error, &id);
        let mut reply = self.run(open, Wanted::Chat(Payload::typed(input))).await.map_err(told)?;
        let items = std::mem::replace(&mut reply.items, Box::pin(futures_util::stream::empty()));
        let mut response = Response::new(fold(items).await.map_err(told)?);
        Told::of(&id, &reply).write(&mut response);
        Ok(response)
    }

    async fn stream_complete(
        &self,
        request: Request<v1::StreamCompleteRequest>,
    ) -> Result<Response<Self::StreamCompleteStream>, Status> {
        let mut open = access::opened(request.extensions())?;
        let message = request.into_inner();
        let id = open.call.id.to_string();
        fingerprint(&mut open.call, "tollgate.v1.StreamCompleteRequest", &message, message.options.as_ref());
        let shape = Shape::new(message.stream);
        let wanted = shape.clone().map(|_| ());
        let (open, input) = begin(open, message.input, message.options, wanted)?;
        let told = |error: Error| to_call_status(&error, &id);
        let mut reply = self.run(open, Wanted::Chat(Payload::typed(input))).await.map_err(told)?;
        let items = std::mem::replace(&mut reply.items, Box::pin(futures_util::stream::empty()));
        let messages = Messages::new(items, id.clone(), shape.map_err(told)?);
        // The outermost is followed: it reads ahead, and what is within it would seem to have a reader that waits.
        let messages = self.readers.follow(Box::pin(messages), reply.deadline);
        let mut response = Response::new(messages);
        Told::of(&id, &reply).write(&mut response);
        // Ten-byte messages do not get smaller, and their sizes tell secrets.
        response.disable_compression();
        Ok(response)
    }

    async fn count_tokens(
        &self,
        request: Request<v1::CountTokensRequest>,
    ) -> Result<Response<v1::CountTokensResponse>, Status> {
        let mut open = access::opened(request.extensions())?;
        let message = request.into_inner();
        let id = open.call.id.to_string();
        fingerprint(&mut open.call, "tollgate.v1.CountTokensRequest", &message, None);
        let (open, input) = begin(open, message.input, None, Ok(()))?;
        let told = |error: Error| to_call_status(&error, &id);
        let mut reply = self.run(open, Wanted::CountTokens(Payload::typed(input))).await.map_err(told)?;
        let mut counted = None;
        while let Some(item) = reply.items.next().await {
            if let Item::Counted(count) = item.map_err(told)? {
                counted = Some(*count);
            }
        }
        let missing = || told(Error::new(Reason::UpstreamBadResponse, "the answer holds no count"));
        let mut response = Response::new(counted.ok_or_else(missing)?);
        Told::of(&id, &reply).write(&mut response);
        Ok(response)
    }

    async fn explain_route(
        &self,
        request: Request<v1::ExplainRouteRequest>,
    ) -> Result<Response<v1::ExplainRouteResponse>, Status> {
        let caller = access::caller(request.extensions())?;
        let (metadata, _, message) = request.into_parts();
        let explained = explain(&self.edge, caller, metadata.as_ref(), message);
        explained.map(Response::new).map_err(|error| to_status(&error))
    }
}

impl Services {
    /// Sends a checked call on its way; boxed because the handler's future would hold all of it otherwise.
    fn run(&self, open: Open, wanted: Wanted) -> BoxFuture<'static, Result<Reply, Error>> {
        let pipeline = self.edge.pipeline.clone();
        Box::pin(async move { pipeline.run(open, wanted).await })
    }
}

/// Takes the fingerprint of a message, if the call is to be made once.
pub(super) fn fingerprint(
    call: &mut Call,
    name: &str,
    message: &impl prost::Message,
    options: Option<&v1::CallOptions>,
) {
    let by_message = options.is_some_and(|options| !options.request_id.is_empty());
    if by_message || !call.options.request_id.is_empty() {
        let written = proto_json::canonical(name, message).ok();
        call.fingerprint = written.map(|written| Fingerprint::of(&[name.as_bytes(), &written]));
    }
}

/// Checks a call's message and fills in what the rooms need to know of it. A refusal is recorded.
fn begin(
    mut open: Open,
    input: Option<v1::ChatInput>,
    options: Option<v1::CallOptions>,
    wanted: Result<(), Error>,
) -> Result<(Open, v1::ChatInput), Status> {
    let id = open.call.id;
    match wanted.and_then(|()| prepare(&mut open.call, input, options)) {
        Ok(input) => Ok((open, input)),
        Err(error) => Err(refuse(open, id, &error)),
    }
}

/// Checks what is asked and fills in what the rooms need to know of it.
///
/// # Errors
/// Why the message cannot be accepted, with the path of the field.
pub(in crate::edge) fn prepare(
    call: &mut Call,
    input: Option<v1::ChatInput>,
    options: Option<v1::CallOptions>,
) -> Result<v1::ChatInput, Error> {
    let input = input.ok_or_else(|| Error::invalid("input", "input is required"))?;
    call.asked = asked(&input, call.asked.streamed);
    validate::options(options.as_ref())?;
    arrival::take_options(call, options)?;
    validate::chat(&input)?;
    Ok(input)
}

fn refuse(open: Open, id: Uuid, error: &Error) -> Status {
    to_call_status(&open.refuse(error.clone()), &id.to_string())
}

fn asked(input: &v1::ChatInput, streamed: bool) -> Asked {
    Asked {
        model: input.model.chars().take(validate::MAX_MODEL).collect(),
        streamed,
        usage_wanted: true,
        max_output_tokens: input.max_output_tokens,
        choice_count: input.choice_count.map_or(1, i64::from),
        input_bytes: validate::text_bytes(input),
        end_user_id: cut(input.end_user_id.clone(), MAX_END_USER),
        needs: needs::of(input),
    }
}
