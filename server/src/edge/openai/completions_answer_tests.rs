//! What a legacy completion tells, whole and in a stream.

use serde_json::{Value, json};

use super::*;
use crate::error::Reason;

fn token(text: &str) -> TokenLogprob {
    let top = vec![TopLogprob { token: "b".into(), logprob: -2.0, ..Default::default() }];
    TokenLogprob { token: text.into(), logprob: -0.5, top, ..Default::default() }
}

fn frames(bytes: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(bytes).unwrap();
    let data = text.split("\n\n").filter_map(|frame| frame.strip_prefix("data: "));
    data.map(|data| serde_json::from_str(data).unwrap_or_else(|_| json!(data))).collect()
}

fn text(text: &str) -> Event {
    Event::Text(v1::TextDelta { text: text.to_owned(), choice: 0, part: 0 })
}

fn end(reason: v1::FinishReason) -> Event {
    Event::ChoiceEnd(Box::new(v1::ChoiceEnd { finish_reason: reason.into(), ..Default::default() }))
}

fn usage() -> Event {
    let usage =
        v1::Usage { input_tokens: Some(2), output_tokens: Some(1), r#final: true, ..Default::default() };
    Event::Usage(Box::new(usage))
}

#[test]
fn a_stream_tells_text_logprobs_and_at_its_end_usage() {
    let mut texts = Texts::new(Uuid::nil(), true);
    let logprobs = v1::LogprobDelta { logprobs: vec![token("é"), token("b")], choice: 0, part: 0 };
    let mut all = Vec::new();
    for event in [
        Event::Start(Box::new(v1::StreamStart { model: "m".into(), ..Default::default() })),
        text("éb"),
        Event::Logprobs(Box::new(logprobs)),
        end(v1::FinishReason::Length),
        usage(),
        Event::End(Box::default()),
    ] {
        all.extend_from_slice(&texts.event(event));
    }
    let frames = frames(&all);
    assert_eq!(frames.len(), 5);
    assert_eq!(
        frames[0]["choices"][0],
        json!({"text": "éb", "index": 0, "logprobs": null, "finish_reason": null})
    );
    assert_eq!((&frames[0]["usage"], &frames[0]["object"]), (&Value::Null, &json!("text_completion")));
    assert_eq!(
        frames[1]["choices"][0]["logprobs"],
        json!({"tokens": ["é", "b"], "token_logprobs": [-0.5, -0.5],
            "top_logprobs": [{"b": -2.0}, {"b": -2.0}], "text_offset": [0, 1]})
    );
    assert_eq!(frames[2]["choices"][0]["finish_reason"], "length");
    assert_eq!((&frames[3]["choices"], &frames[3]["usage"]["total_tokens"]), (&json!([]), &json!(3)));
    assert_eq!(frames[4], "[DONE]");
}

#[test]
fn usage_that_nobody_asked_for_is_not_told_and_a_failure_is_no_end() {
    let mut texts = Texts::new(Uuid::nil(), false);
    assert!(frames(&texts.event(text("a")))[0].get("usage").is_none());
    assert!(texts.event(usage()).is_empty());
    let last = frames(&texts.failed(&Error::new(Reason::StreamInterrupted, "cut")));
    assert_eq!(last.len(), 1);
    assert_eq!(last[0]["error"]["message"], "cut");
}
