//! How much the model thinks: the contract's effort and budget as `thinking` and `output_config.effort`.
//!
//! The rule follows the model's generation. Since 4.7 models think as much as they like, guided by an effort: a budget
//! becomes that, with a warning. From 3.7 to 4.5 they think with a budget: an effort becomes one, with a warning. 4.6
//! takes both. A budget stays below the most tokens of the answer, as the API demands.

use tollgate_api::v1::ReasoningOptions;

use super::{
    model::{Generation, Thinks},
    translate::Lost,
    write::Object,
};
use crate::provider::Error;

/// The least budget that the API takes.
const LEAST_BUDGET: i64 = 1024;
/// The budgets that efforts stand for where the model knows budgets only.
const BUDGETS: [(&str, i64); 6] = [
    ("minimal", 1024),
    ("low", 2048),
    ("medium", 8192),
    ("high", 16_384),
    ("xhigh", 24_576),
    ("max", 32_768),
];
/// What an unknown effort stands for.
const MEDIUM_BUDGET: i64 = 8192;

/// What is sent.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    mode: Option<Mode>,
    /// `output_config.effort`.
    pub(super) effort: Option<String>,
    display: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Disabled,
    Budget(i64),
    Adaptive,
}

/// What stands around the wish.
#[derive(Clone, Copy, Debug)]
pub(super) struct Around {
    pub(super) generation: Generation,
    /// The most tokens of the answer.
    pub(super) max_tokens: i64,
    /// A call of a tool is demanded, which the API does not combine with thinking.
    pub(super) forced_tool: bool,
    /// The answer goes on in a round of tools that began without a thought of this provider.
    pub(super) in_foreign_round: bool,
}

impl Plan {
    /// Decides what to send.
    ///
    /// # Errors
    /// `Unsupported` if the wish cannot be met and the caller is strict.
    pub(super) fn of(
        wish: Option<&ReasoningOptions>,
        around: Around,
        lost: &mut Lost,
    ) -> Result<Self, Error> {
        let Some(wish) = wish.filter(|wish| **wish != ReasoningOptions::default()) else {
            return Ok(Self::default());
        };
        let generation = around.generation;
        let thinks = generation.thinks();
        if wish.budget_tokens == Some(0) || wish.effort == "none" {
            return Self::without(generation, lost);
        }
        if thinks == Thinks::Never {
            lost.parameter("input.reasoning", "the model does not think")?;
            return Ok(Self::default());
        }
        let mut plan = Self { display: display(&wish.summary), ..Self::default() };
        if thinks != Thinks::ByBudget && !wish.effort.is_empty() {
            plan.effort = Some(effort(&wish.effort, generation, lost)?);
        }
        let why = if around.forced_tool {
            "Anthropic's models do not think where a call of a tool is demanded"
        } else if around.in_foreign_round && thinks != Thinks::ByEffort {
            "the round of tools began without a thought that this provider can read"
        } else {
            plan.mode = mode(wish, thinks, around.max_tokens, lost)?;
            if plan.mode.is_none() && !matches!(wish.summary.as_str(), "" | "none" | "auto") {
                lost.parameter(
                    "input.reasoning.summary",
                    "the model thinks only if an effort or a budget is set",
                )?;
            }
            return Ok(plan);
        };
        lost.parameter("input.reasoning", why)?;
        Ok(plan)
    }

    fn without(generation: Generation, lost: &mut Lost) -> Result<Self, Error> {
        let mode = match generation.thinks() {
            Thinks::Never => None,
            _ if generation.always_thinks() => {
                lost.parameter("input.reasoning", "the model always thinks")?;
                None
            }
            _ => Some(Mode::Disabled),
        };
        Ok(Self { mode, ..Self::default() })
    }

    /// Tells whether the model thinks, which rules out some other parameters.
    pub(super) fn is_on(&self) -> bool {
        matches!(self.mode, Some(Mode::Budget(_) | Mode::Adaptive))
    }

    /// Writes `thinking`.
    pub(super) fn write(&self, body: &mut Object<'_>) {
        let Some(mode) = self.mode else { return };
        let mut thinking = body.object("thinking");
        match mode {
            Mode::Disabled => thinking.string("type", "disabled"),
            Mode::Adaptive => thinking.string("type", "adaptive"),
            Mode::Budget(tokens) => {
                thinking.string("type", "enabled");
                thinking.int("budget_tokens", Some(tokens));
            }
        }
        if let Some(display) = self.display.filter(|_| self.is_on()) {
            thinking.string("display", display);
        }
        thinking.end();
    }
}

fn mode(
    wish: &ReasoningOptions,
    thinks: Thinks,
    max_tokens: i64,
    lost: &mut Lost,
) -> Result<Option<Mode>, Error> {
    match (thinks, wish.budget_tokens) {
        (Thinks::ByEffort, Some(_)) => {
            lost.changed("input.reasoning.budget_tokens", "the model decides itself how much it thinks")?;
            Ok(Some(Mode::Adaptive))
        }
        (Thinks::ByEffort | Thinks::ByEffortOrBudget, None) => Ok(Some(Mode::Adaptive)),
        (_, Some(budget)) => {
            let field = "input.reasoning.budget_tokens";
            let Some(fits) = fitting(budget, max_tokens) else { return too_small(field, lost) };
            if fits != budget {
                lost.changed(
                    field,
                    &format!("{fits} tokens is what the API takes beside the bound of the answer"),
                )?;
            }
            Ok(Some(Mode::Budget(fits)))
        }
        (_, None) => {
            // Only a wish for summaries: it does not switch thinking on.
            if wish.effort.is_empty() {
                return Ok(None);
            }
            let field = "input.reasoning.effort";
            let known = BUDGETS.iter().find(|(effort, _)| *effort == wish.effort);
            let budget = known.map_or(MEDIUM_BUDGET, |(_, budget)| *budget);
            let Some(fits) = fitting(budget, max_tokens) else { return too_small(field, lost) };
            lost.changed(field, &format!("the model knows budgets only: {fits} tokens"))?;
            Ok(Some(Mode::Budget(fits)))
        }
    }
}

fn too_small(field: &str, lost: &mut Lost) -> Result<Option<Mode>, Error> {
    lost.parameter(field, "thinking needs more than 1024 tokens of output")?;
    Ok(None)
}

fn fitting(budget: i64, max_tokens: i64) -> Option<i64> {
    (max_tokens > LEAST_BUDGET).then(|| budget.clamp(LEAST_BUDGET, max_tokens - 1))
}

fn effort(wish: &str, generation: Generation, lost: &mut Lost) -> Result<String, Error> {
    let nearest = match wish {
        "minimal" => "low",
        "xhigh" if !generation.knows_xhigh() => "high",
        known => return Ok(known.to_owned()),
    };
    lost.changed("input.reasoning.effort", &format!("`{nearest}` is the nearest that the model knows"))?;
    Ok(nearest.to_owned())
}

fn display(summary: &str) -> Option<&'static str> {
    match summary {
        "" => None,
        "none" => Some("omitted"),
        _ => Some("summarized"),
    }
}

#[cfg(test)]
mod tests;
