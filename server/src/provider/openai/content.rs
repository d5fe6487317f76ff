//! The content of a message as vendors write it: a text, or a list of parts with texts and thoughts.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::json::Text;

/// The pieces of a content, in order. Empty texts are left out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Content<'a> {
    #[default]
    None,
    Text(Cow<'a, str>),
    Pieces(Vec<Piece<'a>>),
}

/// One part of a list.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Text(Cow<'a, str>),
    Thought(Cow<'a, str>),
}

impl Content<'_> {
    /// Returns the pieces in order.
    pub(super) fn pieces(&self) -> impl Iterator<Item = (bool, &str)> {
        let (text, pieces) = match self {
            Content::None => (None, &[][..]),
            Content::Text(text) => (Some((false, &**text)), &[][..]),
            Content::Pieces(pieces) => (None, pieces.as_slice()),
        };
        let listed = pieces.iter().map(|piece| match piece {
            Piece::Text(text) => (false, &**text),
            Piece::Thought(text) => (true, &**text),
        });
        text.into_iter().chain(listed).filter(|(_, text)| !text.is_empty())
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Part<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    text: Flat<'a>,
    #[serde(borrow)]
    thinking: Flat<'a>,
    #[serde(borrow)]
    reasoning: Flat<'a>,
    #[serde(borrow)]
    summary: Flat<'a>,
}

impl<'a> Part<'a> {
    fn into_piece(self) -> Piece<'a> {
        let thought =
            [self.thinking, self.reasoning, self.summary].into_iter().find(|flat| !flat.0.is_empty());
        match (thought, &*self.kind.0) {
            (Some(thought), _) => Piece::Thought(thought.0),
            (None, "thinking" | "reasoning") => Piece::Thought(self.text.0),
            (None, _) => Piece::Text(self.text.0),
        }
    }
}

/// A text, or the joined texts of a list of parts (Mistral nests them).
#[derive(Default)]
struct Flat<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = <&'de RawValue>::deserialize(deserializer)?.get();
        Ok(match json.as_bytes().first() {
            Some(b'"') => Content::Text(serde_json::from_str::<Text<'de>>(json).map_err(D::Error::custom)?.0),
            Some(b'[') => {
                let parts: Vec<Part<'de>> = serde_json::from_str(json).map_err(D::Error::custom)?;
                Content::Pieces(parts.into_iter().map(Part::into_piece).collect())
            }
            // Cloudflare answers JSON mode with the object itself.
            Some(b'{') => Content::Text(Cow::Borrowed(json)),
            _ => Content::None,
        })
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Flat<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Flats;

        impl<'de> Visitor<'de> for Flats {
            type Value = Flat<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a list of texts or null")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Flat(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Flat(Cow::Owned(text.to_owned())))
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Flat::default())
            }

            fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
                Ok(Flat::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut joined = String::new();
                while let Some(item) = seq.next_element::<Flat<'de>>()? {
                    joined.push_str(&item.0);
                }
                Ok(Flat(Cow::Owned(joined)))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut text = Flat::default();
                while let Some(Text(name)) = map.next_key()? {
                    if name == "text" {
                        text = map.next_value()?;
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(text)
            }
        }

        deserializer.deserialize_any(Flats)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(json: &str) -> Vec<(bool, String)> {
        let content: Content<'_> = serde_json::from_str(json).unwrap();
        content.pieces().map(|(thought, text)| (thought, text.to_owned())).collect()
    }

    #[test]
    fn texts_and_thoughts_are_told_apart() {
        assert_eq!(pieces("\"a\\n\""), [(false, "a\n".to_owned())]);
        assert_eq!(pieces("null"), []);
        assert_eq!(pieces("\"\""), []);
        let mistral = r#"[{"type":"thinking","thinking":[{"type":"text","text":"h"},{"type":"text","text":"m"}]},
            {"type":"text","text":"yes"}]"#;
        assert_eq!(pieces(mistral), [(true, "hm".to_owned()), (false, "yes".to_owned())]);
        assert_eq!(pieces(r#"{"a":1}"#), [(false, r#"{"a":1}"#.to_owned())]);
        let databricks = r#"[{"type":"reasoning","summary":[{"type":"summary_text","text":"hm"}]}]"#;
        assert_eq!(pieces(databricks), [(true, "hm".to_owned())]);
    }
}
