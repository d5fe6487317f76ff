//! Where a call would go, without sending it: nothing is recorded, reserved or charged.

use std::sync::Arc;

use http::HeaderMap;
use tollgate_api::v1;

use super::{Edge, arrival, grpc};
use crate::{
    call::{Caller, Operation, Surface, now},
    error::Error,
    pipeline::Pipeline,
    route::{self, Asking},
};

/// Explains the route of a chat with the same headers, message and caller.
///
/// # Errors
/// Whatever the call itself would be refused with before its first attempt, limits aside.
pub(super) fn explain(
    edge: &Edge,
    caller: Arc<Caller>,
    headers: &HeaderMap,
    request: v1::ExplainRouteRequest,
) -> Result<v1::ExplainRouteResponse, Error> {
    let (mut call, read) = arrival::call(headers, caller, Surface::Grpc, Operation::Chat);
    read?;
    grpc::prepare(&mut call, request.input, request.options)?;
    Pipeline::permit(&call)?;
    let pipeline = &*edge.pipeline;
    let asking = Asking { call: &call, models: pipeline, health: &pipeline.health, now: now() };
    let plan = pipeline.routes.consider(&asking)?;
    Ok(route::explain::explain(&plan, &asking))
}
