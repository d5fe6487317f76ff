//! Calls that pass through: endpoints of providers that the contract does not model. Their bytes go both ways as they
//! are; only the model's name is changed on the way there.

use std::{fmt, pin::Pin, sync::Mutex};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Body;

/// What is passed through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `POST /v1/moderations`.
    Moderations,
    /// `POST /v1/rerank`.
    Rerank,
    /// `POST /v1/images/generations`.
    ImageGenerations,
    /// `POST /v1/images/edits`.
    ImageEdits,
    /// `POST /v1/images/variations`.
    ImageVariations,
    /// `POST /v1/audio/speech`.
    Speech,
    /// `POST /v1/audio/transcriptions`.
    Transcriptions,
    /// `POST /v1/audio/translations`.
    Translations,
    /// `POST /v1/responses/compact`.
    CompactResponses,
    /// `POST /providers/{provider}/…`: a wire of the provider's own.
    Native,
}

impl Endpoint {
    /// Returns the record's `surface`.
    pub fn surface(self) -> &'static str {
        match self {
            Self::Moderations => "openai-moderations",
            Self::Rerank => "rerank",
            Self::ImageGenerations | Self::ImageEdits | Self::ImageVariations => "openai-images",
            Self::Speech | Self::Transcriptions | Self::Translations => "openai-audio",
            Self::CompactResponses => "openai-responses",
            Self::Native => "native",
        }
    }

    /// Returns the record's `operation`.
    pub fn operation(self) -> &'static str {
        match self {
            Self::Moderations => "moderation",
            Self::Rerank => "rerank",
            Self::ImageGenerations => "image_generation",
            Self::ImageEdits => "image_edit",
            Self::ImageVariations => "image_variation",
            Self::Speech => "speech",
            Self::Transcriptions => "transcription",
            Self::Translations => "translation",
            Self::CompactResponses => "compaction",
            Self::Native => "native",
        }
    }

    /// Returns the path below a base URL that ends with its version, as OpenAI and its compatibles have it.
    pub fn path(self) -> &'static str {
        match self {
            Self::Moderations => "moderations",
            Self::Rerank => "rerank",
            Self::ImageGenerations => "images/generations",
            Self::ImageEdits => "images/edits",
            Self::ImageVariations => "images/variations",
            Self::Speech => "audio/speech",
            Self::Transcriptions => "audio/transcriptions",
            Self::Translations => "audio/translations",
            Self::CompactResponses => "responses/compact",
            Self::Native => "",
        }
    }
}

/// The rest of a body that is still on its way from the caller.
pub type Tail = Pin<Box<dyn Body<Data = Bytes, Error = TailError> + Send>>;
/// Why the rest of a body never came.
pub type TailError = Box<dyn std::error::Error + Send + Sync>;

/// How the model's name is written in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// As a JSON string.
    Json,
    /// As it is: the value of a form's field.
    Plain,
    /// Nowhere: it stands in the path, or in nothing.
    None,
}

/// A body with a place for the model's name.
pub struct Forward {
    /// Where it goes.
    pub endpoint: Endpoint,
    /// Path and query of `Endpoint::Native`, without a leading slash; empty for others. Holds `model` where the caller's
    /// path did.
    pub native_path: String,
    /// `content-type` and what else belongs to the body.
    pub headers: HeaderMap,
    /// Up to the model's name.
    pub before: Bytes,
    /// How the name is written.
    pub slot: Slot,
    /// What came after the name so far.
    pub after: Bytes,
    /// What is still to come. Can be sent once.
    pub tail: Mutex<Option<Tail>>,
    /// Whether there ever was a tail.
    pub has_tail: bool,
    /// What the request itself tells of what will be billed (`images`, `characters`), for answers that do not.
    pub units: Vec<(&'static str, i64)>,
}

impl Forward {
    /// Tells whether the body can be sent now: always, or as long as its tail is unsent.
    pub fn can_be_sent(&self) -> bool {
        !self.has_tail || self.tail.lock().is_ok_and(|tail| tail.is_some())
    }
}

impl fmt::Debug for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forward").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}
