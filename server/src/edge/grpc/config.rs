//! `ConfigService` of `tollgate.admin.v1`: how the gateway is.

use tollgate_api::admin::{self, config_service_server::ConfigService};
use tonic::{Request, Response, Status};

use super::Services;
use crate::edge::overview::overview;

#[tonic::async_trait]
impl ConfigService for Services {
    async fn get_status(
        &self,
        _: Request<admin::GetStatusRequest>,
    ) -> Result<Response<admin::GetStatusResponse>, Status> {
        Ok(Response::new(overview(&self.edge).await))
    }
}
