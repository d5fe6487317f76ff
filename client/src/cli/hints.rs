//! Hints for the choice of a target, the same for every command that asks a model.

use clap::{Args, ValueEnum};
use tollgate_client::api::v1::{RouteHints, route_hints};

use super::pairs::{self, Pair};

/// What the caller prefers.
#[derive(Clone, Copy, ValueEnum)]
enum Objective {
    /// The lowest price
    Cost,
    /// The shortest time to the first token
    Latency,
    /// The most tokens per second
    Throughput,
}

/// Which targets may serve the call. Hints only narrow what the key may use.
#[derive(Args, Default)]
#[command(next_help_heading = "Routing")]
pub(crate) struct HintArgs {
    /// What to prefer among the targets
    #[arg(long, value_enum)]
    objective: Option<Objective>,
    /// Only this provider; may be repeated
    #[arg(long, value_name = "PROVIDER", value_delimiter = ',')]
    allow: Vec<String>,
    /// Not this provider; may be repeated
    #[arg(long, value_name = "PROVIDER", value_delimiter = ',')]
    deny: Vec<String>,
    /// Only targets of this region; may be repeated
    #[arg(long, value_name = "REGION", value_delimiter = ',')]
    region: Vec<String>,
    /// Calls with the same word prefer the same target
    #[arg(long, value_name = "WORD")]
    affinity: Option<String>,
    /// Model to fall back to, in place of the configured ones; may be repeated
    #[arg(long, value_name = "MODEL", value_delimiter = ',')]
    fallback: Vec<String>,
    /// Let no other model serve the call
    #[arg(long, conflicts_with = "fallback")]
    no_fallback: bool,
    /// The one target to use, as in openai/gpt-4o; needs the scope route:pin
    #[arg(long, value_name = "TARGET")]
    pin: Option<String>,
    /// Only targets with this label; may be repeated; needs the scope route:pin
    #[arg(long, value_name = "NAME=VALUE", value_parser = pairs::parse_pair)]
    label: Vec<Pair>,
}

impl HintArgs {
    /// Returns the hints in the contract's form; `None` if there are none.
    pub(crate) fn into_hints(self) -> Option<RouteHints> {
        let objective = match self.objective {
            None => route_hints::Objective::Unspecified,
            Some(Objective::Cost) => route_hints::Objective::Cost,
            Some(Objective::Latency) => route_hints::Objective::Latency,
            Some(Objective::Throughput) => route_hints::Objective::Throughput,
        };
        let hints = RouteHints {
            fallback_models: self.fallback,
            allowed_providers: self.allow,
            denied_providers: self.deny,
            regions: self.region,
            objective: objective.into(),
            affinity_key: self.affinity.unwrap_or_default(),
            allow_fallback: self.no_fallback.then_some(false),
            target: self.pin.unwrap_or_default(),
            labels: pairs::to_map(self.label),
        };
        (hints != RouteHints::default()).then_some(hints)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        hints: HintArgs,
    }

    fn hints(line: &[&str]) -> Option<RouteHints> {
        Line::try_parse_from([&["x"], line].concat()).unwrap().hints.into_hints()
    }

    #[test]
    fn flags_are_the_fields_of_the_contract() {
        let line = "--objective cost --allow a,b --deny c --region eu --affinity u --no-fallback --pin a/m --label t=g";
        let hints = hints(&line.split(' ').collect::<Vec<_>>()).unwrap();
        assert_eq!(hints.allowed_providers, ["a", "b"]);
        assert_eq!((hints.objective(), hints.allow_fallback), (route_hints::Objective::Cost, Some(false)));
        assert_eq!((hints.target.as_str(), hints.labels["t"].as_str()), ("a/m", "g"));
    }

    #[test]
    fn without_flags_there_are_no_hints() {
        assert_eq!(hints(&[]), None);
        assert!(Line::try_parse_from(["x", "--no-fallback", "--fallback", "m"]).is_err());
    }
}
