//! The state that belongs to a part of an earlier answer, on its way back. A token of ours is the item itself, or the
//! members that the contract does not model; a caller's own is the encrypted content of reasoning.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tollgate_api::v1::{Media, Part, media::Source};

use super::{
    super::{members::Members, translate::Lost, write},
    input::To,
};

/// What a token says.
#[derive(Debug)]
pub(super) enum Token<'a> {
    /// An item, or members of one.
    Members(Members<'a>),
    /// Encrypted content.
    Sealed(&'a str),
}

/// Reads the token of a part. None if it has none, or one of another provider, which is told once.
pub(super) fn of<'a>(part: &'a Part, to: To<'_>, field: &str, lost: &mut Lost) -> Option<Token<'a>> {
    let continuity = part.continuity.as_ref()?;
    let own = to.owns(&continuity.provider);
    let text = std::str::from_utf8(&continuity.token).ok().filter(|_| own);
    let token = text.and_then(|text| match serde_json::from_str::<Members<'_>>(text) {
        Ok(members) => Some(Token::Members(members)),
        // These are the chat API's, which tells by them how a thought came.
        Err(_) if text.starts_with('[') || text.starts_with("reasoning") || text.is_empty() => None,
        Err(_) => Some(Token::Sealed(text)),
    });
    if token.is_none() {
        lost.content(
            "continuity_dropped",
            field,
            "the state of another provider or API cannot be read by this one",
        );
    }
    token
}

impl Token<'_> {
    /// Returns what OpenAI calls the phase of a message; empty if none.
    pub(super) fn phase(&self) -> String {
        let Self::Members(members) = self else { return String::new() };
        members.get("phase").and_then(|json| serde_json::from_str(json.get()).ok()).unwrap_or_default()
    }

    /// Returns members to be added to an item; none if it is an item itself.
    pub(super) fn members(&self) -> Vec<(&str, &str)> {
        match self {
            Self::Members(members) if members.get("type").is_none() => members.iter().collect(),
            _ => Vec::new(),
        }
    }

    /// Returns the item, without what vendors say but do not take. Reasoning that the vendor has not kept must hold
    /// something to be sent.
    pub(super) fn item(&self, stored: bool) -> Option<String> {
        let Self::Members(members) = self else { return None };
        let kind = members.get("type")?.get();
        let said = |name| members.get(name).is_some_and(|json| !matches!(json.get(), "null" | "\"\"" | "[]"));
        if kind == "\"reasoning\"" && !stored && !said("encrypted_content") && !said("content") {
            return None;
        }
        let mut json = String::new();
        let mut object = write::Object::begin(&mut json);
        for (name, value) in members.iter().filter(|(name, value)| *name != "status" || *value != "null") {
            object.raw(name, value);
        }
        object.end();
        Some(json)
    }

    /// Returns the item of an image that the model made.
    pub(super) fn with_image(&self, media: &Media) -> Option<String> {
        let mut item = self.item(true)?;
        let Some(Source::Data(data)) = &media.source else { return None };
        item.pop();
        item.push_str(",\"result\":");
        write::string(&mut item, &STANDARD.encode(data));
        item.push('}');
        Some(item)
    }
}
