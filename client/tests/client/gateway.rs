//! A gateway of the contract's services whose answers a test sets, and that remembers what came.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
};

use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::{
    Stream,
    wrappers::{ReceiverStream, TcpListenerStream},
};
use tollgate_client::api::{
    admin,
    admin::{config_service_server as config, key_service_server as keys},
    v1,
    v1::*,
};
use tonic::{Request, Response, Status, metadata::MetadataMap, transport::Server};

type Events<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;

/// What a test sets and what was seen.
#[derive(Default)]
struct State {
    calls: Vec<(&'static str, MetadataMap)>,
    failures: VecDeque<Status>,
    chat: Option<mpsc::Receiver<Result<StreamCompleteResponse, Status>>>,
    records: Option<mpsc::Receiver<Result<WatchUsageResponse, Status>>>,
    asked: Option<ChatInput>,
    explained: Option<ExplainRouteRequest>,
    updated: Option<admin::UpdateKeyRequest>,
}

/// A running gateway.
#[derive(Clone)]
pub(crate) struct Gateway {
    addr: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Gateway {
    /// Starts one on a free port of the loopback; it ends with the test's runtime.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gateway = Self { addr: listener.local_addr().unwrap(), state: Arc::default() };
        let (health, health_service) = tonic_health::server::health_reporter();
        health.set_service_status("", tonic_health::ServingStatus::Serving).await;
        let server = Server::builder()
            .add_service(health_service)
            .add_service(chat_service_server::ChatServiceServer::new(gateway.clone()))
            .add_service(model_service_server::ModelServiceServer::new(gateway.clone()))
            .add_service(usage_service_server::UsageServiceServer::new(gateway.clone()))
            .add_service(keys::KeyServiceServer::new(gateway.clone()))
            .add_service(config::ConfigServiceServer::new(gateway.clone()));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        gateway
    }

    pub(crate) fn addr(&self) -> String {
        self.addr.to_string()
    }

    /// Lets the next calls fail, in order.
    pub(crate) fn fail(&self, failures: impl IntoIterator<Item = Status>) {
        self.state.lock().unwrap().failures.extend(failures);
    }

    /// Returns the sender of the next streamed answer; it is closed when the call is cancelled.
    pub(crate) fn chat_stream(&self) -> mpsc::Sender<Result<StreamCompleteResponse, Status>> {
        let (sender, receiver) = mpsc::channel(8);
        self.state.lock().unwrap().chat = Some(receiver);
        sender
    }

    /// Returns the sender of the next watch.
    pub(crate) fn record_stream(&self) -> mpsc::Sender<Result<WatchUsageResponse, Status>> {
        let (sender, receiver) = mpsc::channel(8);
        self.state.lock().unwrap().records = Some(receiver);
        sender
    }

    /// Returns the values of one metadata key, one per call that came.
    pub(crate) fn metadata(&self, name: &str) -> Vec<Option<String>> {
        let state = self.state.lock().unwrap();
        let text = |map: &MetadataMap| map.get(name).map(|value| value.to_str().unwrap().to_owned());
        state.calls.iter().map(|(_, metadata)| text(metadata)).collect()
    }

    /// Returns the names of the calls that came.
    pub(crate) fn calls(&self) -> Vec<&'static str> {
        self.state.lock().unwrap().calls.iter().map(|(name, _)| *name).collect()
    }

    /// Returns what the last chat asked.
    pub(crate) fn asked(&self) -> ChatInput {
        self.state.lock().unwrap().asked.clone().unwrap()
    }

    /// Returns what the last explanation was asked of.
    pub(crate) fn explained(&self) -> ExplainRouteRequest {
        self.state.lock().unwrap().explained.clone().unwrap()
    }

    /// Returns the last change of a key.
    pub(crate) fn updated(&self) -> admin::UpdateKeyRequest {
        self.state.lock().unwrap().updated.clone().unwrap()
    }

    /// Notes a call, and fails it if a test wants that.
    fn arrive<M>(&self, name: &'static str, request: Request<M>) -> Result<M, Status> {
        let (metadata, _, message) = request.into_parts();
        let mut state = self.state.lock().unwrap();
        state.calls.push((name, metadata));
        match state.failures.pop_front() {
            Some(status) => Err(status),
            None => Ok(message),
        }
    }
}

/// Makes an event of a stream.
pub(crate) fn event(event: stream_complete_response::Event) -> Result<StreamCompleteResponse, Status> {
    Ok(StreamCompleteResponse { event: Some(event), ..Default::default() })
}

/// Makes the event of some text.
pub(crate) fn text(text: &str) -> Result<StreamCompleteResponse, Status> {
    event(stream_complete_response::Event::Text(TextDelta { text: text.into(), ..Default::default() }))
}

/// Makes the events that end an answer.
pub(crate) fn ending() -> [Result<StreamCompleteResponse, Status>; 3] {
    use stream_complete_response::Event;
    let stop = ChoiceEnd { finish_reason: FinishReason::Stop.into(), ..Default::default() };
    let cost = Cost { amount_nanos: 1500, ..Default::default() };
    let usage = Usage {
        input_tokens: Some(3),
        output_tokens: Some(2),
        r#final: true,
        cost: Some(cost),
        ..Default::default()
    };
    [
        event(Event::ChoiceEnd(Box::new(stop))),
        event(Event::Usage(Box::new(usage))),
        event(Event::End(Box::default())),
    ]
}

/// Makes the event that begins an answer.
pub(crate) fn start() -> Result<StreamCompleteResponse, Status> {
    let start = StreamStart { id: "call-1".into(), model: "echo".into(), ..Default::default() };
    event(stream_complete_response::Event::Start(Box::new(start)))
}

/// Makes a key with an etag.
pub(crate) fn key() -> admin::Key {
    admin::Key {
        id: "AAAAAAAAAAAA".into(),
        name: "old".into(),
        scopes: vec!["chat".into()],
        etag: "v1".into(),
        ..Default::default()
    }
}

#[tonic::async_trait]
impl chat_service_server::ChatService for Gateway {
    async fn complete(
        &self,
        request: Request<CompleteRequest>,
    ) -> Result<Response<CompleteResponse>, Status> {
        let input = self.arrive("Complete", request)?.input.unwrap_or_default();
        let message = input.messages.last().cloned();
        self.state.lock().unwrap().asked = Some(input);
        let choice = Choice { message, finish_reason: FinishReason::Stop.into(), ..Default::default() };
        let answer = CompleteResponse { id: "call-1".into(), choices: vec![choice], ..Default::default() };
        Ok(Response::new(answer))
    }

    type StreamCompleteStream = Events<StreamCompleteResponse>;

    async fn stream_complete(
        &self,
        request: Request<StreamCompleteRequest>,
    ) -> Result<Response<Self::StreamCompleteStream>, Status> {
        let request = self.arrive("StreamComplete", request)?;
        let mut state = self.state.lock().unwrap();
        state.asked = request.input;
        let events = state.chat.take().ok_or_else(|| Status::internal("no stream is set"))?;
        Ok(Response::new(Box::pin(ReceiverStream::new(events))))
    }

    async fn count_tokens(
        &self,
        _: Request<CountTokensRequest>,
    ) -> Result<Response<CountTokensResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn explain_route(
        &self,
        request: Request<ExplainRouteRequest>,
    ) -> Result<Response<ExplainRouteResponse>, Status> {
        let request = self.arrive("ExplainRoute", request)?;
        self.state.lock().unwrap().explained = Some(request);
        let candidate =
            RouteCandidate { target: "a/m".into(), rank: 1, eligible: true, ..Default::default() };
        let strategy = "ordered".to_owned();
        Ok(Response::new(ExplainRouteResponse {
            candidates: vec![candidate],
            strategy,
            ..Default::default()
        }))
    }
}

#[tonic::async_trait]
impl model_service_server::ModelService for Gateway {
    async fn list_models(
        &self,
        request: Request<ListModelsRequest>,
    ) -> Result<Response<ListModelsResponse>, Status> {
        let request = self.arrive("ListModels", request)?;
        // Two pages of one model each.
        let (name, next_page_token) = if request.page_token.is_empty() { ("a", "2") } else { ("b", "") };
        let models = vec![Model { name: name.into(), ..Default::default() }];
        Ok(Response::new(ListModelsResponse { models, next_page_token: next_page_token.into() }))
    }

    async fn get_model(&self, _: Request<GetModelRequest>) -> Result<Response<GetModelResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

#[tonic::async_trait]
impl usage_service_server::UsageService for Gateway {
    async fn query_usage(
        &self,
        request: Request<QueryUsageRequest>,
    ) -> Result<Response<QueryUsageResponse>, Status> {
        let request = self.arrive("QueryUsage", request)?;
        let (model, next) = if request.page_token.is_empty() { ("a", "2") } else { ("b", "") };
        let group = request.group_by.iter().map(|name| (name.clone(), model.to_owned())).collect();
        let rows = vec![UsageRow { group, request_count: 600, ..Default::default() }];
        Ok(Response::new(QueryUsageResponse { rows, next_page_token: next.into() }))
    }

    async fn list_usage_records(
        &self,
        request: Request<ListUsageRecordsRequest>,
    ) -> Result<Response<ListUsageRecordsResponse>, Status> {
        let request = self.arrive("ListUsageRecords", request)?;
        let page: u32 = request.page_token.parse().unwrap_or(0);
        let record = |id: u32| UsageRecord { id: format!("record-{id}"), ..Default::default() };
        let records = vec![record(2 * page), record(2 * page + 1)];
        Ok(Response::new(ListUsageRecordsResponse { records, next_page_token: (page + 1).to_string() }))
    }

    async fn get_usage_record(
        &self,
        request: Request<GetUsageRecordRequest>,
    ) -> Result<Response<GetUsageRecordResponse>, Status> {
        let id = self.arrive("GetUsageRecord", request)?.id;
        Ok(Response::new(GetUsageRecordResponse { record: Some(UsageRecord { id, ..Default::default() }) }))
    }

    async fn get_quota(
        &self,
        request: Request<v1::GetQuotaRequest>,
    ) -> Result<Response<GetQuotaResponse>, Status> {
        self.arrive("GetQuota", request)?;
        Ok(Response::new(GetQuotaResponse { quotas: vec![quota()] }))
    }

    type WatchUsageStream = Events<WatchUsageResponse>;

    async fn watch_usage(
        &self,
        request: Request<WatchUsageRequest>,
    ) -> Result<Response<Self::WatchUsageStream>, Status> {
        self.arrive("WatchUsage", request)?;
        let records = self.state.lock().unwrap().records.take();
        let records = records.ok_or_else(|| Status::unimplemented("no watch is set"))?;
        Ok(Response::new(Box::pin(ReceiverStream::new(records))))
    }

    type WatchQuotaStream = Events<WatchQuotaResponse>;

    async fn watch_quota(
        &self,
        request: Request<WatchQuotaRequest>,
    ) -> Result<Response<Self::WatchQuotaStream>, Status> {
        let passed = request.get_ref().thresholds.clone();
        self.arrive("WatchQuota", request)?;
        let passed =
            passed.into_iter().map(|threshold| Ok(WatchQuotaResponse { quota: Some(quota()), threshold }));
        Ok(Response::new(Box::pin(tokio_stream::iter(passed))))
    }
}

/// A limit of which 60 of 100 are used.
fn quota() -> Quota {
    let (subject, metric, window) = ("team:search".into(), "tokens".into(), "minute".into());
    Quota { subject, metric, window, limit: 100, used: 60, reserved_amount: 10, ..Default::default() }
}

#[tonic::async_trait]
impl config::ConfigService for Gateway {
    async fn get_status(
        &self,
        request: Request<admin::GetStatusRequest>,
    ) -> Result<Response<admin::GetStatusResponse>, Status> {
        self.arrive("GetStatus", request)?;
        let state = admin::target_status::State::Open.into();
        let target = admin::TargetStatus { target: "a/m".into(), state, ..Default::default() };
        let config_hash = "c0ffee".to_owned();
        Ok(Response::new(admin::GetStatusResponse {
            config_hash,
            targets: vec![target],
            ..Default::default()
        }))
    }
}

#[tonic::async_trait]
impl keys::KeyService for Gateway {
    async fn create_key(
        &self,
        request: Request<admin::CreateKeyRequest>,
    ) -> Result<Response<admin::CreateKeyResponse>, Status> {
        let key = self.arrive("CreateKey", request)?.key;
        Ok(Response::new(admin::CreateKeyResponse { key, secret: "tg_AAAAAAAAAAAA_new".into() }))
    }

    async fn get_key(
        &self,
        request: Request<admin::GetKeyRequest>,
    ) -> Result<Response<admin::GetKeyResponse>, Status> {
        self.arrive("GetKey", request)?;
        Ok(Response::new(admin::GetKeyResponse { key: Some(key()) }))
    }

    async fn list_keys(
        &self,
        request: Request<admin::ListKeysRequest>,
    ) -> Result<Response<admin::ListKeysResponse>, Status> {
        self.arrive("ListKeys", request)?;
        Ok(Response::new(admin::ListKeysResponse { keys: vec![key()], ..Default::default() }))
    }

    async fn update_key(
        &self,
        request: Request<admin::UpdateKeyRequest>,
    ) -> Result<Response<admin::UpdateKeyResponse>, Status> {
        let request = self.arrive("UpdateKey", request)?;
        let key = request.key.clone();
        self.state.lock().unwrap().updated = Some(request);
        Ok(Response::new(admin::UpdateKeyResponse { key }))
    }

    async fn rotate_key(
        &self,
        request: Request<admin::RotateKeyRequest>,
    ) -> Result<Response<admin::RotateKeyResponse>, Status> {
        self.arrive("RotateKey", request)?;
        Ok(Response::new(admin::RotateKeyResponse {
            key: Some(key()),
            secret: "tg_AAAAAAAAAAAA_next".into(),
        }))
    }

    async fn revoke_key(
        &self,
        request: Request<admin::RevokeKeyRequest>,
    ) -> Result<Response<admin::RevokeKeyResponse>, Status> {
        self.arrive("RevokeKey", request)?;
        Ok(Response::new(admin::RevokeKeyResponse {}))
    }
}
