//! Claude by `InvokeModel`, for callers who speak Anthropic's dialect: their body goes as it is but for its frame, and
//! each event that Bedrock wraps comes back as the server-sent event it is.

use std::{borrow::Cow, collections::VecDeque};

use ::http::{HeaderMap, header::ACCEPT};
use bytes::Bytes;
use serde::Deserialize;
use tollgate_api::v1;

use super::{Bedrock, EVENT_STREAM};
use crate::{
    call::{Item, Items, Raw, Seen},
    provider::{
        Answer, Error, Outgoing,
        anthropic::express::{self, Watch},
        aws::frames::{Damaged, Message, Splitter},
        express::Tap as _,
        follow::{Follow, Lane},
        http::{self, MAX_ANSWER_BYTES},
        json::Text,
        sse::Event,
        upstream::{Ask, Shape, once},
    },
};

impl Bedrock {
    /// Sends a caller's own message.
    pub(super) async fn invoke(
        &self,
        request: &Outgoing<'_, v1::ChatInput>,
        raw: &Raw,
    ) -> Result<Answer, Error> {
        let mut headers = HeaderMap::new();
        if request.streamed {
            headers.insert(ACCEPT, EVENT_STREAM);
        }
        let operation = if request.streamed { "invoke-with-response-stream" } else { "invoke" };
        let uri = self.uri(request.model, operation)?;
        let ask = Ask::new(request, express::invocation(raw)?, headers);
        let (answer, shape, body) = self.upstream.open(self.upstream.send(&uri, ask).await?, Vec::new());
        let items: Items<Error> = if request.streamed && shape == Shape::Events {
            Box::pin(Follow::new(body, Events::default()))
        } else {
            once(async move { Ok(vec![express::whole(http::read_all(body, MAX_ANSWER_BYTES).await?)?]) })
        };
        Ok(Answer { items, ..answer })
    }
}

/// Unwraps the events of a stream.
#[derive(Debug, Default)]
struct Events(Watch);

impl Lane for Events {
    type Frames = Splitter;

    fn block(&mut self, block: &Result<Message, Damaged>, out: &mut VecDeque<Item>) -> Result<(), Error> {
        let message = block.as_ref().map_err(|damaged| *damaged)?;
        if message.is_failure() {
            return Err(message.failure());
        }
        let Some(data) = message.chunk() else { return Ok(()) };
        let (name, raw) = framed(&data);
        let event =
            Event { raw: &raw, data: Some(Cow::Borrowed(&data)), name: name.as_bytes(), stray: false };
        let mut seen = Seen::default();
        if self.0.event(&event, &mut seen)? {
            out.push_back(Item::Raw(raw, seen));
        }
        Ok(())
    }

    fn end(&mut self, _: &mut VecDeque<Item>) -> Result<(), Error> {
        self.0.ended()
    }

    fn is_complete(&self) -> bool {
        self.0.is_complete()
    }
}

/// Writes an event as Anthropic does. Returns its name too.
fn framed(data: &Bytes) -> (String, Bytes) {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Kind<'a> {
        #[serde(rename = "type", borrow)]
        kind: Text<'a>,
    }
    let kind: Kind<'_> = serde_json::from_slice(data).unwrap_or_default();
    let name: String = kind.kind.0.chars().filter(|c| !c.is_control()).collect();
    let mut raw = Vec::with_capacity(data.len() + name.len() + 24);
    for part in [b"event: ", name.as_bytes()] {
        raw.extend_from_slice(part);
    }
    // JSON over several lines stays JSON, but a line of an event may not end within.
    for line in data.split(|byte| matches!(byte, b'\n' | b'\r')).filter(|line| !line.is_empty()) {
        raw.extend_from_slice(b"\ndata: ");
        raw.extend_from_slice(line);
    }
    raw.extend_from_slice(b"\n\n");
    (name, raw.into())
}

#[cfg(test)]
mod tests;
