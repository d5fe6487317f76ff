//! `tollgate.v1` and `tollgate.admin.v1` over gRPC and gRPC-Web, with health checks and reflection.

mod access;
mod budgets;
mod chat;
mod config;
mod embed;
mod health;
mod keys;
mod models;
mod needs;
mod path;
pub mod status;
mod stream;
mod teams;
#[cfg(test)]
mod tests;
mod usage;
mod validate;

use std::sync::Arc;

use axum::{Router, middleware::from_fn_with_state};
use http::{HeaderName, HeaderValue};
use tollgate_api::{
    DESCRIPTORS,
    admin::{
        budget_service_server::{self, BudgetServiceServer},
        config_service_server::{self, ConfigServiceServer},
        key_service_server::{self, KeyServiceServer},
        team_service_server::{self, TeamServiceServer},
    },
    v1::{
        chat_service_server::{self, ChatServiceServer},
        embed_service_server::{self, EmbedServiceServer},
        model_service_server::{self, ModelServiceServer},
        usage_service_server::{self, UsageServiceServer},
    },
};
use tonic::{Response, codec::CompressionEncoding, metadata::MetadataMap};
use tonic_health::pb::health_server::{self, HealthServer};
use tonic_reflection::server::Builder as Reflection;
use tonic_web::GrpcWebLayer;

use access::{Authenticate, Door};
pub(super) use access::{USAGE_SCOPES, broken, is_grpc, permit_one, unknown_rpc};
pub(super) use chat::prepare;

use super::{
    Edge, rate_limits,
    readers::{Readers, Wording},
};
use crate::{
    call::{RateLimits, Reply, Target},
    quota::SOFT_LIMIT,
};

/// The services that health checks know by name.
const SERVICES: &[&str] = &[
    chat_service_server::SERVICE_NAME,
    embed_service_server::SERVICE_NAME,
    model_service_server::SERVICE_NAME,
    usage_service_server::SERVICE_NAME,
    key_service_server::SERVICE_NAME,
    team_service_server::SERVICE_NAME,
    budget_service_server::SERVICE_NAME,
    config_service_server::SERVICE_NAME,
    health_server::SERVICE_NAME,
];

/// The handlers of every service.
#[derive(Clone)]
struct Services {
    edge: Edge,
    readers: Readers<stream::Message>,
}

/// Returns the routes of all gRPC services behind their door. Must be called within a Tokio runtime.
///
/// # Errors
/// A message if the descriptors that are built in cannot be read.
pub fn router(edge: &Edge) -> Result<Router, String> {
    let pipeline = edge.pipeline.clone();
    router_with(edge, Arc::new(move |headers| pipeline.authenticate(headers, None)))
}

fn router_with(edge: &Edge, authenticate: Authenticate) -> Result<Router, String> {
    let wording = Wording {
        farewell: |error| Err(status::to_status(&error)),
        size: |message: &stream::Message| message.as_ref().map_or(0, prost::Message::encoded_len),
    };
    let services = Services { edge: edge.clone(), readers: Readers::start(edge.patience, wording) };
    let limit = edge.limits.message;
    macro_rules! service {
        ($server:ident) => {
            $server::new(services.clone())
                .max_decoding_message_size(limit)
                .accept_compressed(CompressionEncoding::Gzip)
        };
    }
    let broken =
        |error: tonic_reflection::server::Error| format!("the built-in descriptors are broken: {error}");
    let reflection = || {
        Reflection::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let health = HealthServer::new(health::Checks { draining: edge.draining.clone() });
    let door = Door { edge: edge.clone(), authenticate };
    Ok(Router::new()
        .route_service("/tollgate.v1.ChatService/{*rpc}", service!(ChatServiceServer))
        .route_service("/tollgate.v1.EmbedService/{*rpc}", service!(EmbedServiceServer))
        .route_service("/tollgate.v1.ModelService/{*rpc}", service!(ModelServiceServer))
        .route_service("/tollgate.v1.UsageService/{*rpc}", service!(UsageServiceServer))
        .route_service("/tollgate.admin.v1.KeyService/{*rpc}", service!(KeyServiceServer))
        .route_service("/tollgate.admin.v1.TeamService/{*rpc}", service!(TeamServiceServer))
        .route_service("/tollgate.admin.v1.BudgetService/{*rpc}", service!(BudgetServiceServer))
        .route_service("/tollgate.admin.v1.ConfigService/{*rpc}", service!(ConfigServiceServer))
        .route_service("/grpc.health.v1.Health/{*rpc}", health)
        .route_service(
            "/grpc.reflection.v1.ServerReflection/{*rpc}",
            reflection().build_v1().map_err(broken)?,
        )
        .route_service(
            "/grpc.reflection.v1alpha.ServerReflection/{*rpc}",
            reflection().build_v1alpha().map_err(broken)?,
        )
        .layer(from_fn_with_state(door, access::admit))
        .layer(GrpcWebLayer::new()))
}

/// What response headers tell of a call, as on REST.
struct Told<'a> {
    id: &'a str,
    target: Option<&'a Target>,
    attempts: usize,
    tried: &'a str,
    rule: &'a str,
    upstream_request_id: &'a str,
    rate_limits: &'a RateLimits,
    warnings: String,
    repeats: Option<uuid::Uuid>,
}

impl<'a> Told<'a> {
    /// Tells what is known of a call when its answer is.
    fn of(id: &'a str, reply: &'a Reply) -> Self {
        Self {
            id,
            target: reply.target.as_deref(),
            attempts: reply.attempt_count,
            tried: &reply.tried,
            rule: &reply.rule,
            upstream_request_id: &reply.upstream_request_id,
            rate_limits: &reply.rate_limits,
            warnings: soft_limits(reply),
            repeats: reply.repeats,
        }
    }

    fn write<T>(&self, response: &mut Response<T>) {
        let mut headers = std::mem::take(response.metadata_mut()).into_headers();
        let mut put = |name: &'static str, value: &str| {
            // A name with characters beyond ASCII stays in the message only.
            if let (false, Ok(value)) = (value.is_empty(), HeaderValue::from_str(value))
                && value.to_str().is_ok()
            {
                headers.insert(HeaderName::from_static(name), value);
            }
        };
        put("x-request-id", self.id);
        put("x-tollgate-upstream-request-id", self.upstream_request_id);
        put("x-tollgate-tried", self.tried);
        put("x-tollgate-rule", self.rule);
        put("x-tollgate-warnings", &self.warnings);
        if let Some(target) = self.target {
            put("x-tollgate-provider", &target.provider);
            put("x-tollgate-model", &target.model);
            put("x-tollgate-target", &target.name);
            put("x-tollgate-cache", if self.repeats.is_some() { "coalesced" } else { "bypass" });
        }
        if let Some(first) = self.repeats {
            put("x-tollgate-original-request-id", &first.to_string());
        }
        if self.target.is_some() || self.attempts > 0 {
            headers.insert("x-tollgate-attempts", HeaderValue::from(self.attempts));
        }
        rate_limits::put(&mut headers, self.rate_limits);
        *response.metadata_mut() = MetadataMap::from_headers(headers);
    }
}

/// Names the warnings that have no place in the message: those of limits that only warn.
fn soft_limits(reply: &Reply) -> String {
    let codes = reply.warnings.iter().map(|warning| warning.code.as_str());
    codes.filter(|code| *code == SOFT_LIMIT).collect::<Vec<_>>().join(", ")
}
