//! gRPC health checking: serving until the process drains. Keeps no state of its own.

use futures_util::{StreamExt as _, stream, stream::BoxStream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus, health_server::Health,
};

use super::{SERVICES, status::to_status};
use crate::error::{Error, Reason};

/// Answers health checks of the whole server (`""`) and of each service.
pub(super) struct Checks {
    /// Cancelled when the process drains.
    pub(super) draining: CancellationToken,
}

#[tonic::async_trait]
impl Health for Checks {
    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if !is_known(&request.get_ref().service) {
            return Err(to_status(&Error::new(Reason::NotFound, "this server has no such service")));
        }
        let serving =
            if self.draining.is_cancelled() { ServingStatus::NotServing } else { ServingStatus::Serving };
        Ok(Response::new(response(serving)))
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        if !is_known(&request.get_ref().service) {
            let unknown = stream::once(async { Ok(response(ServingStatus::ServiceUnknown)) });
            return Ok(Response::new(unknown.chain(stream::pending()).boxed()));
        }
        let draining = self.draining.clone();
        let until = draining.clone();
        let now = stream::iter((!draining.is_cancelled()).then(|| Ok(response(ServingStatus::Serving))));
        // The watch ends after the bad news, so that it does not hold the drain up.
        let then = stream::once(async move {
            until.cancelled().await;
            Ok(response(ServingStatus::NotServing))
        });
        Ok(Response::new(now.chain(then).boxed()))
    }
}

fn is_known(service: &str) -> bool {
    service.is_empty() || SERVICES.contains(&service)
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}
