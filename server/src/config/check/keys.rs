//! Keys that the file declares: names, secrets and rights.

use std::collections::{BTreeMap, HashMap};

use secrecy::ExposeSecret as _;

use super::{
    Checker,
    Step::{Item, Name},
    check_glob,
};
use crate::{
    call::{Scope, check_tags},
    config::{problem::with_suggestion, sections::Key, tree::shown},
};

/// Shortest and longest declared key, in bytes.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 32..=512;

impl Checker<'_> {
    pub(super) fn keys(&mut self, keys: &[Key]) {
        let mut names: HashMap<&str, usize> = HashMap::new();
        let mut secrets: HashMap<&str, &str> = HashMap::new();
        for (number, key) in keys.iter().enumerate() {
            let at = |field| [Name("keys"), Item(number), Name(field)];
            self.require(!key.name.trim().is_empty(), &at("name"), "a key needs a name");
            if names.insert(&key.name, number).is_some() {
                self.report(&at("name"), format!("the name `{}` is taken by a key above", shown(&key.name)));
            }
            let secret = key.key.filled().map_or("", |key| key.expose_secret());
            let sound =
                KEY_BYTES.contains(&secret.len()) && secret.bytes().all(|byte| byte.is_ascii_graphic());
            self.require(sound, &at("key"), "must be 32 to 512 visible ASCII characters without spaces");
            if let Some(other) = secrets.insert(secret, &key.name).filter(|_| sound) {
                self.report(&at("key"), format!("is the same as that of the key `{}`", shown(other)));
            }
            self.key_rights(number, key);
        }
    }

    fn key_rights(&mut self, number: usize, key: &Key) {
        let here = [Name("keys"), Item(number)];
        self.allowance(key.allowance(), &here);
        for (index, scope) in key.scopes.iter().flatten().enumerate() {
            if Scope::from_name(scope).is_none() {
                let message = format!("there is no scope `{}`", shown(scope));
                let message = with_suggestion(message, scope, Scope::ALL.map(Scope::as_str));
                self.report(&[here[0], here[1], Name("scopes"), Item(index)], message);
            }
        }
        for (index, glob) in key.models.iter().enumerate() {
            if let Err(message) = check_glob(glob, false) {
                self.report(&[here[0], here[1], Name("models"), Item(index)], message);
            }
        }
        for (tag, value) in &key.tags {
            let one = BTreeMap::from([(tag.clone(), value.clone())]);
            if let Err(error) = check_tags("tags", &one) {
                self.report(&[here[0], here[1], Name("tags"), Name(tag)], error.facts().message.clone());
            }
        }
        if let Err(error) = check_tags("tags", &key.tags).map_err(|error| error.facts().message.clone())
            && key.tags.len() > 1
            && error.starts_with("at most")
        {
            self.report(&[here[0], here[1], Name("tags")], error);
        }
    }
}
