//! The built-in provider: streams the last user message back word by word and costs nothing. For demos, tests, load.
//!
//! A model name that ends in `-d<ms>` (`echo-d50`) waits that long before each word, at most 10 s. A forced tool is
//! called, and a JSON schema is satisfied, so that SDKs' helpers have something to work with.

mod schema;

use std::{collections::VecDeque, time::Duration};

use ::http::HeaderMap;
use futures_util::{StreamExt as _, future::BoxFuture, stream};
use serde_json::Value;
use tollgate_api::v1::{
    self, ChatInput, EmbedRequest, EmbedResponse, Embedding, FinishReason, FloatVector, Message, Part, Role,
    ToolCall, Usage, embed_input, output_format, part, tool, tool_call, tool_choice::Mode, usage::Source,
};

use super::{Answer, Error, Kind, Outgoing, Provider};
use crate::call::{Event, Item, Items};

const MAX_DELAY: Duration = Duration::from_secs(10);
const MAX_CHOICES: i32 = 128;
const DEFAULT_DIMENSIONS: i32 = 1536;
const MAX_DIMENSIONS: i32 = 4096;
const NOTHING: &str = "(nothing to echo)";

/// The provider. Has no state and no upstream.
#[derive(Clone, Copy, Debug, Default)]
pub struct Echo;

impl Provider for Echo {
    fn chat<'a>(&'a self, request: Outgoing<'a, ChatInput>) -> BoxFuture<'a, Result<Answer, Error>> {
        Box::pin(async move {
            let events = Script::write(&request)?;
            Ok(answer(paced(events, delay(request.model))))
        })
    }

    fn embed<'a>(&'a self, request: Outgoing<'a, EmbedRequest>) -> BoxFuture<'a, Result<Answer, Error>> {
        Box::pin(async move {
            let response = embed(request.payload.view()?, request.model)?;
            Ok(answer(Box::pin(stream::iter([Ok(Item::Embeddings(Box::new(response)))]))))
        })
    }
}

fn answer(items: Items<Error>) -> Answer {
    Answer {
        http_status: 200,
        upstream_request_id: String::new(),
        headers: HeaderMap::new(),
        warnings: Vec::new(),
        items,
    }
}

/// Reads the delay from a model name, `…-d<ms>`.
fn delay(model: &str) -> Option<Duration> {
    let millis = model.rsplit_once("-d")?.1.parse().ok()?;
    Some(Duration::from_millis(millis).min(MAX_DELAY)).filter(|delay| !delay.is_zero())
}

fn paced(events: Vec<Event>, delay: Option<Duration>) -> Items<Error> {
    let Some(delay) = delay else {
        return Box::pin(stream::iter(events.into_iter().map(|event| Ok(Item::Event(event)))));
    };
    let events = VecDeque::from(events);
    Box::pin(
        stream::unfold(events, move |mut events| async move {
            let event = events.pop_front()?;
            if matches!(event, Event::Text(_) | Event::ToolCall(_)) {
                tokio::time::sleep(delay).await;
            }
            Some((Ok(Item::Event(event)), events))
        })
        .fuse(),
    )
}

/// What one choice says.
struct Script {
    text: String,
    tool: Option<(String, String)>,
    finish: FinishReason,
    stop_sequence: String,
}

impl Script {
    /// Writes the events of the whole answer.
    fn write(request: &Outgoing<'_, ChatInput>) -> Result<Vec<Event>, Error> {
        let (input, model) = (request.payload.view()?, request.model);
        let count = input.choice_count.unwrap_or(1);
        if !(1..=MAX_CHOICES).contains(&count) {
            let message = format!("must be 1 to {MAX_CHOICES}");
            return Err(crate::error::Error::invalid("input.choice_count", message).into());
        }
        let script = Self::of(input, request.max_output_tokens(input))?;
        let mut events =
            vec![Event::Start(Box::new(v1::StreamStart { model: model.to_owned(), ..Default::default() }))];
        for choice in 0..count {
            script.choice(choice, &mut events);
        }
        let words = i64::try_from(words(&script.text).count()).unwrap_or(i64::MAX).max(1);
        let mut usage = Usage {
            input_tokens: Some(input.messages.iter().map(input_words).sum()),
            output_tokens: Some(words.saturating_mul(i64::from(count))),
            r#final: true,
            ..Usage::default()
        };
        usage.set_source(Source::Provider);
        events.push(Event::Usage(Box::new(usage)));
        events.push(Event::End(Box::default()));
        Ok(events)
    }

    fn of(input: &ChatInput, most: Option<i64>) -> Result<Self, Error> {
        let prompt = last_prompt(input);
        if let Some(tool) = forced_tool(input, &prompt)? {
            let (finish, stop_sequence) = (FinishReason::ToolCalls, String::new());
            return Ok(Self { text: String::new(), tool: Some(tool), finish, stop_sequence });
        }
        let mut text = match formatted(input, &prompt)? {
            Some(json) => json,
            None if prompt.trim().is_empty() => NOTHING.to_owned(),
            None => prompt,
        };
        let mut script = Self {
            text: String::new(),
            tool: None,
            finish: FinishReason::Stop,
            stop_sequence: String::new(),
        };
        let stops = input.stop.iter().filter(|stop| !stop.is_empty());
        if let Some((at, stop)) =
            stops.filter_map(|stop| Some((text.find(stop)?, stop))).min_by_key(|(at, _)| *at)
        {
            text.truncate(at);
            script.stop_sequence.clone_from(stop);
        }
        let most = most.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(0)).max(1);
        if words(&text).count() > most {
            text = words(&text).take(most).collect();
            script.finish = FinishReason::Length;
            script.stop_sequence.clear();
        }
        script.text = text;
        Ok(script)
    }

    fn choice(&self, choice: i32, events: &mut Vec<Event>) {
        match &self.tool {
            Some((name, arguments)) => {
                let input = tool_call::Input::ArgumentsJson(String::new());
                let call = ToolCall {
                    id: format!("call_echo_{choice}"),
                    name: name.clone(),
                    input: Some(input),
                    executed_upstream: false,
                };
                let initial = Part { kind: Some(part::Kind::ToolCall(call)), ..Part::default() };
                events.push(Event::PartStart(Box::new(v1::PartStart {
                    choice,
                    part: 0,
                    initial: Some(initial),
                })));
                events.push(Event::ToolCall(v1::ToolCallDelta { input: arguments.clone(), choice, part: 0 }));
            }
            None => events.extend(
                words(&self.text)
                    .map(|word| Event::Text(v1::TextDelta { text: word.to_owned(), choice, part: 0 })),
            ),
        }
        events.push(Event::PartEnd(Box::new(v1::PartEnd { choice, part: 0, ..Default::default() })));
        events.push(Event::ChoiceEnd(Box::new(v1::ChoiceEnd {
            choice,
            finish_reason: self.finish.into(),
            upstream_finish_reason: String::new(),
            stop_sequence: self.stop_sequence.clone(),
        })));
    }
}

/// Splits into words, each with the white space before it; what follows the last word belongs to it.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let begin = rest.find(|c: char| !c.is_whitespace()).unwrap_or(rest.len());
        let end = rest[begin..].find(char::is_whitespace).map_or(rest.len(), |length| begin + length);
        let end = if rest[end..].trim().is_empty() { rest.len() } else { end };
        let (word, left) = rest.split_at(end);
        rest = left;
        (!word.is_empty()).then_some(word)
    })
}

fn texts(parts: &[Part]) -> impl Iterator<Item = &str> {
    parts.iter().flat_map(|part| match &part.kind {
        Some(part::Kind::Text(text)) => vec![text.as_str()],
        Some(part::Kind::ToolResult(result)) => result
            .parts
            .iter()
            .filter_map(|part| match &part.kind {
                Some(part::Kind::Text(text)) => Some(text.as_str()),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    })
}

fn input_words(message: &Message) -> i64 {
    let count: usize = texts(&message.parts).map(|text| text.split_whitespace().count()).sum();
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn last_prompt(input: &ChatInput) -> String {
    let last = input.messages.iter().rfind(|message| message.role() == Role::User);
    last.map(|message| texts(&message.parts).collect()).unwrap_or_default()
}

/// Returns name and arguments of the tool that must be called, if one must.
fn forced_tool(input: &ChatInput, prompt: &str) -> Result<Option<(String, String)>, Error> {
    let Some(choice) = &input.tool_choice else { return Ok(None) };
    if choice.mode() != Mode::Required {
        return Ok(None);
    }
    for (index, one) in input.tools.iter().enumerate() {
        let (name, schema) = match &one.kind {
            Some(tool::Kind::Function(function)) => (&function.name, Some(&function.parameters_json_schema)),
            Some(tool::Kind::Custom(custom)) => (&custom.name, None),
            _ => continue,
        };
        if !choice.tool_names.is_empty() && !choice.tool_names.contains(name) {
            continue;
        }
        let arguments = match schema.filter(|schema| !schema.is_empty()) {
            Some(schema) => {
                instance(schema, prompt, &format!("input.tools[{index}].function.parameters_json_schema"))?
            }
            None => "{}".to_owned(),
        };
        return Ok(Some((name.clone(), arguments)));
    }
    let message =
        "none of the tools can be called: they have other names, or the provider would have to run them";
    Err(crate::error::Error::invalid("input.tool_choice", message).into())
}

/// Returns the answer in the form that was asked for; None if that is plain text.
fn formatted(input: &ChatInput, prompt: &str) -> Result<Option<String>, Error> {
    match input.output_format.as_ref().and_then(|format| format.kind.as_ref()) {
        Some(output_format::Kind::JsonObject(_)) => {
            Ok(Some(serde_json::json!({ "echo": prompt }).to_string()))
        }
        Some(output_format::Kind::JsonSchema(format)) => {
            instance(&format.schema_json, prompt, "input.output_format.json_schema.schema_json").map(Some)
        }
        _ => Ok(None),
    }
}

fn instance(schema: &str, prompt: &str, field: &str) -> Result<String, Error> {
    let schema: Value = serde_json::from_str(schema)
        .map_err(|error| crate::error::Error::invalid(field, format!("is no JSON: {error}")))?;
    Ok(schema::instance(&schema, prompt).to_string())
}

fn embed(request: &EmbedRequest, model: &str) -> Result<EmbedResponse, Error> {
    if !matches!(request.encoding.as_str(), "" | "float") {
        let mut error = Error::new(Kind::Unsupported, "the echo provider gives vectors of floats only");
        error.field = Some("encoding".to_owned());
        return Err(error);
    }
    let dimensions = request.dimensions.unwrap_or(DEFAULT_DIMENSIONS);
    if !(1..=MAX_DIMENSIONS).contains(&dimensions) {
        let message = format!("must be 1 to {MAX_DIMENSIONS}");
        return Err(crate::error::Error::invalid("dimensions", message).into());
    }
    let mut tokens: i64 = 0;
    let mut embeddings = Vec::with_capacity(request.inputs.len());
    for (index, input) in (0..).zip(&request.inputs) {
        let mut hasher = blake3::Hasher::new();
        let count = match &input.kind {
            Some(embed_input::Kind::Text(text)) => {
                hasher.update(text.as_bytes());
                text.split_whitespace().count()
            }
            Some(embed_input::Kind::TokenIds(list)) => {
                for id in &list.ids {
                    hasher.update(&id.to_le_bytes());
                }
                list.ids.len()
            }
            Some(embed_input::Kind::Parts(list)) => texts(&list.parts)
                .map(|text| {
                    hasher.update(text.as_bytes());
                    text.split_whitespace().count()
                })
                .sum(),
            None => 0,
        };
        tokens = tokens.saturating_add(i64::try_from(count).unwrap_or(i64::MAX));
        let values = unit_vector(&hasher, usize::try_from(dimensions).unwrap_or(1));
        let vector = v1::embedding::Vector::Dense(FloatVector { values });
        embeddings.push(Embedding { index, vector: Some(vector) });
    }
    let mut usage = Usage { input_tokens: Some(tokens), r#final: true, ..Usage::default() };
    usage.set_source(Source::Provider);
    Ok(EmbedResponse { model: model.to_owned(), embeddings, usage: Some(usage), ..EmbedResponse::default() })
}

/// Makes a vector of length 1 whose direction depends on all that was hashed.
fn unit_vector(hasher: &blake3::Hasher, dimensions: usize) -> Vec<f32> {
    let mut bytes = vec![0; 2 * dimensions];
    hasher.finalize_xof().fill(&mut bytes);
    let mut values: Vec<f32> =
        bytes.chunks_exact(2).map(|pair| f32::from(i16::from_le_bytes([pair[0], pair[1]])) + 0.5).collect();
    let length = values.iter().map(|value| value * value).sum::<f32>().sqrt();
    for value in &mut values {
        *value /= length;
    }
    values
}

#[cfg(test)]
mod tests;
