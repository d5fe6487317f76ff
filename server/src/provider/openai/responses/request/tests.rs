//! Tests of the request: every member of the contract has its place in the JSON, or is missed out loud.

mod turns;

use tollgate_api::v1::{
    self, CacheBreakpoint, Continuity, Extension, Media, Message, Part, PromptCacheOptions, Role, Sampling,
    Thought, ToolCall, ToolChoice, ToolResult, media::Source, part::Kind, tool_call::Input,
    tool_choice::Mode,
};
use uuid::Uuid;

use super::*;
use crate::{call::Payload, provider, provider::vendors};

fn outgoing(payload: &Payload<ChatInput>, strict: bool) -> Outgoing<'_, ChatInput> {
    Outgoing {
        call_id: Uuid::nil(),
        provider: "mine",
        model: "real",
        payload,
        streamed: false,
        usage_wanted: true,
        strict,
        traceparent: None,
        output_cap: None,
    }
}

fn built_for(input: ChatInput, vendor: &str, strict: bool) -> Result<Built, Error> {
    let payload = Payload::typed(input);
    let vendor = vendors::find(vendor).unwrap();
    build(payload.view().unwrap(), &outgoing(&payload, strict), vendor, vendor.responses.unwrap_or_default())
}

fn built(input: ChatInput) -> Built {
    built_for(input, "openai", false).unwrap()
}

fn says(input: ChatInput, expected: &str) {
    let body = built_for(input, "openai", true).unwrap().body;
    assert!(body.contains(expected), "{expected} in {body}");
    serde_json::from_str::<serde_json::Value>(&body).unwrap();
}

fn part(kind: Kind) -> Part {
    Part { kind: Some(kind), ..Part::default() }
}

fn text(text: &str) -> Part {
    part(Kind::Text(text.to_owned()))
}

fn with_token(kind: Kind, provider: &str, token: &'static str) -> Part {
    let continuity = Continuity { provider: provider.to_owned(), token: token.into() };
    Part { continuity: Some(continuity), ..part(kind) }
}

fn thought(words: &str) -> Kind {
    Kind::Thought(Thought { text: words.to_owned(), ..Thought::default() })
}

fn media(mime_type: &str, source: Source) -> Part {
    let media = Media { mime_type: mime_type.into(), source: Some(source), ..Media::default() };
    part(Kind::Media(Box::new(media)))
}

fn message(role: Role, parts: Vec<Part>) -> Message {
    Message { role: role.into(), parts, name: String::new() }
}

fn conversation(messages: Vec<Message>) -> ChatInput {
    ChatInput { messages, ..ChatInput::default() }
}

fn assistant(parts: Vec<Part>) -> ChatInput {
    conversation(vec![message(Role::Assistant, parts)])
}

fn call(id: &str, input: Input) -> ToolCall {
    ToolCall { id: id.into(), name: "f".into(), input: Some(input), executed_upstream: false }
}

#[test]
fn parameters_have_their_names_and_nothing_is_stored_unless_asked() {
    let input = ChatInput {
        sampling: Some(Sampling { temperature: Some(0.7), top_p: Some(0.5), ..Sampling::default() }),
        max_output_tokens: Some(9),
        reasoning: Some(v1::ReasoningOptions {
            effort: "low".into(),
            summary: "auto".into(),
            ..Default::default()
        }),
        logprobs: Some(v1::LogprobOptions { top: Some(2) }),
        verbosity: "high".into(),
        end_user_id: "u".into(),
        service_tier: "flex".into(),
        parallel_tool_calls: Some(false),
        metadata: [("k".to_owned(), "v".to_owned())].into(),
        ..conversation(vec![message(Role::User, vec![text("hi")])])
    };
    assert_eq!(
        built(input).body,
        concat!(
            r#"{"model":"real","input":[{"role":"user","content":"hi"}],"parallel_tool_calls":false,"#,
            r#""reasoning":{"effort":"low","summary":"auto"},"text":{"verbosity":"high"},"#,
            r#""temperature":0.7,"top_p":0.5,"max_output_tokens":9,"top_logprobs":2,"#,
            r#""include":["reasoning.encrypted_content","message.output_text.logprobs"],"#,
            r#""service_tier":"flex","safety_identifier":"u","metadata":{"k":"v"},"store":false}"#,
        )
    );
    let stored = built(ChatInput { store: Some(true), ..ChatInput::default() }).body;
    assert!(stored.contains(r#""store":true"#) && !stored.contains("include"), "{stored}");
    let groq = built_for(ChatInput::default(), "groq", true).unwrap().body;
    assert!(!groq.contains("include"), "{groq}");
}

#[test]
fn what_the_api_lacks_is_dropped_with_a_warning_or_refused() {
    let sampling = |sampling| ChatInput { sampling: Some(sampling), ..ChatInput::default() };
    for (field, input) in [
        ("stop", ChatInput { stop: vec!["x".into()], ..ChatInput::default() }),
        ("choice_count", ChatInput { choice_count: Some(2), ..ChatInput::default() }),
        ("sampling.seed", sampling(Sampling { seed: Some(1), ..Sampling::default() })),
        ("sampling.top_k", sampling(Sampling { top_k: Some(1), ..Sampling::default() })),
        (
            "sampling.presence_penalty",
            sampling(Sampling { presence_penalty: Some(1.0), ..Sampling::default() }),
        ),
        ("output_modalities", ChatInput { output_modalities: vec!["audio".into()], ..ChatInput::default() }),
        ("prediction", ChatInput { prediction: vec![text("x")], ..ChatInput::default() }),
        (
            "messages[0].name",
            conversation(vec![Message { name: "n".into(), ..message(Role::User, vec![text("x")]) }]),
        ),
    ] {
        let warnings = built(input.clone()).warnings;
        assert_eq!(
            (warnings[0].code.as_str(), &*warnings[0].field),
            ("parameter_dropped", &*format!("input.{field}"))
        );
        let refused = built_for(input, "openai", true).unwrap_err();
        assert_eq!(refused.field, Some(format!("input.{field}")));
    }
}

#[test]
fn tools_are_flat_and_choices_name_them() {
    let function = v1::FunctionTool {
        name: "f".into(),
        description: "d".into(),
        parameters_json_schema: r#"{"z":1,"a":0.10}"#.into(),
        strict: Some(true),
    };
    let custom = v1::CustomTool {
        name: "c".into(),
        grammar: Some(v1::Grammar { syntax: "lark".into(), definition: "x".into() }),
        ..Default::default()
    };
    let search = v1::UpstreamTool {
        r#type: "web_search".into(),
        config_json: r#"{"search_context_size":"low"}"#.into(),
    };
    let tool = |kind| v1::Tool { kind: Some(kind), cache_breakpoint: None };
    let with = |mode: Mode, names: &[&str]| ChatInput {
        tools: vec![
            tool(v1::tool::Kind::Function(function.clone())),
            tool(v1::tool::Kind::Custom(custom.clone())),
            tool(v1::tool::Kind::Upstream(search.clone())),
        ],
        tool_choice: Some(ToolChoice {
            mode: mode.into(),
            tool_names: names.iter().map(ToString::to_string).collect(),
        }),
        ..ChatInput::default()
    };
    says(
        with(Mode::Auto, &[]),
        concat!(
            r#""tools":[{"type":"function","name":"f","description":"d","parameters":{"z":1,"a":0.10},"strict":true},"#,
            r#"{"type":"custom","name":"c","format":{"type":"grammar","definition":"x","syntax":"lark"}},"#,
            r#"{"type":"web_search","search_context_size":"low"}],"tool_choice":"auto""#,
        ),
    );
    for (mode, names, choice) in [
        (Mode::None, &["f"][..], r#""tool_choice":"none""#),
        (Mode::Required, &[], r#""tool_choice":"required""#),
        (Mode::Required, &["f"], r#""tool_choice":{"type":"function","name":"f"}"#),
        (Mode::Required, &["c"], r#""tool_choice":{"type":"custom","name":"c"}"#),
        (Mode::Required, &["web_search"], r#""tool_choice":{"type":"web_search"}"#),
        (
            Mode::Auto,
            &["f", "web_search"],
            r#""tool_choice":{"type":"allowed_tools","mode":"auto","tools":[{"type":"function","name":"f"},{"type":"web_search"}]}"#,
        ),
    ] {
        says(with(mode, names), choice);
    }
    let unknown = built_for(with(Mode::Auto, &["x"]), "openai", false).unwrap_err();
    assert_eq!(unknown.caller.unwrap().facts().field.as_deref(), Some("input.tool_choice.tool_names[0]"));
}

#[test]
fn formats_are_flat() {
    let schema = v1::JsonSchemaFormat {
        schema_json: r#"{"type":"object"}"#.into(),
        strict: Some(true),
        ..Default::default()
    };
    let with = |kind| ChatInput {
        output_format: Some(v1::OutputFormat { kind: Some(kind) }),
        ..ChatInput::default()
    };
    says(
        with(Format::JsonSchema(schema)),
        r#""text":{"format":{"type":"json_schema","name":"response","schema":{"type":"object"},"strict":true}}"#,
    );
    says(with(Format::JsonObject(v1::JsonObjectFormat {})), r#""text":{"format":{"type":"json_object"}}"#);
    assert_eq!(
        built(with(Format::Grammar(v1::Grammar::default()))).warnings[0].field,
        "input.output_format.grammar"
    );
}

#[test]
fn breakpoints_are_sent_to_those_who_cache_explicitly() {
    let marked = Part { cache_breakpoint: Some(CacheBreakpoint::default()), ..text("long") };
    let input = conversation(vec![message(Role::User, vec![marked])]);
    assert_eq!(built(input.clone()).warnings[0].field, "input.messages[0].parts[0].cache_breakpoint");
    let cache = PromptCacheOptions { mode: "explicit".into(), ..PromptCacheOptions::default() };
    says(
        ChatInput { prompt_cache: Some(cache), ..input },
        r#"[{"type":"input_text","text":"long","prompt_cache_breakpoint":{"mode":"explicit"}}]"#,
    );
}

#[test]
fn resp_previous_id_can_be_patched_in_but_the_prompt_cannot() {
    let with = |json: &str| ChatInput {
        provider_options: vec![v1::ProviderOptions {
            provider: "mine".into(),
            body_json: json.into(),
            ..Default::default()
        }],
        ..ChatInput::default()
    };
    says(with(r#"{"previous_response_id":"resp_1"}"#), r#""previous_response_id":"resp_1""#);
    for protected in ["input", "model", "stream", "instructions", "background"] {
        assert!(built_for(with(&format!(r#"{{"{protected}":1}}"#)), "openai", false).is_err(), "{protected}");
    }
}

#[test]
fn options_of_openai_reach_it_whatever_it_is_called() {
    let options = |provider: &str| ChatInput {
        provider_options: vec![v1::ProviderOptions {
            provider: provider.into(),
            body_json: r#"{"truncation":"auto"}"#.into(),
            ..Default::default()
        }],
        ..ChatInput::default()
    };
    says(options("openai"), r#""truncation":"auto""#);
    says(options("mine"), r#""truncation":"auto""#);
}

#[test]
fn a_count_asks_for_what_the_prompt_is_made_of_and_nothing_else() {
    let input = ChatInput {
        max_output_tokens: Some(9),
        sampling: Some(Sampling { temperature: Some(1.0), ..Sampling::default() }),
        ..conversation(vec![message(Role::User, vec![text("hi")])])
    };
    let payload = Payload::typed(input);
    let built = build_count(payload.view().unwrap(), &outgoing(&payload, false), &vendors::OPENAI).unwrap();
    assert_eq!(built.body, r#"{"model":"real","input":[{"role":"user","content":"hi"}]}"#);
}

#[test]
fn what_a_message_may_not_hold_is_an_invalid_request() {
    for (role, part, field) in [
        (Role::User, part(thought("x")), "input.messages[0].parts[0]"),
        (Role::Tool, text("x"), "input.messages[0].parts[0]"),
        (Role::Assistant, Part::default(), "input.messages[0].parts[0]"),
        (Role::Unspecified, text("x"), "input.messages[0].role"),
    ] {
        let error: provider::Error =
            built_for(conversation(vec![message(role, vec![part])]), "openai", false).unwrap_err();
        assert_eq!(error.caller.unwrap().facts().field.as_deref(), Some(field));
    }
}

#[test]
fn models_that_do_not_reason_are_not_asked_for_the_state_of_it() {
    for (model, asked) in [
        ("o4-mini", true),
        ("gpt-5", true),
        ("grok-4", true),
        ("gpt-4o", false),
        ("gpt-4.1-2025-04-14", false),
        ("openai/gpt-4o", false),
        ("ft:gpt-4o:org::id", false),
    ] {
        assert_eq!(reasons(model), asked, "{model}");
    }
}
