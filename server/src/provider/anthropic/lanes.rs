//! The readers of Anthropic's dialect, for `provider/lanes.rs`.

use super::{FAMILY, count, express, place::ON_VERTEX, response::Decoder};
use crate::provider::{
    express::Express,
    lanes::{Makes, Reader, Unit, follow, whole},
};

const THIS: &[&str] = &[FAMILY, ON_VERTEX];

/// The readers.
pub(in crate::provider) const READERS: &[Reader] = &[
    Reader::new("anthropic", THIS, Makes::Events, |pieces, taker| {
        follow(Decoder::new("mine"), pieces, taker)
    }),
    Reader::new("anthropic-whole", THIS, Makes::Whole, |pieces, taker| {
        whole(pieces, taker, |body| Decoder::new("mine").whole(&body));
    }),
    Reader::new("anthropic-express", THIS, Makes::Bytes(Unit::Events), |pieces, taker| {
        follow(Express(express::Watch::default()), pieces, taker);
    }),
    Reader::new("anthropic-express-whole", THIS, Makes::Whole, |pieces, taker| {
        whole(pieces, taker, |body| Ok(vec![express::whole(body)?]));
    }),
    Reader::new("anthropic-count", THIS, Makes::Whole, |pieces, taker| {
        whole(pieces, taker, |body| Ok(vec![count::decode(&body, "m")?]));
    }),
];
