//! Providers: names, dialects, addresses and credentials.

use secrecy::ExposeSecret as _;

use super::{
    Checker,
    Step::{self, Name},
    check_url,
};
use crate::config::{Secret, Surroundings, problem::with_suggestion, sections::Provider, tree::shown};

impl Checker<'_> {
    pub(super) fn provider(&mut self, name: &str, provider: &Provider, around: &Surroundings<'_>) {
        let here = [Name("providers"), Name(name)];
        let plain = |char: char| char.is_ascii_alphanumeric() || "_.-".contains(char);
        self.require(
            !name.is_empty() && name.chars().all(plain),
            &here,
            "a provider's name is made of letters, digits, `_`, `.` and `-`",
        );
        if around.dialects.contains(&provider.dialect.as_str()) {
            let understood = (around.keys_of)(&provider.dialect);
            for key in provider.cloud_keys().filter(|key| !understood.contains(key)) {
                let message = format!("`{key}` means nothing to the dialect `{}`", provider.dialect);
                self.report(&[here[0], here[1], Name(key)], message);
            }
        } else {
            let message = format!("there is no dialect `{}`", shown(&provider.dialect));
            let message = with_suggestion(message, &provider.dialect, around.dialects.iter().copied());
            self.report(&[here[0], here[1], Name("dialect")], message);
        }
        if let Some(Err(message)) = provider.base_url.as_deref().map(check_url) {
            self.report(&[here[0], here[1], Name("base_url")], message);
        }
        self.credential(provider.api_key.as_ref(), &[here[0], here[1], Name("api_key")]);
        self.require(
            provider.api_keys.is_empty() || provider.api_key.is_none(),
            &[here[0], here[1], Name("api_keys")],
            "`api_key` and `api_keys` exclude each other; write one of them",
        );
        for (credential, key) in &provider.api_keys {
            let at = [here[0], here[1], Name("api_keys"), Name(credential)];
            self.require(
                !credential.is_empty() && credential.chars().all(plain),
                &at,
                "a credential's name is made of letters, digits, `_`, `.` and `-`",
            );
            self.credential(Some(key), &at);
        }
    }

    fn credential(&mut self, key: Option<&Secret>, at: &[Step<'_>]) {
        let visible = key
            .and_then(Secret::filled)
            .is_none_or(|key| key.expose_secret().bytes().all(|byte| byte.is_ascii_graphic()));
        self.require(visible, at, "must be visible ASCII characters without spaces or line breaks");
    }
}
