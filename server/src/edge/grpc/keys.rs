//! `KeyService` of `tollgate.admin.v1`: `auth` does the work.

use tollgate_api::admin::{self, key_service_server::KeyService};
use tonic::{Request, Response, Status};

use super::{Services, access, status::to_status};

macro_rules! delegate {
    ($self:ident, $request:ident, $method:ident) => {{
        let caller = access::caller($request.extensions())?;
        let done = $self.edge.pipeline.auth.$method(&caller, $request.into_inner()).await;
        done.map(Response::new).map_err(|error| to_status(&error))
    }};
}

#[tonic::async_trait]
impl KeyService for Services {
    async fn create_key(
        &self,
        request: Request<admin::CreateKeyRequest>,
    ) -> Result<Response<admin::CreateKeyResponse>, Status> {
        delegate!(self, request, create_key)
    }

    async fn get_key(
        &self,
        request: Request<admin::GetKeyRequest>,
    ) -> Result<Response<admin::GetKeyResponse>, Status> {
        delegate!(self, request, get_key)
    }

    async fn list_keys(
        &self,
        request: Request<admin::ListKeysRequest>,
    ) -> Result<Response<admin::ListKeysResponse>, Status> {
        delegate!(self, request, list_keys)
    }

    async fn update_key(
        &self,
        request: Request<admin::UpdateKeyRequest>,
    ) -> Result<Response<admin::UpdateKeyResponse>, Status> {
        delegate!(self, request, update_key)
    }

    async fn rotate_key(
        &self,
        request: Request<admin::RotateKeyRequest>,
    ) -> Result<Response<admin::RotateKeyResponse>, Status> {
        delegate!(self, request, rotate_key)
    }

    async fn revoke_key(
        &self,
        request: Request<admin::RevokeKeyRequest>,
    ) -> Result<Response<admin::RevokeKeyResponse>, Status> {
        delegate!(self, request, revoke_key)
    }
}
