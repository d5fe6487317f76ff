//! Anthropic's citations as the contract's annotations.

use serde::Deserialize;
use tollgate_api::v1::{Annotation, DocumentCitation, Extension, UriCitation, annotation::Kind};

use super::json::{Count, Text};

#[derive(Default, Deserialize)]
#[serde(default)]
struct Citation<'a> {
    #[serde(rename = "type", borrow)]
    kind: Text<'a>,
    #[serde(borrow)]
    cited_text: Text<'a>,
    document_index: Count,
    #[serde(borrow)]
    document_title: Text<'a>,
    #[serde(borrow)]
    file_id: Text<'a>,
    #[serde(borrow)]
    url: Text<'a>,
    #[serde(borrow)]
    source: Text<'a>,
    #[serde(borrow)]
    title: Text<'a>,
}

/// Reads one citation. It is about the whole part: the places that it names are those in its source.
pub(super) fn annotation(json: &str, provider: &str) -> Option<Annotation> {
    let citation: Citation<'_> = serde_json::from_str(json).ok()?;
    let owned = |text: &Text<'_>| text.0.clone().into_owned();
    let kind = match &*citation.kind.0 {
        "char_location" | "page_location" | "content_block_location" => {
            let index = citation.document_index.0.map(|index| index.to_string()).unwrap_or_default();
            Kind::Document(DocumentCitation {
                document_id: if citation.file_id.is_empty() { index } else { owned(&citation.file_id) },
                title: owned(&citation.document_title),
                quote: owned(&citation.cited_text),
            })
        }
        "web_search_result_location" => {
            Kind::Uri(UriCitation { uri: owned(&citation.url), title: owned(&citation.title) })
        }
        "search_result_location" => {
            Kind::Uri(UriCitation { uri: owned(&citation.source), title: owned(&citation.title) })
        }
        kind => Kind::Extension(Extension {
            provider: provider.to_owned(),
            r#type: kind.to_owned(),
            json: json.to_owned(),
        }),
    };
    Some(Annotation { kind: Some(kind), ..Annotation::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(json: &str) -> Kind {
        annotation(json, "mine").unwrap().kind.unwrap()
    }

    #[test]
    fn an_citations_tell_their_document_or_page() {
        let document = r#"{"type":"char_location","cited_text":"so it is","document_index":2,
            "document_title":"Facts","start_char_index":0,"end_char_index":8}"#;
        let Kind::Document(document) = kind(document) else { panic!() };
        assert_eq!(
            (document.document_id.as_str(), document.title.as_str(), document.quote.as_str()),
            ("2", "Facts", "so it is")
        );
        let page =
            r#"{"type":"web_search_result_location","url":"https://x","title":null,"encrypted_index":"E"}"#;
        let Kind::Uri(page) = kind(page) else { panic!() };
        assert_eq!((page.uri.as_str(), page.title.as_str()), ("https://x", ""));
    }

    #[test]
    fn unknown_citations_are_kept_whole() {
        let json = r#"{"type":"moon_location","crater":7}"#;
        let Kind::Extension(extension) = kind(json) else { panic!() };
        assert_eq!((extension.r#type.as_str(), extension.json.as_str()), ("moon_location", json));
        assert_eq!(annotation("7", "mine"), None);
    }
}
