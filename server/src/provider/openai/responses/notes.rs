//! Citations of the Responses API.

use tollgate_api::v1::{Annotation, DocumentCitation, Extension, UriCitation, annotation::Kind};

use super::event::Node;

/// Reads one annotation; a kind that the contract does not model is kept as JSON.
pub(super) fn annotation(json: &str, provider: &str) -> Annotation {
    let note = Node::read(json);
    let text = |name| note.text(name).into_owned();
    let index = |name| note.raw(name).and_then(|json| json.parse().ok());
    let kind = match &*note.text("type") {
        "url_citation" => Kind::Uri(UriCitation { uri: text("url"), title: text("title") }),
        "file_citation" => Kind::Document(DocumentCitation {
            document_id: text("file_id"),
            title: text("filename"),
            quote: String::new(),
        }),
        kind => Kind::Extension(Extension {
            provider: provider.to_owned(),
            r#type: kind.to_owned(),
            json: json.to_owned(),
        }),
    };
    Annotation { kind: Some(kind), start_index: index("start_index"), end_index: index("end_index") }
}
