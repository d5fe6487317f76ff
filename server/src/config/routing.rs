//! The sections `models`, `breaker`, `probe` and `load`: where calls go, and what happens when that fails.

use std::{collections::BTreeMap, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    limits::{Budget, Limits, LimitsBy, allows},
    values::{Amount, Share, Span, Usd},
};
use crate::call::Need;

/// An alias: what callers ask for.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// How one of the targets is chosen. Default `ordered`.
    #[serde(default)]
    pub strategy: Strategy,
    /// Where calls go. When one fails before any content, the next is tried. At least one, unless `experiment` has arms.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<Target>,
    /// What keeps calls together at one target, as far as it is well: `affinity` (the caller's affinity key), `session`,
    /// `user` (the end user) or `key`. Default: the caller's affinity key, else the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticky: Option<Sticky>,
    /// Splits the calls among named arms and tags each with its arm, so that cost and quality can be compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub experiment: Option<Experiment>,
    /// Aliases to go on with when every target has failed. Example `[chat-standard]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallbacks: Vec<String>,
    /// Aliases to go on with after a refusal that another try would not change.
    #[serde(default, skip_serializing_if = "FallbacksOn::is_empty")]
    pub fallbacks_on: FallbacksOn,
    /// When to try again.
    #[serde(default)]
    pub retry: Retry,
    /// Longest wait for the first content of a target before the next is tried. Overrides `timeouts.first_token`.
    /// Example `3s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_token: Option<Span>,
    /// Asks a second target when the first is slow, and takes whichever answers first. Off by default: the slower one
    /// may be billed too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hedge: Option<Hedge>,
    /// What happens when a provider breaks off within an answer. Default `fail`.
    #[serde(default)]
    pub on_interrupt: OnInterrupt,
    /// Text to answer with when nothing else can: the call succeeds, says so in a warning, and costs nothing. Default:
    /// none, the call fails. Example `The assistant is not available right now.`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub degraded: Option<String>,
    /// Prices that override the catalog's. Example `{ input_per_million: 0.15, output_per_million: 0.60 }`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
    /// Rates, quotas and concurrency of all calls that ask for this alias. Example `{ requests_per_minute: 600, tokens_per_day: 10M, concurrent: 50 }`.
    #[serde(default, skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
    /// Money that all calls that ask for this alias may spend. Example `{ usd: 500, per: month }`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// Limits and budgets of only some of all calls that ask for this alias, by model and tag, or such that only warn. Example
    /// `[{ model: "gpt-*", tag: "feature=batch", soft: true, budget: { usd: 20, per: day } }]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits_by: Vec<LimitsBy>,
}

/// How a target is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// The first that is well, in the order of the file.
    #[default]
    Ordered,
    /// By lot, with the targets' weights as shares.
    Weighted,
    /// The lowest price for this request.
    Cheapest,
    /// The shortest time to the first token of late, failures counted in.
    Fastest,
    /// The fewest running calls.
    LeastBusy,
}

/// What keeps calls together at one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sticky {
    /// The affinity key that the caller sends.
    Affinity,
    /// The session that the caller names.
    Session,
    /// The end user that the caller names.
    User,
    /// The caller's key.
    Key,
    /// Nothing: every call is drawn by itself.
    None,
}

/// One place where calls may go: a provider's model, or another alias.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Name of an entry of `providers`. With `model`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub provider: String,
    /// The provider's own name of the model. A `*` in it stands for what the alias's `*` matched.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub model: String,
    /// Another alias, whose targets take this place, in place of `provider` and `model`. Example `chat-standard`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// Share of the calls under the strategy `weighted`; 0 is only tried when the others fail. Default `1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// Which calls the target takes; the others pass it over. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<When>,
    /// Region of the target, for callers that ask for one. Example `eu`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Labels of the target, for callers that ask for some. Example `{ tier: gold }`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Calls at a time that the target takes from this gateway. A full one is passed over; if all are full, the call
    /// waits as `load` says. Default: no limit until it refuses with 429, then as many as it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrent: Option<u32>,
    /// What the model can do, where the catalog does not know it: `tools`, `vision`, `audio`, `documents`, `json_schema`,
    /// `reasoning`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub can: Option<Vec<Need>>,
    /// Most tokens that the model takes, where the catalog does not know it. Example `128k`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_tokens: Option<Amount>,
    /// Rates, quotas and concurrency of all calls that the target serves. One at its limit is passed over. Example `{ requests_per_minute: 600, tokens_per_day: 10M, concurrent: 50 }`.
    #[serde(default, skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
    /// Money that all calls that the target serves may spend. Example `{ usd: 500, per: month }`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// Limits and budgets of only some of all calls that the target serves, by model and tag, or such that only warn. Example
    /// `[{ model: "gpt-*", tag: "feature=batch", soft: true, budget: { usd: 20, per: day } }]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits_by: Vec<LimitsBy>,
}

allows!(Model, Target);

/// Conditions on a call; all that are given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct When {
    /// Tags that the call must carry, its key's included; a value may hold `*`. Example `{ env: prod, feature: "chat-*" }`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Teams, one of which must be the caller's. Example `[search]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub teams: Vec<String>,
    /// Least size of the prompt, in tokens as estimated. Example `8k`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_input_tokens: Option<Amount>,
    /// Largest size of the prompt, in tokens as estimated. Example `8k`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_input_tokens: Option<Amount>,
    /// What the call must need. Example `[tools]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<Need>,
    /// What the call must not need. Example `[vision]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lacks: Vec<Need>,
    /// Whether the call must be streamed, or must not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub streamed: Option<bool>,
}

/// Named arms that calls are split among.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// Name of the experiment: calls are tagged `experiment.<name>` with their arm. Example `prompt-cache`.
    pub name: String,
    /// The arms, by name; at least two.
    pub arms: BTreeMap<String, Arm>,
}

/// One arm of an experiment.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Arm {
    /// Share of the calls. Default `1`.
    #[serde(default = "one")]
    pub weight: u32,
    /// Where its calls go; the alias's other settings hold for all arms. Default: the alias's own `targets`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<Target>,
}

fn one() -> u32 {
    1
}

/// Aliases to go on with after a certain refusal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FallbacksOn {
    /// When the prompt is too long for the model. Example `[chat-long]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub context_length: Vec<String>,
    /// When the provider's own filter refuses. Example `[chat-standard]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub content_policy: Vec<String>,
}

impl FallbacksOn {
    fn is_empty(&self) -> bool {
        self.context_length.is_empty() && self.content_policy.is_empty()
    }
}

/// When to try again.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// Calls to providers that one call may cause, over all its targets; 1 to 10. Default `3`.
    #[schemars(range(min = 1, max = 10))]
    pub attempts: u32,
    /// Longest pause before the second call to the same target; it doubles with each further one, and the true pause is
    /// drawn between nothing and that. Default `200ms`.
    pub backoff: Span,
    /// Longest pause of all; a provider that asks for a longer one is not waited for. Default `5s`.
    pub max_backoff: Span,
    /// Retries that may be made for every hundred calls of a target, beside ten a second. Default `10%`.
    pub budget: Share,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 3,
            backoff: Span(Duration::from_millis(200)),
            max_backoff: Span(Duration::from_secs(5)),
            budget: Share::percent(10),
        }
    }
}

/// When a second target is asked beside the first.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hedge {
    /// Wait for the first content before the second target is asked. Example `800ms`.
    pub after: Span,
    /// Most calls that are asked twice, of all calls of the alias. Default `2%`.
    #[serde(default = "two_percent")]
    pub at_most: Share,
}

fn two_percent() -> Share {
    Share::percent(2)
}

/// What happens when a provider breaks off within an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnInterrupt {
    /// The caller is told, with what was delivered and billed.
    #[default]
    Fail,
    /// Another target goes on after what was delivered, where that is possible (plain text). Both parts are billed.
    Continue,
}

/// Prices in USD per million tokens, kept exactly to the nano-USD.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Input tokens. Example `0.15`.
    pub input_per_million: Usd,
    /// Output tokens, reasoning included. Default `0`, as for embeddings. Example `0.60`.
    #[serde(default = "free")]
    pub output_per_million: Usd,
    /// Input tokens read from the provider's cache. Default: as `input_per_million`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_read_per_million: Option<Usd>,
    /// Input tokens written to the provider's cache. Default: as `input_per_million`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write_per_million: Option<Usd>,
}

fn free() -> Usd {
    Usd(0)
}

/// When a target that fails is left alone. As long as there is no other, it is still tried now and then.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Breaker {
    /// Failures in a row that open it. Default `5`.
    pub failures: u32,
    /// Share of failures within `window` that opens it. Default `50%`.
    pub failure_ratio: Share,
    /// Least calls within `window` for the share to count. Default `20`.
    pub min_calls: u32,
    /// How far back failures count. Default `10s`.
    pub window: Span,
    /// How long it stays open the first time; each time it opens again without a success between, twice as long. One
    /// call then finds out whether the target is well. Default `1s`.
    pub open: Span,
    /// The longest it stays open. Default `60s`.
    pub max_open: Span,
    /// The longest pause that a provider's `Retry-After` can cause. Default `60s`.
    pub max_cool_down: Span,
}

impl Default for Breaker {
    fn default() -> Self {
        let seconds = |seconds| Span(Duration::from_secs(seconds));
        Self {
            failures: 5,
            failure_ratio: Share::percent(50),
            min_calls: 20,
            window: seconds(10),
            open: seconds(1),
            max_open: seconds(60),
            max_cool_down: seconds(60),
        }
    }
}

/// Asks targets that failed whether they are well, before callers do.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// Time between two questions to a target that is not well; those behind an alias with `*` are not asked. Example
    /// `5s`.
    pub every: Span,
}

/// How many calls are served at a time, and what the others do.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Load {
    /// Calls at a time, over all. Default: as many as the process may have open files for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrent: Option<u32>,
    /// Calls that may wait for a place, over all and at each target; more are refused at once. Default `1000`.
    pub queue: u32,
    /// Longest wait for a place; never past the caller's deadline. Default `1s`.
    pub max_wait: Span,
    /// How late the gateway's own work may begin before it refuses a growing share of new calls, the less important first.
    /// It refuses none while only a few run, which cannot be the cause. `0s` never refuses. Default `250ms`.
    pub max_lag: Span,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            concurrent: None,
            queue: 1_000,
            max_wait: Span(Duration::from_secs(1)),
            max_lag: Span(Duration::from_millis(250)),
        }
    }
}
