//! Gemini's log probabilities, which are two lists side by side.

use serde::Deserialize;
use tollgate_api::v1::{TokenLogprob, TopLogprob};

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Result {
    chosen_candidates: Vec<Token>,
    top_candidates: Vec<Top>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Token {
    token: String,
    log_probability: f64,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Top {
    candidates: Vec<Token>,
}

/// Reads `logprobsResult`. Empty if it is in another shape.
pub(super) fn read(json: &str) -> Vec<TokenLogprob> {
    let told: Result = serde_json::from_str(json).unwrap_or_default();
    let tops =
        told.top_candidates.into_iter().map(|top| top.candidates).chain(std::iter::repeat_with(Vec::new));
    let tokens = told.chosen_candidates.into_iter().zip(tops);
    tokens
        .map(|(chosen, top)| TokenLogprob {
            token: chosen.token,
            logprob: chosen.log_probability,
            top: top.into_iter().map(alternative).collect(),
            ..TokenLogprob::default()
        })
        .collect()
}

fn alternative(token: Token) -> TopLogprob {
    TopLogprob { token: token.token, logprob: token.log_probability, ..TopLogprob::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ge_logprobs_with_and_without_alternatives_are_read() {
        let json = r#"{"chosenCandidates":[{"token":"2","tokenId":7,"logProbability":-0.5},{"token":"+"}],
            "topCandidates":[{"candidates":[{"token":"2","logProbability":-0.5},{"token":"3","logProbability":-2}]}]}"#;
        let list = read(json);
        assert_eq!((list.len(), list[0].token.as_str(), list[0].logprob), (2, "2", -0.5));
        assert_eq!((list[0].top.len(), list[0].top[1].logprob, list[1].top.len()), (2, -2.0, 0));
        assert!(read(r#"{"chosenCandidates":7}"#).is_empty());
    }
}
