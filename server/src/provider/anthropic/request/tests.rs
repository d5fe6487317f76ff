//! Tests of what is sent.

use tollgate_api::v1::{
    self, CacheBreakpoint, Continuity, Extension, Message, Role, ToolResult, tool_call::Input,
    tool_choice::Mode,
};
use uuid::Uuid;

use super::*;
use crate::{call::Payload, provider::Kind as ErrorKind};

fn sent_as(input: ChatInput, model: &str, form: Form, strict: bool) -> Result<Built, Error> {
    let payload = Payload::typed(input);
    let outgoing = Outgoing {
        call_id: Uuid::nil(),
        provider: "mine",
        model,
        payload: &payload,
        streamed: true,
        usage_wanted: true,
        strict,
        traceparent: None,
        output_cap: None,
    };
    build(payload.view().unwrap(), &outgoing, form)
}

fn sent(input: ChatInput) -> Built {
    sent_as(input, "claude-haiku-4-5", Form::Own, false).unwrap()
}

fn part(kind: Kind) -> Part {
    Part { kind: Some(kind), ..Part::default() }
}

fn text(text: &str) -> Part {
    part(Kind::Text(text.to_owned()))
}

fn message(role: Role, parts: Vec<Part>) -> Message {
    Message { role: role.into(), parts, name: String::new() }
}

fn call(id: &str, json: &str) -> v1::ToolCall {
    let input = Some(Input::ArgumentsJson(json.into()));
    v1::ToolCall { id: id.into(), name: "f".into(), input, executed_upstream: false }
}

fn result(id: &str, parts: Vec<Part>, is_error: bool) -> Part {
    part(Kind::ToolResult(Box::new(ToolResult { tool_call_id: id.into(), parts, is_error })))
}

fn token(provider: &str, token: &'static str) -> Option<Continuity> {
    Some(Continuity { provider: provider.into(), token: token.as_bytes().into() })
}

fn thought(text: &str, continuity: Option<Continuity>) -> Part {
    let thought = v1::Thought { text: text.into(), ..v1::Thought::default() };
    Part { continuity, ..part(Kind::Thought(thought)) }
}

fn function(name: &str) -> v1::Tool {
    let function = v1::FunctionTool { name: name.into(), ..v1::FunctionTool::default() };
    v1::Tool { kind: Some(v1::tool::Kind::Function(function)), cache_breakpoint: None }
}

fn chat(messages: Vec<Message>) -> ChatInput {
    ChatInput { messages, max_output_tokens: Some(9), ..ChatInput::default() }
}

/// Returns the JSON of the messages that are sent.
fn messages(input: ChatInput) -> String {
    let body = sent(input).body;
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    body["messages"].to_string()
}

fn codes(built: &Built) -> Vec<(&str, &str)> {
    built.warnings.iter().map(|warning| (warning.code.as_str(), warning.field.as_str())).collect()
}

#[test]
fn the_body_has_what_each_form_wants() {
    let input = || chat(vec![message(Role::User, vec![text("hi")])]);
    let body = |form| sent_as(input(), "claude-haiku-4-5", form, true).unwrap().body;
    let messages = r#""messages":[{"role":"user","content":"hi"}]"#;
    assert_eq!(
        body(Form::Own),
        format!(r#"{{"model":"claude-haiku-4-5",{messages},"max_tokens":9,"stream":true}}"#)
    );
    assert_eq!(
        body(Form::Vertex),
        format!(r#"{{"anthropic_version":"vertex-2023-10-16",{messages},"max_tokens":9,"stream":true}}"#)
    );
    assert_eq!(
        body(Form::Bedrock),
        format!(r#"{{"anthropic_version":"bedrock-2023-05-31",{messages},"max_tokens":9}}"#)
    );
    assert_eq!(body(Form::Count), format!(r#"{{"model":"claude-haiku-4-5",{messages}}}"#));
}

#[test]
fn the_bound_of_the_answer_is_always_told() {
    let input = || ChatInput { max_output_tokens: None, ..chat(vec![]) };
    assert!(sent(input()).body.contains(r#""max_tokens":32000"#));
    let old = sent_as(input(), "claude-3-haiku-20240307", Form::Own, false).unwrap();
    assert!(old.body.contains(r#""max_tokens":4096"#));
}

#[test]
fn instructions_become_the_system_prompt_with_their_marks() {
    let marked = Part { cache_breakpoint: Some(CacheBreakpoint { ttl: "1h".into() }), ..text("be kind") };
    let input = || {
        chat(vec![
            message(Role::System, vec![text("be brief")]),
            message(Role::Developer, vec![marked.clone()]),
            message(Role::User, vec![text("hi")]),
            message(Role::System, vec![text("be calm")]),
        ])
    };
    let first = r#"{"type":"text","text":"be brief"},{"type":"text","text":"be kind","cache_control":{"type":"ephemeral","ttl":"1h"}}"#;
    let moved = sent(input());
    let late = r#"{"type":"text","text":"be calm"}"#;
    assert!(
        moved
            .body
            .contains(&format!(r#""system":[{first},{late}],"messages":[{{"role":"user","content":"hi"}}]"#))
    );
    assert_eq!(codes(&moved), [("parameter_changed", "input.messages[3]")]);
    let newer = sent_as(input(), "claude-opus-4-8", Form::Own, true).unwrap().body;
    assert!(
        newer.contains(r#"{"role":"user","content":"hi"},{"role":"system","content":"be calm"}]"#),
        "{newer}"
    );
    assert!(newer.contains(&format!(r#""system":[{first}]"#)), "{newer}");
}

#[test]
fn results_of_tools_share_the_users_turn() {
    let input = chat(vec![
        message(
            Role::Assistant,
            vec![
                text("let me see"),
                part(Kind::ToolCall(call("t1", ""))),
                part(Kind::ToolCall(call("functions.f:2", r#"{"a":1}"#))),
                part(Kind::ToolCall(call("t3", "{cut"))),
            ],
        ),
        message(Role::Tool, vec![result("t1", vec![text("one")], false)]),
        message(Role::Tool, vec![result("functions.f:2", vec![], true)]),
        message(Role::User, vec![text("go on")]),
    ]);
    assert_eq!(
        messages(input),
        serde_json::json!([
            {"role": "assistant", "content": [
                {"type": "text", "text": "let me see"},
                {"type": "tool_use", "id": "t1", "name": "f", "input": {}},
                {"type": "tool_use", "id": "functions_f_2", "name": "f", "input": {"a": 1}},
                {"type": "tool_use", "id": "t3", "name": "f", "input": {"input": "{cut"}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": "one"},
                {"type": "tool_result", "tool_use_id": "functions_f_2", "is_error": true},
                {"type": "text", "text": "go on"},
            ]},
        ])
        .to_string()
    );
}

#[test]
fn results_of_tools_may_hold_images() {
    let image = v1::Media {
        mime_type: "image/png".into(),
        source: Some(Source::Data(b"hi".as_slice().into())),
        ..v1::Media::default()
    };
    let parts = vec![text("see"), part(Kind::Media(Box::new(image)))];
    let sent = messages(chat(vec![message(Role::Tool, vec![result("t1", parts, false)])]));
    assert!(
        sent.contains(
            r#"{"source":{"data":"aGk=","media_type":"image/png","type":"base64"},"type":"image"}"#
        )
    );
}

#[test]
fn an_thinking_signature_goes_back_to_whom_it_came_from() {
    let redacted = v1::Thought { redacted: b"b64==".as_slice().into(), ..v1::Thought::default() };
    let input = chat(vec![message(
        Role::Assistant,
        vec![
            thought("hm", token("mine", "signed")),
            thought("", token("anthropic", "of-the-family")),
            Part { continuity: token("mine", "b64=="), ..part(Kind::Thought(redacted)) },
            thought("of another", token("other", "x")),
            thought("unsigned", None),
            text("yes"),
        ],
    )]);
    let built = sent(input.clone());
    assert_eq!(codes(&built), [("continuity_dropped", "input.messages[0].parts[3]")], "one warning");
    assert_eq!(
        messages(input),
        serde_json::json!([{"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm", "signature": "signed"},
            {"type": "thinking", "thinking": "", "signature": "of-the-family"},
            {"type": "redacted_thinking", "data": "b64=="},
            {"type": "text", "text": "yes"},
        ]}])
        .to_string()
    );
}

#[test]
fn an_server_tools_go_back_in_their_places() {
    let ran =
        |id: &str| part(Kind::ToolCall(v1::ToolCall { executed_upstream: true, ..call(id, r#"{"q":1}"#) }));
    let extension = |provider: &str| {
        let json = r#"{"type":"web_search_tool_result","tool_use_id":"srvtoolu_1","content":[]}"#;
        let r#type = "web_search_tool_result".to_owned();
        part(Kind::Extension(Extension { provider: provider.into(), r#type, json: json.into() }))
    };
    let input = chat(vec![message(
        Role::Assistant,
        vec![ran("srvtoolu_1"), extension("mine"), ran("ws_1"), extension("other"), text("so")],
    )]);
    let warned = sent(input.clone());
    assert_eq!(
        codes(&warned),
        [
            ("tool_call_dropped", "input.messages[0].parts[2]"),
            ("extension_dropped", "input.messages[0].parts[3]")
        ]
    );
    let blocks = messages(input);
    assert!(blocks.contains(r#"{"id":"srvtoolu_1","input":{"q":1},"name":"f","type":"server_tool_use"}"#));
    assert_eq!(blocks.matches("web_search_tool_result").count(), 1);
}

#[test]
fn a_call_by_a_program_goes_back_with_its_caller() {
    let caller = r#"{"type":"code_execution_20260120","tool_id":"srvtoolu_1"}"#;
    let called = Part { continuity: token("mine", caller), ..part(Kind::ToolCall(call("t1", "{}"))) };
    let body = sent(chat(vec![message(Role::Assistant, vec![called])])).body;
    assert!(body.contains(&format!(r#""input":{{}},"caller":{caller}"#)), "{body}");
}

#[test]
fn turns_of_which_nothing_is_left_are_not_sent() {
    let input = chat(vec![
        message(Role::User, vec![text("hi")]),
        message(Role::Assistant, vec![text(""), thought("hm", None)]),
    ]);
    assert_eq!(messages(input), r#"[{"content":"hi","role":"user"}]"#);
}

#[test]
fn an_structured_tool_is_demanded_as_every_choice_of_tools_is_made() {
    let search =
        v1::UpstreamTool { r#type: "web_search_20250305".into(), config_json: r#"{"max_uses":3}"#.into() };
    let tools = || {
        vec![
            function("f"),
            v1::Tool {
                kind: Some(v1::tool::Kind::Upstream(search.clone())),
                cache_breakpoint: Some(CacheBreakpoint::default()),
            },
        ]
    };
    let chosen = |mode: Mode, names: &[&str], parallel| {
        let tool_names = names.iter().map(|name| (*name).to_owned()).collect();
        let tool_choice = Some(v1::ToolChoice { mode: mode.into(), tool_names });
        sent(ChatInput { tools: tools(), tool_choice, parallel_tool_calls: parallel, ..chat(vec![]) }).body
    };
    let f = r#"{"name":"f","input_schema":{"type":"object","properties":{}}}"#;
    let web = r#"{"type":"web_search_20250305","name":"web_search","max_uses":3,"cache_control":{"type":"ephemeral"}}"#;
    for (mode, names, parallel, tools, choice) in [
        (Mode::Auto, &[][..], None, format!("{f},{web}"), r#"{"type":"auto"}"#),
        (
            Mode::Required,
            &[],
            Some(false),
            format!("{f},{web}"),
            r#"{"type":"any","disable_parallel_tool_use":true}"#,
        ),
        (Mode::Required, &["f"], None, format!("{f},{web}"), r#"{"type":"tool","name":"f"}"#),
        (Mode::Auto, &["web_search"], None, web.to_owned(), r#"{"type":"auto"}"#),
        (Mode::None, &[], Some(false), format!("{f},{web}"), r#"{"type":"none"}"#),
    ] {
        let body = chosen(mode, names, parallel);
        assert!(body.contains(&format!(r#""tools":[{tools}],"tool_choice":{choice},"#)), "{body}");
    }
}

#[test]
fn tools_that_take_text_and_unknown_choices() {
    let custom = v1::CustomTool { name: "c".into(), ..v1::CustomTool::default() };
    let tools = vec![v1::Tool { kind: Some(v1::tool::Kind::Custom(custom)), cache_breakpoint: None }];
    let dropped = sent(ChatInput { tools: tools.clone(), ..chat(vec![]) });
    assert_eq!(codes(&dropped), [("parameter_dropped", "input.tools[0].custom")]);
    assert!(!dropped.body.contains("tools"));
    let tool_choice = Some(v1::ToolChoice { tool_names: vec!["x".into()], ..v1::ToolChoice::default() });
    let error = sent_as(ChatInput { tools, tool_choice, ..chat(vec![]) }, "m", Form::Own, false).unwrap_err();
    assert!(error.caller.is_some());
}

#[test]
fn schemas_are_native_where_the_model_takes_them() {
    let format = |kind| Some(v1::OutputFormat { kind: Some(kind) });
    let schema = v1::JsonSchemaFormat { schema_json: r#"{"type":"object"}"#.into(), ..Default::default() };
    let input = || ChatInput {
        output_format: format(output_format::Kind::JsonSchema(schema.clone())),
        ..chat(vec![])
    };
    let native = sent(input());
    assert!(native.warnings.is_empty());
    let config = r#""output_config":{"format":{"type":"json_schema","schema":{"type":"object"}}}"#;
    assert!(native.body.contains(config), "{}", native.body);
    let old = sent_as(input(), "claude-sonnet-4-0", Form::Own, false).unwrap();
    assert_eq!(codes(&old), [("parameter_changed", "input.output_format.json_schema")]);
    assert!(old.body.contains(r#"JSON Schema, and nothing else.\n{\"type\":\"object\"}"#), "{}", old.body);
    let json = output_format::Kind::JsonObject(v1::JsonObjectFormat {});
    let asked = sent(ChatInput { output_format: format(json), ..chat(vec![]) });
    assert!(asked.body.contains("Answer with one JSON object"));
    assert_eq!(codes(&asked), [("parameter_changed", "input.output_format.json_object")]);
}

#[test]
fn a_demanded_call_leaves_no_thinking() {
    let reasoning = Some(v1::ReasoningOptions { budget_tokens: Some(2000), ..Default::default() });
    let tool_choice = Some(v1::ToolChoice { mode: Mode::Required.into(), ..Default::default() });
    let tools = vec![function("f")];
    let built =
        sent(ChatInput { reasoning, tool_choice, tools, max_output_tokens: Some(4000), ..chat(vec![]) });
    assert_eq!(codes(&built), [("parameter_dropped", "input.reasoning")]);
}

#[test]
fn a_round_of_tools_of_another_provider_is_finished_without_thinking() {
    let round = |first: Option<Part>| {
        let mut parts: Vec<Part> = first.into_iter().collect();
        parts.push(part(Kind::ToolCall(call("t1", "{}"))));
        let reasoning = Some(v1::ReasoningOptions { budget_tokens: Some(2000), ..Default::default() });
        let messages = vec![
            message(Role::User, vec![text("hi")]),
            message(Role::Assistant, parts),
            message(Role::Tool, vec![result("t1", vec![], false)]),
        ];
        sent(ChatInput { reasoning, max_output_tokens: Some(4000), ..chat(messages) })
    };
    assert_eq!(codes(&round(None)), [("parameter_dropped", "input.reasoning")]);
    let own = round(Some(thought("hm", token("mine", "signed"))));
    assert!(own.warnings.is_empty() && own.body.contains("budget_tokens"));
}

#[test]
fn what_the_api_lacks_is_told_or_refused() {
    let input = || ChatInput {
        choice_count: Some(2),
        logprobs: Some(v1::LogprobOptions::default()),
        store: Some(true),
        service_tier: "flex".into(),
        verbosity: "low".into(),
        ..chat(vec![])
    };
    assert_eq!(
        sent(input()).warnings.iter().map(|warning| warning.field.as_str()).collect::<Vec<_>>(),
        ["input.choice_count", "input.logprobs", "input.verbosity", "input.store", "input.service_tier"]
    );
    let error = sent_as(input(), "claude-haiku-4-5", Form::Own, true).unwrap_err();
    assert_eq!((error.kind, error.field.as_deref()), (ErrorKind::Unsupported, Some("input.choice_count")));
}

#[test]
fn tiers_users_caches_and_stops_have_their_places() {
    let input = ChatInput {
        service_tier: "default".into(),
        end_user_id: "u".into(),
        stop: vec!["END".into()],
        prompt_cache: Some(v1::PromptCacheOptions { ttl: "1h".into(), ..Default::default() }),
        ..chat(vec![])
    };
    let body = sent(input).body;
    assert!(
        body.ends_with(
            r#""cache_control":{"type":"ephemeral","ttl":"1h"},"max_tokens":9,"stop_sequences":["END"],"service_tier":"standard_only","metadata":{"user_id":"u"},"stream":true}"#
        ),
        "{body}"
    );
}

#[test]
fn options_of_everybody_of_the_family_and_of_the_provider_are_applied() {
    let option = |provider: &str, body_json: &str| v1::ProviderOptions {
        provider: provider.into(),
        body_json: body_json.into(),
        ..Default::default()
    };
    let provider_options = vec![
        option("mine", r#"{"a":3}"#),
        option("anthropic", r#"{"a":2,"container":"c"}"#),
        option("", r#"{"a":1}"#),
        option("other", r#"{"b":1}"#),
    ];
    let body = sent(ChatInput { provider_options, ..chat(vec![]) }).body;
    assert!(body.ends_with(r#""a":3,"container":"c"}"#), "{body}");
    let provider_options = vec![option("", r#"{"max_tokens":1}"#)];
    let refused = sent_as(ChatInput { provider_options, ..chat(vec![]) }, "m", Form::Own, false);
    assert!(refused.unwrap_err().caller.is_some());
}

#[test]
fn files_ask_for_their_beta_beside_the_callers() {
    let file = v1::Media { source: Some(Source::FileId("file_1".into())), ..v1::Media::default() };
    let provider_options = vec![v1::ProviderOptions {
        headers: [(BETA.to_owned(), "context-1m-2025-08-07".to_owned())].into(),
        ..Default::default()
    }];
    let messages = vec![message(Role::User, vec![part(Kind::Media(Box::new(file)))])];
    let built = sent(ChatInput { provider_options, ..chat(messages) });
    assert_eq!(built.headers[BETA], "context-1m-2025-08-07,files-api-2025-04-14");
}
