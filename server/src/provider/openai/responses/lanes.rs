//! The readers of the Responses API, for `provider/lanes.rs`.

use tollgate_api::v1::ChatInput;

use super::{super::lanes::THIS, decoder::Decoder, express};
use crate::provider::{
    express::Express,
    lanes::{Makes, Reader, Unit, follow, whole},
};

/// The readers.
pub(in crate::provider) const READERS: &[Reader] = &[
    Reader::new("openai-responses", THIS, Makes::Events, |pieces, taker| {
        follow(Decoder::new("mine", &ChatInput::default()), pieces, taker);
    }),
    Reader::new("openai-responses-stored", THIS, Makes::Events, |pieces, taker| {
        let input = ChatInput { store: Some(true), ..ChatInput::default() };
        follow(Decoder::new("mine", &input), pieces, taker);
    }),
    Reader::new("openai-responses-whole", THIS, Makes::Whole, |pieces, taker| {
        whole(pieces, taker, |body| Decoder::new("mine", &ChatInput::default()).whole(&body));
    }),
    Reader::new("openai-responses-express", THIS, Makes::Bytes(Unit::Events), |pieces, taker| {
        follow(Express(express::Watch::default()), pieces, taker);
    }),
    Reader::new("openai-responses-express-whole", THIS, Makes::Whole, |pieces, taker| {
        whole(pieces, taker, |body| Ok(vec![express::whole(body)?]));
    }),
];
