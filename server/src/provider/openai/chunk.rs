//! A chunk or a whole answer as the typed lane reads it: borrowed, and lenient towards every vendor's quirks.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    content::Content,
    json::{Count, Text},
    tap::Groq,
};

/// Top-level members without information.
const NOISE: [&str; 7] = ["object", "created", "obfuscation", "p", "prompt", "nonce", "status"];

#[derive(Debug, Default)]
pub(super) struct Chunk<'a> {
    pub(super) id: Text<'a>,
    pub(super) model: Text<'a>,
    pub(super) system_fingerprint: Text<'a>,
    pub(super) service_tier: Text<'a>,
    pub(super) choices: Option<Vec<Choice<'a>>>,
    pub(super) usage: Option<&'a RawValue>,
    pub(super) groq_usage: Option<&'a RawValue>,
    pub(super) error: Option<&'a RawValue>,
    /// Members that the contract does not model.
    pub(super) extras: Vec<(Cow<'a, str>, &'a RawValue)>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Choice<'a> {
    pub(super) index: Count,
    #[serde(borrow)]
    pub(super) delta: Option<Delta<'a>>,
    #[serde(borrow)]
    pub(super) message: Option<Delta<'a>>,
    #[serde(borrow)]
    pub(super) finish_reason: Text<'a>,
    /// vLLM: the stop sequence, or the id of a stop token.
    #[serde(borrow)]
    pub(super) stop_reason: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) logprobs: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) error: Option<&'a RawValue>,
    /// OpenRouter: the word of the provider behind it.
    #[serde(borrow)]
    pub(super) native_finish_reason: Option<&'a RawValue>,
    /// Azure.
    #[serde(borrow)]
    pub(super) content_filter_results: Option<&'a RawValue>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Delta<'a> {
    #[serde(borrow)]
    pub(super) content: Content<'a>,
    #[serde(borrow)]
    pub(super) refusal: Text<'a>,
    #[serde(borrow)]
    pub(super) reasoning_content: Text<'a>,
    #[serde(borrow)]
    pub(super) reasoning: Text<'a>,
    #[serde(borrow)]
    pub(super) reasoning_details: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) tool_calls: Option<Vec<Fragment<'a>>>,
    #[serde(borrow)]
    pub(super) function_call: Option<Function<'a>>,
    #[serde(borrow)]
    pub(super) audio: Option<Audio<'a>>,
    #[serde(borrow)]
    pub(super) annotations: Option<&'a RawValue>,
    /// Groq: tools that it ran itself.
    #[serde(borrow)]
    pub(super) executed_tools: Option<&'a RawValue>,
}

/// A piece of a tool call, or all of it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Fragment<'a> {
    pub(super) index: Count,
    #[serde(borrow)]
    pub(super) id: Text<'a>,
    #[serde(borrow)]
    pub(super) function: Option<Function<'a>>,
    #[serde(borrow)]
    pub(super) custom: Option<Function<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Function<'a> {
    #[serde(borrow)]
    pub(super) name: Text<'a>,
    /// Mostly a string of JSON; some vendors give the object itself.
    #[serde(borrow)]
    pub(super) arguments: Option<&'a RawValue>,
    /// What a custom tool is called with.
    #[serde(borrow)]
    pub(super) input: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Audio<'a> {
    #[serde(borrow)]
    pub(super) id: Text<'a>,
    #[serde(borrow)]
    pub(super) data: Text<'a>,
    #[serde(borrow)]
    pub(super) transcript: Text<'a>,
}

impl Function<'_> {
    /// Returns the text that this fragment adds to the input.
    pub(super) fn text(&self) -> Cow<'_, str> {
        let Some(arguments) = self.arguments.map(RawValue::get) else { return Cow::Borrowed(&self.input.0) };
        if arguments.starts_with('"') {
            return serde_json::from_str::<Text<'_>>(arguments).unwrap_or_default().0;
        }
        Cow::Borrowed(if arguments == "null" { "" } else { arguments })
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Chunk<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Chunks;

        impl<'de> Visitor<'de> for Chunks {
            type Value = Chunk<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Chunk<'de>, A::Error> {
                let mut chunk = Chunk::default();
                while let Some(Text(name)) = map.next_key()? {
                    match &*name {
                        "id" => chunk.id = map.next_value()?,
                        "model" => chunk.model = map.next_value()?,
                        "system_fingerprint" => chunk.system_fingerprint = map.next_value()?,
                        "service_tier" => chunk.service_tier = map.next_value()?,
                        "choices" => chunk.choices = map.next_value()?,
                        "usage" => chunk.usage = map.next_value()?,
                        "error" => chunk.error = map.next_value()?,
                        noise if NOISE.contains(&noise) => drop(map.next_value::<IgnoredAny>()?),
                        _ => {
                            let value: &'de RawValue = map.next_value()?;
                            if name == "x_groq" {
                                let groq: Result<Groq<'_>, _> = serde_json::from_str(value.get());
                                chunk.groq_usage = groq.ok().and_then(|groq| groq.usage);
                            }
                            chunk.extras.push((name, value));
                        }
                    }
                }
                Ok(chunk)
            }
        }

        deserializer.deserialize_map(Chunks)
    }
}
