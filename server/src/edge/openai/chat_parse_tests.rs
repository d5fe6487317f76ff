//! Tests of the typed view.

use serde_json::json;
use tollgate_api::v1::{Media, Role, ToolCall, media, tool_call::Input};

use super::*;

fn parsed(body: &serde_json::Value) -> ChatInput {
    parse(body.to_string().as_bytes(), &Unread::default()).unwrap()
}

fn refused_at(body: &serde_json::Value) -> String {
    let error = parse(body.to_string().as_bytes(), &Unread::default()).unwrap_err();
    assert_eq!(error.reason(), Reason::InvalidRequest);
    error.facts().field.clone().unwrap_or_default()
}

fn one(message: serde_json::Value) -> serde_json::Value {
    json!({"model": "m", "messages": [message]})
}

fn parts_of(message: serde_json::Value) -> Vec<part::Kind> {
    let input = parsed(&one(message));
    input.messages[0].parts.iter().map(|part| part.kind.clone().unwrap()).collect()
}

fn media(kind: &part::Kind) -> &Media {
    match kind {
        part::Kind::Media(media) => media,
        other => panic!("no media: {other:?}"),
    }
}

#[test]
fn every_parameter_has_its_place() {
    let input = parsed(&json!({
        "model": "m", "messages": [{"role": "developer", "content": "d", "name": "boss"}],
        "max_completion_tokens": 5, "temperature": 0.5, "top_p": 1, "frequency_penalty": -2, "presence_penalty": 2,
        "seed": 9_007_199_254_740_993_i64, "logit_bias": {"50256": -100}, "stop": "x", "n": 2, "logprobs": true,
        "top_logprobs": 3, "parallel_tool_calls": false, "reasoning_effort": "high", "verbosity": "low",
        "modalities": ["text", "audio"], "audio": {"voice": {"id": "v"}, "format": "mp3"},
        "prediction": {"type": "content", "content": "p"}, "service_tier": "flex", "store": true,
        "metadata": {"a": "b"}, "user": "old", "safety_identifier": "new", "prompt_cache_key": "k",
        "prompt_cache_retention": "24h", "prompt_cache_options": {"mode": "explicit"},
        "stream": true, "stream_options": {"include_usage": true},
    }));
    assert_eq!(input.max_output_tokens, Some(5));
    let sampling = input.sampling.unwrap();
    assert_eq!(sampling.seed, Some(9_007_199_254_740_993));
    assert_eq!((sampling.temperature, sampling.top_p), (Some(0.5), Some(1.0)));
    assert_eq!((sampling.frequency_penalty, sampling.presence_penalty), (Some(-2.0), Some(2.0)));
    assert_eq!(sampling.logit_bias["50256"], -100.0);
    assert_eq!((input.stop, input.choice_count), (vec!["x".to_owned()], Some(2)));
    assert_eq!(input.logprobs.unwrap().top, Some(3));
    assert_eq!((input.parallel_tool_calls, input.store), (Some(false), Some(true)));
    assert_eq!((input.reasoning.unwrap().effort.as_str(), input.verbosity.as_str()), ("high", "low"));
    assert_eq!(input.output_modalities, ["text", "audio"]);
    assert_eq!(input.audio.unwrap(), AudioOptions { voice: "v".to_owned(), format: "mp3".to_owned() });
    assert_eq!(input.prediction.len(), 1);
    assert_eq!((input.service_tier.as_str(), input.end_user_id.as_str()), ("flex", "new"));
    assert_eq!(input.metadata["a"], "b");
    let cache = input.prompt_cache.unwrap();
    assert_eq!((cache.key.as_str(), cache.mode.as_str(), cache.ttl.as_str()), ("k", "explicit", "24h"));
    assert_eq!((input.messages[0].role(), input.messages[0].name.as_str()), (Role::Developer, "boss"));
    assert!(input.provider_options.is_empty(), "{:?}", input.provider_options);
}

#[test]
fn what_is_absent_stays_absent() {
    let input = parsed(&one(json!({"role": "user", "content": "x"})));
    assert_eq!((input.sampling, input.logprobs, input.prompt_cache), (None, None, None));
    assert_eq!((input.tool_choice, input.output_format, input.reasoning), (None, None, None));
}

#[test]
fn unknown_keys_are_kept_with_their_text() {
    let body =
        r#"{"model":"m","messages":[{"role":"user","content":"x"}],"zeta": {"b":1, "a":1e400},"top_k":5}"#;
    let options = parse(body.as_bytes(), &Unread::default()).unwrap().provider_options;
    assert_eq!((options.len(), options[0].provider.as_str()), (1, ""));
    assert!(options[0].body_json.contains(r#""zeta":{"b":1, "a":1e400}"#), "{}", options[0].body_json);
    assert!(options[0].body_json.contains(r#""top_k":5"#));
}

#[test]
fn schemas_keep_the_order_of_their_keys() {
    let body = r#"{"model":"m","messages":[{"role":"user","content":"x"}],
        "tools":[{"type":"function","function":{"name":"f","parameters":{"z":1,"a":2},"strict":true}}],
        "response_format":{"type":"json_schema","json_schema":{"name":"s","schema":{"z":{},"a":{}}}}}"#;
    let input = parse(body.as_bytes(), &Unread::default()).unwrap();
    let Some(tool::Kind::Function(function)) = &input.tools[0].kind else { panic!("no function") };
    assert_eq!((function.parameters_json_schema.as_str(), function.strict), (r#"{"z":1,"a":2}"#, Some(true)));
    let Some(output_format::Kind::JsonSchema(schema)) = input.output_format.unwrap().kind else {
        panic!("no schema")
    };
    assert_eq!(schema.schema_json, r#"{"z":{},"a":{}}"#);
}

#[test]
fn content_parts_become_media_texts_and_extensions() {
    let kinds = parts_of(json!({"role": "user", "content": [
        {"type": "text", "text": "t", "prompt_cache_breakpoint": {"ttl": "1h"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAEC", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
        {"type": "input_audio", "input_audio": {"data": "AAE", "format": "mp3"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="}},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "brand_new", "x": 1},
    ]}));
    assert_eq!(kinds[0], part::Kind::Text("t".to_owned()));
    assert_eq!(media(&kinds[1]).source, Some(media::Source::Data(vec![0, 1, 2].into())));
    assert_eq!((media(&kinds[1]).mime_type.as_str(), media(&kinds[1]).detail.as_str()), ("image/png", "low"));
    assert_eq!(media(&kinds[2]).source, Some(media::Source::Uri("https://x/y.png".to_owned())));
    assert_eq!(media(&kinds[3]).mime_type, "audio/mpeg");
    assert_eq!(media(&kinds[3]).source, Some(media::Source::Data(vec![0, 1].into())));
    assert_eq!(
        (media(&kinds[4]).mime_type.as_str(), media(&kinds[4]).filename.as_str()),
        ("application/pdf", "a.pdf")
    );
    assert_eq!(media(&kinds[5]).source, Some(media::Source::FileId("file-1".to_owned())));
    let part::Kind::Extension(extension) = &kinds[6] else { panic!("no extension") };
    assert_eq!(extension.r#type, "brand_new");
    let input = parsed(&one(json!({"role": "user", "content": [
        {"type": "text", "text": "t", "prompt_cache_breakpoint": {"ttl": "1h"}}]})));
    assert_eq!(input.messages[0].parts[0].cache_breakpoint.as_ref().unwrap().ttl, "1h");
}

#[test]
fn an_assistants_turn_keeps_thought_text_refusal_sound_and_calls() {
    let kinds =
        parts_of(json!({"role": "assistant", "content": "c", "refusal": "no", "reasoning_content": "hm",
        "audio": {"id": "a-1"}, "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\"z\":1}"}},
            {"id": "2", "type": "custom", "custom": {"name": "g", "input": "free"}}]}));
    assert!(matches!(&kinds[0], part::Kind::Thought(thought) if thought.text == "hm"));
    assert_eq!(kinds[1], part::Kind::Text("c".to_owned()));
    assert_eq!(kinds[2], part::Kind::Refusal("no".to_owned()));
    assert_eq!(media(&kinds[3]).source, Some(media::Source::FileId("a-1".to_owned())));
    let call = |id: &str, name: &str, input| {
        part::Kind::ToolCall(ToolCall {
            id: id.into(),
            name: name.into(),
            input: Some(input),
            executed_upstream: false,
        })
    };
    assert_eq!(kinds[4], call("1", "f", Input::ArgumentsJson("{\"z\":1}".to_owned())));
    assert_eq!(kinds[5], call("2", "g", Input::Text("free".to_owned())));
}

#[test]
fn legacy_functions_become_tools_and_results_find_their_calls() {
    let input = parsed(&json!({"model": "m", "functions": [{"name": "f"}], "function_call": {"name": "f"},
        "messages": [
            {"role": "assistant", "content": null, "function_call": {"name": "f", "arguments": "{}"}},
            {"role": "assistant", "content": null, "function_call": {"name": "f", "arguments": "{}"}},
            {"role": "function", "name": "f", "content": "42"}]}));
    assert!(matches!(&input.tools[0].kind, Some(tool::Kind::Function(function)) if function.name == "f"));
    assert_eq!(input.tool_choice.unwrap(), chosen(Mode::Required, vec!["f".to_owned()]));
    let Some(part::Kind::ToolCall(call)) = &input.messages[1].parts[0].kind else { panic!("no call") };
    let Some(part::Kind::ToolResult(result)) = &input.messages[2].parts[0].kind else { panic!("no result") };
    assert_eq!(result.tool_call_id, call.id);
    assert_eq!(input.messages[2].role(), Role::Tool);
}

#[test]
fn tool_choices_in_all_their_forms() {
    let choice = |choice: serde_json::Value| {
        let mut body = one(json!({"role": "user", "content": "x"}));
        body["tool_choice"] = choice;
        parsed(&body).tool_choice.unwrap()
    };
    assert_eq!(choice(json!("none")), chosen(Mode::None, vec![]));
    assert_eq!(
        choice(json!({"type": "function", "function": {"name": "f"}})),
        chosen(Mode::Required, vec!["f".into()])
    );
    assert_eq!(
        choice(json!({"type": "custom", "custom": {"name": "g"}})),
        chosen(Mode::Required, vec!["g".into()])
    );
    let allowed = json!({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [
        {"type": "function", "function": {"name": "f"}}, {"type": "custom", "custom": {"name": "g"}}]}});
    assert_eq!(choice(allowed), chosen(Mode::Auto, vec!["f".into(), "g".into()]));
}

#[test]
fn custom_and_upstream_tools_keep_their_settings() {
    let mut body = one(json!({"role": "user", "content": "x"}));
    body["tools"] = json!([
        {"type": "custom", "custom": {"name": "g", "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "d"}}}},
        {"type": "web_search", "depth": 3}]);
    let tools = parsed(&body).tools;
    let Some(tool::Kind::Custom(custom)) = &tools[0].kind else { panic!("no custom tool") };
    assert_eq!(custom.grammar.as_ref().unwrap().syntax, "lark");
    let Some(tool::Kind::Upstream(upstream)) = &tools[1].kind else { panic!("no upstream tool") };
    assert_eq!((upstream.r#type.as_str(), upstream.config_json.as_str()), ("web_search", r#"{"depth":3}"#));
}

#[test]
fn what_does_not_fit_is_named_to_the_member() {
    let part = |part: serde_json::Value| one(json!({"role": "user", "content": [part]}));
    for (body, path) in [
        (part(json!({"text": "x"})), "messages[0].content[0].type"),
        (part(json!({"type": "text"})), "messages[0].content[0].text"),
        (part(json!({"type": "text", "text": 1})), "messages[0].content[0].text"),
        (
            part(json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,?"}})),
            "messages[0].content[0].image_url.url",
        ),
        (
            part(json!({"type": "image_url", "image_url": {"url": "data:image/png,x"}})),
            "messages[0].content[0].image_url.url",
        ),
        (
            part(json!({"type": "image_url", "image_url": {"url": ""}})),
            "messages[0].content[0].image_url.url",
        ),
        (part(json!({"type": "image_url", "image_url": 1})), "messages[0].content[0].image_url"),
        (
            part(json!({"type": "input_audio", "input_audio": {"data": "AA=="}})),
            "messages[0].content[0].input_audio.format",
        ),
        (part(json!({"type": "file", "file": {}})), "messages[0].content[0].file.file_data"),
        (part(json!("x")), "messages[0].content[0]"),
        (one(json!({"role": "tool", "tool_call_id": 1, "content": "x"})), "messages[0].tool_call_id"),
        (one(json!({"role": "function", "content": "x"})), "messages[0].name"),
        (
            one(
                json!({"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "f"}}]}),
            ),
            "messages[0].tool_calls[0].id",
        ),
        (
            one(json!({"role": "assistant", "tool_calls": [{"id": "1", "type": "x"}]})),
            "messages[0].tool_calls[0].type",
        ),
    ] {
        assert_eq!(refused_at(&body), path, "{body}");
    }
    for (key, value, path) in [
        ("tool_choice", json!("maybe"), "tool_choice"),
        ("tool_choice", json!({"type": "function"}), "tool_choice.function"),
        ("response_format", json!({"type": "yaml"}), "response_format.type"),
        ("response_format", json!({"type": "json_schema"}), "response_format.json_schema"),
        ("tools", json!([{"type": "function", "function": {}}]), "tools[0].function.name"),
        ("audio", json!({"voice": 1}), "audio.voice"),
        ("prediction", json!({"type": "x"}), "prediction.type"),
    ] {
        let mut body = one(json!({"role": "user", "content": "x"}));
        body[key] = value;
        assert_eq!(refused_at(&body), path, "{body}");
    }
}
