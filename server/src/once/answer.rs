//! An answer as it is kept: what the edge needs to say it once more, as one message of bytes.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use prost::Message;
use tollgate_api::v1;
use uuid::Uuid;

use crate::call::{Item, Reply, Seen, Target};

/// A whole answer.
#[derive(Clone, PartialEq, Message)]
pub struct Answer {
    #[prost(bytes = "bytes", tag = "1")]
    first: Bytes,
    #[prost(message, optional, tag = "2")]
    target: Option<Served>,
    #[prost(message, repeated, tag = "3")]
    warnings: Vec<v1::Warning>,
    #[prost(message, repeated, tag = "4")]
    headers: Vec<Header>,
    #[prost(string, tag = "5")]
    upstream_request_id: String,
    #[prost(message, optional, tag = "6")]
    usage: Option<v1::Usage>,
    #[prost(message, repeated, tag = "7")]
    pieces: Vec<Piece>,
}

/// Where an answer came from.
#[derive(Clone, PartialEq, Message)]
struct Served {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    provider: String,
    #[prost(string, tag = "3")]
    model: String,
    #[prost(string, tag = "4")]
    vendor: String,
}

#[derive(Clone, PartialEq, Message)]
struct Header {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

/// One item of the answer.
#[derive(Clone, PartialEq, Message)]
struct Piece {
    #[prost(message, optional, tag = "1")]
    event: Option<v1::StreamCompleteResponse>,
    #[prost(message, optional, tag = "2")]
    embeddings: Option<v1::EmbedResponse>,
    #[prost(message, optional, tag = "3")]
    counted: Option<v1::CountTokensResponse>,
    #[prost(message, optional, tag = "4")]
    raw: Option<RawPiece>,
}

/// Bytes of the upstream, and what was seen in them.
#[derive(Clone, PartialEq, Message)]
struct RawPiece {
    #[prost(bytes = "bytes", tag = "1")]
    bytes: Bytes,
    #[prost(uint32, tag = "2")]
    content_events: u32,
    #[prost(uint32, tag = "3")]
    output_tokens: u32,
    #[prost(enumeration = "v1::FinishReason", optional, tag = "4")]
    finish_reason: Option<i32>,
    #[prost(string, optional, tag = "5")]
    response_id: Option<String>,
    #[prost(string, optional, tag = "6")]
    model: Option<String>,
    #[prost(bool, tag = "7")]
    last: bool,
}

impl Answer {
    /// Writes down what is known of an answer before its first item.
    pub(super) fn head(reply: &Reply) -> Self {
        let header = |(name, value): (&HeaderName, &HeaderValue)| Header {
            name: name.as_str().to_owned(),
            value: Bytes::copy_from_slice(value.as_bytes()),
        };
        Self {
            first: Bytes::copy_from_slice(reply.id.as_bytes()),
            target: reply.target.as_deref().map(|target| Served {
                name: target.name.to_string(),
                provider: target.provider.to_string(),
                model: target.model.to_string(),
                vendor: target.vendor.to_string(),
            }),
            warnings: reply.warnings.clone(),
            headers: reply.headers.iter().map(header).collect(),
            upstream_request_id: reply.upstream_request_id.clone(),
            usage: None,
            pieces: Vec::new(),
        }
    }

    /// Writes down an item, as a part of the message that is to be appended to its head.
    pub(super) fn item(item: &Item) -> Self {
        let piece = match item {
            Item::Event(event) => Piece {
                event: Some(v1::StreamCompleteResponse { event: Some(event.clone()), ..Default::default() }),
                ..Default::default()
            },
            Item::Embeddings(answer) => {
                Piece { embeddings: Some(v1::EmbedResponse::clone(answer)), ..Default::default() }
            }
            Item::Counted(answer) => {
                Piece { counted: Some(v1::CountTokensResponse::clone(answer)), ..Default::default() }
            }
            Item::Raw(bytes, seen) => {
                let raw = RawPiece {
                    bytes: bytes.clone(),
                    content_events: seen.content_events,
                    output_tokens: seen.output_tokens,
                    finish_reason: seen.finish_reason.map(Into::into),
                    response_id: seen.response_id.clone(),
                    model: seen.model.clone(),
                    last: seen.last,
                };
                Piece { raw: Some(raw), ..Default::default() }
            }
        };
        Self { pieces: vec![piece], ..Default::default() }
    }

    /// Writes down what the call was settled with, as a part to be appended.
    pub(super) fn settled(usage: &v1::Usage) -> Self {
        Self { usage: Some(usage.clone()), ..Default::default() }
    }

    /// Returns the call whose answer it is.
    pub fn first(&self) -> Uuid {
        Uuid::from_slice(&self.first).unwrap_or_default()
    }

    /// Returns where it came from.
    pub fn target(&self) -> Option<Arc<Target>> {
        let served = self.target.as_ref()?;
        Some(Arc::new(Target {
            name: served.name.as_str().into(),
            provider: served.provider.as_str().into(),
            model: served.model.as_str().into(),
            vendor: served.vendor.as_str().into(),
            rates: None,
        }))
    }

    /// Returns what was dropped or changed in translation.
    pub fn warnings(&self) -> &[v1::Warning] {
        &self.warnings
    }

    /// Returns the upstream's headers.
    pub fn headers(&self) -> HeaderMap {
        let header = |header: &Header| {
            let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
            Some((name, HeaderValue::from_bytes(&header.value).ok()?))
        };
        let mut headers = HeaderMap::with_capacity(self.headers.len());
        for (name, value) in self.headers.iter().filter_map(header) {
            headers.append(name, value);
        }
        headers
    }

    /// Returns the upstream's own id of the request.
    pub fn upstream_request_id(&self) -> &str {
        &self.upstream_request_id
    }

    /// Returns what the first call was settled with.
    pub fn usage(&self) -> Option<&v1::Usage> {
        self.usage.as_ref()
    }

    /// Returns the items, as they came.
    pub fn into_items(self) -> Vec<Item> {
        self.pieces.into_iter().filter_map(Piece::into_item).collect()
    }
}

impl Piece {
    fn into_item(self) -> Option<Item> {
        if let Some(raw) = self.raw {
            let seen = Seen {
                content_events: raw.content_events,
                output_tokens: raw.output_tokens,
                finish_reason: raw.finish_reason.and_then(|reason| v1::FinishReason::try_from(reason).ok()),
                response_id: raw.response_id,
                model: raw.model,
                last: raw.last,
                progress: true,
                usage: None,
            };
            return Some(Item::Raw(raw.bytes, seen));
        }
        let event = self.event.and_then(|message| message.event).map(Item::Event);
        let embeddings = self.embeddings.map(|answer| Item::Embeddings(Box::new(answer)));
        let counted = self.counted.map(|answer| Item::Counted(Box::new(answer)));
        event.or(embeddings).or(counted)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use super::*;
    use crate::call::{Event, now};

    #[test]
    fn an_answer_that_was_written_down_in_parts_is_whole_again() {
        let target = Target {
            name: "p/m".into(),
            provider: "p".into(),
            model: "m".into(),
            vendor: "v".into(),
            rates: None,
        };
        let mut headers = HeaderMap::new();
        headers.append("x-one", HeaderValue::from_static("1"));
        headers.append("x-one", HeaderValue::from_bytes(b"\xe9").unwrap());
        let reply = Reply {
            id: crate::call::new_id(),
            target: Some(Arc::new(target)),
            attempt_count: 1,
            tried: String::new(),
            rule: String::new(),
            warnings: vec![v1::Warning { code: "c".to_owned(), ..Default::default() }],
            headers: headers.clone(),
            upstream_request_id: "up".to_owned(),
            repeats: None,
            rate_limits: crate::call::RateLimits::default(),
            deadline: now(),
            items: Box::pin(futures_util::stream::empty()),
            settled: Arc::new(OnceLock::new()),
        };
        let seen =
            Seen { content_events: 2, response_id: Some("r".to_owned()), last: true, ..Seen::default() };
        let items = [
            Item::Event(Event::Text(v1::TextDelta { text: "hi".to_owned(), choice: 0, part: 1 })),
            Item::Embeddings(Box::new(v1::EmbedResponse { model: "e".to_owned(), ..Default::default() })),
            Item::Counted(Box::new(v1::CountTokensResponse { input_tokens: 3, ..Default::default() })),
            Item::Raw(Bytes::from_static(b"data: x\n\n"), seen),
        ];
        let mut bytes = Answer::head(&reply).encode_to_vec();
        for item in &items {
            Answer::item(item).encode_raw(&mut bytes);
        }
        Answer::settled(&v1::Usage { input_tokens: Some(3), ..Default::default() }).encode_raw(&mut bytes);

        let answer = Answer::decode(&*bytes).unwrap();
        assert_eq!((answer.first(), answer.upstream_request_id()), (reply.id, "up"));
        assert_eq!((answer.headers(), answer.warnings()), (headers, &reply.warnings[..]));
        assert_eq!(&*answer.target().unwrap().name, "p/m");
        assert_eq!(answer.usage().unwrap().input_tokens, Some(3));
        let again = answer.into_items();
        let shown = |items: &[Item]| format!("{items:?}").replace("progress: false", "progress: true");
        assert_eq!(shown(&again), shown(&items));
    }
}
