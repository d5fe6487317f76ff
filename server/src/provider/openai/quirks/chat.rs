//! Quirks of the chat wire that a replay would not show: what is beside text, calls and counts, or allows two readings.

use super::*;
use crate::provider::openai::{express::whole_chat, usage};

fn items(chunks: &[&str]) -> VecDeque<Item> {
    let mut decoder = Decoder::new("mine", &ChatInput::default());
    let mut out = VecDeque::new();
    for chunk in chunks {
        decoder.feed(chunk.as_bytes(), &mut out).unwrap();
    }
    decoder.finish(&mut out);
    out
}

#[test]
fn obfuscation_is_noise_and_not_kept() {
    let told = stream(
        "mistral",
        &[
            r#"{"p":"abc","obfuscation":"15WV","choices":[{"index":0,"delta":{"content":"a"},"p":"x"}]}"#,
            r#"{"p":"abcdef","choices":[{"index":0,"delta":{"content":"b"},"finish_reason":"stop"}]}"#,
        ],
    );
    assert_eq!((told.text.as_str(), told.extensions.len()), ("ab", 0));
}

#[test]
fn big_int_keeps_its_digits() {
    let body = r#"{"seed":15259210161316577123,"choices":[{"index":0,"seed":9223372036854775809,"message":{"content":"a"},"finish_reason":"stop"}]}"#;
    assert_eq!(whole("together", body).extensions, ["seed 15259210161316577123"]);
    let Item::Raw(bytes, _) = whole_chat(body.into()).unwrap() else { panic!() };
    assert_eq!(bytes, body);
}

#[test]
fn oa_service_tier_is_told_for_the_price_in_both_lanes() {
    let body = r#"{"service_tier":"priority","choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#;
    let Item::Raw(_, seen) = whole_chat(body.into()).unwrap() else { panic!() };
    assert_eq!(seen.usage.unwrap().service_tier, "priority");
    let Some(Item::Event(Event::End(end))) = items(&[body]).pop_back() else { panic!() };
    assert_eq!(end.service_tier, "priority");
}

#[test]
fn oa_moderation_inline_is_kept_beside_the_answer() {
    let body = r#"{"moderation":{"input":{"flagged":true}},"choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop"}]}"#;
    let told = whole("openai", body);
    assert_eq!((told.text.as_str(), told.finish), ("a", "STOP"));
    assert_eq!(told.extensions, [r#"moderation {"input":{"flagged":true}}"#]);
}

#[test]
fn id_empty_gives_way_to_the_first_that_says_something() {
    let chunks = [
        r#"{"id":"","model":"","choices":[],"created":0}"#,
        r#"{"id":"c1","model":"m1","choices":[{"index":0,"delta":{"content":"a"}}]}"#,
        r#"{"id":"","model":"","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
    ];
    let mut items = items(&chunks);
    let Some(Item::Event(Event::Start(start))) = items.pop_front() else { panic!() };
    let Some(Item::Event(Event::End(end))) = items.pop_back() else { panic!() };
    assert_eq!((start.model.as_str(), end.upstream_response_id.as_str()), ("m1", "c1"));
}

#[test]
fn gr_x_groq_usage_counts_where_nothing_else_does() {
    let told = stream(
        "groq",
        &[
            r#"{"x_groq":{"id":"req_1"},"choices":[{"index":0,"delta":{"content":"a"}}]}"#,
            r#"{"x_groq":{"id":"req_1","usage":{"queue_time":0.1,"prompt_tokens":9,"completion_tokens":4,"total_time":0.3}},"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
        ],
    );
    assert_eq!(told.tokens, (Some(9), Some(4)));
}

#[test]
fn ds_cache_names_and_mi_cached_count_alone_and_never_twice() {
    for (told, cached) in [
        (r#""prompt_cache_hit_tokens":64,"prompt_cache_miss_tokens":36"#, 64),
        (r#""prompt_cache_hit_tokens":64,"prompt_tokens_details":{"cached_tokens":64}"#, 64),
        (r#""num_cached_tokens":32"#, 32),
        (r#""num_cached_tokens":32,"prompt_tokens_details":{"cached_tokens":32}"#, 32),
    ] {
        let usage =
            usage::parse(&format!(r#"{{"prompt_tokens":100,"completion_tokens":1,{told}}}"#)).unwrap();
        assert_eq!((usage.input_tokens, usage.cache_read_input_tokens), (Some(100), Some(cached)), "{told}");
    }
}

#[test]
fn reasoning_not_in_completion_is_never_subtracted() {
    let usage = usage::parse(
        r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"completion_tokens_details":{"reasoning_tokens":200}}"#,
    )
    .unwrap();
    assert_eq!((usage.output_tokens, usage.reasoning_output_tokens), (Some(5), Some(200)));
}

#[test]
fn tool_frag_id_repeated_keeps_the_first_id_and_name() {
    let called = deltas(
        "openrouter",
        &[
            r#"{"tool_calls":[{"index":0,"id":"c1","type":"function","function":{"name":"f","arguments":""}}]}"#,
            r#"{"tool_calls":[{"index":0,"id":"","function":{"name":"","arguments":"{\"a\""}}]}"#,
            r#"{"tool_calls":[{"index":0,"id":null,"function":{"name":null,"arguments":":1}"}}]}"#,
        ],
    );
    assert_eq!(called.calls, [call("f", r#"{"a":1}"#)]);
    let id = items(&[
        r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c1","function":{"name":"f","arguments":"{"}}]}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"","function":{"arguments":"}"}}]}}]}"#,
    ])
    .into_iter()
    .find_map(|item| match item {
        Item::Event(Event::PartStart(start)) => match start.initial.unwrap().kind.unwrap() {
            part::Kind::ToolCall(call) => Some(call.id),
            _ => None,
        },
        _ => None,
    });
    assert_eq!(id.as_deref(), Some("c1"));
}

#[test]
fn tool_args_object_is_its_json_and_no_arguments_are_an_empty_one() {
    for (arguments, input) in
        [(r#"{"a": 1}"#, r#"{"a": 1}"#), (r#""{\"a\":1}""#, r#"{"a":1}"#), ("null", "{}"), (r#""""#, "{}")]
    {
        let delta = format!(
            r#"{{"tool_calls":[{{"index":0,"id":"c","function":{{"name":"f","arguments":{arguments}}}}}]}}"#
        );
        assert_eq!(deltas("writer", &[&delta]).calls, [call("f", input)], "{arguments}");
    }
}

#[test]
fn finish_nonstandard_words_are_mapped_or_other_and_always_kept() {
    for (word, reason) in [
        ("eos", "STOP"),
        ("end_turn", "STOP"),
        ("tool_call", "TOOL_CALLS"),
        ("max_tokens", "LENGTH"),
        ("model_length", "CONTEXT_LENGTH"),
        ("quantum", "OTHER"),
    ] {
        let chunk =
            format!(r#"{{"choices":[{{"index":0,"delta":{{"content":"a"}},"finish_reason":"{word}"}}]}}"#);
        assert_eq!(stream("together", &[&chunk]).finish, reason, "{word}");
        let kept = items(&[&chunk]).into_iter().find_map(|item| match item {
            Item::Event(Event::ChoiceEnd(end)) => Some(end.upstream_finish_reason),
            _ => None,
        });
        assert_eq!(kept.as_deref(), Some(word));
    }
}
