//! `TeamService` of `tollgate.admin.v1`: `auth` does the work.

use tollgate_api::admin::{self, team_service_server::TeamService};
use tonic::{Request, Response, Status};

use super::{Services, access, keys::delegate, status::to_status};

#[tonic::async_trait]
impl TeamService for Services {
    async fn create_team(
        &self,
        request: Request<admin::CreateTeamRequest>,
    ) -> Result<Response<admin::CreateTeamResponse>, Status> {
        delegate!(self.edge.pipeline.auth, request, create_team)
    }

    async fn get_team(
        &self,
        request: Request<admin::GetTeamRequest>,
    ) -> Result<Response<admin::GetTeamResponse>, Status> {
        delegate!(self.edge.pipeline.auth, request, get_team)
    }

    async fn list_teams(
        &self,
        request: Request<admin::ListTeamsRequest>,
    ) -> Result<Response<admin::ListTeamsResponse>, Status> {
        delegate!(self.edge.pipeline.auth, request, list_teams)
    }

    async fn update_team(
        &self,
        request: Request<admin::UpdateTeamRequest>,
    ) -> Result<Response<admin::UpdateTeamResponse>, Status> {
        delegate!(self.edge.pipeline.auth, request, update_team)
    }

    async fn delete_team(
        &self,
        request: Request<admin::DeleteTeamRequest>,
    ) -> Result<Response<admin::DeleteTeamResponse>, Status> {
        delegate!(self.edge.pipeline.auth, request, delete_team)
    }
}
