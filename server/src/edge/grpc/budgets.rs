//! `BudgetService` of `tollgate.admin.v1`: `auth` and `quota` do the work together.

use tollgate_api::admin::{self, budget_service_server::BudgetService};
use tonic::{Request, Response, Status};

use super::{Services, access, keys::delegate, status::to_status};

#[tonic::async_trait]
impl BudgetService for Services {
    async fn top_up(
        &self,
        request: Request<admin::TopUpRequest>,
    ) -> Result<Response<admin::TopUpResponse>, Status> {
        delegate!(self.edge.pipeline, request, top_up)
    }

    async fn reset_usage(
        &self,
        request: Request<admin::ResetUsageRequest>,
    ) -> Result<Response<admin::ResetUsageResponse>, Status> {
        delegate!(self.edge.pipeline, request, reset_usage)
    }

    async fn list_adjustments(
        &self,
        request: Request<admin::ListAdjustmentsRequest>,
    ) -> Result<Response<admin::ListAdjustmentsResponse>, Status> {
        delegate!(self.edge.pipeline.auth, request, list_adjustments)
    }
}
