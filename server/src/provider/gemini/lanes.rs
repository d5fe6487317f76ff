//! The readers of Gemini's dialect, for `provider/lanes.rs`.

use uuid::Uuid;

use super::{FAMILY, count, embed, response::Decoder};
use crate::{
    call::Item,
    provider::lanes::{Makes, Reader, follow, whole},
};

const THIS: &[&str] = &[FAMILY, "vertex"];

/// The readers. Whether a body is an event stream, a list or one object shows in its first byte.
pub(in crate::provider) const READERS: &[Reader] = &[
    Reader::new("gemini", THIS, Makes::Events, |pieces, taker| {
        follow(Decoder::new("mine", Uuid::nil()), pieces, taker);
    }),
    Reader::new("gemini-embeddings", THIS, Makes::Whole, |pieces, taker| {
        whole(pieces, taker, |body| Ok(vec![Item::Embeddings(Box::new(embed::decode(&body, 1, "m")?))]));
    }),
    Reader::new("gemini-count", THIS, Makes::Whole, |pieces, taker| {
        whole(pieces, taker, |body| Ok(vec![Item::Counted(Box::new(count::decode(&body, "m")?))]));
    }),
];
