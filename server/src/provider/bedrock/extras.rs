//! `additionalModelRequestFields`: what Converse does not model and each family of models calls by its own names.

use tollgate_api::v1::{ChatInput, ReasoningOptions, tool_choice::Mode};

use super::{family::Family, tools};
use crate::provider::{
    Error,
    json::write::Object,
    translate::{Lost, finite},
};

/// The least that Claude may think.
const LEAST_BUDGET: i64 = 1024;

/// Writes the fields, if there are any.
///
/// # Errors
/// What the caller has to correct, or what cannot be sent in strict mode.
pub(super) fn write(
    body: &mut Object<'_>,
    input: &ChatInput,
    model: &str,
    family: Family,
    lost: &mut Lost,
) -> Result<(), Error> {
    let mut fields = String::new();
    let mut object = Object::begin(&mut fields);
    sampling(&mut object, input, family, lost)?;
    if let Some(options) = &input.reasoning {
        reasoning(&mut object, options, model, family, lost)?;
    }
    if family == Family::Claude {
        let own = tools::of_claude(input)?;
        if !own.is_empty() {
            object.raw("tools", &own);
        }
    }
    if input.parallel_tool_calls == Some(false) && !input.tools.is_empty() {
        one_tool_at_a_time(&mut object, input, family, lost)?;
    }
    object.end();
    if fields != "{}" {
        body.raw("additionalModelRequestFields", &fields);
    }
    Ok(())
}

fn sampling(
    fields: &mut Object<'_>,
    input: &ChatInput,
    family: Family,
    lost: &mut Lost,
) -> Result<(), Error> {
    let Some(sampling) = &input.sampling else { return Ok(()) };
    if let Some(top_k) = sampling.top_k {
        match (family, family.own_name("top_k")) {
            (Family::Nova { .. }, Some(name)) => {
                let mut config = fields.object("inferenceConfig");
                config.int(name, Some(i64::from(top_k)));
                config.end();
            }
            (_, Some(name)) => fields.int(name, Some(i64::from(top_k))),
            (_, None) => lost.parameter("input.sampling.top_k", "this model has no such parameter")?,
        }
    }
    if let Some(seed) = sampling.seed {
        match family.own_name("seed") {
            Some(name) => fields.int(name, Some(seed)),
            None => lost.parameter("input.sampling.seed", "this model has no such parameter")?,
        }
    }
    for (name, value) in [
        ("min_p", sampling.min_p),
        ("frequency_penalty", sampling.frequency_penalty),
        ("presence_penalty", sampling.presence_penalty),
        ("repetition_penalty", sampling.repetition_penalty),
    ] {
        let field = format!("input.sampling.{name}");
        let value = finite(value, &field)?;
        match family.own_name(name) {
            Some(own) => fields.double(own, value),
            None if value.is_some() => lost.parameter(&field, "this model has no such parameter")?,
            None => {}
        }
    }
    if !sampling.logit_bias.is_empty() {
        lost.parameter("input.sampling.logit_bias", "Bedrock has no such parameter")?;
    }
    Ok(())
}

fn reasoning(
    fields: &mut Object<'_>,
    options: &ReasoningOptions,
    model: &str,
    family: Family,
    lost: &mut Lost,
) -> Result<(), Error> {
    if !options.summary.is_empty() {
        lost.parameter("input.reasoning.summary", "Bedrock gives no choice of summaries")?;
    }
    let off = options.effort == "none" || options.budget_tokens == Some(0);
    if family == Family::Claude {
        return thinking(fields, options, model, off, lost);
    }
    if options.budget_tokens.is_some_and(|budget| budget > 0) {
        lost.parameter("input.reasoning.budget_tokens", "this model knows efforts only; set `effort`")?;
    }
    let effort = options.effort.as_str();
    match family {
        Family::Nova { reasons: true } => {
            let effort = match effort {
                "minimal" => "low",
                "xhigh" | "max" => "high",
                effort => effort,
            };
            let mut config = fields.object("reasoningConfig");
            config.string("type", if off { "disabled" } else { "enabled" });
            config.text("maxReasoningEffort", if off { "" } else { effort });
            config.end();
        }
        _ if effort.is_empty() => {}
        Family::OpenAi => fields.string("reasoning_effort", effort),
        Family::Qwen if !off => {
            fields
                .string("reasoning_config", if matches!(effort, "minimal" | "low") { "low" } else { "high" });
        }
        _ => lost.parameter("input.reasoning.effort", "this model has no such parameter")?,
    }
    Ok(())
}

/// Claude thinks within a budget; from 4.6 on it may find its own, guided by an effort.
fn thinking(
    fields: &mut Object<'_>,
    options: &ReasoningOptions,
    model: &str,
    off: bool,
    lost: &mut Lost,
) -> Result<(), Error> {
    let adaptive = adapts(model) && options.budget_tokens.is_none();
    let budget = match (options.budget_tokens, options.effort.as_str()) {
        (Some(budget), _) => budget.max(LEAST_BUDGET),
        (None, "") => return Ok(()),
        (None, "minimal") => LEAST_BUDGET,
        (None, "low") => 2048,
        (None, "medium") => 10_000,
        (None, "high") => 16_384,
        (None, _) => 32_768,
    };
    let mut thinking = fields.object("thinking");
    if off {
        thinking.string("type", "disabled");
        thinking.end();
        return Ok(());
    }
    if adaptive {
        thinking.string("type", "adaptive");
        thinking.end();
        let mut config = fields.object("output_config");
        let effort = if options.effort == "minimal" { "low" } else { &options.effort };
        config.string("effort", effort);
        config.end();
        return Ok(());
    }
    thinking.string("type", "enabled");
    thinking.int("budget_tokens", Some(budget));
    thinking.end();
    if options.budget_tokens.is_none() {
        let how = format!("this model knows no efforts; it may think for {budget} tokens");
        lost.changed("input.reasoning.effort", &how)?;
    }
    Ok(())
}

fn adapts(model: &str) -> bool {
    let newer = ["-4-6", "-4-7", "-4-8", "-4-9", "claude-opus-5", "claude-sonnet-5", "claude-haiku-5"];
    newer.iter().any(|name| model.contains(name))
}

fn one_tool_at_a_time(
    fields: &mut Object<'_>,
    input: &ChatInput,
    family: Family,
    lost: &mut Lost,
) -> Result<(), Error> {
    let mode = input.tool_choice.as_ref().map_or(Mode::Auto, |choice| choice.mode());
    let one_named = input.tool_choice.as_ref().is_some_and(|choice| choice.tool_names.len() == 1);
    match (family, mode) {
        (_, Mode::None) => Ok(()),
        (Family::Claude, _) if !(mode == Mode::Required && one_named) => {
            let mut choice = fields.object("tool_choice");
            choice.string("type", if mode == Mode::Required { "any" } else { "auto" });
            choice.bool("disable_parallel_tool_use", Some(true));
            choice.end();
            Ok(())
        }
        (Family::Claude, _) => Ok(()),
        _ => lost.parameter("input.parallel_tool_calls", "Bedrock has no such parameter for this model"),
    }
}
