//! What only Anthropic understands: kept as options of that provider, so that it arrives there on the typed lane too.

use http::HeaderMap;
use tollgate_api::v1::{ChatInput, ProviderOptions};

use super::FAMILY;
use crate::{call::Unread, edge::rest::node::Object};

/// The patch of Anthropic's request that the contract has no fields for, as JSON text.
#[derive(Default)]
pub(super) struct Own {
    members: String,
    keys: Vec<String>,
}

impl Own {
    /// Adds a member; `json` is its value as it came.
    pub(super) fn add(&mut self, key: &str, json: &str) {
        self.keys.push(key.to_owned());
        // A string in memory cannot fail to be written.
        let Ok(key) = serde_json::to_string(key) else { return };
        if !self.members.is_empty() {
            self.members.push(',');
        }
        self.members.push_str(&key);
        self.members.push(':');
        self.members.push_str(json);
    }

    /// Adds what nobody took of a member of the body.
    pub(super) fn add_rest(&mut self, key: &str, rest: Object<'_>) {
        if let Some(json) = rest.rest() {
            self.add(key, &json);
        }
    }

    /// Adds what nobody took of the body, and makes the options; none if there is nothing. Callers whose request goes to
    /// another family are told what it has no part in.
    pub(super) fn into_options(mut self, body: Object<'_>, unread: &Unread) -> Vec<ProviderOptions> {
        for (key, node) in body.into_members() {
            self.add(&key, node.json());
        }
        if self.members.is_empty() {
            return Vec::new();
        }
        for key in self.keys {
            unread.note_kept(key, FAMILY);
        }
        let body_json = format!("{{{}}}", self.members);
        vec![ProviderOptions { provider: FAMILY.to_owned(), body_json, ..Default::default() }]
    }
}

/// Adds the betas that a request's headers ask for.
pub(super) fn add_betas(input: &mut ChatInput, headers: &HeaderMap) {
    let betas: Vec<&str> =
        headers.get_all("anthropic-beta").iter().filter_map(|value| value.to_str().ok()).collect();
    if betas.is_empty() {
        return;
    }
    let headers = [("anthropic-beta".to_owned(), betas.join(","))].into();
    let options = ProviderOptions { provider: FAMILY.to_owned(), headers, ..Default::default() };
    input.provider_options.push(options);
}
