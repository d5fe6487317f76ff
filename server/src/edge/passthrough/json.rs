//! JSON bodies that pass through: the place of `model`, and what the body tells of what will be billed.

use std::sync::Mutex;

use axum::body::Body;
use bytes::Bytes;
use http::HeaderMap;
use serde::de::MapAccess;

use super::{Row, headers_of, model_missing};
use crate::{
    call::{Asked, Endpoint, Forward, Slot},
    edge::{
        MAX_CHOICES, MAX_END_USER, cut,
        rest::{
            body,
            fields::{self, Field, Kind, Scan, Special},
        },
    },
    error::Error,
};

const FIELDS: &[Field] = &[
    Field { name: "model", kind: Kind::Text },
    Field { name: "stream", kind: Kind::Flag },
    Field { name: "n", kind: Kind::Integer(1, MAX_CHOICES) },
    Field { name: "user", kind: Kind::Text },
    Field { name: "input", kind: Kind::Any },
];

/// These endpoints have no value that is walked through.
struct Nothing;

impl Special for Nothing {
    fn read<'de, A: MapAccess<'de>>(&mut self, map: &mut A) -> Result<(), A::Error> {
        map.next_value::<serde::de::IgnoredAny>().map(drop)
    }

    fn refusal(&mut self) -> Error {
        Error::internal("no field is special here")
    }
}

/// Reads a body as a whole and finds the place of its model.
pub(super) async fn read(
    row: &Row,
    headers: &HeaderMap,
    body: Body,
    limit: usize,
) -> Result<(Asked, Forward), Error> {
    let body = body::read(headers, body, limit).await?;
    let scan = fields::scan(&body, FIELDS, &mut Nothing)?;
    let named = scan.get("model").map(|node| node.text()).transpose()?.filter(|model| !model.is_empty());
    let model = named.clone().unwrap_or_else(|| row.default_model.to_owned());
    if model.is_empty() {
        return Err(model_missing());
    }
    let asked = Asked {
        model,
        input_bytes: body.len(),
        end_user_id: cut(text(&scan, "user")?, MAX_END_USER),
        needs: crate::call::Needs::default(),
        ..Asked::default()
    };
    let units = units(row.endpoint, &scan)?;
    let (before, after) = match (named, scan.span("model")) {
        (Some(_), Some(span)) => (body.slice(..span.start), body.slice(span.end..)),
        // A null or empty model is replaced, an absent one is put first.
        (None, Some(span)) => (body.slice(..span.start), body.slice(span.end..)),
        _ => with_member(&body)?,
    };
    let forward = Forward {
        endpoint: row.endpoint,
        native_path: String::new(),
        headers: headers_of(headers),
        before,
        slot: Slot::Json,
        after,
        tail: Mutex::new(None),
        has_tail: false,
        units,
    };
    Ok((asked, forward))
}

fn text(scan: &Scan<'_>, name: &'static str) -> Result<String, Error> {
    Ok(scan.get(name).map(|node| node.text()).transpose()?.unwrap_or_default())
}

/// Makes room for a model in a body that names none.
fn with_member(body: &Bytes) -> Result<(Bytes, Bytes), Error> {
    let brace = memchr::memchr(b'{', body).ok_or_else(model_missing)?;
    let rest = body.slice(brace + 1..);
    let comma = if rest.trim_ascii_start().starts_with(b"}") { "" } else { "," };
    let before = [&body[..=brace], b"\"model\":"].concat();
    Ok((before.into(), [comma.as_bytes(), &rest].concat().into()))
}

/// Tells what the request itself says of what will be billed.
fn units(endpoint: Endpoint, scan: &Scan<'_>) -> Result<Vec<(&'static str, i64)>, Error> {
    Ok(match endpoint {
        Endpoint::ImageGenerations => {
            let images = scan.get("n").map(|node| node.integer(1, MAX_CHOICES)).transpose()?.unwrap_or(1);
            vec![("images", images)]
        }
        Endpoint::Speech => {
            let characters = text(scan, "input")?.chars().count();
            vec![("characters", i64::try_from(characters).unwrap_or(i64::MAX))]
        }
        _ => Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn sent(row: &Row, body: &str) -> Result<(String, String), Error> {
        let (asked, forward) = read(row, &HeaderMap::new(), Body::from(body.to_owned()), 1000).await?;
        let text = [&forward.before[..], b"\"real\"", &forward.after].concat();
        Ok((asked.model, String::from_utf8(text).unwrap()))
    }

    #[tokio::test]
    async fn the_model_is_found_or_given_its_place() {
        let row = super::super::json(Endpoint::Moderations, &[], "default");
        for (body, model, upstream) in [
            (r#"{"input":"x", "model" : "alias"}"#, "alias", r#"{"input":"x", "model" : "real"}"#),
            (r#" {"input":"x"}"#, "default", r#" {"model":"real","input":"x"}"#),
            (r#"{"model":null,"input":1.0}"#, "default", r#"{"model":"real","input":1.0}"#),
            ("{ }", "default", r#"{"model":"real" }"#),
        ] {
            assert_eq!(sent(&row, body).await.unwrap(), (model.to_owned(), upstream.to_owned()));
        }
        let rerank = super::super::json(Endpoint::Rerank, &[], "");
        assert_eq!(sent(&rerank, "{}").await.unwrap_err().facts().field.as_deref(), Some("model"));
    }
}
