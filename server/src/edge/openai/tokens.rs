//! How the state that a provider wants back with a part (`Continuity`) travels through OpenAI's dialects, which have no
//! place for another vendor's. Written by `edge::continuity::encode`, so that it is known again, it stands
//!
//! - with a thought of a chat answer: in `reasoning_details`, OpenRouter's list that clients send back as it is, one
//!   `reasoning.text` with its `signature`, or `reasoning.encrypted` with its `data`, per thought;
//! - with a thought of a Responses answer: in `encrypted_content`, the dialect's own place;
//! - with a text or a call: in `extra_content.tollgate.continuity` of the call, of the piece of a message, or, in chat,
//!   of the message. Google's own endpoint of this dialect has its signatures in `extra_content` too.

use bytes::Bytes;
use serde::Serialize;
use tollgate_api::v1::{Continuity, Part, Thought, part};

use crate::{
    edge::{
        continuity::{decode, encode, is_marked},
        rest::node::Object,
    },
    error::Error,
};

/// The dialect's vendor: whose tokens those without a mark of ours are.
pub(super) const VENDOR: &str = "openai";
/// How the provider of a token begins that is a thought which its provider shows in no other form.
const REDACTED: &str = "redacted.";

/// The member that carries a token for which the dialect has no place.
#[derive(Serialize)]
pub(super) struct Extra {
    tollgate: Kept,
}

#[derive(Serialize)]
struct Kept {
    continuity: String,
}

impl Extra {
    pub(super) fn of(token: Option<&Continuity>) -> Option<Self> {
        token.map(|token| Self { tollgate: Kept { continuity: encode(token) } })
    }
}

/// A thought with its token, as OpenRouter writes it.
#[derive(Serialize)]
#[serde(tag = "type")]
pub(super) enum Detail {
    /// A thought in words.
    #[serde(rename = "reasoning.text")]
    Text { index: usize, text: String, signature: String },
    /// A thought that is not shown.
    #[serde(rename = "reasoning.encrypted")]
    Encrypted { index: usize, data: String },
}

impl Detail {
    /// Makes the detail of the thought that is that part; none if there is nothing to send back.
    pub(super) fn of(index: usize, thought: &Thought, continuity: Option<&Continuity>) -> Option<Self> {
        let data = thought_token(&thought.redacted, continuity)?;
        if thought.text.is_empty() {
            return Some(Self::Encrypted { index, data });
        }
        Some(Self::Text { index, text: thought.text.clone(), signature: data })
    }
}

/// Writes the token of a thought: the thought itself if its provider shows it in encrypted form only.
pub(super) fn thought_token(redacted: &Bytes, continuity: Option<&Continuity>) -> Option<String> {
    if redacted.is_empty() {
        return continuity.map(encode);
    }
    let provider = continuity.map_or("", |token| token.provider.as_str());
    Some(encode(&Continuity { provider: format!("{REDACTED}{provider}"), token: redacted.clone() }))
}

/// Gives a thought what its token tells.
pub(super) fn with_token(mut thought: Thought, token: Option<Continuity>) -> Part {
    let continuity = token.map(|token| match token.provider.strip_prefix(REDACTED) {
        // Whose it is must be known again; the provider itself only reads what it hid.
        Some(provider) => {
            thought.redacted = token.token.clone();
            Continuity { provider: provider.to_owned(), token: token.token }
        }
        None => token,
    });
    Part { kind: Some(part::Kind::Thought(thought)), continuity, ..Part::default() }
}

/// Takes the token out of `extra_content`; another's there cannot be told.
///
/// # Errors
/// `INVALID_REQUEST` with the path of what does not fit.
pub(super) fn take_extra(object: &mut Object<'_>) -> Result<Option<Continuity>, Error> {
    let Some(extra) = object.take("extra_content") else { return Ok(None) };
    let mut extra = extra.object()?;
    let ours = extra.take("tollgate");
    extra.end(&[]);
    let Some(ours) = ours else { return Ok(None) };
    let token = ours.object()?.text("continuity")?;
    Ok(token.filter(|token| is_marked(token)).map(|token| decode(&token, VENDOR)))
}

/// Takes the thoughts out of `reasoning_details`: one for each token of ours, and one that holds the others as they are
/// for the vendor of this dialect that wrote them.
///
/// # Errors
/// `INVALID_REQUEST` with the path of what does not fit.
pub(super) fn take_details(object: &mut Object<'_>) -> Result<Vec<Part>, Error> {
    let Some(details) = object.take("reasoning_details") else { return Ok(Vec::new()) };
    let (mut thoughts, mut theirs, mut said) = (Vec::new(), Vec::new(), String::new());
    for node in details.elements()? {
        let mut detail = node.object()?;
        let token = detail.text("signature")?.or(detail.text("data")?).filter(|token| is_marked(token));
        let text = detail.text("text")?.or(detail.text("summary")?).unwrap_or_default();
        if let Some(token) = token {
            let thought = Thought { text, ..Thought::default() };
            thoughts.push(with_token(thought, Some(decode(&token, VENDOR))));
        } else {
            theirs.push(node.json());
            said.push_str(&text);
        }
    }
    if !theirs.is_empty() {
        let token = format!("[{}]", theirs.join(",")).into_bytes().into();
        let continuity = Continuity { provider: VENDOR.to_owned(), token };
        thoughts.push(with_token(Thought { text: said, ..Thought::default() }, Some(continuity)));
    }
    Ok(thoughts)
}

#[cfg(test)]
#[path = "tokens_tests.rs"]
mod tests;
