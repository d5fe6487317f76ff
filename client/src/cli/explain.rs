//! `tollctl explain`: where a call would go and why, without sending it.

use clap::Args;
use tollgate_client::{
    ChatCall,
    api::v1::{ExplainRouteResponse, RouteCandidate},
};

use super::{
    Context, amount,
    failure::Failure,
    hints::HintArgs,
    json,
    pairs::{self, Pair},
    table::{Column, Table},
    time,
};

/// Arguments of the command.
#[derive(Args)]
pub(crate) struct ExplainArgs {
    /// Model to ask for
    #[arg(value_name = "MODEL")]
    model: String,
    /// What would be asked [default: a short question]
    #[arg(value_name = "PROMPT")]
    prompt: Vec<String>,
    /// Tag of the call, which conditions may read; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = pairs::parse_pair)]
    tag: Vec<Pair>,
    #[command(flatten)]
    hints: HintArgs,
}

/// Runs the command.
pub(crate) async fn run(context: &mut Context, args: ExplainArgs) -> Result<(), Failure> {
    let prompt = if args.prompt.is_empty() { "hello".to_owned() } else { args.prompt.join(" ") };
    let mut call = ChatCall::new(args.model, prompt).hints(args.hints.into_hints());
    for (name, value) in args.tag {
        call = call.tag(name, value);
    }
    let answer = context.client.explain_route(call).await?;
    if context.json {
        return Ok(context.out.line(&json::encode("tollgate.v1.ExplainRouteResponse", &answer)?)?);
    }
    if answer.candidates.is_empty() {
        context.out.note("the model leads to no target")?;
    } else {
        for line in table(&answer.candidates).lines() {
            context.out.line(&line)?;
        }
    }
    Ok(context.out.dim_note(&summary(&answer))?)
}

fn table(candidates: &[RouteCandidate]) -> Table {
    let mut table = Table::new([
        Column::right("rank"),
        Column::left("target"),
        Column::left("eligible"),
        Column::left("health"),
        Column::right("at most"),
        Column::right("first token"),
        Column::right("running"),
        Column::left("why"),
    ]);
    for candidate in candidates {
        let fallback = if candidate.fallback { "fallback: " } else { "" };
        table.row([
            if candidate.rank > 0 { candidate.rank.to_string() } else { String::new() },
            candidate.target.clone(),
            if candidate.eligible { "yes" } else { "no" }.to_owned(),
            candidate.health.clone(),
            amount::cost(candidate.estimated_cost.as_ref()),
            time::span(candidate.first_token_duration.as_ref()).map(time::short).unwrap_or_default(),
            amount::count(candidate.running_count),
            format!("{fallback}{}", candidate.reason),
        ]);
    }
    table
}

fn summary(answer: &ExplainRouteResponse) -> String {
    let mut words = format!("strategy {}", answer.strategy);
    if !answer.rule.is_empty() {
        words.push_str(" · rule ");
        words.push_str(&answer.rule);
    }
    words.push_str(" · nothing was sent");
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_is_not_tried_has_no_rank_and_says_why() {
        let first = RouteCandidate {
            target: "a/m".into(),
            rank: 1,
            eligible: true,
            health: "closed".into(),
            reason: "in the order of the configuration".into(),
            ..Default::default()
        };
        let other = RouteCandidate {
            target: "b/m".into(),
            fallback: true,
            reason: "denied".into(),
            ..Default::default()
        };
        let lines = table(&[first, other]).lines();
        assert!(lines[1].starts_with("   1  a/m     yes       closed"), "{}", lines[1]);
        assert!(lines[2].starts_with("   -  b/m     no"), "{}", lines[2]);
        assert!(lines[2].ends_with("fallback: denied"), "{}", lines[2]);
    }
}
