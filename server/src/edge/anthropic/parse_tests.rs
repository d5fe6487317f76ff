//! Tests of the typed view: what every member and every block becomes.

use serde_json::json;
use tollgate_api::v1::{CacheBreakpoint, Part, ToolChoice, media, tool, tool_call, tool_choice::Mode};

use super::*;

fn input(more: serde_json::Value) -> ChatInput {
    let mut body = json!({"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    parse(body.to_string().as_bytes(), &Unread::default()).unwrap()
}

fn blocks(role: &str, content: serde_json::Value) -> Vec<Message> {
    input(json!({"messages": [{"role": role, "content": content}]})).messages
}

fn only(content: serde_json::Value) -> Part {
    let mut messages = blocks("assistant", json!([content]));
    assert_eq!(messages[0].parts.len(), 1);
    messages.remove(0).parts.remove(0)
}

fn own(input: &ChatInput) -> serde_json::Value {
    let [options] = &input.provider_options[..] else { panic!("{:?}", input.provider_options) };
    assert_eq!(options.provider, "anthropic");
    serde_json::from_str(&options.body_json).unwrap()
}

#[test]
fn plain_members_have_their_fields() {
    let input =
        input(json!({"stream": true, "temperature": 0.5, "top_p": 0.9, "top_k": 3, "service_tier": "auto",
        "stop_sequences": ["a", "b"], "metadata": {"user_id": "u"}, "system": "be brief"}));
    assert_eq!((input.model.as_str(), input.max_output_tokens), ("m", Some(5)));
    let sampling = input.sampling.as_ref().unwrap();
    assert_eq!((sampling.temperature, sampling.top_p, sampling.top_k), (Some(0.5), Some(0.9), Some(3)));
    assert_eq!((&input.stop[..], input.end_user_id.as_str()), (&["a".to_owned(), "b".to_owned()][..], "u"));
    assert_eq!(input.service_tier, "auto");
    assert_eq!(input.messages[0].role(), Role::System);
    assert_eq!(input.messages[0].parts[0].kind, Some(part::Kind::Text("be brief".to_owned())));
    assert!(input.provider_options.is_empty());
}

#[test]
fn what_only_anthropic_knows_is_kept_for_anthropic_alone() {
    let input = input(json!({"container": "c1", "speed": "fast", "service_tier": "standard_only",
        "metadata": {"user_id": "u", "new": 1}, "output_config": {"effort": "low", "task_budget": {"x": 1}},
        "thinking": {"type": "adaptive", "display": "omitted"}, "stream": false}));
    assert_eq!(
        own(&input),
        json!({"container": "c1", "speed": "fast", "service_tier": "standard_only", "metadata": {"new": 1},
            "output_config": {"task_budget": {"x": 1}}, "thinking": {"type": "adaptive", "display": "omitted"}})
    );
    let reasoning = input.reasoning.unwrap();
    assert_eq!(
        (reasoning.effort.as_str(), reasoning.summary.as_str(), reasoning.budget_tokens),
        ("low", "none", None)
    );
}

#[test]
fn thinking_is_a_budget_or_none() {
    for (thinking, budget) in
        [(json!({"type": "enabled", "budget_tokens": 2000}), 2000), (json!({"type": "disabled"}), 0)]
    {
        let input = input(json!({"thinking": thinking}));
        assert_eq!(input.reasoning.unwrap().budget_tokens, Some(budget));
        assert!(input.provider_options.is_empty());
    }
}

#[test]
fn the_form_of_the_answer_is_read_in_both_places() {
    let format = json!({"type": "json_schema", "schema": {"type": "object", "b": 1, "a": 2}});
    for body in [json!({"output_format": format}), json!({"output_config": {"format": format}})] {
        let Some(output_format::Kind::JsonSchema(schema)) = input(body).output_format.unwrap().kind else {
            panic!("no schema")
        };
        assert!(schema.schema_json.contains("\"object\""), "{}", schema.schema_json);
    }
    assert_eq!(
        own(&input(json!({"output_format": {"type": "new"}}))),
        json!({"output_format": {"type": "new"}})
    );
}

#[test]
fn tools_are_the_callers_or_the_providers() {
    let input = input(json!({"tools": [
        {"name": "f", "description": "d", "input_schema": {"type": "object"}, "strict": true,
            "cache_control": {"type": "ephemeral", "ttl": "1h"}},
        {"type": "custom", "name": "g", "input_schema": {}},
        {"type": "web_search_20250305", "name": "web_search", "max_uses": 2}]}));
    let Some(tool::Kind::Function(f)) = &input.tools[0].kind else { panic!("no function") };
    assert_eq!(
        (f.name.as_str(), f.parameters_json_schema.as_str(), f.strict),
        ("f", r#"{"type":"object"}"#, Some(true))
    );
    assert_eq!(input.tools[0].cache_breakpoint, Some(CacheBreakpoint { ttl: "1h".to_owned() }));
    assert!(matches!(input.tools[1].kind, Some(tool::Kind::Function(_))));
    let Some(tool::Kind::Upstream(search)) = &input.tools[2].kind else { panic!("no upstream tool") };
    assert_eq!(search.r#type, "web_search_20250305");
    assert!(search.config_json.contains("\"max_uses\":2") && !search.config_json.contains("type"));
}

#[test]
fn tool_choice_has_four_words() {
    for (choice, mode, names, parallel) in [
        (json!({"type": "auto", "disable_parallel_tool_use": true}), Mode::Auto, vec![], Some(false)),
        (json!({"type": "any"}), Mode::Required, vec![], None),
        (json!({"type": "tool", "name": "f"}), Mode::Required, vec!["f".to_owned()], None),
        (json!({"type": "none"}), Mode::None, vec![], None),
    ] {
        let input = input(json!({"tool_choice": choice}));
        assert_eq!(input.tool_choice, Some(ToolChoice { mode: mode.into(), tool_names: names }));
        assert_eq!(input.parallel_tool_calls, parallel);
    }
}

#[test]
fn results_of_tools_are_messages_of_their_own_role_in_order() {
    let messages = blocks(
        "user",
        json!([
        {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": "1"}], "is_error": true},
        {"type": "tool_result", "tool_use_id": "b"},
        {"type": "text", "text": "go on", "cache_control": {"type": "ephemeral"}}]),
    );
    let roles: Vec<_> = messages.iter().map(|message| (message.role(), message.parts.len())).collect();
    assert_eq!(roles, [(Role::Tool, 2), (Role::User, 1)]);
    let Some(part::Kind::ToolResult(result)) = &messages[0].parts[0].kind else { panic!("no result") };
    assert!(result.is_error && result.tool_call_id == "a" && result.parts.len() == 1);
    assert_eq!(messages[1].parts[0].cache_breakpoint, Some(CacheBreakpoint::default()));
}

#[test]
fn sources_of_images_and_documents_are_media() {
    let source = |kind: &str, source: serde_json::Value| {
        let mut parts =
            blocks("user", json!([{"type": kind, "source": source, "title": "t"}])).remove(0).parts;
        let Some(part::Kind::Media(media)) = parts.remove(0).kind else { panic!("no media") };
        (media.mime_type, media.source.unwrap())
    };
    let data = |bytes: &'static [u8]| media::Source::Data(bytes::Bytes::from_static(bytes));
    for (kind, given, mime, expected) in [
        (
            "image",
            json!({"type": "base64", "media_type": "image/png", "data": "cG5n"}),
            "image/png",
            data(b"png"),
        ),
        ("image", json!({"type": "url", "url": "https://x/y"}), "", media::Source::Uri("https://x/y".into())),
        (
            "document",
            json!({"type": "url", "url": "https://x"}),
            "application/pdf",
            media::Source::Uri("https://x".into()),
        ),
        (
            "document",
            json!({"type": "file", "file_id": "f"}),
            "application/pdf",
            media::Source::FileId("f".into()),
        ),
        (
            "document",
            json!({"type": "text", "media_type": "text/plain", "data": "t"}),
            "text/plain",
            data(b"t"),
        ),
        ("document", json!({"type": "content", "content": "t"}), "text/plain", data(b"t")),
    ] {
        assert_eq!(source(kind, given.clone()), (mime.to_owned(), expected), "{given}");
    }
    let inner = json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]);
    let document =
        json!({"type": "document", "source": {"type": "content", "content": inner}, "context": "c"});
    assert_eq!(blocks("user", json!([document]))[0].parts.len(), 3);
}

#[test]
fn thoughts_keep_their_tokens_and_whose_they_are() {
    for (signature, provider, token) in [("EqQB", "anthropic", "EqQB"), ("tollgate.openai.eA", "openai", "x")]
    {
        let part = only(json!({"type": "thinking", "thinking": "hm", "signature": signature}));
        let told = part.continuity.unwrap();
        assert_eq!((told.provider.as_str(), &told.token[..]), (provider, token.as_bytes()));
    }
    let part = only(json!({"type": "redacted_thinking", "data": "abc"}));
    let Some(part::Kind::Thought(thought)) = part.kind else { panic!("no thought") };
    assert_eq!(
        (&thought.redacted[..], part.continuity.unwrap().provider.as_str()),
        (&b"abc"[..], "anthropic")
    );
}

#[test]
fn a_token_behind_a_call_goes_back_to_it() {
    let call = json!({"type": "tool_use", "id": "c", "name": "f", "input": {"b": 1, "a": 2.50}});
    let token = json!({"type": "redacted_thinking", "data": "tollgate.part.gemini.c2ln"});
    let messages = blocks("assistant", json!([call, token]));
    let [part] = &messages[0].parts[..] else { panic!("{messages:?}") };
    let Some(part::Kind::ToolCall(call)) = &part.kind else { panic!("no call") };
    assert!(matches!(&call.input, Some(tool_call::Input::ArgumentsJson(json)) if json.contains("\"b\":1")));
    let told = part.continuity.as_ref().unwrap();
    assert_eq!((told.provider.as_str(), &told.token[..]), ("gemini", &b"sig"[..]));
}

#[test]
fn blocks_of_other_kinds_and_citations_are_kept_as_they_came() {
    let block = json!({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {},
        "cache_control": {"type": "ephemeral"}});
    let part = only(block.clone());
    let Some(part::Kind::Extension(kept)) = part.kind else { panic!("no extension") };
    assert_eq!((kept.provider.as_str(), kept.r#type.as_str()), ("anthropic", "server_tool_use"));
    assert_eq!(serde_json::from_str::<serde_json::Value>(&kept.json).unwrap(), block);
    let cited = only(json!({"type": "text", "text": "x", "citations": [{"type": "char_location", "n": 1}]}));
    assert_eq!(cited.annotations.len(), 1);
}

#[test]
fn what_does_not_fit_is_named_by_its_path() {
    for (message, path) in [
        (json!({"role": "user", "content": [{"text": "x"}]}), "messages[0].content[0].type"),
        (json!({"role": "user", "content": [{"type": "text"}]}), "messages[0].content[0].text"),
        (json!({"role": "user", "content": [{"type": "tool_result"}]}), "messages[0].content[0].tool_use_id"),
        (
            json!({"role": "user", "content": [{"type": "image", "source": {"type": "base64", "media_type": "i", "data": "?"}}]}),
            "messages[0].content[0].source.data",
        ),
    ] {
        let body = json!({"model": "m", "max_tokens": 1, "messages": [message]}).to_string();
        let error = parse(body.as_bytes(), &Unread::default()).unwrap_err();
        assert_eq!(error.facts().field.as_deref(), Some(path), "{body}");
    }
}
