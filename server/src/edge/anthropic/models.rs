//! `GET /v1/models` and `GET /v1/models/{id}` as Anthropic lists them. Reads leave no usage record.

use axum::{
    extract::{Path, Query, Request, State, rejection::PathRejection},
    response::Response,
};
use http::{Uri, request::Parts};
use jiff::Timestamp;
use serde::Serialize;

use super::{Shared, error};
use crate::{
    auth,
    call::{Caller, Scope},
    edge::{
        Edge, openai,
        rest::{head::Head, whole},
    },
    error::{Error, Reason},
};

/// Models on a page unless the caller says how many.
const PAGE: usize = 20;
/// The most models on a page.
const MAX_PAGE: usize = 1000;

#[derive(Serialize)]
struct List<'a> {
    data: Vec<Model<'a>>,
    has_more: bool,
    first_id: Option<&'a str>,
    last_id: Option<&'a str>,
}

#[derive(Serialize)]
struct Model<'a> {
    r#type: &'static str,
    id: &'a str,
    display_name: &'a str,
    created_at: String,
    lifecycle: &'static str,
}

impl<'a> Model<'a> {
    fn of(id: &'a str) -> Self {
        let created_at = Timestamp::from_second(openai::since()).unwrap_or_default().to_string();
        Self { r#type: "model", id, display_name: id, created_at, lifecycle: "active" }
    }
}

/// Which part of the list is asked for.
#[derive(Debug, PartialEq, Eq)]
struct Page {
    limit: usize,
    after: Option<String>,
    before: Option<String>,
}

/// Lists below the prefix of this dialect, whatever the headers say.
pub(super) async fn theirs(State(shared): State<Shared>, request: Request) -> Response {
    list(&shared.edge, request).await
}

/// Tells one model below the prefix of this dialect.
pub(super) async fn theirs_by_id(
    State(shared): State<Shared>,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    get(&shared.edge, id.ok().map(|Path(id)| id), request).await
}

/// Lists the aliases that the key may call, a page at a time; patterns with their star.
pub(in crate::edge) async fn list(edge: &Edge, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let head = Head::of(&parts);
    let listed = reader(edge, &parts).await.and_then(|caller| {
        let page = Page::of(&parts.uri)?;
        let names = edge.pipeline.routes.names().filter(|name| caller.may_call(name));
        let (names, has_more) = page.cut(names.collect());
        let (first_id, last_id) = (names.first().copied(), names.last().copied());
        let data = names.into_iter().map(Model::of).collect();
        respond(&head, &List { data, has_more, first_id, last_id })
    });
    listed.unwrap_or_else(|failed| error::respond(&head, &failed))
}

/// Tells one alias, or a name that a pattern matches.
pub(in crate::edge) async fn get(edge: &Edge, id: Option<String>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let head = Head::of(&parts);
    let found = reader(edge, &parts).await.and_then(|caller| {
        let id = id.ok_or_else(|| Error::new(Reason::ModelNotFound, "the model's name is not UTF-8"))?;
        auth::permit_model(&caller, &id)?;
        edge.pipeline.routes.targets(&id)?;
        respond(&head, &Model::of(&id))
    });
    found.unwrap_or_else(|failed| error::respond(&head, &failed))
}

/// Finds out who reads, and whether it may.
async fn reader(edge: &Edge, parts: &Parts) -> Result<std::sync::Arc<Caller>, Error> {
    let caller = edge.pipeline.authenticate(&parts.headers, parts.uri.query()).await?;
    auth::permit(&caller, Scope::Models)?;
    Ok(caller)
}

fn respond(head: &Head, answer: &impl Serialize) -> Result<Response, Error> {
    let body =
        serde_json::to_vec(answer).map_err(|_| Error::internal("the models cannot be written as JSON"))?;
    Ok(whole::json(head.headers(), body.into()))
}

impl Page {
    /// Reads the query of an address.
    fn of(uri: &Uri) -> Result<Self, Error> {
        let mut page = Self { limit: PAGE, after: None, before: None };
        let Query(pairs): Query<Vec<(String, String)>> = Query::try_from_uri(uri)
            .map_err(|_| Error::new(Reason::InvalidRequest, "the query is not `name=value&…`"))?;
        for (name, value) in pairs {
            match name.as_str() {
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=MAX_PAGE).contains(limit));
                    let wrong = || Error::invalid("limit", format!("`limit` must be 1 to {MAX_PAGE}"));
                    page.limit = limit.ok_or_else(wrong)?;
                }
                "after_id" => page.after = Some(value),
                "before_id" => page.before = Some(value),
                _ => {}
            }
        }
        Ok(page)
    }

    /// Cuts the page out of the whole list, and tells whether there is more in its direction. An id that is not
    /// there any more begins at the start, or at the end.
    fn cut<'a>(&self, names: Vec<&'a str>) -> (Vec<&'a str>, bool) {
        let place = |id: &String| names.iter().position(|name| name == id);
        if let Some(end) = self.before.as_ref().map(|id| place(id).unwrap_or(names.len())) {
            let begin = end.saturating_sub(self.limit);
            return (names[begin..end].to_vec(), begin > 0);
        }
        let begin = self.after.as_ref().and_then(place).map_or(0, |at| at + 1);
        let end = names.len().min(begin + self.limit);
        (names[begin..end].to_vec(), end < names.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(query: &str) -> Result<Page, Error> {
        Page::of(&format!("/v1/models?{query}").parse().unwrap())
    }

    #[test]
    fn pages_go_on_after_an_id_and_back_before_one() {
        let names = vec!["a", "b", "c", "d", "e"];
        let cut = |query: &str| page(query).unwrap().cut(names.clone());
        assert_eq!(cut("limit=2"), (vec!["a", "b"], true));
        assert_eq!(cut("limit=2&after_id=b"), (vec!["c", "d"], true));
        assert_eq!(cut("limit=2&after_id=c"), (vec!["d", "e"], false));
        assert_eq!(cut("limit=2&before_id=d"), (vec!["b", "c"], true));
        assert_eq!(cut("limit=3&before_id=c"), (vec!["a", "b"], false));
        assert_eq!(cut("after_id=e"), (vec![], false));
    }

    #[test]
    fn a_limit_that_is_none_is_refused_by_name() {
        for query in ["limit=0", "limit=1001", "limit=x", "limit="] {
            let error = page(query).unwrap_err();
            assert_eq!(error.facts().field.as_deref(), Some("limit"), "{query}");
        }
    }
}
