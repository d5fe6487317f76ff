//! `tollctl keys update`: reads the key, applies what is given, and writes it under its etag.

use clap::Args;
use jiff::Timestamp;
use prost_types::FieldMask;
use tollgate_client::api::{
    admin::{Key, UpdateKeyRequest},
    v1::Priority,
};

use super::{
    Context,
    changes::{LimitChanges, change},
    failure::Failure,
    keys,
    pairs::{self, Pair},
    time::{self, When},
};

/// Arguments of `keys update`.
#[derive(Args, Default)]
pub(crate) struct UpdateArgs {
    /// Id of the key
    id: String,
    /// New name
    #[arg(long)]
    name: Option<String>,
    /// Scopes, in place of all that it has
    #[arg(long, value_name = "SCOPE", value_delimiter = ',')]
    scope: Vec<String>,
    /// Scope to add
    #[arg(long, value_name = "SCOPE", value_delimiter = ',')]
    add_scope: Vec<String>,
    /// Scope to remove
    #[arg(long, value_name = "SCOPE", value_delimiter = ',')]
    remove_scope: Vec<String>,
    /// Models, in place of all that it has
    #[arg(long, value_name = "GLOB", value_delimiter = ',')]
    model: Vec<String>,
    /// Model to add
    #[arg(long, value_name = "GLOB", value_delimiter = ',')]
    add_model: Vec<String>,
    /// Model to remove
    #[arg(long, value_name = "GLOB", value_delimiter = ',')]
    remove_model: Vec<String>,
    #[command(flatten)]
    limits: LimitChanges,
    /// Tags, in place of all that it has
    #[arg(long, value_name = "NAME=VALUE", value_parser = pairs::parse_pair)]
    tag: Vec<Pair>,
    /// Tag to add, or to set anew
    #[arg(long, value_name = "NAME=VALUE", value_parser = pairs::parse_pair)]
    add_tag: Vec<Pair>,
    /// Tag to remove
    #[arg(long, value_name = "NAME")]
    remove_tag: Vec<String>,
    /// When it stops working: 30d, 2027-01-01, never
    #[arg(long, value_name = "TIME")]
    expires: Option<When>,
    /// How important its calls are when there is not room for all: low, normal, high
    #[arg(long, value_parser = keys::parse_priority)]
    priority: Option<Priority>,
    /// Block the key for now
    #[arg(long, conflicts_with = "enable")]
    disable: bool,
    /// Let a blocked key work again
    #[arg(long)]
    enable: bool,
}

/// Runs the command.
pub(crate) async fn run(context: &mut Context, args: UpdateArgs) -> Result<(), Failure> {
    if args.apply(&mut Key::default(), Timestamp::UNIX_EPOCH).is_empty() {
        return Err(Failure::Usage("nothing to change: see tollctl keys update --help".to_owned()));
    }
    // The etag that comes with the key makes sure that nobody else's change is overwritten.
    let mut key = context.client.keys().get(args.id.as_str()).await?;
    let paths = args.apply(&mut key, Timestamp::now());
    let update_mask = Some(FieldMask { paths: paths.into_iter().map(str::to_owned).collect() });
    let updated = context.client.keys().update(UpdateKeyRequest { key: Some(key), update_mask }).await?;
    keys::show(&mut context.out, context.json, &updated)
}

impl UpdateArgs {
    /// Applies what is given to a key, and returns the paths of the fields that it is about.
    fn apply(&self, key: &mut Key, now: Timestamp) -> Vec<&'static str> {
        let mut paths = Vec::new();
        if let Some(name) = &self.name {
            key.name.clone_from(name);
            paths.push("name");
        }
        if change(&mut key.scopes, &self.scope, &self.add_scope, &self.remove_scope) {
            paths.push("scopes");
        }
        if change(&mut key.allowed_models, &self.model, &self.add_model, &self.remove_model) {
            paths.push("allowed_models");
        }
        if self.limits.apply(&mut key.limits) {
            paths.push("limits");
        }
        if self.apply_tags(key) {
            paths.push("default_tags");
        }
        if let Some(when) = self.expires {
            key.expire_time = when.after(now).map(time::to_proto);
            paths.push("expire_time");
        }
        if let Some(priority) = self.priority {
            key.set_priority(priority);
            paths.push("priority");
        }
        if self.disable || self.enable {
            key.disabled = self.disable;
            paths.push("disabled");
        }
        paths
    }

    fn apply_tags(&self, key: &mut Key) -> bool {
        if self.tag.is_empty() && self.add_tag.is_empty() && self.remove_tag.is_empty() {
            return false;
        }
        if !self.tag.is_empty() {
            key.default_tags = pairs::to_map(self.tag.clone());
        }
        key.default_tags.retain(|name, _| !self.remove_tag.contains(name));
        key.default_tags.extend(self.add_tag.iter().cloned());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::{super::amount, *};

    fn key() -> Key {
        Key {
            scopes: vec!["chat".into(), "usage".into()],
            limits: vec![amount::parse_limit("requests/minute=60").unwrap()],
            default_tags: [("a".to_owned(), "1".to_owned())].into(),
            ..Key::default()
        }
    }

    #[test]
    fn only_what_is_given_is_in_the_mask() {
        let args = UpdateArgs { name: Some("new".into()), enable: true, ..UpdateArgs::default() };
        let mut key = key();
        assert_eq!(args.apply(&mut key, Timestamp::UNIX_EPOCH), ["name", "disabled"]);
        assert!(UpdateArgs::default().apply(&mut key, Timestamp::UNIX_EPOCH).is_empty());
    }

    #[test]
    fn lists_are_added_to_and_removed_from() {
        let args = UpdateArgs {
            add_scope: vec!["embed".into(), "chat".into()],
            remove_scope: vec!["usage".into()],
            limits: LimitChanges {
                add_limit: vec![amount::parse_limit("requests/minute=90").unwrap()],
                ..LimitChanges::default()
            },
            remove_tag: vec!["a".into()],
            add_tag: vec![("b".into(), "2".into())],
            ..UpdateArgs::default()
        };
        let mut key = key();
        assert_eq!(args.apply(&mut key, Timestamp::UNIX_EPOCH), ["scopes", "limits", "default_tags"]);
        assert_eq!(key.scopes, ["chat", "embed"]);
        assert_eq!((key.limits.len(), key.limits[0].amount), (1, 90));
        assert_eq!(pairs::show(&key.default_tags), "b=2");
    }

    #[test]
    fn never_clears_the_time_and_keeps_it_in_the_mask() {
        let args = UpdateArgs { expires: Some(When::Unbounded), ..UpdateArgs::default() };
        let mut key = Key { expire_time: Some(Default::default()), ..key() };
        assert_eq!(args.apply(&mut key, Timestamp::UNIX_EPOCH), ["expire_time"]);
        assert_eq!(key.expire_time, None);
    }
}
