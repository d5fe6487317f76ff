//! gRPC health checking: serving from when the keys are known until the process drains. Keeps no state of its own.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream, stream::BoxStream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus, health_server::Health,
};

use super::{SERVICES, status::to_status};
use crate::{
    auth::Auth,
    error::{Error, Reason},
};

/// How often a process that starts is looked at for whoever watches it.
const STARTING: Duration = Duration::from_millis(100);

/// Answers health checks of the whole server (`""`) and of each service.
pub(super) struct Checks {
    /// Whether the keys are known.
    pub(super) auth: Arc<Auth>,
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
        let serves = self.auth.is_ready() && !self.draining.is_cancelled();
        let serving = if serves { ServingStatus::Serving } else { ServingStatus::NotServing };
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
        let auth = self.auth.clone();
        let starting = stream::iter((!auth.is_ready()).then(|| Ok(response(ServingStatus::NotServing))));
        let now = stream::once(async move {
            while !auth.is_ready() && !draining.is_cancelled() {
                tokio::time::sleep(STARTING).await;
            }
            (!draining.is_cancelled()).then(|| Ok(response(ServingStatus::Serving)))
        });
        let now = starting.chain(now.filter_map(std::future::ready));
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
