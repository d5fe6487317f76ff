//! What is asked: the caller's bytes and the typed view of them.

use std::{ops::Range, sync::OnceLock};

use bytes::Bytes;
use http::HeaderMap;
use tollgate_api::v1;

use super::{
    Forward,
    need::Needs,
    unread::{Member, Unread},
};
use crate::error::Error;

/// The wire format a body is written in. Provider and caller dialects that are equal may use the express lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// OpenAI Chat Completions.
    OpenAiChat,
    /// OpenAI Embeddings.
    OpenAiEmbeddings,
    /// OpenAI Responses.
    OpenAiResponses,
    /// OpenAI's legacy Completions.
    OpenAiCompletions,
    /// Anthropic Messages, and the same body for counting its tokens.
    AnthropicMessages,
}

/// A request body exactly as the caller sent it, with the places where a provider may patch it.
#[derive(Clone, Debug)]
pub struct Raw {
    /// What the bytes are.
    pub dialect: Dialect,
    /// The JSON object, well-formed and checked for what we read of it.
    pub body: Bytes,
    /// Where the value of `model` stands, quotes included.
    pub model: Range<usize>,
    /// Where the value of `stream_options` stands, if it is there and not null.
    pub stream_options: Option<Range<usize>>,
    /// Headers of the request that belong to the dialect and go upstream with the body (`anthropic-beta`). Never a
    /// credential.
    pub headers: HeaderMap,
}

/// A request as the caller sent it and as the contract sees it. The typed view is made on demand; changing it
/// drops the raw bytes, so that what is sent can never differ from what was checked.
#[derive(Debug)]
pub struct Payload<T> {
    raw: Option<Raw>,
    typed: OnceLock<T>,
    unread: OnceLock<Vec<Member>>,
    parse: Parse<T>,
}

/// Makes the typed view of a body, and notes what it has no place for.
type Parse<T> = fn(&[u8], &Unread) -> Result<T, Error>;

impl<T> Payload<T> {
    /// Wraps a typed request, which has no raw bytes.
    pub fn typed(request: T) -> Self {
        Self {
            raw: None,
            typed: OnceLock::from(request),
            unread: OnceLock::new(),
            parse: |_, _| Err(Error::internal("a typed payload is never parsed")),
        }
    }

    /// Wraps the typed view of bytes that must not be sent as they are.
    ///
    /// # Errors
    /// `INVALID_REQUEST` with the field's path if the bytes do not fit the contract.
    pub fn parsed(body: &[u8], parse: Parse<T>) -> Result<Self, Error> {
        let unread = Unread::default();
        let payload = Self::typed(parse(body, &unread)?);
        Ok(Self { unread: OnceLock::from(unread.into_members()), ..payload })
    }

    /// Wraps raw bytes; `parse` makes the typed view when somebody asks for it.
    pub fn raw(raw: Raw, parse: Parse<T>) -> Self {
        Self { raw: Some(raw), typed: OnceLock::new(), unread: OnceLock::new(), parse }
    }

    /// Returns the caller's own bytes if they are in this dialect and nobody has changed the request.
    pub fn as_raw(&self, dialect: Dialect) -> Option<&Raw> {
        self.raw.as_ref().filter(|raw| raw.dialect == dialect)
    }

    /// Returns the typed view.
    ///
    /// # Errors
    /// `INVALID_REQUEST` with the field's path if the bytes do not fit the contract.
    pub fn view(&self) -> Result<&T, Error> {
        if let (None, Some(raw)) = (self.typed.get(), &self.raw) {
            let unread = Unread::default();
            let parsed = (self.parse)(&raw.body, &unread)?;
            self.unread.get_or_init(|| unread.into_members());
            return Ok(self.typed.get_or_init(|| parsed));
        }
        self.typed.get().ok_or_else(|| Error::internal("a payload has neither bytes nor a typed view"))
    }

    /// Returns what the typed view has no place for, or only an option; nothing before there is a view.
    pub fn unread(&self) -> &[Member] {
        self.unread.get().map(Vec::as_slice).unwrap_or_default()
    }

    /// Returns the typed view for changing it, and drops the raw bytes.
    ///
    /// # Errors
    /// As `view`.
    pub fn change(&mut self) -> Result<&mut T, Error> {
        self.view()?;
        self.raw = None;
        self.typed.get_mut().ok_or_else(|| Error::internal("a payload lost its typed view"))
    }
}

/// What a call asks for.
#[derive(Debug)]
pub enum Request {
    /// A completion.
    Chat(Payload<v1::ChatInput>),
    /// Embeddings. The `options` of the message are already in `Call::options`.
    Embed(Payload<v1::EmbedRequest>),
    /// The number of tokens of a prompt.
    CountTokens(Payload<v1::ChatInput>),
    /// What passes through.
    Forward(Forward),
}

impl Request {
    /// Returns what the request itself tells of what will be billed beside tokens, by name.
    pub fn units(&self) -> &[(&'static str, i64)] {
        match self {
            Self::Forward(forward) => &forward.units,
            Self::Chat(_) | Self::Embed(_) | Self::CountTokens(_) => &[],
        }
    }

    /// Tells whether the request can be sent to another target after it was sent to one.
    pub fn can_be_sent(&self) -> bool {
        match self {
            Self::Forward(forward) => forward.can_be_sent(),
            Self::Chat(_) | Self::Embed(_) | Self::CountTokens(_) => true,
        }
    }
}

/// What the rooms need to know of a request without reading all of it.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// The alias the caller named.
    pub model: String,
    /// Whether tokens are wanted as they come.
    pub streamed: bool,
    /// Whether the caller asked to see usage in the stream (always true over gRPC).
    pub usage_wanted: bool,
    /// Upper bound of output the caller set, in tokens.
    pub max_output_tokens: Option<i64>,
    /// How many answers are asked for; 0 stands for one.
    pub choice_count: i64,
    /// Length of the prompt's text in bytes, or a close upper bound, for estimates.
    pub input_bytes: usize,
    /// The end user the caller named, for the record.
    pub end_user_id: String,
    /// What it needs of a model.
    pub needs: Needs,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changing_a_payload_drops_its_raw_bytes() {
        let raw = Raw {
            dialect: Dialect::OpenAiChat,
            body: Bytes::from_static(b"{}"),
            model: 0..0,
            stream_options: None,
            headers: HeaderMap::new(),
        };
        let mut payload: Payload<v1::ChatInput> = Payload::raw(raw, |_, _| Ok(v1::ChatInput::default()));
        assert!(payload.as_raw(Dialect::OpenAiChat).is_some());
        payload.change().unwrap().model = "other".to_owned();
        assert!(payload.as_raw(Dialect::OpenAiChat).is_none());
        assert_eq!(payload.view().unwrap().model, "other");
    }
}
