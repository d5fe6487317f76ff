//! The readers of OpenAI's dialect, for `provider/lanes.rs`.

use tollgate_api::v1::ChatInput;

use super::{
    embed,
    express::{Watch, whole_chat},
    response::Decoder,
    vectors,
};
use crate::{
    call::Item,
    provider::{
        express::Express,
        lanes::{Makes, OPENAI, Reader, Unit, follow, whole},
        vendors::{self, Vendor},
    },
};

pub(in crate::provider) use super::responses::lanes::READERS as RESPONSES;

/// The dialects of this family.
pub(super) const THIS: &[&str] = &[OPENAI, "azure"];

/// The readers.
pub(in crate::provider) const READERS: &[Reader] = &[
    Reader::new("openai-chat", THIS, Makes::Events, |pieces, taker| {
        follow(of(&vendors::OPENAI), pieces, taker)
    }),
    Reader::new("openai-chat-think-tags", THIS, Makes::Events, |pieces, taker| {
        follow(like(|vendor| vendor.think_tags), pieces, taker);
    }),
    Reader::new("openai-chat-thinking-parts", THIS, Makes::Events, |pieces, taker| {
        follow(like(|vendor| vendor.thinking_parts), pieces, taker);
    }),
    Reader::new("openai-chat-whole", THIS, Makes::Whole, |pieces, taker| {
        whole(pieces, taker, |body| of(&vendors::OPENAI).whole(&body));
    }),
    Reader::new("openai-chat-express", THIS, Makes::Bytes(Unit::Events), |pieces, taker| {
        follow(Express(Watch::new(true)), pieces, taker);
    }),
    Reader::new("openai-chat-express-no-usage", THIS, Makes::SomeBytes(Unit::Events), |pieces, taker| {
        follow(Express(Watch::new(false)), pieces, taker);
    }),
    Reader::new("openai-chat-express-whole", THIS, Makes::Whole, |pieces, taker| {
        whole(pieces, taker, |body| Ok(vec![whole_chat(body)?]));
    }),
    Reader::new("openai-embeddings", THIS, Makes::Whole, |pieces, taker| {
        whole(pieces, taker, |body| {
            let answer = embed::decode(&body, 1, vectors::Form::Floats)?;
            Ok(vec![Item::Embeddings(Box::new(answer))])
        });
    }),
    Reader::new("openai-embeddings-express", THIS, Makes::Whole, |pieces, taker| {
        whole(pieces, taker, |body| Ok(vec![embed::whole(body)?]));
    }),
];

fn of(vendor: &Vendor) -> Decoder {
    Decoder::new("mine", &ChatInput::default()).of(vendor)
}

/// As a vendor that has the quirk; without one there is nothing to read otherwise.
fn like(has: fn(&Vendor) -> bool) -> Decoder {
    of(vendors::VENDORS.iter().find(|vendor| has(vendor)).unwrap_or(&vendors::OPENAI))
}
