//! `generationConfig`: sampling, the form of the answer and how much is thought.

use tollgate_api::v1::{ChatInput, ReasoningOptions, Sampling, output_format::Kind as Format};

use super::request::To;
use crate::provider::{
    Error, Outgoing,
    json::write::{self, Object},
    translate::{Lost, finite, json},
};

/// What a model of generation 2.5 may think at most, and what one of them must.
const MOST_THOUGHTS: i64 = 24_576;
const LEAST_THOUGHTS_OF_PRO: i64 = 128;

/// Writes the member, if there is anything to say in it.
pub(super) fn write(
    body: &mut Object<'_>,
    input: &ChatInput,
    outgoing: &Outgoing<'_, ChatInput>,
    to: To<'_>,
    lost: &mut Lost,
) -> Result<(), Error> {
    let mut text = String::new();
    let mut config = Object::begin(&mut text);
    if let Some(asked) = &input.sampling {
        sampling(&mut config, asked, lost)?;
    }
    config.int("maxOutputTokens", outgoing.max_output_tokens(input));
    config.strings("stopSequences", &input.stop);
    config.int("candidateCount", input.choice_count.map(i64::from));
    form(&mut config, input, lost)?;
    if let Some(logprobs) = &input.logprobs {
        config.raw("responseLogprobs", "true");
        config.int("logprobs", logprobs.top.map(i64::from).filter(|top| *top > 0));
    }
    if let Some(reasoning) = &input.reasoning {
        thinking(&mut config, reasoning, outgoing.model, to, lost)?;
    }
    config.end();
    if text != "{}" {
        body.raw("generationConfig", &text);
    }
    Ok(())
}

fn sampling(config: &mut Object<'_>, asked: &Sampling, lost: &mut Lost) -> Result<(), Error> {
    for (field, name, value) in [
        ("temperature", "temperature", asked.temperature),
        ("top_p", "topP", asked.top_p),
        ("frequency_penalty", "frequencyPenalty", asked.frequency_penalty),
        ("presence_penalty", "presencePenalty", asked.presence_penalty),
    ] {
        config.double(name, finite(value, &format!("input.sampling.{field}"))?);
    }
    config.int("topK", asked.top_k.map(i64::from));
    config.int("seed", asked.seed);
    for (field, is_set) in [
        ("min_p", asked.min_p.is_some()),
        ("repetition_penalty", asked.repetition_penalty.is_some()),
        ("logit_bias", !asked.logit_bias.is_empty()),
    ] {
        if is_set {
            lost.parameter(&format!("input.sampling.{field}"), "Gemini's API has no such parameter")?;
        }
    }
    Ok(())
}

fn form(config: &mut Object<'_>, input: &ChatInput, lost: &mut Lost) -> Result<(), Error> {
    match input.output_format.as_ref().and_then(|format| format.kind.as_ref()) {
        None | Some(Format::Text(_)) => {}
        Some(Format::JsonObject(_)) => config.string("responseMimeType", "application/json"),
        Some(Format::JsonSchema(format)) => {
            let schema = json(&format.schema_json, "input.output_format.json_schema.schema_json")?;
            config.string("responseMimeType", "application/json");
            config.raw("responseJsonSchema", schema);
            if !format.description.is_empty() {
                let field = "input.output_format.json_schema.description";
                lost.parameter(field, "Gemini's API takes the schema alone")?;
            }
        }
        Some(Format::Grammar(_)) => {
            lost.parameter("input.output_format.grammar", "Gemini's API takes no grammars")?;
        }
    }
    if !input.output_modalities.is_empty() {
        let mut list = config.list("responseModalities");
        for modality in &input.output_modalities {
            write::string(list.item(), &modality.to_ascii_uppercase());
        }
        list.end();
    }
    let Some(audio) = &input.audio else { return Ok(()) };
    if !audio.voice.is_empty() {
        let mut speech = config.object("speechConfig");
        let mut voice = speech.object("voiceConfig");
        let mut named = voice.object("prebuiltVoiceConfig");
        named.string("voiceName", &audio.voice);
        named.end();
        voice.end();
        speech.end();
    }
    if !matches!(audio.format.as_str(), "" | "pcm16") {
        lost.parameter("input.audio.format", "Gemini's API gives linear PCM only")?;
    }
    Ok(())
}

/// Models of generation 3 know levels, those of 2.5 budgets, older ones neither.
fn thinking(
    config: &mut Object<'_>,
    reasoning: &ReasoningOptions,
    model: &str,
    to: To<'_>,
    lost: &mut Lost,
) -> Result<(), Error> {
    const EFFORT: &str = "input.reasoning.effort";
    let effort = reasoning.effort.as_str();
    if !to.is_since(2) || model.contains("gemini-2.0") {
        return lost.parameter("input.reasoning", "the model does not reason");
    }
    let mut text = String::new();
    let mut thinking = Object::begin(&mut text);
    match (effort, reasoning.budget_tokens) {
        ("", budget) => thinking.int("thinkingBudget", budget),
        (effort, budget) if to.is_since(3) => {
            thinking.string("thinkingLevel", level(effort, lost)?);
            if budget.is_some() {
                lost.parameter(
                    "input.reasoning.budget_tokens",
                    "the model takes either a level or a budget",
                )?;
            }
        }
        (_, Some(budget)) => {
            thinking.int("thinkingBudget", Some(budget));
            lost.parameter(EFFORT, "the model takes a budget, and one is set")?;
        }
        (effort, None) => {
            let Some(budget) = budget(effort, model) else {
                return lost.parameter(EFFORT, "the model takes budgets, and the word stands for none");
            };
            thinking.int("thinkingBudget", Some(budget));
            lost.changed(EFFORT, &format!("the model takes a budget; {budget} tokens stand for the word"))?;
        }
    }
    match reasoning.summary.as_str() {
        "" => {}
        "none" => thinking.raw("includeThoughts", "false"),
        _ => thinking.raw("includeThoughts", "true"),
    }
    thinking.end();
    if text != "{}" {
        config.raw("thinkingConfig", &text);
    }
    Ok(())
}

fn level<'a>(effort: &'a str, lost: &mut Lost) -> Result<&'a str, Error> {
    let nearest = match effort {
        "none" => "minimal",
        "xhigh" | "max" => "high",
        level => return Ok(level),
    };
    lost.changed("input.reasoning.effort", &format!("`{nearest}` is the nearest level of the model"))?;
    Ok(nearest)
}

fn budget(effort: &str, model: &str) -> Option<i64> {
    Some(match effort {
        "none" if model.contains("pro") => LEAST_THOUGHTS_OF_PRO,
        "none" => 0,
        "minimal" => 512,
        "low" => 1024,
        "medium" => 8192,
        "high" | "xhigh" | "max" => MOST_THOUGHTS,
        _ => return None,
    })
}
