//! `KeyService` of `tollgate.admin.v1`: `auth` does the work.

use tollgate_api::admin::{self, key_service_server::KeyService};
use tonic::{Request, Response, Status};

use super::{Services, access, status::to_status};

/// Has a room do what a request asks for, as the request's caller.
macro_rules! delegate {
    ($room:expr, $request:ident, $method:ident) => {{
        let caller = access::caller($request.extensions())?;
        let done = $room.$method(&caller, $request.into_inner()).await;
        done.map(Response::new).map_err(|error| to_status(&error))
    }};
}

pub(super) use delegate;

#[tonic::async_trait]
impl KeyService for Services {
    async fn create_key(
        &self,
        request: Request<admin::CreateKeyRequest>,
    ) -> Result<Response<admin::CreateKeyResponse>, Status> {
        delegate!(self.edge.pipeline.auth, request, create_key)
    }

    async fn get_key(
        &self,
        request: Request<admin::GetKeyRequest>,
    ) -> Result<Response<admin::GetKeyResponse>, Status> {
        delegate!(self.edge.pipeline.auth, request, get_key)
    }

    async fn list_keys(
        &self,
        request: Request<admin::ListKeysRequest>,
    ) -> Result<Response<admin::ListKeysResponse>, Status> {
        delegate!(self.edge.pipeline.auth, request, list_keys)
    }

    async fn update_key(
        &self,
        request: Request<admin::UpdateKeyRequest>,
    ) -> Result<Response<admin::UpdateKeyResponse>, Status> {
        delegate!(self.edge.pipeline.auth, request, update_key)
    }

    async fn rotate_key(
        &self,
        request: Request<admin::RotateKeyRequest>,
    ) -> Result<Response<admin::RotateKeyResponse>, Status> {
        delegate!(self.edge.pipeline.auth, request, rotate_key)
    }

    async fn revoke_key(
        &self,
        request: Request<admin::RevokeKeyRequest>,
    ) -> Result<Response<admin::RevokeKeyResponse>, Status> {
        delegate!(self.edge.pipeline.auth, request, revoke_key)
    }
}
