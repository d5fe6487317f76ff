//! Who calls: the key's facts that rooms decide by.

use std::{collections::BTreeMap, sync::Arc};

use super::{Priority, Rule};

/// Who calls: the virtual key that opened the door, as it was at that moment.
#[derive(Debug, PartialEq, Eq)]
pub struct Caller {
    /// Public id of the key, never its secret.
    pub key_id: String,
    /// Name of the key, for people.
    pub key_name: String,
    /// Team that owns the key; empty if none.
    pub team_id: String,
    /// What the key may do.
    pub scopes: Scopes,
    /// Globs over model aliases the key may call; empty means all.
    pub allowed_models: ModelGlobs,
    /// Tags every call of this key carries unless the call sets the same tag.
    pub default_tags: BTreeMap<String, String>,
    /// How much the key may use, beside its teams' limits; all of them hold.
    pub limits: Arc<[Arc<Rule>]>,
    /// The teams that it belongs to: its own, then the one that its own belongs to, and so on.
    pub teams: Arc<[Arc<Team>]>,
    /// How important its calls are; a call can only lower it.
    pub priority: Priority,
}

/// A team that callers belong to, as it was at that moment.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Team {
    /// Its id.
    pub id: String,
    /// Globs over model aliases that its keys may call; empty means all that the teams above allow.
    pub allowed_models: ModelGlobs,
    /// How much all its keys and teams may use together; all of them hold.
    pub limits: Arc<[Arc<Rule>]>,
    /// Whether the calls of its keys are refused.
    pub disabled: bool,
}

impl Caller {
    /// Tells whether the key and all its teams may call this model alias.
    pub fn may_call(&self, model: &str) -> bool {
        let team = |team: &Arc<Team>| !team.disabled && team.allowed_models.allow(model);
        self.allowed_models.allow(model) && self.teams.iter().all(team)
    }
}

#[cfg(test)]
impl Caller {
    /// A caller with the default scopes and no limits.
    pub(crate) fn for_test() -> Self {
        Self {
            key_id: "test".to_owned(),
            key_name: "test".to_owned(),
            team_id: String::new(),
            scopes: Scopes::DEFAULT,
            allowed_models: ModelGlobs::default(),
            default_tags: BTreeMap::new(),
            limits: Arc::default(),
            teams: Arc::default(),
            priority: Priority::default(),
        }
    }
}

/// One thing a key may do. The names are the contract's (`chat`, `usage:team`, …).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Scope {
    /// Completions and token counts.
    Chat = 1,
    /// Embeddings.
    Embed = 1 << 1,
    /// Listing models.
    Models = 1 << 2,
    /// The key's own records, quotas and sums.
    Usage = 1 << 3,
    /// The records and sums of the key's team.
    UsageTeam = 1 << 4,
    /// Pinning a target past the plan.
    RoutePin = 1 << 5,
    /// Everything of `tollgate.admin.v1`, and everybody's usage.
    Admin = 1 << 6,
}

impl Scope {
    /// Every scope, in the order in which they are shown.
    pub const ALL: [Self; 7] =
        [Self::Chat, Self::Embed, Self::Models, Self::Usage, Self::UsageTeam, Self::RoutePin, Self::Admin];

    /// Returns the contract's name of the scope.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Embed => "embed",
            Self::Models => "models",
            Self::Usage => "usage",
            Self::UsageTeam => "usage:team",
            Self::RoutePin => "route:pin",
            Self::Admin => "admin",
        }
    }

    /// Finds the scope of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == name)
    }
}

/// A set of scopes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    /// What a key may do if nothing else is said.
    pub const DEFAULT: Self =
        Self(Scope::Chat as u8 | Scope::Embed as u8 | Scope::Models as u8 | Scope::Usage as u8);

    /// Tells whether the set has this scope.
    pub fn has(self, scope: Scope) -> bool {
        self.0 & scope as u8 != 0
    }

    /// Tells whether every scope of `other` is in this set.
    pub fn covers(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Returns the names, in the order of `Scope::ALL`.
    pub fn names(self) -> Vec<String> {
        Scope::ALL
            .into_iter()
            .filter(|scope| self.has(*scope))
            .map(|scope| scope.as_str().to_owned())
            .collect()
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |set, scope| set | scope as u8))
    }
}

/// Globs over model aliases: `*` stands for any run of characters, `/` included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelGlobs(Vec<String>);

impl ModelGlobs {
    /// Builds the set; an empty list allows every model.
    pub fn new(globs: Vec<String>) -> Self {
        Self(globs)
    }

    /// Returns the globs as they were written.
    pub fn as_slice(&self) -> &[String] {
        &self.0
    }

    /// Tells whether the alias is allowed. Case matters, as it does for aliases.
    pub fn allow(&self, alias: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|glob| glob_matches(glob.as_bytes(), alias.as_bytes()))
    }

    /// Tells whether everything that `other` allows is allowed here too, so that a key can only hand down less.
    pub fn covers(&self, other: &Self) -> bool {
        self.0.is_empty() || (!other.0.is_empty() && other.0.iter().all(|glob| self.allow(glob)))
    }
}

/// Matches `text` against a glob whose only special character is `*`, in linear time and without recursion.
pub fn glob_matches(glob: &[u8], text: &[u8]) -> bool {
    let (mut g, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        if glob.get(g) == Some(&b'*') {
            retry = Some((g + 1, t));
            g += 1;
        } else if glob.get(g) == Some(&text[t]) {
            g += 1;
            t += 1;
        } else if let Some((after_star, from)) = retry {
            retry = Some((after_star, from + 1));
            g = after_star;
            t = from + 1;
        } else {
            return false;
        }
    }
    glob[g..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn globs(list: &[&str]) -> ModelGlobs {
        ModelGlobs::new(list.iter().map(|glob| (*glob).to_owned()).collect())
    }

    #[test]
    fn a_star_matches_any_run_and_case_matters() {
        assert!(globs(&["chat-*"]).allow("chat-fast"));
        assert!(globs(&["chat-*"]).allow("chat-"));
        assert!(!globs(&["chat-*"]).allow("Chat-fast"));
        assert!(!globs(&["chat-*"]).allow("my-chat-fast"));
        assert!(globs(&["*/gpt-*-mini"]).allow("openai/gpt-4o-mini"));
        assert!(!globs(&["*/gpt-*-mini"]).allow("openai/gpt-4o-mini-x"));
        assert!(globs(&[]).allow("anything"));
    }

    #[test]
    fn a_set_of_globs_covers_only_what_it_allows() {
        assert!(globs(&["chat-*"]).covers(&globs(&["chat-fast", "chat-slow*"])));
        assert!(!globs(&["chat-*"]).covers(&globs(&["*"])));
        assert!(!globs(&["chat-*"]).covers(&globs(&[])));
        assert!(globs(&[]).covers(&globs(&[])));
    }
}
