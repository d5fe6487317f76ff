//! The readers of Cohere's dialect, for `provider/lanes.rs`.

use super::{FAMILY, embed, response::Decoder};
use crate::{
    call::Item,
    provider::lanes::{Makes, Reader, follow, whole},
};

const THIS: &[&str] = &[FAMILY];

/// The readers.
pub(in crate::provider) const READERS: &[Reader] = &[
    Reader::new("cohere", THIS, Makes::Events, |pieces, taker| {
        follow(Decoder::new("mine", "m"), pieces, taker);
    }),
    Reader::new("cohere-whole", THIS, Makes::Whole, |pieces, taker| {
        whole(pieces, taker, |body| Decoder::new("mine", "m").whole(&body));
    }),
    Reader::new("cohere-embeddings", THIS, Makes::Whole, |pieces, taker| {
        whole(pieces, taker, |body| {
            let answer = embed::decode(&body, 1, embed::FLOATS, "m".to_owned())?;
            Ok(vec![Item::Embeddings(Box::new(answer))])
        });
    }),
];
