//! Every wire's words for usage, alone and as parts of a stream.

use super::*;

fn told(parts: &[&str]) -> Usage {
    let mut tally = Tally::default();
    for part in parts {
        tally.take(part);
    }
    tally.usage()
}

#[test]
fn every_shape_of_usage_is_read() {
    for (json, input, output) in [
        (r#"{"usage":{"input_tokens":3,"output_tokens":5,"total_tokens":8}}"#, Some(3), Some(5)),
        (r#"{"usage":{"total_tokens":7}}"#, Some(7), None),
        (r#"{"usage":{"input_tokens":3,"cache_read_input_tokens":4,"output_tokens":1}}"#, Some(7), Some(1)),
        (
            r#"{"usage":{"prompt_tokens":9,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":4}}}"#,
            Some(9),
            Some(2),
        ),
        (
            r#"{"usageMetadata":{"promptTokenCount":2,"candidatesTokenCount":3,"thoughtsTokenCount":4}}"#,
            Some(2),
            Some(7),
        ),
        (
            r#"[{"usageMetadata":{"promptTokenCount":2}},{"usageMetadata":{"promptTokenCount":2,"candidatesTokenCount":3}}]"#,
            Some(2),
            Some(3),
        ),
        (r#"{"usage":{"inputTokens":2,"outputTokens":3,"cacheReadInputTokens":4}}"#, Some(6), Some(3)),
        (r#"{"metadata":{"usage":{"inputTokens":2,"outputTokens":3}}}"#, Some(2), Some(3)),
        (
            r#"{"amazon-bedrock-invocationMetrics":{"inputTokenCount":4,"outputTokenCount":5}}"#,
            Some(4),
            Some(5),
        ),
        (r#"{"model":"x","done":true,"prompt_eval_count":11,"eval_count":18}"#, Some(11), Some(18)),
        (r#"{"meta":{"billed_units":{"input_tokens":1,"output_tokens":2}}}"#, Some(1), Some(2)),
        (
            r#"{"response":{"meta":{"billed_units":{"input_tokens":1},"tokens":{"input_tokens":8,"output_tokens":2}}}}"#,
            Some(8),
            Some(2),
        ),
        (r#"{"delta":{"usage":{"tokens":{"input_tokens":8,"output_tokens":2}}}}"#, Some(8), Some(2)),
        (r#"{"results":[{"generated_token_count":9,"input_token_count":4}]}"#, Some(4), Some(9)),
        (r#"{"inputTextTokenCount":4,"results":[{"tokenCount":6,"outputText":"x"}]}"#, Some(4), Some(6)),
        (r#"{"generation":"x","prompt_token_count":4,"generation_token_count":6}"#, Some(4), Some(6)),
        (r#"[{"generated_text":"x","details":{"generated_tokens":6,"prefill":[{},{}]}}]"#, Some(2), Some(6)),
        (r#"{"predictions":[{"embeddings":{"statistics":{"token_count":4}}}]}"#, Some(4), None),
        (
            r#"{"usage":{"total_input_tokens":9,"total_output_tokens":3,"total_thought_tokens":7,"total_tool_use_tokens":1}}"#,
            Some(10),
            Some(10),
        ),
        (r#"{"data":[]}"#, None, None),
        ("no json", None, None),
        (r#"{"usage":7,"details":"x","results":{}}"#, None, None),
    ] {
        let usage = told(&[json]);
        assert_eq!((usage.input_tokens, usage.output_tokens), (input, output), "{json}");
    }
}

#[test]
fn counts_of_a_stream_are_cumulative() {
    let claude = told(&[
        r#"{"type":"message_start","message":{"usage":{"input_tokens":5,"cache_read_input_tokens":10,"output_tokens":1}}}"#,
        r#"{"type":"message_delta","usage":{"output_tokens":133}}"#,
        r#"{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":5,"outputTokenCount":97}}"#,
    ]);
    assert_eq!((claude.input_tokens, claude.output_tokens), (Some(15), Some(133)));
    let watsonx = told(&[
        r#"{"results":[{"generated_token_count":0,"input_token_count":8}]}"#,
        r#"{"results":[{"generated_token_count":11,"input_token_count":0}]}"#,
    ]);
    assert_eq!((watsonx.input_tokens, watsonx.output_tokens), (Some(8), Some(11)));
}

#[test]
fn ol_no_prompt_count_is_unknown_and_not_zero() {
    let usage = told(&[r#"{"model":"q","done":true,"done_reason":"stop","eval_count":18}"#]);
    assert_eq!((usage.input_tokens, usage.output_tokens), (None, Some(18)));
}

#[test]
fn units_are_kept_and_parts_are_rounded_up() {
    for (json, unit, count) in [
        (r#"{"meta":{"billed_units":{"search_units":2}}}"#, "search_units", 2),
        (r#"{"usage":{"type":"duration","seconds":3.2}}"#, "seconds", 4),
        (r#"{"usage":{"topicPolicyUnits":1,"wordPolicyUnits":0}}"#, "topic_policy_units", 1),
    ] {
        let usage = told(&[json]);
        assert_eq!(usage.billable_units, [(unit.to_owned(), count)].into(), "{json}");
    }
}

#[test]
fn the_head_of_tgi_counts() {
    let mut headers = HeaderMap::new();
    headers.insert("x-prompt-tokens", 22.into());
    headers.insert("x-generated-tokens", ::http::HeaderValue::from_static("75"));
    assert_eq!((of_head(&headers).input_tokens, of_head(&headers).output_tokens), (Some(22), Some(75)));
}

#[test]
fn the_head_of_bedrock_counts_what_is_cached_beside_the_rest() {
    let mut headers = HeaderMap::new();
    for (name, count) in [("input", "3"), ("cache-read-input", "90"), ("output", "7")] {
        let name = format!("x-amzn-bedrock-{name}-token-count");
        headers.insert(::http::HeaderName::try_from(name).unwrap(), count.parse().unwrap());
    }
    let usage = of_head(&headers);
    assert_eq!((usage.input_tokens, usage.cache_read_input_tokens), (Some(93), Some(90)));
}
