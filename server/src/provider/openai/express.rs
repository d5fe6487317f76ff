//! The express lane of chat completions: what is patched in the caller's bytes, and what is seen in the vendor's.

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::Deserializer;
use tollgate_api::v1;

use super::{
    json::says_something,
    members::Members,
    refusal::{self, not_json, stray},
    tap::{Indexes, Tapped},
    usage,
};
use crate::{
    call::{Item, Raw, Seen},
    provider::{
        Error, Kind,
        express::{self, Patch, Tap},
        http::Pieces,
        sse::Event,
        vendors::Vendor,
    },
};

/// Builds the upstream's request from the caller's bytes: another `model`, usage asked for if that is said, the rest as
/// it came.
pub(super) fn request(raw: &Raw, model: &str, usage: bool, cap: Option<Cap>) -> Result<Pieces, Error> {
    let mut patches = vec![express::model_patch(raw, model)?];
    if usage {
        patches.extend(ask_for_usage(raw).ok_or_else(express::broken_spans)?);
    }
    if let Some((name, tokens)) = cap {
        let patch = express::member_patch(raw, name, &tokens.to_string());
        patches.push(patch.ok_or_else(express::broken_spans)?);
    }
    express::patched(raw, patches)
}

/// The member that bounds the answer, and the bound.
pub(super) type Cap = (&'static str, i64);

/// Makes the patch that asks for usage, if the caller has not done so. None if the spans do not fit.
fn ask_for_usage(raw: &Raw) -> Option<Option<Patch>> {
    if let Some(span) = &raw.stream_options {
        let patched = with_include_usage(raw.body.get(span.clone())?);
        return Some(patched.map(|value| (span.clone(), value)));
    }
    express::member_patch(raw, "stream_options", r#"{"include_usage":true}"#).map(Some)
}

/// Returns the options with `include_usage` true and all else kept; None if they say so already or are no object.
fn with_include_usage(options: &[u8]) -> Option<Bytes> {
    let mut members: Members<'_> = serde_json::from_slice(options).ok()?;
    if members.get("include_usage").is_some_and(|value| value.get() == "true") {
        return None;
    }
    members.set("include_usage", Cow::Borrowed("true"));
    Some(members.to_json().into_bytes().into())
}

/// Checks a whole chat answer and hands it on untouched.
pub(super) fn whole_chat(body: Bytes) -> Result<Item, Error> {
    let tapped: Tapped<'_> = serde_json::from_slice(&body).map_err(|_| not_json(&body))?;
    let choices = tapped.choices.unwrap_or_default();
    if choices.failed || says_something(tapped.error) {
        return Err(refusal::of_payload(&body));
    }
    if choices.count == 0 {
        return Err(Error::new(Kind::BadResponse, "the answer is a JSON object without `choices`"));
    }
    let seen = Seen {
        content_events: 1,
        output_tokens: choices.output_tokens,
        usage: told_usage(&tapped).map(Box::new),
        finish_reason: choices.finish_reason,
        response_id: told(&tapped.id.0),
        model: told(&tapped.model.0),
        last: true,
        progress: true,
    };
    Ok(Item::Raw(body, seen))
}

fn told(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn told_usage(tapped: &Tapped<'_>) -> Option<v1::Usage> {
    let groq = tapped.x_groq.as_ref().and_then(|groq| groq.usage);
    let mut usage = [tapped.usage, groq].into_iter().flatten().find_map(|usage| usage::parse(usage.get()))?;
    if !tapped.service_tier.is_empty() {
        tapped.service_tier.0.as_ref().clone_into(&mut usage.service_tier);
    }
    Some(usage)
}

/// How far a stream has come towards its end.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) any_event: bool,
    pub(super) any_content: bool,
    pub(super) seen: Indexes,
    pub(super) finished: Indexes,
    /// The vendor tells nothing after its finish reasons.
    pub(super) ends_bare: bool,
    /// Usage was told when every choice had said why it ended.
    settled: bool,
    pub(super) complete: bool,
}

impl Progress {
    /// Takes the end of a chunk that told usage.
    pub(super) fn told_usage(&mut self) {
        self.settled |= self.is_finished();
    }

    fn is_finished(&self) -> bool {
        !self.seen.is_empty() && self.seen == self.finished
    }

    /// Takes `[DONE]`, which ends an answer only if there was one.
    pub(super) fn done(&mut self) -> Result<(), Error> {
        if !self.any_content && self.finished.is_empty() {
            return Err(Error::new(Kind::BadResponse, "the stream says [DONE] without an answer before it"));
        }
        self.complete = true;
        Ok(())
    }

    /// Takes the end of the body: some vendors never send `[DONE]`, but then every choice has said why it ended, and the
    /// usage that was asked for has come.
    pub(super) fn ended(&mut self) -> Result<(), Error> {
        if !self.any_event {
            return Err(Error::new(Kind::BadResponse, "the answer is no event stream"));
        }
        let lacks = match (self.is_finished(), self.settled || self.ends_bare) {
            (true, true) => {
                self.complete = true;
                return Ok(());
            }
            (true, false) => "its usage",
            (false, _) => "a finish reason",
        };
        let message = format!("the stream ended without {lacks} or [DONE]: the answer is cut short");
        Err(Error::new(Kind::Unavailable, message))
    }
}

/// Tells whether an event's data is OpenAI's mark of the end.
pub(super) fn is_done(data: &[u8]) -> bool {
    data.trim_ascii() == b"[DONE]"
}

/// Looks at a streamed chat answer as it passes.
#[derive(Debug)]
pub(super) struct Watch {
    usage_wanted: bool,
    told_id: bool,
    told_model: bool,
    /// The last event was left out.
    hid: bool,
    progress: Progress,
}

impl Watch {
    pub(super) fn new(usage_wanted: bool) -> Self {
        Self { usage_wanted, told_id: false, told_model: false, hid: false, progress: Progress::default() }
    }

    /// Reads it as a vendor's own.
    pub(super) fn of(mut self, vendor: &Vendor) -> Self {
        self.progress.ends_bare = vendor.ends_bare;
        self
    }

    fn chunk(&mut self, tapped: &Tapped<'_>, data: &[u8], seen: &mut Seen) -> Result<bool, Error> {
        let choices = tapped.choices.unwrap_or_default();
        if choices.failed || says_something(tapped.error) {
            return Err(refusal::of_payload(data));
        }
        if !self.told_id && !tapped.id.is_empty() {
            self.told_id = true;
            seen.response_id = told(&tapped.id.0);
        }
        if !self.told_model && !tapped.model.is_empty() {
            self.told_model = true;
            seen.model = told(&tapped.model.0);
        }
        seen.content_events += choices.with_content;
        seen.output_tokens = seen.output_tokens.saturating_add(choices.output_tokens);
        seen.finish_reason = choices.finish_reason.or(seen.finish_reason);
        self.progress.any_content |= choices.with_content > 0;
        self.progress.seen.join(choices.seen);
        self.progress.finished.join(choices.finished);
        let Some(usage) = told_usage(tapped) else { return Ok(true) };
        self.progress.told_usage();
        seen.usage = Some(Box::new(usage));
        // The chunk that only tells usage would surprise a caller who has not asked for it.
        Ok(choices.count > 0 || self.usage_wanted)
    }
}

impl Tap for Watch {
    fn event(&mut self, event: &Event<'_>, seen: &mut Seen) -> Result<bool, Error> {
        let Some(data) = &event.data else {
            if event.stray && !self.progress.any_event {
                return Err(stray(event.raw));
            }
            // The line feed of an event that ended with a carriage return may come after it.
            return Ok(!(self.hid && event.raw.trim_ascii().is_empty()));
        };
        self.progress.any_event = true;
        seen.progress = true;
        if is_done(data) {
            self.progress.done()?;
            seen.last = true;
            return Ok(true);
        }
        if event.name == b"error" {
            return Err(refusal::of_payload(data));
        }
        let mut shown = true;
        // Some vendors put two objects into one event.
        for tapped in Deserializer::from_slice(data).into_iter::<Tapped<'_>>() {
            let tapped =
                tapped.map_err(|_| Error::new(Kind::BadResponse, "an event of the stream is not JSON"))?;
            shown &= self.chunk(&tapped, data, seen)?;
        }
        self.hid = !shown;
        Ok(shown)
    }

    fn ended(&mut self) -> Result<(), Error> {
        self.progress.ended()
    }

    fn is_complete(&self) -> bool {
        self.progress.complete
    }
}

#[cfg(test)]
mod tests;
