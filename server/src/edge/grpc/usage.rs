//! `UsageService`: `meter` and `quota` do the work.

use std::time::Duration;

use futures_util::{StreamExt as _, stream, stream::BoxStream};
use tollgate_api::v1::{self, usage_service_server::UsageService};
use tonic::{Request, Response, Status};

use super::{Services, access, status::to_status};
use crate::{
    edge::arrival,
    error::{Error, Reason},
};

macro_rules! delegate {
    ($self:ident, $request:ident, $method:ident) => {{
        let caller = access::caller($request.extensions())?;
        let done = $self.edge.pipeline.meter.$method(&caller, $request.into_inner()).await;
        done.map(Response::new).map_err(|error| to_status(&error))
    }};
}

#[tonic::async_trait]
impl UsageService for Services {
    type WatchUsageStream = BoxStream<'static, Result<v1::WatchUsageResponse, Status>>;
    type WatchQuotaStream = BoxStream<'static, Result<v1::WatchQuotaResponse, Status>>;

    async fn query_usage(
        &self,
        request: Request<v1::QueryUsageRequest>,
    ) -> Result<Response<v1::QueryUsageResponse>, Status> {
        delegate!(self, request, query_usage)
    }

    async fn list_usage_records(
        &self,
        request: Request<v1::ListUsageRecordsRequest>,
    ) -> Result<Response<v1::ListUsageRecordsResponse>, Status> {
        delegate!(self, request, list_usage_records)
    }

    async fn get_usage_record(
        &self,
        request: Request<v1::GetUsageRecordRequest>,
    ) -> Result<Response<v1::GetUsageRecordResponse>, Status> {
        delegate!(self, request, get_usage_record)
    }

    async fn get_quota(
        &self,
        request: Request<v1::GetQuotaRequest>,
    ) -> Result<Response<v1::GetQuotaResponse>, Status> {
        let caller = access::caller(request.extensions())?;
        let quotas = self.edge.pipeline.standing(&caller).await;
        quotas.map(Response::new).map_err(|error| to_status(&error))
    }

    async fn watch_usage(
        &self,
        request: Request<v1::WatchUsageRequest>,
    ) -> Result<Response<Self::WatchUsageStream>, Status> {
        let caller = access::caller(request.extensions())?;
        let deadline =
            arrival::caller_timeout(request.metadata().as_ref()).map_err(|error| to_status(&error))?;
        let records = self.edge.pipeline.meter.watch_usage(&caller, request.into_inner()).await;
        let records = records.map_err(|error| to_status(&error))?;
        let lost =
            Error::new(Reason::StoreUnavailable, "the watch was lost; connect again from the last record");
        let records = records.chain(stream::iter([Err(lost)])).boxed();
        Ok(Response::new(self.until_over(records, deadline)))
    }

    async fn watch_quota(
        &self,
        request: Request<v1::WatchQuotaRequest>,
    ) -> Result<Response<Self::WatchQuotaStream>, Status> {
        let caller = access::caller(request.extensions())?;
        let deadline =
            arrival::caller_timeout(request.metadata().as_ref()).map_err(|error| to_status(&error))?;
        let quotas = self.edge.pipeline.watch_quota(&caller, request.into_inner());
        let quotas = quotas.map_err(|error| to_status(&error))?;
        Ok(Response::new(self.until_over(quotas, deadline)))
    }
}

impl Services {
    /// Hands on what is watched until the caller's deadline is over or the gateway shuts down. The first error ends the
    /// stream.
    fn until_over<T: Send + 'static>(
        &self,
        watched: BoxStream<'static, Result<T, Error>>,
        deadline: Option<Duration>,
    ) -> BoxStream<'static, Result<T, Status>> {
        let draining = self.edge.draining.clone();
        let end = async move {
            tokio::select! {
                () = draining.cancelled() => {
                    Error::new(Reason::GatewayOverloaded, "this gateway is shutting down; connect again")
                }
                () = over(deadline) => {
                    Error::new(Reason::CallerDeadlineExceeded, "the caller's deadline passed")
                }
            }
        };
        let end = stream::once(end).map(Err);
        stream::select(watched, end).map(|next| next.map_err(|error| to_status(&error))).boxed()
    }
}

async fn over(deadline: Option<Duration>) {
    match deadline {
        Some(deadline) => tokio::time::sleep(deadline).await,
        None => std::future::pending().await,
    }
}
