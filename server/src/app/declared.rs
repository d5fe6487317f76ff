//! What the configuration declares for `auth`: keys, teams, the operator's own key.

use secrecy::SecretString;

use crate::{
    auth::{Declared, DeclaredKey, DeclaredTeam},
    call::Priority,
    config::{self, Config},
};

/// Reads keys, teams and the operator's own key.
pub(super) fn declared(config: &Config) -> Declared {
    Declared {
        keys: config.keys.iter().map(key).collect(),
        teams: config.teams.iter().map(|(id, declared)| team(id, declared)).collect(),
        admin_key: config.admin_key.as_ref().and_then(config::Secret::filled).cloned(),
    }
}

fn key(key: &config::Key) -> DeclaredKey {
    DeclaredKey {
        name: key.name.clone(),
        key: key.key.filled().cloned().unwrap_or_else(|| SecretString::from("")),
        team: key.team.clone(),
        scopes: key.scopes.clone(),
        models: key.models.clone(),
        tags: key.tags.clone(),
        limits: key.allowance().to_contract(),
        priority: match key.priority {
            config::Priority::Low => Priority::Low,
            config::Priority::Normal => Priority::Normal,
            config::Priority::High => Priority::High,
        },
        expires: key.expires.map(|moment| moment.0),
    }
}

fn team(id: &str, team: &config::Team) -> DeclaredTeam {
    DeclaredTeam {
        id: id.to_owned(),
        name: team.name.clone(),
        parent: team.parent.clone(),
        models: team.models.clone(),
        limits: team.allowance().to_contract(),
        key_limits: team.key_allowance().to_contract(),
        disabled: team.disabled,
    }
}
