//! Why a target has its place in a plan, or none: small values that become words only when somebody asks.

use std::fmt;

use crate::call::Need;

/// Why a target has its place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Placed {
    /// It stands there in the configuration.
    #[default]
    ByFile,
    /// It was drawn by weight.
    ByWeight,
    /// Calls with the same affinity key, session, user or key go to the same target.
    Kept,
    /// By what this call would cost.
    ByPrice,
    /// By the time to the first token of late.
    ByLatency,
    /// By the output tokens per second of late.
    ByThroughput,
    /// By the calls that run there.
    ByLoad,
}

impl fmt::Display for Placed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ByFile => "in the order of the configuration",
            Self::ByWeight => "drawn by weight",
            Self::Kept => "calls like this one are kept together",
            Self::ByPrice => "by the price of this call",
            Self::ByLatency => "by its time to the first token and its failures of late",
            Self::ByThroughput => "by its output tokens per second and its failures of late",
            Self::ByLoad => "by its running calls",
        })
    }
}

/// Why a target is passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// A condition of the configuration does not hold.
    Unmet(Unmet),
    /// A hint of the caller leaves it out.
    Hinted(Hint),
    /// The catalog or the configuration says that the model cannot do it.
    Cannot(Need),
    /// The prompt is surely longer than what the model takes.
    TooLong {
        /// Most tokens that it takes.
        context_tokens: i64,
    },
    /// The key may not use the alias that leads there.
    NotAllowed(String),
    /// The call may cost more there than its caller allows.
    TooDear {
        /// Most that the call may cost there, in nano-USD.
        most: i64,
    },
    /// The caller capped the cost, and what the call would cost there is not known.
    Unpriced,
}

/// A condition that a call does not meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unmet {
    /// The call does not carry the tag with such a value.
    Tag(String, String),
    /// The caller is of none of the teams.
    Team,
    /// The prompt has fewer tokens.
    MinInputTokens(i64),
    /// The prompt has more tokens.
    MaxInputTokens(i64),
    /// The call does not need it.
    Needs(Need),
    /// The call needs it.
    Lacks(Need),
    /// The call is not streamed, or is.
    Streamed(bool),
}

/// A hint that leaves targets out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// The provider is not among those that are allowed.
    AllowedProviders,
    /// The provider is denied.
    DeniedProviders,
    /// The region is another.
    Regions,
    /// A label is missing.
    Labels,
    /// Another target is pinned.
    Target,
}

impl Hint {
    /// Returns the contract's name of the hint.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AllowedProviders => "allowed_providers",
            Self::DeniedProviders => "denied_providers",
            Self::Regions => "regions",
            Self::Labels => "labels",
            Self::Target => "target",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unmet(unmet) => unmet.fmt(f),
            Self::Hinted(hint) => write!(f, "the hint `{}` leaves it out", hint.as_str()),
            Self::Cannot(need) => write!(f, "the model has no `{}`", need.as_str()),
            Self::TooLong { context_tokens } => {
                write!(f, "the prompt is longer than the {context_tokens} tokens it takes")
            }
            Self::NotAllowed(alias) => write!(f, "the key may not use the model `{alias}`"),
            Self::TooDear { most } => {
                write!(f, "this call may cost {most} nano-USD there, more than its `max_cost_nanos`")
            }
            Self::Unpriced => f.write_str("its price is not known, and the call has a `max_cost_nanos`"),
        }
    }
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag, value) => write!(f, "it takes only calls with the tag {tag}={value}"),
            Self::Team => f.write_str("it takes only calls of other teams"),
            Self::MinInputTokens(least) => write!(f, "it takes only prompts of at least {least} tokens"),
            Self::MaxInputTokens(most) => write!(f, "it takes only prompts of at most {most} tokens"),
            Self::Needs(need) => write!(f, "it takes only calls that need `{}`", need.as_str()),
            Self::Lacks(need) => write!(f, "it takes only calls that do not need `{}`", need.as_str()),
            Self::Streamed(true) => f.write_str("it takes only streamed calls"),
            Self::Streamed(false) => f.write_str("it takes only calls that are not streamed"),
        }
    }
}
