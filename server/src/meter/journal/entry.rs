//! One entry of the journal as bytes: u32 length and u32 CRC of what follows, u8 kind, payload; little-endian.

use prost::Message;
use tollgate_api::v1;
use uuid::Uuid;

use super::Progress;
use crate::{
    call::{Rates, Target},
    meter::sum::Sum,
};

const BEGIN: u8 = 1;
const CHECKPOINT: u8 = 2;
const SETTLE: u8 = 3;
const HEAD: usize = 8;

/// What a crash would leave of a call: its record so far, and what prices it.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Begun {
    #[prost(message, optional, tag = "1")]
    pub(super) record: Option<v1::UsageRecord>,
    #[prost(string, tag = "2")]
    vendor: String,
    #[prost(message, optional, tag = "3")]
    rates: Option<BegunRates>,
    #[prost(message, optional, tag = "4")]
    pub(super) earlier: Option<Earlier>,
}

/// What the attempts before the running one came to.
#[derive(Clone, PartialEq, Message)]
pub(in crate::meter) struct Earlier {
    /// What they are billed for, with its cost.
    #[prost(message, optional, tag = "1")]
    pub(super) usage: Option<v1::Usage>,
    /// Whether a part of that has no known price.
    #[prost(bool, tag = "2")]
    pub(super) unpriced: bool,
    /// Estimated tokens of the content that they handed on.
    #[prost(int64, tag = "3")]
    pub(super) output_tokens: i64,
    /// Content events that they handed on.
    #[prost(int64, tag = "4")]
    pub(super) content_events: i64,
}

impl Earlier {
    pub(in crate::meter) fn new(bill: Sum, delivered: Progress) -> Self {
        Self {
            usage: bill.usage,
            unpriced: bill.unpriced,
            output_tokens: delivered.output_tokens,
            content_events: delivered.content_events,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Message)]
struct BegunRates {
    #[prost(int64, tag = "1")]
    input: i64,
    #[prost(int64, tag = "2")]
    output: i64,
    #[prost(int64, optional, tag = "3")]
    cache_read: Option<i64>,
    #[prost(int64, optional, tag = "4")]
    cache_write: Option<i64>,
}

impl Begun {
    pub(super) fn new(record: v1::UsageRecord, target: Option<&Target>, earlier: Option<Earlier>) -> Self {
        Self {
            record: Some(record),
            vendor: target.map_or_else(String::new, |target| (*target.vendor).to_owned()),
            rates: target.and_then(|target| target.rates).map(|rates| BegunRates {
                input: rates.input,
                output: rates.output,
                cache_read: rates.cache_read,
                cache_write: rates.cache_write,
            }),
            earlier,
        }
    }

    /// Returns the target of the running attempt, as far as prices need it.
    pub(super) fn target(&self) -> Option<Target> {
        let record = self.record.as_ref().filter(|record| !record.target.is_empty())?;
        Some(Target {
            name: record.target.as_str().into(),
            provider: record.provider.as_str().into(),
            model: record.model.as_str().into(),
            vendor: self.vendor.as_str().into(),
            rates: self.rates.map(|rates| Rates {
                input: rates.input,
                output: rates.output,
                cache_read: rates.cache_read,
                cache_write: rates.cache_write,
            }),
        })
    }
}

/// An entry that was read.
#[derive(Debug, PartialEq)]
pub(super) enum Entry {
    Begin(Uuid, Box<Begun>),
    Checkpoint(Uuid, Progress),
    Settle(Uuid, Box<v1::UsageRecord>),
}

/// Writes a `begin` entry into an emptied buffer.
pub(super) fn begin(buffer: &mut Vec<u8>, begun: &Begun) {
    buffer.clear();
    frame(buffer, BEGIN, |buffer| begun.encode_raw(buffer));
}

/// Adds a `checkpoint` entry to the buffer.
pub(super) fn checkpoint(buffer: &mut Vec<u8>, id: Uuid, progress: Progress) {
    frame(buffer, CHECKPOINT, |buffer| {
        buffer.extend_from_slice(id.as_bytes());
        buffer.extend_from_slice(&progress.output_tokens.to_le_bytes());
        buffer.extend_from_slice(&progress.content_events.to_le_bytes());
    });
}

/// Writes a `settle` entry into an emptied buffer.
pub(super) fn settle(buffer: &mut Vec<u8>, record: &v1::UsageRecord) {
    buffer.clear();
    frame(buffer, SETTLE, |buffer| record.encode_raw(buffer));
}

fn frame(buffer: &mut Vec<u8>, kind: u8, payload: impl FnOnce(&mut Vec<u8>)) {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; HEAD]);
    buffer.push(kind);
    payload(buffer);
    let body = &buffer[start + HEAD..];
    // Requests are bounded far below 4 GiB; were one not, its entry would read as corrupt, not as another.
    let length = u32::try_from(body.len()).unwrap_or(0);
    let crc = crc32fast::hash(body);
    buffer[start..start + 4].copy_from_slice(&length.to_le_bytes());
    buffer[start + 4..start + HEAD].copy_from_slice(&crc.to_le_bytes());
}

/// Reads the first entry, and returns it with what follows; `None` if the bytes do not start with a whole one.
pub(super) fn read(bytes: &[u8]) -> Option<(Entry, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (body, rest) = rest.split_at_checked(length)?;
    if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
        return None;
    }
    let (kind, payload) = body.split_first()?;
    Some((parse(*kind, payload)?, rest))
}

fn parse(kind: u8, payload: &[u8]) -> Option<Entry> {
    match kind {
        BEGIN => {
            let begun = Begun::decode(payload).ok()?;
            let id = Uuid::parse_str(&begun.record.as_ref()?.id).ok()?;
            Some(Entry::Begin(id, Box::new(begun)))
        }
        CHECKPOINT => {
            let (id, rest) = payload.split_first_chunk::<16>()?;
            let (tokens, rest) = rest.split_first_chunk::<8>()?;
            let (events, _) = rest.split_first_chunk::<8>()?;
            let progress = Progress {
                output_tokens: i64::from_le_bytes(*tokens),
                content_events: i64::from_le_bytes(*events),
            };
            Some(Entry::Checkpoint(Uuid::from_bytes(*id), progress))
        }
        SETTLE => {
            let record = v1::UsageRecord::decode(payload).ok()?;
            Some(Entry::Settle(Uuid::parse_str(&record.id).ok()?, Box::new(record)))
        }
        _ => None,
    }
}
