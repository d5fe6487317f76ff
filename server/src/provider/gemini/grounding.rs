//! Sources of an answer: Gemini's grounding and citation metadata as annotations of the text they are about.

use serde::Deserialize;
use serde_json::value::RawValue;
use tollgate_api::v1::{Annotation, UriCitation, annotation::Kind};

use crate::provider::json::{Count, Text};

/// The most notes of one part.
const MAX_ANNOTATIONS: usize = 1024;

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Grounding<'a> {
    #[serde(borrow)]
    grounding_chunks: Option<Vec<Chunk<'a>>>,
    #[serde(borrow)]
    grounding_supports: Option<Vec<Support<'a>>>,
    #[serde(borrow)]
    web_search_queries: Option<Vec<&'a RawValue>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Chunk<'a> {
    #[serde(borrow)]
    web: Option<Source<'a>>,
    #[serde(borrow)]
    retrieved_context: Option<Source<'a>>,
    #[serde(borrow)]
    maps: Option<Source<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Source<'a> {
    #[serde(borrow)]
    uri: Text<'a>,
    #[serde(borrow)]
    title: Text<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Support<'a> {
    segment: Segment,
    #[serde(borrow)]
    grounding_chunk_indices: Option<Vec<&'a RawValue>>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Segment {
    start_index: Count,
    end_index: Count,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Citations<'a> {
    #[serde(borrow, alias = "citationSources")]
    citations: Option<Vec<Citation<'a>>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Citation<'a> {
    start_index: Count,
    end_index: Count,
    #[serde(borrow)]
    uri: Text<'a>,
    #[serde(borrow)]
    title: Text<'a>,
}

/// Returns the sources of `groundingMetadata`, each with the words of `text` that it supports.
pub(super) fn grounded(json: &str, text: &str) -> Vec<Annotation> {
    let told: Grounding<'_> = serde_json::from_str(json).unwrap_or_default();
    let chunks = told.grounding_chunks.unwrap_or_default();
    let supports = told.grounding_supports.unwrap_or_default();
    if supports.is_empty() {
        return chunks.iter().filter_map(|chunk| note(chunk.source()?, None)).take(MAX_ANNOTATIONS).collect();
    }
    let mut notes = Vec::new();
    for support in supports.into_iter().take(MAX_ANNOTATIONS) {
        let span = span(support.segment, text);
        for index in support.grounding_chunk_indices.into_iter().flatten() {
            let index = index.get().parse::<usize>().ok();
            notes.extend(index.and_then(|index| note(chunks.get(index)?.source()?, span)));
        }
    }
    notes.truncate(MAX_ANNOTATIONS);
    notes
}

/// Returns the sources of `citationMetadata`.
pub(super) fn cited(json: &str, text: &str) -> Vec<Annotation> {
    let told: Citations<'_> = serde_json::from_str(json).unwrap_or_default();
    let citations = told.citations.unwrap_or_default().into_iter().take(MAX_ANNOTATIONS);
    citations
        .filter_map(|citation| {
            let segment = Segment { start_index: citation.start_index, end_index: citation.end_index };
            note(&Source { uri: citation.uri, title: citation.title }, span(segment, text))
        })
        .collect()
}

/// Counts the searches that `groundingMetadata` tells.
pub(super) fn searches(json: &str) -> usize {
    let told: Grounding<'_> = serde_json::from_str(json).unwrap_or_default();
    told.web_search_queries.map_or(0, |queries| queries.len())
}

impl<'a> Chunk<'a> {
    fn source(&self) -> Option<&Source<'a>> {
        self.web.as_ref().or(self.retrieved_context.as_ref()).or(self.maps.as_ref())
    }
}

fn note(source: &Source<'_>, span: Option<(i32, i32)>) -> Option<Annotation> {
    let citation = UriCitation { uri: source.uri.0.to_string(), title: source.title.0.to_string() };
    if source.uri.is_empty() && source.title.is_empty() {
        return None;
    }
    Some(Annotation {
        kind: Some(Kind::Uri(citation)),
        start_index: span.map(|(start, _)| start),
        end_index: span.map(|(_, end)| end),
    })
}

/// Gemini counts bytes, the contract characters. None if the segment does not lie within the text.
fn span(segment: Segment, text: &str) -> Option<(i32, i32)> {
    let start = usize::try_from(segment.start_index.0.unwrap_or(0)).ok()?;
    let end = usize::try_from(segment.end_index.0?).ok()?;
    let before = text.get(..start)?.chars().count();
    let within = text.get(start..end)?.chars().count();
    Some((i32::try_from(before).ok()?, i32::try_from(before + within).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(list: &[Annotation]) -> Vec<(String, Option<i32>, Option<i32>)> {
        let uri = |annotation: &Annotation| match &annotation.kind {
            Some(Kind::Uri(citation)) => citation.uri.clone(),
            other => panic!("{other:?}"),
        };
        list.iter().map(|one| (uri(one), one.start_index, one.end_index)).collect()
    }

    #[test]
    fn ge_grounding_offsets_are_bytes_and_become_characters() {
        let json = r#"{"groundingChunks":[{"web":{"uri":"https://a","title":"A"}},{"web":{"uri":"https://b"}}],
            "groundingSupports":[{"segment":{"endIndex":3,"text":"é!"},"groundingChunkIndices":[0]},
            {"segment":{"startIndex":3,"endIndex":5},"groundingChunkIndices":[1,7,"x"]},
            {"segment":{"startIndex":1,"endIndex":99},"groundingChunkIndices":[0]}],
            "webSearchQueries":["q","r"]}"#;
        let a = || "https://a".to_owned();
        assert_eq!(
            short(&grounded(json, "é!ok")),
            [(a(), Some(0), Some(2)), ("https://b".to_owned(), Some(2), Some(4)), (a(), None, None)]
        );
        assert_eq!(searches(json), 2);
    }

    #[test]
    fn sources_without_words_are_about_the_whole_part() {
        let json = r#"{"groundingChunks":[{"web":{"uri":"https://a"}},{"other":{}}]}"#;
        assert_eq!(short(&grounded(json, "x")), [("https://a".to_owned(), None, None)]);
        for odd in ["{}", "[]", "7", r#"{"groundingChunks":7}"#, ""] {
            assert!(grounded(odd, "x").is_empty() && cited(odd, "x").is_empty(), "{odd}");
        }
    }

    #[test]
    fn citations_have_either_name() {
        for name in ["citations", "citationSources"] {
            let json = format!(r#"{{"{name}":[{{"startIndex":1,"endIndex":2,"uri":"https://c"}}]}}"#);
            assert_eq!(short(&cited(&json, "abc")), [("https://c".to_owned(), Some(1), Some(2))]);
        }
    }
}
