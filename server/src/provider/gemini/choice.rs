//! One candidate of an answer: Gemini's parts in, parts of the contract out.

use std::collections::VecDeque;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::value::RawValue;
use tollgate_api::v1::{self, Part, Thought, ToolCall, part::Kind, tool_call::Input};

use super::{finish, grounding, partial::Partial, ran};
use crate::{
    call::Item,
    provider::{
        Error, Kind as Failure,
        compose::Composer,
        json::{Text, members::Members, read, write::compact},
    },
};

/// Text beyond this has no citations: their places are counted from its start.
const MAX_CITED_BYTES: usize = 256 * 1024;
/// The most bytes of what is told of the sources of one candidate; more has no citations.
const MAX_SOURCE_BYTES: usize = 1024 * 1024;
/// Members that stand beside what a part holds.
const BESIDE: [&str; 5] = ["thought", "thoughtSignature", "videoMetadata", "mediaResolution", "partMetadata"];

/// What all candidates of an answer share.
pub(super) struct Answer<'a> {
    pub(super) composer: &'a mut Composer,
    pub(super) out: &'a mut VecDeque<Item>,
    /// Makes ids for calls that have none.
    pub(super) ids: &'a mut Ids,
}

/// Numbers the calls of an answer. The same bytes give the same ids, and no two answers do.
#[derive(Debug)]
pub(super) struct Ids {
    prefix: String,
    next: u32,
}

impl Ids {
    pub(super) fn new(call_id: uuid::Uuid) -> Self {
        Self { prefix: format!("call_{}", call_id.simple()), next: 0 }
    }

    fn told_or_made(&mut self, told: &str) -> String {
        if !told.is_empty() {
            return told.to_owned();
        }
        self.next += 1;
        format!("{}_{}", self.prefix, self.next - 1)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Open {
    #[default]
    Nothing,
    Text,
    Thought,
    Sound,
    Other,
}

/// A candidate that is being told.
#[derive(Debug)]
pub(super) struct State {
    pub(super) index: i32,
    /// Why it ended; empty as long as it has not.
    pub(super) finish: String,
    open: Open,
    /// The open part has its signature: what follows is another part.
    signed: bool,
    /// The text of the open part, for citations.
    text: String,
    sound: String,
    partial: Option<Partial>,
    /// Id of the last call that Gemini ran itself, for a result without one.
    upstream_call: String,
    grounding: String,
    citations: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Call<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    args: Option<&'a RawValue>,
    #[serde(borrow)]
    partial_args: Option<&'a RawValue>,
    #[serde(borrow)]
    will_continue: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Blob<'a> {
    #[serde(borrow)]
    mime_type: Text<'a>,
    #[serde(borrow)]
    data: Text<'a>,
}

impl State {
    pub(super) fn new(index: i32) -> Self {
        Self {
            index,
            finish: String::new(),
            open: Open::Nothing,
            signed: false,
            text: String::new(),
            sound: String::new(),
            partial: None,
            upstream_call: String::new(),
            grounding: String::new(),
            citations: String::new(),
        }
    }

    /// Takes one part. One that is no object is left out.
    ///
    /// # Errors
    /// `BadResponse` if there cannot be such a choice, or its media are no base64.
    pub(super) fn part(&mut self, json: &str, to: &mut Answer<'_>) -> Result<(), Error> {
        let Ok(members) = serde_json::from_str::<Members<'_>>(json) else { return Ok(()) };
        let is = |name: &str| members.get(name).is_some_and(|value| value.get() == "true");
        let signature: Text<'_> = read(members.get("thoughtSignature").map(|value| value.get()));
        let holds = members.iter().find(|(name, _)| !BESIDE.contains(name));
        let (name, value) = holds.unwrap_or(("text", "\"\""));
        match name {
            "text" => self.words(&read::<Text<'_>>(Some(value)).0, is("thought"), &signature.0, to)?,
            "functionCall" => self.call(&read(Some(value)), to)?,
            "inlineData" if !is("thought") => self.media(&read(Some(value)), to)?,
            "executableCode" | "toolCall" => return self.ran(name, value, json, to),
            "codeExecutionResult" | "toolResponse" => return self.result(name, value, json, to),
            _ => {
                let r#type = name.to_owned();
                let provider = to.composer.provider().to_owned();
                let extension = v1::Extension { provider, r#type, json: json.to_owned() };
                return self.open(Open::Other, Kind::Extension(extension), to);
            }
        }
        if !matches!(name, "text") && !signature.is_empty() {
            to.composer.token(self.index, signature.0.into_owned());
        }
        Ok(())
    }

    /// Text or a thought. A signature belongs to all the text before it in the part; without text it stands alone.
    fn words(
        &mut self,
        text: &str,
        thought: bool,
        signature: &str,
        to: &mut Answer<'_>,
    ) -> Result<(), Error> {
        let kind = if thought { Open::Thought } else { Open::Text };
        if text.is_empty() && signature.is_empty() {
            return Ok(());
        }
        let is_words = matches!(self.open, Open::Text | Open::Thought);
        let joins = !self.signed && if text.is_empty() { is_words } else { self.open == kind };
        if !joins {
            let empty = if thought { Kind::Thought(Thought::default()) } else { Kind::Text(String::new()) };
            self.open(kind, empty, to)?;
        }
        if thought {
            to.composer.thought(self.index, text, to.out)?;
        } else {
            to.composer.text(self.index, text, to.out)?;
            if self.text.len() + text.len() <= MAX_CITED_BYTES {
                self.text.push_str(text);
            }
        }
        if !signature.is_empty() {
            self.signed = true;
            to.composer.token(self.index, signature.to_owned());
        }
        Ok(())
    }

    /// A call of the caller's tool: whole, or begun here and told piece by piece in the parts that follow.
    fn call(&mut self, call: &Call<'_>, to: &mut Answer<'_>) -> Result<(), Error> {
        let goes_on =
            call.partial_args.is_some() || call.will_continue.is_some_and(|value| value.get() == "true");
        if !call.name.is_empty() {
            let id = to.ids.told_or_made(&call.id.0);
            let input = Some(Input::ArgumentsJson(String::new()));
            let name = call.name.0.to_string();
            let opened = ToolCall { id, name, input, executed_upstream: false };
            self.open(Open::Other, Kind::ToolCall(opened), to)?;
            self.partial = goes_on.then(Partial::default);
            if !goes_on {
                let args = call.args.map(|args| compact(args.get())).filter(|args| args != "null");
                to.composer.tool_input(self.index, args.as_deref().unwrap_or("{}"), to.out);
            }
        }
        if let (Some(partial), Some(pieces)) = (&mut self.partial, call.partial_args) {
            partial.take(pieces.get());
        }
        if !goes_on {
            self.end_partial(to);
        }
        Ok(())
    }

    fn end_partial(&mut self, to: &mut Answer<'_>) {
        if let Some(partial) = self.partial.take() {
            to.composer.tool_input(self.index, &partial.to_json(), to.out);
        }
    }

    fn media(&mut self, blob: &Blob<'_>, to: &mut Answer<'_>) -> Result<(), Error> {
        let data = STANDARD
            .decode(blob.data.0.as_bytes())
            .map_err(|_| Error::new(Failure::BadResponse, "a part's `inlineData` is no base64"))?;
        // A sound comes in pieces of one part, an image at once.
        let sound = blob.mime_type.0.starts_with("audio/");
        if !(sound && self.open == Open::Sound && self.sound == blob.mime_type.0) {
            let mime_type = blob.mime_type.0.to_string();
            let media = v1::Media { mime_type: mime_type.clone(), ..v1::Media::default() };
            self.open(if sound { Open::Sound } else { Open::Other }, Kind::Media(Box::new(media)), to)?;
            self.sound = mime_type;
        }
        to.composer.media(self.index, data.into(), "", to.out);
        Ok(())
    }

    /// A call that Gemini runs itself. The whole part is its token, so that it goes back as it came.
    fn ran(&mut self, name: &str, value: &str, json: &str, to: &mut Answer<'_>) -> Result<(), Error> {
        let (mut call, input) = ran::call(name, value);
        call.id = to.ids.told_or_made(&call.id);
        self.upstream_call.clone_from(&call.id);
        self.open(Open::Other, Kind::ToolCall(call), to)?;
        to.composer.tool_input(self.index, &input, to.out);
        to.composer.token(self.index, json.to_owned());
        Ok(())
    }

    fn result(&mut self, name: &str, value: &str, json: &str, to: &mut Answer<'_>) -> Result<(), Error> {
        let result = ran::result(name, value, &self.upstream_call);
        self.open(Open::Other, Kind::ToolResult(Box::new(result)), to)?;
        to.composer.token(self.index, json.to_owned());
        Ok(())
    }

    fn open(&mut self, kind: Open, initial: Kind, to: &mut Answer<'_>) -> Result<(), Error> {
        self.end_partial(to);
        self.cite(to);
        (self.open, self.signed) = (kind, false);
        to.composer.open(self.index, Part { kind: Some(initial), ..Part::default() }, to.out)
    }

    /// Keeps what is told of the sources; the last word holds.
    pub(super) fn sources(&mut self, grounding: Option<&str>, citations: Option<&str>) {
        for (kept, told) in [(&mut self.grounding, grounding), (&mut self.citations, citations)] {
            if let Some(told) = told.filter(|told| told.len() <= MAX_SOURCE_BYTES) {
                told.clone_into(kept);
            }
        }
    }

    /// Adds the sources to the text that is open.
    fn cite(&mut self, to: &mut Answer<'_>) {
        let text = std::mem::take(&mut self.text);
        if self.open == Open::Text {
            let grounded = grounding::grounded(&std::mem::take(&mut self.grounding), &text);
            let cited = grounding::cited(&std::mem::take(&mut self.citations), &text);
            grounded.into_iter().chain(cited).for_each(|note| to.composer.annotate(self.index, note));
        }
    }

    /// Ends the candidate, whose reason is known.
    pub(super) fn end(&mut self, to: &mut Answer<'_>) -> Result<(), Error> {
        self.end_partial(to);
        self.cite(to);
        let reason = finish::reason(&self.finish, to.composer.has_tool_call(self.index));
        to.composer.end_choice(self.index, reason, &self.finish, "", to.out)
    }
}
