//! What operators see: metrics, probes, status and the configuration, on a port of their own.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{StatusCode, header::CONTENT_TYPE};

use super::{Edge, overview::overview, proto_json::shown};
use crate::telemetry;

/// Returns the operators' routes. `config_json` is shown as it is, so it must hold no secrets.
pub fn app(edge: &Edge, config_json: Arc<str>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready).with_state(edge.clone()))
        .route("/status", get(status).with_state(edge.clone()))
        .route("/config", get(config).with_state(config_json))
}

async fn metrics() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], telemetry::metrics::render())
}

async fn ready(State(edge): State<Edge>) -> impl IntoResponse {
    if edge.draining.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n");
    }
    if !edge.pipeline.auth.is_ready() {
        return (StatusCode::SERVICE_UNAVAILABLE, "starting: the keys are not known yet\n");
    }
    match &edge.about.postgres {
        Some(postgres) if !postgres.was_reached() => {
            (StatusCode::SERVICE_UNAVAILABLE, "starting: PostgreSQL has not answered yet\n")
        }
        Some(postgres) if !postgres.is_reachable() => {
            (StatusCode::OK, "ready, degraded: PostgreSQL is away\n")
        }
        _ => (StatusCode::OK, "ready\n"),
    }
}

/// The same as `ConfigService.GetStatus`, for scripts.
async fn status(State(edge): State<Edge>) -> Result<Response, StatusCode> {
    let status = overview(&edge).await;
    shown("tollgate.admin.v1.GetStatusResponse", &status).map_err(|error| {
        tracing::error!(%error, "the status cannot be shown");
        StatusCode::INTERNAL_SERVER_ERROR
    })
}

async fn config(State(config_json): State<Arc<str>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], config_json.to_string())
}
