//! Limits: at most so much of what, in what time, of which calls.

use std::{collections::BTreeMap, fmt, sync::Arc, time::SystemTime};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tollgate_api::admin;

use super::glob_matches;

/// One limit of a key, a team, a model, a target or the gateway: at most so much of a metric in a period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What is counted.
    pub metric: Metric,
    /// In what time; means nothing for `Metric::Concurrent`.
    pub period: Period,
    /// How much, in the metric's own unit.
    pub amount: i64,
    /// Whether it only warns.
    pub soft: bool,
    /// Which of the subject's calls count.
    pub only: Only,
}

impl Limit {
    /// A hard limit over all calls of its subject.
    pub fn new(metric: Metric, period: Period, amount: i64) -> Self {
        Self { metric, period, amount, soft: false, only: Only::default() }
    }

    /// Reads a limit of the contract that was checked; `None` for one that nobody can count.
    pub fn from_contract(limit: &admin::Limit) -> Option<Self> {
        let metric = Metric::from_name(&limit.metric)?;
        let period =
            if metric == Metric::Concurrent { Period::Total } else { Period::from_name(&limit.window)? };
        let tag = limit.tag.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        let only = Only { model: limit.model.clone(), tag };
        Some(Self { metric, period, amount: limit.amount, soft: limit.soft, only })
    }
}

/// Which calls a limit counts; all, if nothing is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Only {
    /// Those that ask for a model that this glob matches; empty: any.
    pub model: String,
    /// Those that have a tag of this name and value.
    pub tag: Option<(String, String)>,
}

impl Only {
    /// Tells whether a call counts that asks for this model and has these tags.
    pub fn counts(&self, model: &str, tags: &BTreeMap<String, String>) -> bool {
        (self.model.is_empty() || glob_matches(self.model.as_bytes(), model.as_bytes()))
            && self.tag.as_ref().is_none_or(|(name, value)| tags.get(name) == Some(value))
    }

    /// Returns the tag as the contract writes it: `name=value`; empty if any counts.
    pub fn tag_text(&self) -> String {
        self.tag.as_ref().map_or_else(String::new, |(name, value)| format!("{name}={value}"))
    }
}

/// Whose a limit is. Shown as the contract does: `key:` and its id, `team:`, `model:`, `target:`, or `global`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A key, by its public id.
    Key(Arc<str>),
    /// A team, by its id.
    Team(Arc<str>),
    /// A model that callers ask for, by its name.
    Model(Arc<str>),
    /// A target, by its name.
    Target(Arc<str>),
    /// The gateway.
    Global,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(id) => write!(f, "key:{id}"),
            Self::Team(id) => write!(f, "team:{id}"),
            Self::Model(name) => write!(f, "model:{name}"),
            Self::Target(name) => write!(f, "target:{name}"),
            Self::Global => f.write_str("global"),
        }
    }
}

impl Subject {
    /// Returns the metric label of whose limit it is.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Key(_) => "key",
            Self::Team(_) => "team",
            Self::Model(_) => "model",
            Self::Target(_) => "target",
            Self::Global => "global",
        }
    }
}

/// A limit, whose it is, and what admins changed of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// Whose.
    pub subject: Subject,
    /// The limit.
    pub limit: Limit,
    /// Names the counter of what is used, over all replicas. Does not change with the amount, so that a limit that is
    /// raised or lowered forgets nothing.
    pub counter: Arc<str>,
    /// What admins changed of it.
    pub adjusted: Adjusted,
}

/// What admins changed of a limit in one of its windows. Counters know nothing of it: they count what was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Adjusted {
    /// So much more may be used.
    pub topped_up: i64,
    /// So much of what was used does not count.
    pub forgiven: i64,
    /// When that window ends; absent: never.
    pub until: Option<SystemTime>,
}

impl Rule {
    /// Makes the rule of a limit that nobody changed.
    pub fn new(subject: Subject, limit: Limit) -> Arc<Self> {
        Self::adjusted(subject, limit, |_| Adjusted::default())
    }

    /// Makes the rule, and its counter's name, for which `adjusted` tells what admins changed.
    pub fn adjusted(subject: Subject, limit: Limit, adjusted: impl FnOnce(&str) -> Adjusted) -> Arc<Self> {
        let period = if limit.metric == Metric::Concurrent { "" } else { limit.period.as_str() };
        let (metric, only) = (limit.metric.as_str(), &limit.only);
        let mut counter = format!("{subject}/{metric}/{period}");
        if limit.soft {
            counter.push_str("/soft");
        }
        if *only != Only::default() {
            counter.push_str(&format!("/{}/{}", only.model, only.tag_text()));
        }
        let adjusted = adjusted(&counter);
        Arc::new(Self { subject, limit, counter: counter.into(), adjusted })
    }

    /// Returns the most that may be used in the window of that moment, top-ups included.
    pub fn amount(&self, now: SystemTime) -> i64 {
        let Adjusted { topped_up, .. } = self.adjusted_at(now);
        self.limit.amount.saturating_add(topped_up)
    }

    /// Returns how much of what was used in the window of that moment does not count, since it was reset.
    pub fn forgiven(&self, now: SystemTime) -> i64 {
        self.adjusted_at(now).forgiven
    }

    /// Returns what its counter may come to in the window of that moment.
    pub fn ceiling(&self, now: SystemTime) -> i64 {
        self.amount(now).saturating_add(self.forgiven(now))
    }

    fn adjusted_at(&self, now: SystemTime) -> Adjusted {
        let holds = self.adjusted.until.is_none_or(|until| now < until);
        if holds { self.adjusted } else { Adjusted::default() }
    }
}

/// What a limit counts. The names are the contract's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Metric {
    /// Calls.
    Requests,
    /// Input tokens.
    InputTokens,
    /// Output tokens.
    OutputTokens,
    /// Input and output tokens together.
    Tokens,
    /// Calls in flight.
    Concurrent,
    /// Cost in nano-USD.
    CostNanos,
}

impl Metric {
    /// Every metric.
    pub const ALL: [Self; 6] = [
        Self::Requests,
        Self::InputTokens,
        Self::OutputTokens,
        Self::Tokens,
        Self::Concurrent,
        Self::CostNanos,
    ];

    /// Returns the contract's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::InputTokens => "input_tokens",
            Self::OutputTokens => "output_tokens",
            Self::Tokens => "tokens",
            Self::Concurrent => "concurrent",
            Self::CostNanos => "cost_nanos",
        }
    }

    /// Returns the metric label of a limit on it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Requests => "rpm",
            Self::InputTokens | Self::OutputTokens | Self::Tokens => "tpm",
            Self::Concurrent => "concurrency",
            Self::CostNanos => "budget",
        }
    }

    /// Finds the metric of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|metric| metric.as_str() == name)
    }
}

/// The time a limit holds for: sliding up to an hour, by the calendar beyond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    /// Any second.
    Second,
    /// Any 60 seconds.
    Minute,
    /// Any 60 minutes.
    Hour,
    /// A calendar day.
    Day,
    /// A calendar month.
    Month,
    /// For ever.
    Total,
}

impl Period {
    /// Every period.
    pub const ALL: [Self; 6] = [Self::Second, Self::Minute, Self::Hour, Self::Day, Self::Month, Self::Total];

    /// Returns the contract's name (`Limit.window`).
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
            Self::Total => "total",
        }
    }

    /// Finds the period of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|period| period.as_str() == name)
    }

    /// Tells whether what was used before a restart still counts.
    pub fn is_calendar(self) -> bool {
        matches!(self, Self::Day | Self::Month | Self::Total)
    }
}
