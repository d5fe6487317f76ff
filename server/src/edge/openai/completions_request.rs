//! A legacy completion request: the shallow scan, and the typed view of it as a conversation of one message.

use std::ops::Range;

use bytes::Bytes;
use tollgate_api::v1::{ChatInput, LogprobOptions, Message, Part, Role, part};

use super::{chat_parse, chat_request};
use crate::{
    call::{Asked, Dialect, Raw, Unread},
    edge::{
        MAX_CHOICES, MAX_END_USER, MAX_TOKENS, cut,
        rest::{
            fields::{self, Field, Kind, NothingSpecial},
            node::{Node, Object},
        },
    },
    error::{Error, Reason},
};

const fn field(name: &'static str, kind: Kind) -> Field {
    Field { name, kind }
}

/// Every key of `CreateCompletionRequest`. Others pass untouched: compatible servers have many.
const FIELDS: &[Field] = &[
    field("model", Kind::Model),
    field("prompt", Kind::TextOrArray),
    field("suffix", Kind::Text),
    field("stream", Kind::Flag),
    field("stream_options", Kind::Object),
    field("max_tokens", Kind::Integer(0, MAX_TOKENS)),
    field("n", Kind::Integer(1, MAX_CHOICES)),
    field("best_of", Kind::Integer(0, MAX_CHOICES)),
    field("echo", Kind::Flag),
    field("logprobs", Kind::Integer(0, 20)),
    field("temperature", Kind::Number(0.0, 2.0)),
    field("top_p", Kind::Number(0.0, 1.0)),
    field("frequency_penalty", Kind::Number(-2.0, 2.0)),
    field("presence_penalty", Kind::Number(-2.0, 2.0)),
    field("seed", Kind::Integer(i64::MIN, i64::MAX)),
    field("logit_bias", Kind::NumberMap(-100.0, 100.0)),
    field("stop", Kind::TextOrTexts(4)),
    field("user", Kind::Text),
];

/// What the scan found.
#[derive(Debug)]
pub(super) struct Scanned {
    pub(super) asked: Asked,
    model: Range<usize>,
    stream_options: Option<Range<usize>>,
}

/// Checks a request and reads what the rooms need of it.
///
/// # Errors
/// `INVALID_REQUEST` with the JSON path of the field.
pub(super) fn scan(body: &[u8]) -> Result<Scanned, Error> {
    let scan = fields::scan(body, FIELDS, &mut NothingSpecial)?;
    let number = |name| scan.get(name).map(|node: Node<'_>| node.integer(0, MAX_TOKENS)).transpose();
    let text = |name| scan.get(name).map(|node: Node<'_>| node.text()).transpose();
    let streamed = scan.get("stream").is_some_and(|node| node.json() == "true");
    // Each of several prompts has its own answers; of each the best of so many is chosen, and all are billed.
    let prompts = scan.get("prompt").map_or(1, |prompt| prompts(&prompt));
    let tries = number("n")?.unwrap_or(1).max(number("best_of")?.unwrap_or(1));
    Ok(Scanned {
        asked: Asked {
            model: text("model")?.unwrap_or_default(),
            streamed,
            usage_wanted: chat_request::usage_wanted(&scan, streamed)?,
            max_output_tokens: number("max_tokens")?,
            choice_count: tries.saturating_mul(prompts),
            input_bytes: scan.span("prompt").map_or(0, |span| span.len()),
            end_user_id: cut(text("user")?.unwrap_or_default(), MAX_END_USER),
            needs: crate::call::Needs::default(),
        },
        model: scan.span("model").unwrap_or_default(),
        stream_options: scan.span("stream_options").filter(|_| streamed),
    })
}

/// Counts the prompts: a list of texts or of lists of tokens is one for each.
fn prompts(prompt: &Node<'_>) -> i64 {
    let elements = if prompt.is_array() { prompt.elements().unwrap_or_default() } else { Vec::new() };
    let whole = elements.iter().filter(|element| element.is_string() || element.is_array()).count();
    i64::try_from(whole).unwrap_or(i64::MAX).max(1)
}

impl Scanned {
    /// Makes the raw view of the body that was scanned.
    pub(super) fn into_raw(self, body: Bytes) -> Raw {
        chat_request::raw(Dialect::OpenAiCompletions, body, self.model, self.stream_options)
    }
}

/// Makes the typed view of a body that the scan has accepted.
///
/// # Errors
/// `UNSUPPORTED_PARAMETER` for what no conversation can say, else as for chat.
pub(in crate::edge::openai) fn parse(body: &[u8], unread: &Unread) -> Result<ChatInput, Error> {
    let raw = serde_json::from_slice(body)
        .map_err(|_| Error::new(Reason::InvalidRequest, "the body is not valid JSON"))?;
    let mut body = Node::root(raw, unread).object()?;
    for ours in ["stream", "stream_options"] {
        body.take(ours);
    }
    let choice_count = body.take("n").map(|node| node.small_integer(1, 128)).transpose()?;
    refuse_what_chat_cannot(&mut body, choice_count.unwrap_or(1))?;
    let top = body.take("logprobs").map(|node| node.small_integer(0, 20)).transpose()?;
    Ok(ChatInput {
        model: body.need("model")?.text()?,
        messages: vec![message(&body.need("prompt")?)?],
        sampling: chat_parse::sampling(&mut body)?,
        max_output_tokens: body
            .take("max_tokens")
            .map(|node| node.integer(1, i32::MAX.into()))
            .transpose()?,
        stop: chat_parse::stop(&mut body)?,
        choice_count,
        logprobs: top.map(|top| LogprobOptions { top: Some(top) }),
        end_user_id: chat_parse::end_user_id(&mut body)?,
        provider_options: body.rest().map(chat_parse::unmodelled).into_iter().collect(),
        ..Default::default()
    })
}

fn refuse_what_chat_cannot(body: &mut Object<'_>, choice_count: i32) -> Result<(), Error> {
    if body.text("suffix")?.is_some_and(|suffix| !suffix.is_empty()) {
        return Err(unsupported("suffix"));
    }
    if body.flag("echo")?.unwrap_or(false) {
        return Err(unsupported("echo"));
    }
    // The best of as many as are returned are all of them.
    let best_of = body.take("best_of").map(|node| node.small_integer(0, 128)).transpose()?;
    if best_of.is_some_and(|best_of| best_of > choice_count) {
        return Err(unsupported("best_of"));
    }
    Ok(())
}

fn unsupported(field: &str) -> Error {
    let message = format!("`{field}` needs a target with legacy completions, and this one only has chat");
    Error::new(Reason::UnsupportedParameter, message).at_field(field.to_owned())
}

fn message(prompt: &Node<'_>) -> Result<Message, Error> {
    let text = if prompt.is_string() {
        prompt.text()?
    } else {
        match prompt.elements()?.as_slice() {
            [one] if one.is_string() => one.text()?,
            _ => return Err(unsupported("prompt")),
        }
    };
    let part = Part { kind: Some(part::Kind::Text(text)), ..Part::default() };
    Ok(Message { role: Role::User.into(), parts: vec![part], name: String::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: &str) -> (Reason, Option<String>) {
        let error = parse(body.as_bytes(), &Unread::default()).unwrap_err();
        (error.reason(), error.facts().field.clone())
    }

    #[test]
    fn a_prompt_is_one_message() {
        for prompt in [r#""say hi""#, r#"["say hi"]"#] {
            let body = format!(
                r#"{{"model":"m","prompt":{prompt},"max_tokens":5,"n":2,"best_of":2,"echo":false,"suffix":null,
                    "logprobs":3,"stop":"x","user":"u","top_k":7}}"#
            );
            let input = parse(body.as_bytes(), &Unread::default()).unwrap();
            assert_eq!(input.messages[0].role(), Role::User);
            assert_eq!(input.messages[0].parts[0].kind, Some(part::Kind::Text("say hi".to_owned())));
            assert_eq!((input.max_output_tokens, input.choice_count), (Some(5), Some(2)));
            assert_eq!(input.logprobs.unwrap().top, Some(3));
            assert_eq!((input.stop, input.end_user_id), (vec!["x".to_owned()], "u".to_owned()));
            assert_eq!(input.provider_options[0].body_json, r#"{"top_k":7}"#);
        }
    }

    #[test]
    fn what_no_conversation_can_say_is_refused_by_name() {
        for (member, field) in [
            (r#""prompt":["a","b"]"#, "prompt"),
            (r#""prompt":[1,2]"#, "prompt"),
            (r#""prompt":[[1,2]]"#, "prompt"),
            (r#""prompt":"a","suffix":"b""#, "suffix"),
            (r#""prompt":"a","echo":true"#, "echo"),
            (r#""prompt":"a","best_of":3,"n":2"#, "best_of"),
        ] {
            let told = refused(&format!(r#"{{"model":"m",{member}}}"#));
            assert_eq!(told, (Reason::UnsupportedParameter, Some(field.to_owned())), "{member}");
        }
    }

    #[test]
    fn the_scan_counts_every_answer_that_is_billed() {
        for (body, count) in [
            (r#"{"model":"m","prompt":"a"}"#, 1),
            (r#"{"model":"m","prompt":["a","b"],"n":2}"#, 4),
            (r#"{"model":"m","prompt":[1,2,3]}"#, 1),
            (r#"{"model":"m","prompt":[[1],[2]],"best_of":5}"#, 10),
        ] {
            assert_eq!(scan(body.as_bytes()).unwrap().asked.choice_count, count, "{body}");
        }
        let streamed =
            scan(br#"{"model":"m","prompt":"a","stream":true,"stream_options":{"include_usage":true}}"#);
        assert!(streamed.unwrap().asked.usage_wanted);
        let refused = scan(br#"{"model":"m","prompt":{}}"#).unwrap_err();
        assert_eq!(refused.facts().field.as_deref(), Some("prompt"));
    }
}
