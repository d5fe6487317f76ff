//! What stands beside the content of a choice: log probabilities, citations, reasoning to be sent back.

use serde::Deserialize;
use serde_json::value::RawValue;
use tollgate_api::v1::{Annotation, Extension, TokenLogprob, TopLogprob, UriCitation, annotation::Kind};

use super::json::{Count, Text};

#[derive(Default, Deserialize)]
#[serde(default)]
struct Lists {
    content: Option<Vec<Token>>,
    refusal: Option<Vec<Token>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Token {
    token: String,
    logprob: Option<f64>,
    bytes: Option<Vec<u8>>,
    top_logprobs: Option<Vec<Token>>,
}

/// Reads log probabilities. None if there are none, or in a shape of another API.
pub(super) fn logprobs(json: &RawValue) -> Option<Vec<TokenLogprob>> {
    let lists: Lists = serde_json::from_str::<Option<Lists>>(json.get()).ok()??;
    let list: Vec<TokenLogprob> =
        [lists.content, lists.refusal].into_iter().flatten().flatten().map(logprob).collect();
    (!list.is_empty()).then_some(list)
}

/// Reads a plain list of log probabilities, as the Responses API has it. Empty if it is none.
pub(super) fn logprob_list(json: &str) -> Vec<TokenLogprob> {
    let list: Option<Vec<Token>> = serde_json::from_str(json).unwrap_or_default();
    list.into_iter().flatten().map(logprob).collect()
}

fn logprob(token: Token) -> TokenLogprob {
    TokenLogprob {
        token: token.token,
        logprob: token.logprob.unwrap_or_default(),
        token_bytes: token.bytes.unwrap_or_default().into(),
        top: token.top_logprobs.into_iter().flatten().map(top).collect(),
    }
}

fn top(token: Token) -> TopLogprob {
    TopLogprob {
        token: token.token,
        logprob: token.logprob.unwrap_or_default(),
        token_bytes: token.bytes.unwrap_or_default().into(),
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Note<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    url_citation: Option<Citation<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Citation<'a> {
    #[serde(borrow)]
    url: Text<'a>,
    #[serde(borrow)]
    title: Text<'a>,
    start_index: Count,
    end_index: Count,
}

/// Reads a list of annotations; kinds that the contract does not model are kept as JSON.
pub(super) fn annotations(json: &RawValue, provider: &str) -> Vec<Annotation> {
    let list: Vec<&RawValue> =
        serde_json::from_str::<Option<_>>(json.get()).unwrap_or_default().unwrap_or_default();
    list.into_iter().map(|one| annotation(one.get(), provider)).collect()
}

fn annotation(json: &str, provider: &str) -> Annotation {
    let note: Note<'_> = serde_json::from_str(json).unwrap_or_default();
    let Some(citation) = note.url_citation else {
        let r#type = note.kind.0.into_owned();
        let extension = Extension { provider: provider.to_owned(), r#type, json: json.to_owned() };
        return Annotation { kind: Some(Kind::Extension(extension)), ..Annotation::default() };
    };
    let index = |count: Count| count.0.and_then(|count| i32::try_from(count).ok());
    Annotation {
        kind: Some(Kind::Uri(UriCitation {
            uri: citation.url.0.into_owned(),
            title: citation.title.0.into_owned(),
        })),
        start_index: index(citation.start_index),
        end_index: index(citation.end_index),
    }
}

/// OpenRouter's `reasoning_details` of one delta.
#[derive(Debug, Default)]
pub(super) struct Details {
    /// Its readable text.
    pub(super) text: String,
    /// One of them is encrypted.
    pub(super) opaque: bool,
    /// The items as they came.
    pub(super) items: Vec<String>,
}

/// Reads the details of a delta.
pub(super) fn details(json: &RawValue) -> Details {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Detail<'a> {
        #[serde(borrow)]
        text: Text<'a>,
        #[serde(borrow)]
        summary: Text<'a>,
        #[serde(borrow)]
        data: Text<'a>,
    }
    let list: Vec<&RawValue> =
        serde_json::from_str::<Option<_>>(json.get()).unwrap_or_default().unwrap_or_default();
    let mut details = Details::default();
    for item in list {
        let detail: Detail<'_> = serde_json::from_str(item.get()).unwrap_or_default();
        details.text.push_str(&detail.text.0);
        details.text.push_str(&detail.summary.0);
        details.opaque |= !detail.data.is_empty();
        details.items.push(item.get().to_owned());
    }
    details
}
