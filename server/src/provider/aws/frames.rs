//! Cuts an `application/vnd.amazon.eventstream` body into whole messages. Layout of one: its length, the length of its
//! headers and their CRC-32 (4 bytes each, big-endian), the headers, the payload, the CRC-32 of all before it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{Buf as _, Bytes, BytesMut};
use serde::Deserialize;

use crate::provider::{Error, Kind, follow::Frames, json::Text, refusal};

/// The most bytes one message may have; AWS itself sends at most 16 MiB.
const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;
const MAX_HEADER_BYTES: usize = 128 * 1024;
const PRELUDE_BYTES: usize = 12;
const CRC_BYTES: usize = 4;

/// The state between two pieces of a body.
#[derive(Debug, Default)]
pub struct Splitter {
    /// The begin of a message whose end has not come yet.
    carry: BytesMut,
    /// The stream is damaged: what follows cannot be cut any more.
    damaged: bool,
}

/// One whole message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// `:message-type`: `event`, `exception` or `error`.
    pub kind: String,
    /// `:event-type`, `:exception-type` or `:error-code`: what it is, by name.
    pub name: String,
    /// `:error-message`.
    pub said: String,
    /// The payload, mostly JSON.
    pub payload: Bytes,
    /// The whole message, as it came.
    pub raw: Bytes,
}

/// The stream does not follow its own format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damaged {
    /// A length that no message can have.
    #[error("the event stream has a message of an impossible length")]
    Length,
    /// A checksum that does not match.
    #[error("the event stream has a message whose checksum is wrong")]
    Checksum,
    /// Headers that cannot be read.
    #[error("the event stream has a message whose headers cannot be read")]
    Headers,
    /// The body ended within a message.
    #[error("the event stream ended in the middle of a message")]
    Half,
}

impl From<Damaged> for Error {
    fn from(damaged: Damaged) -> Self {
        let kind = if damaged == Damaged::Half { Kind::Unavailable } else { Kind::BadResponse };
        Self::new(kind, damaged.to_string())
    }
}

impl Message {
    /// Tells whether it is the end of the stream with a failure.
    pub fn is_failure(&self) -> bool {
        matches!(self.kind.as_str(), "exception" | "error")
    }

    /// Classifies the failure that the message tells.
    pub fn failure(&self) -> Error {
        if self.said.is_empty() {
            return refusal::of_exception(&self.name, &self.payload);
        }
        let said = serde_json::json!({ "message": self.said });
        refusal::of_exception(&self.name, said.to_string().as_bytes())
    }

    /// Returns what a `chunk` event of `InvokeModel` wraps: an event of the model vendor's own dialect.
    pub fn chunk(&self) -> Option<Bytes> {
        #[derive(Deserialize)]
        struct Chunk<'a> {
            #[serde(borrow)]
            bytes: Text<'a>,
        }
        let chunk: Chunk<'_> = serde_json::from_slice(&self.payload).ok()?;
        STANDARD.decode(chunk.bytes.0.as_bytes()).ok().map(Bytes::from)
    }

    fn read(mut whole: Bytes) -> Result<Self, Damaged> {
        let raw = whole.clone();
        let crc_at = whole.len().checked_sub(CRC_BYTES).ok_or(Damaged::Length)?;
        let told = be_u32(&whole, crc_at);
        whole.truncate(crc_at);
        if told != Some(crc32fast::hash(&whole)) {
            return Err(Damaged::Checksum);
        }
        let header_bytes = length_at(&whole, 4);
        whole.advance(PRELUDE_BYTES);
        let mut message = Self { payload: whole.split_off(header_bytes), raw, ..Self::default() };
        while !whole.is_empty() {
            let (name, value) = header(&mut whole).ok_or(Damaged::Headers)?;
            let slot = match name.as_ref() {
                b":message-type" => &mut message.kind,
                b":event-type" | b":exception-type" | b":error-code" => &mut message.name,
                b":error-message" => &mut message.said,
                _ => continue,
            };
            *slot = String::from_utf8_lossy(&value).into_owned();
        }
        Ok(message)
    }
}

/// Takes one header off the front: its name and, if it is text, its value.
fn header(left: &mut Bytes) -> Option<(Bytes, Bytes)> {
    let name_bytes = usize::from(left.try_get_u8().ok()?);
    let name = take(left, name_bytes)?;
    let value_bytes = match left.try_get_u8().ok()? {
        0 | 1 => 0,
        2 => 1,
        3 => 2,
        4 => 4,
        5 | 8 => 8,
        6 | 7 => usize::from(left.try_get_u16().ok()?),
        9 => 16,
        _ => return None,
    };
    Some((name, take(left, value_bytes)?))
}

fn take(left: &mut Bytes, count: usize) -> Option<Bytes> {
    (count <= left.len()).then(|| left.split_to(count))
}

fn be_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn length_at(bytes: &[u8], at: usize) -> usize {
    be_u32(bytes, at).and_then(|length| usize::try_from(length).ok()).unwrap_or(usize::MAX)
}

/// Returns the length of the message that begins here, once its prelude is there.
fn length(begun: &[u8]) -> Result<Option<usize>, Damaged> {
    if begun.len() < PRELUDE_BYTES {
        return Ok(None);
    }
    let (all, headers) = (length_at(begun, 0), length_at(begun, 4));
    if be_u32(begun, 8) != Some(crc32fast::hash(&begun[..8])) {
        return Err(Damaged::Checksum);
    }
    let fits = headers <= MAX_HEADER_BYTES && all >= PRELUDE_BYTES + headers + CRC_BYTES;
    if all > MAX_MESSAGE_BYTES || !fits {
        return Err(Damaged::Length);
    }
    Ok(Some(all))
}

impl Splitter {
    fn next(&mut self) -> Option<Result<Message, Damaged>> {
        let read = match length(&self.carry) {
            Ok(Some(all)) if all <= self.carry.len() => Message::read(self.carry.split_to(all).freeze()),
            Ok(_) => return None,
            Err(damaged) => Err(damaged),
        };
        self.damaged = read.is_err();
        Some(read)
    }
}

impl Frames for Splitter {
    /// Damage is a block of its own, so that the messages before it are still told.
    type Block = Result<Message, Damaged>;

    fn push(&mut self, data: Bytes) -> Result<impl Iterator<Item = Self::Block> + use<>, Error> {
        let mut whole = Vec::new();
        if !self.damaged {
            self.carry.extend_from_slice(&data);
            while let Some(read) = self.next() {
                whole.push(read);
                if self.damaged {
                    break;
                }
            }
        }
        Ok(whole.into_iter())
    }

    fn finish(&mut self) -> Option<Self::Block> {
        (!self.damaged && !self.carry.is_empty()).then_some(Err(Damaged::Half))
    }
}

/// Writes messages as AWS does, for tests.
#[cfg(test)]
pub(in crate::provider) mod testing {
    /// Writes one message with text headers.
    pub(in crate::provider) fn message(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
        let mut written = Vec::new();
        for (name, value) in headers {
            written.push(u8::try_from(name.len()).unwrap());
            written.extend_from_slice(name.as_bytes());
            written.push(7);
            written.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
            written.extend_from_slice(value.as_bytes());
        }
        let all = u32::try_from(written.len() + payload.len() + 16).unwrap();
        let mut message = all.to_be_bytes().to_vec();
        message.extend_from_slice(&u32::try_from(written.len()).unwrap().to_be_bytes());
        message.extend_from_slice(&crc32fast::hash(&message).to_be_bytes());
        message.extend_from_slice(&written);
        message.extend_from_slice(payload);
        message.extend_from_slice(&crc32fast::hash(&message).to_be_bytes());
        message
    }

    /// Writes one event.
    pub(in crate::provider) fn event(name: &str, payload: &str) -> Vec<u8> {
        let headers =
            [(":event-type", name), (":content-type", "application/json"), (":message-type", "event")];
        message(&headers, payload.as_bytes())
    }
}

#[cfg(test)]
mod tests;
