//! The express lane of messages: what is patched in the caller's bytes, and what is seen in the vendor's.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    failure::{checked, cut_short, stray},
    json::{Text, Weight, says_something},
    members::Members,
    refusal,
    request::{BETA, Form},
    response::finish_reason,
    usage::Told,
};
use crate::{
    call::{Item, Raw, Seen, estimate_delta_tokens},
    provider::{
        Error, Kind,
        express::{self, Patch, Tap},
        http::Pieces,
        sse::Event,
    },
};

/// Bedrock's member for what Anthropic asks for in a header.
const BETAS_MEMBER: &str = "anthropic_beta";

/// Builds the upstream's request from the caller's bytes: another `model`, or the form of Vertex, the rest as it came.
pub(super) fn request(raw: &Raw, model: &str, form: Form) -> Result<Pieces, Error> {
    let patches = match form.version() {
        None => vec![express::model_patch(raw, model)?],
        Some(version) => versioned(raw, version).ok_or_else(express::broken_spans)?,
    };
    express::patched(raw, patches)
}

/// Builds the body of Bedrock's `InvokeModel`: without what stands in its path, with a version, and with the features
/// that the caller's headers ask for by name. All other members are as they came.
pub(in crate::provider) fn invocation(raw: &Raw) -> Result<Pieces, Error> {
    let mut body: Members<'_> = serde_json::from_slice(&raw.body).map_err(|_| express::broken_spans())?;
    for framing in ["model", "stream"] {
        body.remove(framing);
    }
    if let Some(version) = Form::Bedrock.version() {
        body.set("anthropic_version", format!("\"{version}\"").into());
    }
    let lines = raw.headers.get_all(BETA).iter().filter_map(|line| line.to_str().ok());
    let names: Vec<&str> = lines.flat_map(|line| line.split(',')).map(str::trim).collect();
    let names: Vec<&str> = names.into_iter().filter(|name| !name.is_empty()).collect();
    if !names.is_empty() && body.get(BETAS_MEMBER).is_none() {
        body.set(BETAS_MEMBER, serde_json::to_string(&names).map_err(|_| express::broken_spans())?.into());
    }
    Ok(body.to_json().into())
}

/// Makes the patches that put a version in the place of `model`. None if the spans do not fit.
fn versioned(raw: &Raw, version: &str) -> Option<Vec<Patch>> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Body<'a> {
        #[serde(borrow)]
        anthropic_version: Option<&'a RawValue>,
    }
    let member = member(&raw.body, raw.model.clone())?;
    let body: Body<'_> = serde_json::from_slice(&raw.body).ok()?;
    let Some(told) = body.anthropic_version else {
        return Some(vec![(member, format!("\"anthropic_version\":\"{version}\"").into())]);
    };
    // A second version would contradict the first.
    let start = told.get().as_ptr().addr().checked_sub(raw.body.as_ptr().addr())?;
    let value = start..start + told.get().len();
    Some(vec![(with_comma(&raw.body, member)?, Bytes::new()), (value, format!("\"{version}\"").into())])
}

/// Returns the span of the member whose value has that span.
fn member(body: &[u8], value: std::ops::Range<usize>) -> Option<std::ops::Range<usize>> {
    let before = body.get(..value.start)?.trim_ascii_end().strip_suffix(b":")?;
    let key = before.trim_ascii_end().strip_suffix(b"\"")?;
    // No form of this key holds a quote.
    let start = memchr::memrchr(b'"', key)?;
    Some(start..value.end)
}

/// Adds the comma that goes with a member that is not the only one.
fn with_comma(body: &[u8], member: std::ops::Range<usize>) -> Option<std::ops::Range<usize>> {
    let after = body.get(member.end..)?;
    let blanks = after.len() - after.trim_ascii_start().len();
    if after.get(blanks) == Some(&b',') {
        return Some(member.start..member.end + blanks + 1);
    }
    let before = body.get(..member.start)?.trim_ascii_end().strip_suffix(b",")?;
    Some(before.len()..member.end)
}

/// Checks a whole answer and hands it on untouched.
pub(in crate::provider) fn whole(body: Bytes) -> Result<Item, Error> {
    let message = checked(&body)?;
    let text = |name: &str| {
        let text: Text<'_> = serde_json::from_str(message.get(name)?.get()).ok()?;
        Some(text.0.into_owned()).filter(|text| !text.is_empty())
    };
    let mut usage = Told::default();
    if let Some(told) = message.get("usage") {
        usage.take(told.get());
    }
    let content: Weight = message
        .get("content")
        .and_then(|content| serde_json::from_str(content.get()).ok())
        .unwrap_or_default();
    let seen = Seen {
        content_events: 1,
        output_tokens: estimate_delta_tokens(content.bytes),
        usage: usage.usage().map(Box::new),
        finish_reason: text("stop_reason").map(|word| finish_reason(&word)),
        response_id: text("id"),
        model: text("model"),
        last: true,
        progress: true,
    };
    Ok(Item::Raw(body, seen))
}

/// Checks a count of tokens and hands it on untouched.
pub(super) fn count(body: Bytes) -> Result<Item, Error> {
    super::count::input_tokens(&body)?;
    Ok(Item::Raw(body, Seen { last: true, progress: true, ..Seen::default() }))
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Tapped<'a> {
    #[serde(rename = "type", borrow)]
    kind: Text<'a>,
    #[serde(borrow)]
    message: Option<Message<'a>>,
    content_block: Option<ContentBlock<'a>>,
    #[serde(borrow)]
    delta: Option<Delta<'a>>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Message<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    model: Text<'a>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ContentBlock<'a> {
    #[serde(rename = "type", borrow)]
    kind: Text<'a>,
    text: Weight,
    thinking: Weight,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Delta<'a> {
    text: Weight,
    thinking: Weight,
    partial_json: Weight,
    content: Weight,
    #[serde(borrow)]
    stop_reason: Text<'a>,
}

impl ContentBlock<'_> {
    /// A text or a thought begins empty; every other block says something by being there.
    fn has_content(&self) -> bool {
        !matches!(&*self.kind.0, "text" | "thinking") || self.text.present || self.thinking.present
    }
}

/// Looks at a streamed answer as it passes.
#[derive(Debug, Default)]
pub(in crate::provider) struct Watch {
    usage: Told,
    any_event: bool,
    begun: bool,
    complete: bool,
}

impl Watch {
    fn tapped(&mut self, tapped: &Tapped<'_>, data: &[u8], seen: &mut Seen) -> Result<(), Error> {
        match &*tapped.kind.0 {
            "ping" => return Ok(()),
            "error" => return Err(refusal::of_payload(data)),
            "message_stop" if !self.begun => {
                return Err(Error::new(
                    Kind::BadResponse,
                    "the stream ends without an answer before its end",
                ));
            }
            "message_stop" => {
                self.complete = true;
                seen.last = true;
                self.usage.end();
                seen.usage = self.usage.usage().map(Box::new);
            }
            _ if says_something(tapped.error) => return Err(refusal::of_payload(data)),
            kind => {
                self.begun |=
                    kind == "message_delta" || kind.starts_with("content_block_") || kind == "message_start"
            }
        }
        seen.progress = true;
        if let Some(message) = &tapped.message {
            seen.response_id = Some(message.id.0.clone().into_owned()).filter(|id| !id.is_empty());
            seen.model = Some(message.model.0.clone().into_owned()).filter(|model| !model.is_empty());
        }
        if tapped.content_block.as_ref().is_some_and(ContentBlock::has_content) {
            seen.content_events += 1;
        }
        if let Some(delta) = &tapped.delta {
            let pieces = [delta.text, delta.thinking, delta.partial_json, delta.content];
            let bytes: usize = pieces.iter().map(|piece| piece.bytes).sum();
            seen.content_events += u32::from(bytes > 0);
            seen.output_tokens = seen.output_tokens.saturating_add(estimate_delta_tokens(bytes));
            if !delta.stop_reason.is_empty() {
                seen.finish_reason = Some(finish_reason(&delta.stop_reason.0));
            }
        }
        let told = [tapped.message.as_ref().and_then(|message| message.usage), tapped.usage];
        for usage in told.into_iter().flatten() {
            self.usage.take(usage.get());
            seen.usage = self.usage.usage().map(Box::new);
        }
        if tapped.message.is_some() {
            self.usage.begun();
        }
        Ok(())
    }
}

impl Tap for Watch {
    fn event(&mut self, event: &Event<'_>, seen: &mut Seen) -> Result<bool, Error> {
        let Some(data) = &event.data else {
            if event.stray && !self.any_event {
                return Err(stray(event.raw));
            }
            return Ok(true);
        };
        self.any_event = true;
        if event.name == b"error" {
            return Err(refusal::of_payload(data));
        }
        let Ok(tapped) = serde_json::from_slice::<Tapped<'_>>(data) else {
            // An event of a kind yet unknown may have members of other types.
            let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(data).is_ok();
            let why = "an event of the stream is no JSON";
            return if is_json { Ok(true) } else { Err(Error::new(Kind::BadResponse, why)) };
        };
        self.tapped(&tapped, data, seen)?;
        Ok(true)
    }

    fn ended(&mut self) -> Result<(), Error> {
        Err(cut_short(self.any_event))
    }

    fn is_complete(&self) -> bool {
        self.complete
    }
}

#[cfg(test)]
mod tests;
