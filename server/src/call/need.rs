//! What a call needs of a model, and how important it is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tollgate_api::v1;

/// What a call may need of a model. The names are the catalog's, the contract's and the configuration's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Need {
    /// It offers tools.
    Tools,
    /// It has pictures in its prompt.
    Vision,
    /// It has sound in its prompt, or asks for some.
    Audio,
    /// It has documents in its prompt.
    Documents,
    /// It wants an answer that follows a JSON schema.
    JsonSchema,
    /// It asks for reasoning.
    Reasoning,
}

impl Need {
    /// Every need.
    pub const ALL: [Self; 6] =
        [Self::Tools, Self::Vision, Self::Audio, Self::Documents, Self::JsonSchema, Self::Reasoning];

    /// Returns the name that the configuration and messages use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Vision => "vision",
            Self::Audio => "audio",
            Self::Documents => "documents",
            Self::JsonSchema => "json_schema",
            Self::Reasoning => "reasoning",
        }
    }
}

/// A set of needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs(u8);

impl Needs {
    /// Adds a need.
    pub fn add(&mut self, need: Need) {
        self.0 |= 1 << need as u8;
    }

    /// Tells whether the need is in the set.
    pub fn has(self, need: Need) -> bool {
        self.0 & 1 << need as u8 != 0
    }

    /// Returns the needs that are in this set and not in the other.
    pub fn beyond(self, other: Self) -> impl Iterator<Item = Need> {
        Need::ALL.into_iter().filter(move |need| self.has(*need) && !other.has(*need))
    }
}

impl FromIterator<Need> for Needs {
    fn from_iter<I: IntoIterator<Item = Need>>(needs: I) -> Self {
        let mut set = Self::default();
        needs.into_iter().for_each(|need| set.add(need));
        set
    }
}

/// How important a call is when there is not room for all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// It can wait, and can be refused.
    Low,
    /// What most calls are.
    #[default]
    Normal,
    /// Somebody is waiting for it.
    High,
}

impl Priority {
    /// Every priority, the least important first.
    pub const ALL: [Self; 3] = [Self::Low, Self::Normal, Self::High];

    /// Returns the name that configuration, headers and metrics use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
        }
    }

    /// Finds a priority by its name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|priority| priority.as_str() == name)
    }

    /// Returns the contract's word.
    pub fn to_proto(self) -> v1::Priority {
        match self {
            Self::Low => v1::Priority::Low,
            Self::Normal => v1::Priority::Normal,
            Self::High => v1::Priority::High,
        }
    }

    /// Reads the contract's word; absent if it says nothing.
    pub fn from_proto(priority: v1::Priority) -> Option<Self> {
        match priority {
            v1::Priority::Unspecified => None,
            v1::Priority::Low => Some(Self::Low),
            v1::Priority::Normal => Some(Self::Normal),
            v1::Priority::High => Some(Self::High),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let needs: Needs = [Need::Tools, Need::Vision].into_iter().collect();
        let can: Needs = [Need::Tools, Need::Reasoning].into_iter().collect();
        assert_eq!(needs.beyond(can).map(Need::as_str).collect::<Vec<_>>(), ["vision"]);
        assert_eq!(Needs::default().beyond(can).count(), 0);
    }
}
