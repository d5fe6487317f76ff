//! Citations of an answer as the contract's annotations.

use serde::Deserialize;
use serde_json::value::RawValue;
use tollgate_api::v1::{Annotation, DocumentCitation, Extension, UriCitation, annotation::Kind};

use crate::provider::json::{Count, Text};

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Citation<'a> {
    #[serde(borrow)]
    title: Text<'a>,
    #[serde(borrow)]
    source_content: Option<&'a RawValue>,
    #[serde(borrow)]
    location: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Quote<'a> {
    #[serde(borrow)]
    text: Text<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Location<'a> {
    #[serde(borrow)]
    web: Option<&'a RawValue>,
    #[serde(borrow)]
    document_char: Option<&'a RawValue>,
    #[serde(borrow)]
    document_page: Option<&'a RawValue>,
    #[serde(borrow)]
    document_chunk: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Place<'a> {
    document_index: Count,
    #[serde(borrow)]
    url: Text<'a>,
}

/// Reads one citation. The place it names is in the source, not in the answer, so the note is about the whole part.
/// Sources that the contract does not model are kept as JSON.
pub(super) fn read(json: &str, provider: &str) -> Annotation {
    let citation: Citation<'_> = serde_json::from_str(json).unwrap_or_default();
    let location: Location<'_> = within(citation.location);
    let title = citation.title.0.into_owned();
    let in_document = location.document_char.or(location.document_page).or(location.document_chunk);
    let web: Place<'_> = within(location.web);
    let kind = if !web.url.is_empty() {
        Kind::Uri(UriCitation { uri: web.url.0.into_owned(), title })
    } else if let Some(index) = within::<Place<'_>>(in_document).document_index.0 {
        let quotes: Vec<Quote<'_>> = within(citation.source_content);
        let quote = quotes.iter().map(|quote| &*quote.text.0).collect();
        Kind::Document(DocumentCitation { document_id: index.to_string(), title, quote })
    } else {
        Kind::Extension(Extension {
            provider: provider.to_owned(),
            r#type: "citation".to_owned(),
            json: json.to_owned(),
        })
    };
    Annotation { kind: Some(kind), ..Annotation::default() }
}

/// Reads a member that may be there; what has another shape is absent.
pub(super) fn within<'a, T: Deserialize<'a> + Default>(member: Option<&'a RawValue>) -> T {
    member.and_then(|member| serde_json::from_str(member.get()).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_and_pages_of_the_web_are_told_apart() {
        let document = r#"{"location":{"documentChar":{"documentIndex":1,"end":73,"start":0}},
            "sourceContent":[{"text":"a"},{"text":"b"}],"title":"facts"}"#;
        let Some(Kind::Document(cited)) = read(document, "mine").kind else { panic!() };
        assert_eq!(
            (cited.document_id.as_str(), cited.title.as_str(), cited.quote.as_str()),
            ("1", "facts", "ab")
        );
        let web = r#"{"location":{"web":{"url":"https://a.example/","domain":"a.example"}},"title":"A"}"#;
        let Some(Kind::Uri(cited)) = read(web, "mine").kind else { panic!() };
        assert_eq!((cited.uri.as_str(), cited.title.as_str()), ("https://a.example/", "A"));
        for odd in [r#"{"location":{"cave":{}}}"#, "7", r#"{"location":7,"title":[]}"#] {
            let Some(Kind::Extension(kept)) = read(odd, "mine").kind else { panic!("{odd}") };
            assert_eq!(kept.json, odd);
        }
    }
}
