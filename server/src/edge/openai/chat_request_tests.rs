//! Tests of the shallow scan: what is refused, by which name, and where the spans point.

use proptest::prelude::*;
use serde_json::Value;

use super::*;

const GOOD: &str = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}"#;

fn with(more: &str) -> String {
    format!(r#"{{"model":"m","messages":[{{"role":"user","content":"hi"}}],{more}}}"#)
}

fn refused_at(body: &str) -> String {
    let error = scan(body.as_bytes()).expect_err(body);
    assert_eq!(error.reason(), crate::error::Reason::InvalidRequest, "{body}");
    error.facts().field.clone().unwrap_or_default()
}

#[test]
fn a_good_request_is_read_without_being_touched() {
    let body = r#" { "messages": [{"role":"system","content":null},{"content":[{"type":"new"}],"role":"user"}],
        "stream": true, "max_tokens": 7, "stream_options": {"include_usage": true},
        "mod\u0065l" : "gpt\u002d4o", "user":"u", "safety_identifier":"s", "brand_new": {"x": [1]} } "#;
    let scanned = scan(body.as_bytes()).unwrap();
    let asked = &scanned.asked;
    assert_eq!((asked.model.as_str(), asked.streamed, asked.usage_wanted), ("gpt-4o", true, true));
    assert_eq!((asked.max_output_tokens, asked.end_user_id.as_str()), (Some(7), "s"));
    let values = [r#""system""#, "null", r#"[{"type":"new"}]"#, r#""user""#];
    assert_eq!(asked.input_bytes, values.iter().map(|value| value.len()).sum::<usize>());
    let raw = scanned.into_raw(Bytes::from(body));
    assert_eq!(&raw.body[raw.model.clone()], br#""gpt\u002d4o""#);
    assert_eq!(&raw.body[raw.stream_options.clone().unwrap()], br#"{"include_usage": true}"#);
    assert_eq!(raw.body, body);
}

#[test]
fn what_the_model_reads_beside_the_messages_counts_as_prompt() {
    let bytes = |body: &str| scan(body.as_bytes()).unwrap().asked.input_bytes;
    let plain = bytes(GOOD);
    let tools = r#"[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}]"#;
    let format = r#"{"type":"json_schema","json_schema":{"name":"a","schema":{"type":"object"}}}"#;
    for (name, value) in [("tools", tools), ("response_format", format)] {
        assert_eq!(bytes(&with(&format!(r#""{name}":{value}"#))), plain + value.len());
    }
    assert_eq!(bytes(&with(r#""tools":null,"seed":12345"#)), plain, "what is not there does not count");
}

#[test]
fn null_is_absent_for_every_optional_key() {
    for field in FIELDS {
        if !matches!(field.kind, Kind::Model | Kind::Special) {
            let body = with(&format!(r#""{}":null"#, field.name));
            assert!(scan(body.as_bytes()).is_ok(), "{body}");
        }
    }
}

#[test]
fn null_stream_options_are_made_an_object_so_that_nobody_adds_a_second_one() {
    let body = with(r#""stream":true,"stream_options":null"#);
    let raw = scan(body.as_bytes()).unwrap().into_raw(Bytes::from(body.clone()));
    assert_eq!(&raw.body[raw.stream_options.clone().unwrap()], b"{}  ");
    assert_eq!(raw.body.len(), body.len());
    assert_eq!(&raw.body[raw.model.clone()], b"\"m\"");
    assert!(serde_json::from_slice::<Value>(&raw.body).is_ok());
}

#[test]
fn what_is_no_json_object_is_refused_by_place_and_never_by_content() {
    for (body, says) in [
        ("", "ends too early, at line 1 column 0"),
        ("secret", "not valid JSON, at line 1 column 1"),
        ("[\"secret\"]", "must be a JSON object"),
        ("\"secret\"", "must be a JSON object"),
        ("{\"model\":\"secret\",\n\"messages\":[}", "not valid JSON, at line 2 column 13"),
        ("{\"model\":\"secret\"} {}", "not valid JSON, at line 1 column 20"),
        ("{\"model\":\"secret", "ends too early"),
        ("\u{feff}{}", "not valid JSON"),
        ("{\"model\":\"a\nb\"}", "not valid JSON"),
    ] {
        let message = scan(body.as_bytes()).unwrap_err().to_string();
        assert!(message.contains(says) && !message.contains("secret"), "{body:?}: {message}");
    }
    let error = scan(b"{\"model\":\"\xff\"}").unwrap_err();
    assert!(error.to_string().contains("not UTF-8 at byte 10"), "{error}");
}

#[test]
fn a_missing_or_bad_model_is_named() {
    let messages = r#""messages":[{"role":"user","content":"x"}]"#;
    let long = format!(r#""{}""#, "m".repeat(257));
    for model in ["null", "\"\"", "1", "[]", "{\"a\":1}", &long] {
        assert_eq!(refused_at(&format!(r#"{{"model":{model},{messages}}}"#)), "model");
    }
    assert_eq!(refused_at(&format!("{{{messages}}}")), "model");
    assert_eq!(refused_at(&format!(r#"{{"model":"a","mod\u0065l":"b",{messages}}}"#)), "model");
}

#[test]
fn bad_messages_are_named_to_the_member() {
    for (messages, path) in [
        ("null", "messages"),
        ("[]", "messages"),
        ("\"hi\"", "messages"),
        ("{}", "messages"),
        ("[1]", "messages[0]"),
        (r#"[{"role":"user"},"x"]"#, "messages[1]"),
        (r#"[{"content":"x"}]"#, "messages[0].role"),
        (r#"[{"role":null}]"#, "messages[0].role"),
        (r#"[{"role":"user"},{"role":"bot"}]"#, "messages[1].role"),
        (r#"[{"role":["user"]}]"#, "messages[0].role"),
        (r#"[{"role":"user","role":"system"}]"#, "messages[0].role"),
        (r#"[{"role":"user","content":1}]"#, "messages[0].content"),
        (r#"[{"role":"user","content":{"a":1}}]"#, "messages[0].content"),
        (r#"[{"role":"user","content":true}]"#, "messages[0].content"),
        (r#"[{"role":"user","content":"a","content":"b"}]"#, "messages[0].content"),
    ] {
        assert_eq!(refused_at(&format!(r#"{{"model":"m","messages":{messages}}}"#)), path, "{messages}");
    }
    assert_eq!(refused_at(r#"{"model":"m"}"#), "messages");
    let twice = with(r#""messages":[{"role":"user"}]"#);
    assert_eq!(refused_at(&twice), "messages");
}

#[test]
fn every_known_key_is_checked_and_named() {
    for (more, path) in [
        (r#""stream":1"#, "stream"),
        (r#""stream":"true""#, "stream"),
        (r#""stream":true,"stream":false"#, "stream"),
        (r#""stream_options":{}"#, "stream_options"),
        (r#""stream":true,"stream_options":[]"#, "stream_options"),
        (r#""stream":true,"stream_options":{"include_usage":1}"#, "stream_options.include_usage"),
        (r#""max_tokens":0"#, "max_tokens"),
        (r#""max_tokens":-1"#, "max_tokens"),
        (r#""max_tokens":2147483648"#, "max_tokens"),
        (r#""max_tokens":9223372036854775808"#, "max_tokens"),
        (r#""max_tokens":1.5"#, "max_tokens"),
        (r#""max_tokens":"5""#, "max_tokens"),
        (r#""max_completion_tokens":1e3"#, "max_completion_tokens"),
        (r#""max_tokens":1,"max_completion_tokens":1"#, "max_tokens"),
        (r#""n":0"#, "n"),
        (r#""n":129"#, "n"),
        (r#""n":1000000000"#, "n"),
        (r#""temperature":2.01"#, "temperature"),
        (r#""temperature":-0.01"#, "temperature"),
        (r#""temperature":1e999"#, "temperature"),
        (r#""temperature":"1""#, "temperature"),
        (r#""top_p":1.1"#, "top_p"),
        (r#""frequency_penalty":-3"#, "frequency_penalty"),
        (r#""presence_penalty":3"#, "presence_penalty"),
        (r#""seed":9223372036854775808"#, "seed"),
        (r#""seed":1.0"#, "seed"),
        (r#""logit_bias":[]"#, "logit_bias"),
        (r#""logit_bias":{"5":"x"}"#, "logit_bias.5"),
        (r#""logprobs":1"#, "logprobs"),
        (r#""top_logprobs":21"#, "top_logprobs"),
        (r#""stop":1"#, "stop"),
        (r#""stop":["a","b","c","d","e"]"#, "stop"),
        (r#""stop":["a",1]"#, "stop[1]"),
        (r#""tools":{}"#, "tools"),
        (r#""tools":[1]"#, "tools[0]"),
        (r#""tools":[{"type":1}]"#, "tools[0].type"),
        (r#""tool_choice":1"#, "tool_choice"),
        (r#""parallel_tool_calls":"yes""#, "parallel_tool_calls"),
        (r#""functions":["f"]"#, "functions[0]"),
        (r#""function_call":[]"#, "function_call"),
        (r#""response_format":"json""#, "response_format"),
        (r#""response_format":{"type":null}"#, "response_format.type"),
        (r#""metadata":{"a":1}"#, "metadata.a"),
        (r#""metadata":[]"#, "metadata"),
        (r#""user":1"#, "user"),
        (r#""safety_identifier":{}"#, "safety_identifier"),
        (r#""store":0"#, "store"),
        (r#""modalities":"text""#, "modalities"),
        (r#""modalities":[1]"#, "modalities[0]"),
        (r#""service_tier":1"#, "service_tier"),
        (r#""reasoning_effort":1"#, "reasoning_effort"),
        (r#""verbosity":[]"#, "verbosity"),
        (r#""audio":"loud""#, "audio"),
        (r#""prediction":{}"#, "prediction.type"),
        (r#""prompt_cache_key":1"#, "prompt_cache_key"),
        (r#""prompt_cache_options":1"#, "prompt_cache_options"),
    ] {
        assert_eq!(refused_at(&with(more)), path, "{more}");
    }
    let many: Vec<_> = (0..17).map(|at| format!(r#""k{at}":"v""#)).collect();
    assert_eq!(refused_at(&with(&format!(r#""metadata":{{{}}}"#, many.join(",")))), "metadata");
}

#[test]
fn nesting_is_bounded_wherever_it_stands() {
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    for (body, path) in [
        (with(&format!(r#""unknown":{deep}"#)), "unknown"),
        (with(&format!(r#""metadata":{deep}"#)), "metadata"),
        (format!(r#"{{"model":"m","messages":[{{"role":"user","content":{deep}}}]}}"#), "messages"),
        (format!(r#"{{"model":"m","messages":[{{"role":"user","x":{deep}}}]}}"#), "messages"),
    ] {
        assert_eq!(refused_at(&body), path);
    }
    // Far beyond what a recursive parser's stack could take.
    let abyss = "[".repeat(1_000_000);
    assert!(scan(with(&format!(r#""unknown":{abyss}"#)).as_bytes()).is_err());
}

#[test]
fn a_long_end_user_id_is_cut_between_characters() {
    let body = with(&format!(r#""user":"{}""#, "é".repeat(300)));
    assert_eq!(scan(body.as_bytes()).unwrap().asked.end_user_id.len(), 512);
}

proptest! {
    #[test]
    fn random_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = scan(&body);
    }

    #[test]
    fn mutated_bodies_never_panic_and_spans_point_at_the_model(
        at in 0_usize..400,
        byte in proptest::sample::select(b"{}[]\",:\\ntu0-e \x00\xff".to_vec()),
        cut in 0_usize..400,
    ) {
        let body = with(r#""stream":true,"stream_options":{"include_usage":true},"n":1,"temperature":0.5,
            "tools":[{"type":"function"}],"stop":["a"],"metadata":{"k":"v"},"model_x":"y""#);
        let mut bytes = body.into_bytes();
        let place = at % bytes.len();
        bytes[place] = byte;
        for bytes in [&bytes[..], &bytes[..bytes.len() - cut.min(bytes.len())]] {
            let Ok(scanned) = scan(bytes) else { continue };
            let whole: Value = serde_json::from_slice(bytes).unwrap();
            prop_assert_eq!(&whole["model"], &Value::from(scanned.asked.model.as_str()));
            let model: Value = serde_json::from_slice(&bytes[scanned.model.clone()]).unwrap();
            prop_assert_eq!(&whole["model"], &model);
            if let Some(span) = scanned.stream_options.clone() {
                let options: Value = serde_json::from_slice(&bytes[span]).unwrap();
                prop_assert_eq!(&whole["stream_options"], &options);
            }
            let _ = super::super::chat_parse::parse(bytes, &crate::call::Unread::default());
        }
    }

    #[test]
    fn any_prompt_is_accepted_and_only_its_length_is_read(prompt in ".{0,300}") {
        let prompt = serde_json::to_string(&prompt).unwrap();
        let body = GOOD.replace("\"hi\"", &prompt);
        let scanned = scan(body.as_bytes()).unwrap();
        prop_assert_eq!(scanned.asked.input_bytes, prompt.len() + "\"user\"".len());
        prop_assert_eq!(&body[scanned.model.clone()], "\"gpt-4o\"");
    }
}
