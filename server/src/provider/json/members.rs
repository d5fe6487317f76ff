//! A JSON object as an ordered list of members whose values stay exactly as they are written.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// The deepest object that a merge patch may reach into.
const MAX_DEPTH: u32 = 64;

/// The members of an object, in order.
#[derive(Debug, Default)]
pub(in crate::provider) struct Members<'a>(Vec<(Cow<'a, str>, Json<'a>)>);

/// The JSON text of a value.
#[derive(Clone, Debug)]
pub(in crate::provider) struct Json<'a>(Cow<'a, str>);

impl Json<'_> {
    /// Returns the text.
    pub(in crate::provider) fn get(&self) -> &str {
        &self.0
    }
}

impl<'a> Members<'a> {
    pub(in crate::provider) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, value.get()))
    }

    /// Returns the value of the member of that name.
    pub(in crate::provider) fn get(&self, name: &str) -> Option<&Json<'a>> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// Sets a member, at its place if it is there, else at the end. `json` must be JSON.
    pub(in crate::provider) fn set(&mut self, name: &str, json: Cow<'a, str>) {
        match self.0.iter_mut().find(|(key, _)| key == name) {
            Some((_, value)) => *value = Json(json),
            None => self.0.push((Cow::Owned(name.to_owned()), Json(json))),
        }
    }

    pub(in crate::provider) fn remove(&mut self, name: &str) {
        self.0.retain(|(key, _)| key != name);
    }

    /// Writes the object.
    pub(in crate::provider) fn to_json(&self) -> String {
        let mut json = String::from("{");
        for (name, value) in self.iter() {
            if json.len() > 1 {
                json.push(',');
            }
            super::write::string(&mut json, name);
            json.push(':');
            json.push_str(value);
        }
        json.push('}');
        json
    }

    /// Applies a JSON Merge Patch (RFC 7396): null removes, objects merge, anything else replaces. False if it is
    /// nested too deeply.
    pub(in crate::provider) fn merge(&mut self, patch: &Members<'_>) -> bool {
        self.merge_at(patch, 0)
    }

    fn merge_at(&mut self, patch: &Members<'_>, depth: u32) -> bool {
        if depth > MAX_DEPTH {
            return false;
        }
        for (name, value) in patch.iter() {
            if value == "null" {
                self.remove(name);
                continue;
            }
            let Ok(inner) = serde_json::from_str::<Members<'_>>(value) else {
                self.set(name, Cow::Owned(value.to_owned()));
                continue;
            };
            let current = self.get(name).map(|value| value.get().to_owned()).unwrap_or_default();
            let mut merged: Members<'_> = serde_json::from_str(&current).unwrap_or_default();
            if !merged.merge_at(&inner, depth + 1) {
                return false;
            }
            self.set(name, Cow::Owned(merged.to_json()));
        }
        true
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;

        impl<'de> Visitor<'de> for List {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Members::default();
                while let Some(super::Text(name)) = map.next_key()? {
                    let value: &'de RawValue = map.next_value()?;
                    members.0.push((name, Json(Cow::Borrowed(value.get()))));
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(List)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(target: &str, patch: &str) -> String {
        let mut members: Members<'_> = serde_json::from_str(target).unwrap();
        assert!(members.merge(&serde_json::from_str(patch).unwrap()));
        members.to_json()
    }

    #[test]
    fn a_merge_patch_does_what_the_rfc_says() {
        // The cases of RFC 7396, appendix A, whose target and patch are objects.
        for (target, patch, result) in [
            (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"a":null}"#, "{}"),
            (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
            (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
            (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
            (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
            (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#),
            ("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
        ] {
            assert_eq!(merged(target, patch), result, "{target} + {patch}");
        }
    }

    #[test]
    fn what_is_not_patched_stays_as_it_is_written() {
        let target = r#"{"z":0.70,"big":12345678901234567890123,"a":{ "y" : 1 }}"#;
        assert_eq!(
            merged(target, r#"{"n":1}"#),
            r#"{"z":0.70,"big":12345678901234567890123,"a":{ "y" : 1 },"n":1}"#
        );
    }

    #[test]
    fn a_bottomless_patch_is_refused() {
        let patch = format!("{}1{}", r#"{"a":"#.repeat(100), "}".repeat(100));
        assert!(!Members::default().merge(&serde_json::from_str(&patch).unwrap()));
    }
}
