//! The readers of Bedrock's dialect, for `provider/lanes.rs`.

use super::{FAMILY, response::Decoder, vectors};
use crate::provider::lanes::{Makes, Reader, follow, whole};

const THIS: &[&str] = &[FAMILY];

/// The readers.
pub(in crate::provider) const READERS: &[Reader] = &[
    Reader::new("bedrock", THIS, Makes::Events, |pieces, taker| {
        follow(Decoder::new("mine", None), pieces, taker);
    }),
    Reader::new("bedrock-schema-tool", THIS, Makes::Events, |pieces, taker| {
        follow(Decoder::new("mine", Some("f")), pieces, taker);
    }),
    Reader::new("bedrock-whole", THIS, Makes::Whole, |pieces, taker| {
        whole(pieces, taker, |body| Decoder::new("mine", None).whole(&body));
    }),
    Reader::new("bedrock-embeddings", THIS, Makes::Whole, |pieces, taker| {
        whole(pieces, taker, |body| vectors::decode(&body, 1, None).map(|_| Vec::new()));
    }),
];
