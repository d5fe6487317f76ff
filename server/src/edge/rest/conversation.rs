//! The walk through a conversation: every message has a role and a content of a known kind, and is counted.

use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::fields::{Special, check_depth};
use super::needs;
use super::node::{Key, first_byte};
use crate::{call::Needs, error::Error};

/// Walks through `messages`: roles and the kinds of contents are checked, contents are skipped.
pub(in crate::edge) struct Messages {
    /// Length of everything in them, in bytes.
    pub(in crate::edge) bytes: usize,
    /// What the pictures, sounds and documents in them need of a model.
    pub(in crate::edge) needs: Needs,
    roles: &'static [&'static str],
    content_required: bool,
    count: usize,
    error: Option<Error>,
    /// Whether the walk is at `messages` itself or inside of an element.
    inside: bool,
}

impl Messages {
    /// Starts a walk through messages of these roles. Where a content is required, it is never null.
    pub(in crate::edge) fn of(roles: &'static [&'static str], content_required: bool) -> Self {
        Self {
            bytes: 0,
            needs: Needs::default(),
            roles,
            content_required,
            count: 0,
            error: None,
            inside: false,
        }
    }
}

impl Special for Messages {
    fn read<'de, A: MapAccess<'de>>(&mut self, map: &mut A) -> Result<(), A::Error> {
        map.next_value_seed(&mut *self)
    }

    fn refusal(&mut self) -> Error {
        if let Some(error) = self.error.take() {
            return error;
        }
        if self.inside {
            return refuse(format!("messages[{}]", self.count), "must be an object");
        }
        refuse("messages".to_owned(), "must be a non-empty array of messages")
    }
}

impl<'de> DeserializeSeed<'de> for &mut Messages {
    type Value = ();

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for &mut Messages {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        self.inside = true;
        while elements.next_element_seed(Message(&mut *self))?.is_some() {
            self.count += 1;
        }
        self.inside = false;
        if self.count == 0 { Err(de::Error::custom("empty")) } else { Ok(()) }
    }
}

struct Message<'m>(&'m mut Messages);

impl<'de> DeserializeSeed<'de> for Message<'_> {
    type Value = ();

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Message<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self(messages) = self;
        let (mut role, mut content) = (None, None);
        while let Some(Key(key)) = map.next_key::<Key<'de>>()? {
            let value = map.next_value::<&'de RawValue>()?;
            messages.bytes += value.get().len();
            let slot = match &*key {
                "role" => &mut role,
                "content" => &mut content,
                _ => {
                    messages.keep(check_depth("messages", value))?;
                    continue;
                }
            };
            if slot.replace(value).is_some() {
                let path = format!("messages[{}].{key}", messages.count);
                messages.keep(Err(refuse(path, "stands there twice")))?;
            }
        }
        let checked = messages.check(role, content);
        messages.keep(checked)?;
        if let Some(content) = content {
            needs::add_media(content.get(), &mut messages.needs);
        }
        Ok(())
    }
}

impl Messages {
    /// Keeps our own error while the parser's carries the news up.
    fn keep<E: de::Error>(&mut self, checked: Result<(), Error>) -> Result<(), E> {
        checked.map_err(|error| {
            self.error = Some(error);
            E::custom("refused")
        })
    }

    fn check(&self, role: Option<&RawValue>, content: Option<&RawValue>) -> Result<(), Error> {
        // Paths are only written if something is wrong: checking a good message must cost nothing.
        let at = self.count;
        let Some(role) = role.filter(|role| role.get() != "null") else {
            return Err(refuse(format!("messages[{at}].role"), "is required"));
        };
        let roles = self.roles;
        let plain = role.get().trim_matches('"');
        let known = first_byte(role) == b'"'
            && (roles.contains(&plain)
                || serde_json::from_str::<String>(role.get())
                    .is_ok_and(|role| roles.contains(&role.as_str())));
        if !known {
            let must = format!("must be one of {}", roles.join(", "));
            return Err(refuse(format!("messages[{at}].role"), &must));
        }
        match content.map(|content| (first_byte(content), content)) {
            Some((b'"', _)) => Ok(()),
            None | Some((b'n', _)) if !self.content_required => Ok(()),
            Some((b'[', content)) => check_depth("messages", content),
            None => Err(refuse(format!("messages[{at}].content"), "is required")),
            Some(_) => {
                let must =
                    if self.content_required { "a string or an array" } else { "a string, an array or null" };
                Err(refuse(format!("messages[{at}].content"), &format!("must be {must}")))
            }
        }
    }
}

fn refuse(path: String, must: &str) -> Error {
    let message = format!("`{path}` {must}");
    Error::invalid(path, message)
}
