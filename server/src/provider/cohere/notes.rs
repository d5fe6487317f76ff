//! What stands beside Cohere's content: citations and log probabilities.

use serde_json::value::RawValue;
use tollgate_api::v1::{Annotation, DocumentCitation, Extension, TokenLogprob, annotation::Kind};

use super::shapes::{Citation, CitedSource, Document, Logprobs, list, read};

/// Reads a citation: one annotation for each of its sources, or the JSON as it is if it has none.
pub(super) fn annotations(citation: &Citation<'_>, json: &str, provider: &str) -> Vec<Annotation> {
    let index = |at: Option<i64>| at.and_then(|at| i32::try_from(at).ok());
    let annotation = |kind| Annotation {
        kind: Some(kind),
        start_index: index(citation.start.0),
        end_index: index(citation.end.0),
    };
    let sources = list(citation.sources);
    if sources.is_empty() {
        let extension =
            Extension { provider: provider.to_owned(), r#type: "citation".to_owned(), json: json.to_owned() };
        return vec![annotation(Kind::Extension(extension))];
    }
    let cited = |source| {
        let source: CitedSource<'_> = read(Some(source));
        let document: Document<'_> = read(source.document);
        annotation(Kind::Document(DocumentCitation {
            document_id: source.id.0.into_owned(),
            title: document.title.0.into_owned(),
            quote: citation.text.0.clone().into_owned(),
        }))
    };
    sources.into_iter().map(cited).collect()
}

/// Reads the log probabilities of a run of tokens. Only its text as a whole is told: a run of several tokens becomes
/// one, as probable as all of them together.
pub(super) fn logprobs(json: &RawValue) -> Vec<TokenLogprob> {
    let run: Logprobs<'_> = read(Some(json));
    let list = run.logprobs.unwrap_or_default();
    if list.is_empty() {
        return Vec::new();
    }
    let token = run.text.0.into_owned();
    vec![TokenLogprob {
        token_bytes: token.clone().into_bytes().into(),
        token,
        logprob: list.iter().sum(),
        top: Vec::new(),
    }]
}
