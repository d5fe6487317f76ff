//! `POST /v1/chat/completions`.

use bytes::Bytes;
use tollgate_api::v1::CompleteResponse;
use uuid::Uuid;

use super::{
    chat_chunks::Chunks,
    chat_parse, chat_request, chat_response,
    serve::{Endpoint, Read},
};
use crate::{
    call::{Payload, Surface},
    edge::continuity,
    error::Error,
};

/// The endpoint. What it keeps of a request is whether usage is wanted in the stream.
pub(super) struct Chat;

impl Endpoint for Chat {
    const SURFACE: Surface = Surface::OpenAiChat;
    type Kept = bool;
    type Stream = Chunks;

    fn read(body: Bytes) -> Result<Read<bool>, Error> {
        let mut scanned = chat_request::scan(&body)?;
        let asked = std::mem::take(&mut scanned.asked);
        let usage_wanted = asked.usage_wanted;
        // What another provider gave must not reach this dialect's own servers as if it were theirs.
        let payload = if continuity::is_in(&body) {
            Payload::parsed(&body, chat_parse::parse)?
        } else {
            Payload::raw(scanned.into_raw(body), chat_parse::parse)
        };
        Ok((asked, payload, usage_wanted))
    }

    fn stream(call_id: Uuid, usage_wanted: bool) -> Chunks {
        Chunks::new(call_id, usage_wanted)
    }

    fn write(answer: &CompleteResponse, _: &bool) -> Result<Vec<u8>, Error> {
        chat_response::write(answer)
    }
}
