//! Lenient pieces of vendors' JSON: what has the wrong type is absent, never an error that costs the whole answer.

pub(in crate::provider) mod members;
pub(in crate::provider) mod write;

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

/// A count: a whole number that is not negative, or absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::provider) struct Count(pub(in crate::provider) Option<i64>);

/// A text, or nothing. Numbers are taken as they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::provider) struct Text<'a>(pub(in crate::provider) Cow<'a, str>);

/// How much text a value holds, without keeping any of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::provider) struct Weight {
    /// Bytes of all texts inside.
    pub(in crate::provider) bytes: usize,
    /// It is not null, false, empty or zero-length.
    pub(in crate::provider) present: bool,
}

/// Tells whether a member that may be there says anything: null, false, `""`, `[]` and `{}` do not.
pub(in crate::provider) fn says_something(value: Option<&RawValue>) -> bool {
    value.is_some_and(|value| !matches!(value.get(), "null" | "false" | "\"\"" | "[]" | "{}"))
}

/// Reads a value; what has the wrong form is absent.
pub(in crate::provider) fn read<'a, T: Deserialize<'a> + Default>(json: Option<&'a str>) -> T {
    json.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default()
}

impl Text<'_> {
    pub(in crate::provider) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Writes the visitor methods for everything that a lenient type passes over.
macro_rules! skip {
    ($($method:ident: $from:ty),*) => {$(
        fn $method<E>(self, _: $from) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        }
    )*};
}

macro_rules! skip_unit {
    () => {
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        }
    };
}

macro_rules! skip_nested {
    () => {
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            Ok(Self::Value::default())
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok(Self::Value::default())
        }
    };
}

fn expect(f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("any JSON value")
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Counts;

        impl<'de> Visitor<'de> for Counts {
            type Value = Count;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                expect(f)
            }

            fn visit_u64<E>(self, value: u64) -> Result<Count, E> {
                Ok(Count(i64::try_from(value).ok()))
            }

            skip!(visit_i64: i64, visit_bool: bool, visit_str: &str);

            fn visit_f64<E>(self, value: f64) -> Result<Count, E> {
                // Some vendors write whole numbers as 12.0; beyond 2^53 a double is no count.
                let whole = value >= 0.0 && value.fract() == 0.0 && value < 9e15;
                #[expect(clippy::cast_possible_truncation, reason = "whole, and below 2^53")]
                Ok(Count(whole.then_some(value as i64)))
            }

            skip_unit!();
            skip_nested!();
        }

        deserializer.deserialize_any(Counts)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts;

        impl<'de> Visitor<'de> for Texts {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                expect(f)
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(number.to_string())))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(number.to_string())))
            }

            skip!(visit_bool: bool, visit_f64: f64);
            skip_unit!();
            skip_nested!();
        }

        deserializer.deserialize_any(Texts)
    }
}

impl<'de> Deserialize<'de> for Weight {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Weights;

        impl<'de> Visitor<'de> for Weights {
            type Value = Weight;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                expect(f)
            }

            fn visit_str<E>(self, text: &str) -> Result<Weight, E> {
                Ok(Weight { bytes: text.len(), present: !text.is_empty() })
            }

            fn visit_bool<E>(self, value: bool) -> Result<Weight, E> {
                Ok(Weight { bytes: 0, present: value })
            }

            fn visit_i64<E>(self, number: i64) -> Result<Weight, E> {
                Ok(Weight { bytes: 0, present: number != 0 })
            }

            fn visit_u64<E>(self, number: u64) -> Result<Weight, E> {
                Ok(Weight { bytes: 0, present: number != 0 })
            }

            fn visit_f64<E>(self, number: f64) -> Result<Weight, E> {
                Ok(Weight { bytes: 0, present: number != 0.0 })
            }

            skip_unit!();

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Weight, A::Error> {
                let mut sum = Weight::default();
                while let Some(item) = seq.next_element::<Weight>()? {
                    sum.bytes += item.bytes;
                    sum.present = true;
                }
                Ok(sum)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Weight, A::Error> {
                let mut sum = Weight::default();
                while let Some(Text(key)) = map.next_key()? {
                    let value: Weight = map.next_value()?;
                    sum.present |= value.present;
                    // Ids, types and encoded media are no text that a model wrote.
                    let named =
                        matches!(&*key, "id" | "type" | "index" | "role" | "data" | "format" | "signature");
                    sum.bytes += if named { 0 } else { value.bytes };
                }
                Ok(sum)
            }
        }

        deserializer.deserialize_any(Weights)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weight(json: &str) -> (usize, bool) {
        let weight: Weight = serde_json::from_str(json).unwrap();
        (weight.bytes, weight.present)
    }

    #[test]
    fn weight_counts_texts_and_not_what_names_them() {
        assert_eq!(weight("\"abc\""), (3, true));
        assert_eq!(weight("\"\""), (0, false));
        assert_eq!(weight("null"), (0, false));
        assert_eq!(weight("[]"), (0, false));
        assert_eq!(weight(r#"{"name":"","arguments":""}"#), (0, false));
        assert_eq!(weight(r#"[{"id":"call_1","function":{"name":"f","arguments":"{}"}}]"#), (3, true));
        assert_eq!(weight(r#"[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]}]"#), (2, true));
    }

    #[test]
    fn texts_borrow_unless_escaped_and_take_what_comes() {
        assert!(matches!(serde_json::from_str::<Text<'_>>("\"a\"").unwrap().0, Cow::Borrowed("a")));
        assert_eq!(serde_json::from_str::<Text<'_>>("\"a\\n\"").unwrap().0, "a\n");
        assert_eq!(serde_json::from_str::<Text<'_>>("{\"a\":[1]}").unwrap().0, "");
        assert_eq!(serde_json::from_str::<Text<'_>>("429").unwrap().0, "429");
    }
}
