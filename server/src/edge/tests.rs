//! The app as a whole: what is where, and what is nowhere.

use std::sync::Arc;

use axum::body::Body;
use futures_util::{FutureExt as _, future::BoxFuture};
use http::{Request, Response, StatusCode};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tollgate_api::v1;
use tower::Service as _;

use super::{
    Edge, app, ops,
    testing::{Words, edge},
};
use crate::provider::{self, Answer, Outgoing, Provider};

fn request(method: &str, path: &str) -> http::request::Builder {
    Request::builder().method(method).uri(path).header("host", "localhost")
}

async fn ask(app: &axum::Router, request: http::request::Builder) -> Response<Body> {
    app.clone().call(request.body(Body::empty()).unwrap()).await.unwrap()
}

async fn text(response: Response<Body>) -> String {
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

async fn body(response: Response<Body>) -> Value {
    serde_json::from_str(&text(response).await).unwrap()
}

fn here() -> (Edge, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (edge(dir.path(), Words::at_once(&["x"])), dir)
}

#[tokio::test]
async fn what_is_not_here_is_said_in_json() {
    let (edge, _dir) = here();
    let app = app(&edge).unwrap();
    for path in ["/nothing", "//v1/usage", "/v1/%75sage", "/v1/usage/records/a/b"] {
        let response = ask(&app, request("GET", path)).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
        assert_eq!(body(response).await["error"]["code"], "unimplemented", "{path}");
    }
}

#[tokio::test]
async fn the_json_twins_want_a_key_before_anything_else() {
    let (edge, _dir) = here();
    let app = app(&edge).unwrap();
    for path in ["/v1/usage?what=ever", "/v1/usage/records", "/v1/usage/records/x", "/v1/quota"] {
        let response = ask(&app, request("GET", path)).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(body(response).await["error"]["code"], "invalid_api_key", "{path}");
    }
}

#[tokio::test]
async fn the_json_twins_refuse_in_the_same_words_and_headers_as_their_neighbours() {
    let (edge, _dir) = here();
    let secret = edge.pipeline.auth.mint_first().unwrap().unwrap();
    let app = app(&edge).unwrap();
    let ask = async |method: &str, path: &str| {
        let bearer = format!("Bearer {}", secret.expose_secret());
        ask(&app, request(method, path).header("authorization", bearer)).await
    };
    for (method, path, status, code) in [
        ("POST", "/v1/usage", 405, "unimplemented"),
        ("OPTIONS", "/v1/quota", 405, "unimplemented"),
        ("GET", "/v1/usage?x=1", 400, "invalid_request"),
        ("GET", "/v1/usage/records/%FF", 400, "invalid_request"),
        ("GET", "/v1/usage/records/nothing", 404, "not_found"),
    ] {
        let response = ask(method, path).await;
        assert_eq!(response.status(), status, "{method} {path}");
        assert_eq!(response.headers()["x-should-retry"], "false", "{method} {path}");
        assert!(response.headers().contains_key("x-request-id"), "{method} {path}");
        assert_eq!(response.headers().contains_key("allow"), status == 405, "{method} {path}");
        assert_eq!(body(response).await["error"]["code"], code, "{method} {path}");
    }
    assert_eq!(ask("HEAD", "/v1/quota").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn only_listed_origins_may_call_from_a_browser() {
    let (mut edge, _dir) = here();
    edge.cors = Arc::new(["https://app.example".to_owned()]);
    let app = app(&edge).unwrap();
    let preflight = |origin: &str| {
        request("OPTIONS", "/tollgate.v1.ChatService/Complete")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization,x-grpc-web")
    };
    let listed = ask(&app, preflight("https://app.example")).await;
    assert_eq!(listed.status(), StatusCode::NO_CONTENT);
    assert_eq!(listed.headers()["access-control-allow-origin"], "https://app.example");
    assert_eq!(listed.headers()["access-control-allow-headers"], "authorization,x-grpc-web");
    for origin in ["https://other.example", "https://app.example.evil", "null"] {
        let other = ask(&app, preflight(origin)).await;
        assert_eq!(other.status(), StatusCode::FORBIDDEN, "{origin}");
        assert!(!other.headers().contains_key("access-control-allow-origin"), "{origin}");
    }
    let answer = ask(&app, request("GET", "/v1/usage").header("origin", "https://app.example")).await;
    assert_eq!(answer.headers()["access-control-allow-origin"], "https://app.example");
}

#[tokio::test]
async fn no_origin_is_listed_by_default() {
    let (edge, _dir) = here();
    let answer =
        ask(&app(&edge).unwrap(), request("GET", "/v1/usage").header("origin", "https://a.example")).await;
    assert!(!answer.headers().contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn readiness_goes_off_when_the_gateway_drains_and_liveness_stays() {
    let (edge, _dir) = here();
    let config = json!({ "listen": "127.0.0.1:8080" }).to_string();
    let ops = ops::app(&edge, config.clone().into());
    assert_eq!(ask(&ops, request("GET", "/readyz")).await.status(), StatusCode::OK);
    assert_eq!(text(ask(&ops, request("GET", "/config")).await).await, config);
    assert_eq!(ask(&ops, request("GET", "/metrics")).await.status(), StatusCode::OK);
    edge.draining.cancel();
    assert_eq!(ask(&ops, request("GET", "/readyz")).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ask(&ops, request("GET", "/livez")).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn the_json_twins_answer_with_the_contracts_names() {
    let (edge, _dir) = here();
    let secret = edge.pipeline.auth.mint_first().unwrap().unwrap();
    let bearer = format!("Bearer {}", secret.expose_secret());
    let app = app(&edge).unwrap();
    let get = |path: &str| request("GET", path).header("authorization", bearer.clone());
    let query =
        "/v1/usage?bucket=day&group_by=model,tag:feature&filters[team]=a&start_time=2026-01-01T00:00:00Z";
    let response = ask(&app, get(query)).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(body(response).await, json!({ "rows": [], "next_page_token": "" }));
    let records = body(ask(&app, get("/v1/usage/records?page_size=10")).await).await;
    assert_eq!(records["records"], json!([]));
    assert_eq!(body(ask(&app, get("/v1/quota")).await).await, json!({ "quotas": [] }));
    assert_eq!(ask(&app, get("/v1/usage/records/nothing")).await.status(), StatusCode::NOT_FOUND);
    for path in ["/v1/usage?groupby=model", "/v1/usage/records?page_size=1001", "/v1/quota?x=1"] {
        let response = ask(&app, get(path)).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{path}");
        let name = path.split(['?', '=']).nth(1).unwrap();
        assert_eq!(body(response).await["error"]["param"], name, "{path}");
    }
}

/// A provider with a mistake in it.
struct Mistaken;

impl Provider for Mistaken {
    fn chat<'a>(&'a self, _: Outgoing<'a, v1::ChatInput>) -> BoxFuture<'a, Result<Answer, provider::Error>> {
        async { panic!("a mistake of ours") }.boxed()
    }

    fn embed<'a>(
        &'a self,
        _: Outgoing<'a, v1::EmbedRequest>,
    ) -> BoxFuture<'a, Result<Answer, provider::Error>> {
        async { panic!("a mistake of ours") }.boxed()
    }
}

#[tokio::test]
async fn a_panic_is_an_internal_error_of_that_call_alone_and_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let edge = edge(dir.path(), Mistaken);
    let secret = edge.pipeline.auth.mint_first().unwrap().unwrap();
    let bearer = format!("Bearer {}", secret.expose_secret());
    let app = app(&edge).unwrap();
    let chat = r#"{"model":"words","messages":[{"role":"user","content":"hi"}]}"#;
    let request = request("POST", "/v1/chat/completions").header("authorization", bearer.clone());
    let response = app.clone().call(request.body(Body::from(chat)).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let records = Request::get("/v1/usage/records").header("host", "localhost");
    let records = body(ask(&app, records.header("authorization", bearer)).await).await;
    assert_eq!(records["records"].as_array().unwrap().len(), 1);
    assert_eq!(records["records"][0]["status"], "INTERNAL");
}
