//! `POST /v1/completions`, the legacy way: a prompt in, text out. Targets without it are asked by chat.

use bytes::Bytes;
use tollgate_api::v1::CompleteResponse;
use uuid::Uuid;

use super::{
    completions_answer::{self, Texts},
    completions_request,
    serve::{Endpoint, Read},
};
use crate::{
    call::{Payload, Surface},
    error::Error,
};

/// The endpoint. What it keeps of a request is whether usage is wanted in the stream.
pub(super) struct Completions;

impl Endpoint for Completions {
    const SURFACE: Surface = Surface::OpenAiCompletions;
    type Kept = bool;
    type Stream = Texts;

    fn read(body: Bytes) -> Result<Read<bool>, Error> {
        let mut scanned = completions_request::scan(&body)?;
        let asked = std::mem::take(&mut scanned.asked);
        let usage_wanted = asked.usage_wanted;
        Ok((asked, Payload::raw(scanned.into_raw(body), completions_request::parse), usage_wanted))
    }

    fn stream(call_id: Uuid, usage_wanted: bool) -> Texts {
        Texts::new(call_id, usage_wanted)
    }

    fn write(answer: &CompleteResponse, _: &bool) -> Result<Vec<u8>, Error> {
        completions_answer::write(answer)
    }
}
