//! `GET /v1/models` and `GET /v1/models/{id}`. Reads leave no usage record.

use std::{
    sync::OnceLock,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    body::Body,
    extract::{Path, Request, State, rejection::PathRejection},
    response::Response,
};
use http::{HeaderValue, header};
use serde::Serialize;

use super::error;
use crate::{
    auth,
    call::{Caller, Scope},
    edge::{Edge, anthropic, rest::head::Head},
    error::{Error, Reason},
};

#[derive(Serialize)]
struct List<'a> {
    object: &'static str,
    data: Vec<Model<'a>>,
}

#[derive(Serialize)]
struct Model<'a> {
    id: &'a str,
    object: &'static str,
    created: i64,
    owned_by: &'static str,
}

impl<'a> Model<'a> {
    fn of(id: &'a str) -> Self {
        Self { id, object: "model", created: since(), owned_by: "tollgate" }
    }
}

/// Lists the aliases that the key may call; patterns with their star.
pub(super) async fn list(State(edge): State<Edge>, request: Request) -> Response {
    if anthropic::speaks(request.headers()) {
        return anthropic::models(&edge, request).await;
    }
    let (head, caller) = match reader(&edge, request).await {
        Ok(reader) => reader,
        Err(refused) => return refused,
    };
    let names = edge.pipeline.routes.names().filter(|name| caller.may_call(name));
    respond(&head, &List { object: "list", data: names.map(Model::of).collect() })
}

/// Tells one alias, or a name that a pattern matches.
pub(super) async fn get(
    State(edge): State<Edge>,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    if anthropic::speaks(request.headers()) {
        return anthropic::model(&edge, id.ok().map(|Path(id)| id), request).await;
    }
    let (head, caller) = match reader(&edge, request).await {
        Ok(reader) => reader,
        Err(refused) => return refused,
    };
    let Ok(Path(id)) = id else {
        return error::respond(&head, &Error::new(Reason::ModelNotFound, "the model's name is not UTF-8"));
    };
    let found = auth::permit_model(&caller, &id).and_then(|()| edge.pipeline.routes.targets(&id));
    match found {
        Ok(_) => respond(&head, &Model::of(&id)),
        Err(failed) => error::respond(&head, &failed),
    }
}

/// Finds out who reads, and whether it may.
async fn reader(edge: &Edge, request: Request) -> Result<(Head, std::sync::Arc<Caller>), Response> {
    let (parts, _) = request.into_parts();
    let head = Head::of(&parts);
    let caller = edge
        .pipeline
        .authenticate(&parts.headers, parts.uri.query())
        .await
        .and_then(|caller| auth::permit(&caller, Scope::Models).map(|()| caller));
    match caller {
        Ok(caller) => Ok((head, caller)),
        Err(failed) => Err(error::respond(&head, &failed)),
    }
}

fn respond(head: &Head, answer: &impl Serialize) -> Response {
    let Ok(body) = serde_json::to_vec(answer) else {
        return error::respond(head, &Error::internal("the models cannot be written as JSON"));
    };
    let mut response = Response::new(Body::from(body));
    *response.headers_mut() = head.headers();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Returns when this process first told of a model: aliases have no birthday, and clients want one that stays.
pub(in crate::edge) fn since() -> i64 {
    static SINCE: OnceLock<i64> = OnceLock::new();
    *SINCE.get_or_init(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(now.as_secs()).unwrap_or(0)
    })
}
