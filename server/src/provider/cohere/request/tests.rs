//! Tests of the translation.

use tollgate_api::v1::{
    self, Continuity, FunctionTool, JsonSchemaFormat, Media, Message, OutputFormat, Part, Role, Thought,
    Tool, ToolCall, ToolChoice, ToolResult, media::Source, output_format, part::Kind as PartKind, tool,
    tool_call, tool_choice::Mode,
};
use uuid::Uuid;

use super::*;
use crate::{
    call::Payload,
    provider::{
        Kind,
        cohere::{MESSAGE_TOOL_PLAN, THINKING},
    },
};

fn built(input: ChatInput, strict: bool) -> Result<Built, Error> {
    let payload = Payload::typed(input);
    let outgoing = Outgoing {
        call_id: Uuid::nil(),
        provider: "mine",
        model: "command",
        payload: &payload,
        streamed: false,
        usage_wanted: true,
        strict,
        traceparent: None,
        output_cap: None,
    };
    build(payload.view().unwrap(), &outgoing)
}

fn part(kind: PartKind) -> Part {
    Part { kind: Some(kind), ..Part::default() }
}

fn text(text: &str) -> Part {
    part(PartKind::Text(text.to_owned()))
}

fn message(role: Role, parts: Vec<Part>) -> Message {
    Message { role: role.into(), parts, name: String::new() }
}

fn media(mime_type: &str, data: &'static [u8], filename: &str) -> Part {
    part(PartKind::Media(Box::new(Media {
        mime_type: mime_type.to_owned(),
        filename: filename.to_owned(),
        source: Some(Source::Data(data.into())),
        ..Media::default()
    })))
}

fn thought(text: &str, provider: &str, token: &'static str) -> Part {
    Part {
        continuity: Some(Continuity { provider: provider.to_owned(), token: token.into() }),
        ..part(PartKind::Thought(Thought { text: text.to_owned(), ..Thought::default() }))
    }
}

#[test]
fn parameters_have_coheres_names() {
    let sampling = Sampling {
        temperature: Some(0.3),
        top_p: Some(0.9),
        top_k: Some(5),
        seed: Some(7),
        ..Sampling::default()
    };
    let schema = JsonSchemaFormat { schema_json: r#"{"z":1,"a":2}"#.into(), ..JsonSchemaFormat::default() };
    let input = ChatInput {
        sampling: Some(sampling),
        max_output_tokens: Some(9),
        stop: vec!["x".into()],
        output_format: Some(OutputFormat { kind: Some(output_format::Kind::JsonSchema(schema)) }),
        reasoning: Some(ReasoningOptions { budget_tokens: Some(64), ..ReasoningOptions::default() }),
        logprobs: Some(v1::LogprobOptions::default()),
        ..ChatInput::default()
    };
    let expected = concat!(
        r#"{"model":"command","messages":[],"temperature":0.3,"p":0.9,"k":5,"seed":7,"max_tokens":9,"#,
        r#""stop_sequences":["x"],"response_format":{"type":"json_object","json_schema":{"z":1,"a":2}},"#,
        r#""thinking":{"type":"enabled","token_budget":64},"logprobs":true,"stream":false}"#
    );
    assert_eq!(built(input, true).unwrap().body, expected);
}

#[test]
fn a_conversation_with_plans_thoughts_tools_and_media_is_written() {
    let call = ToolCall {
        id: "c1".into(),
        name: "f".into(),
        input: Some(tool_call::Input::ArgumentsJson("{\"a\":1}".into())),
        executed_upstream: false,
    };
    let result = ToolResult {
        tool_call_id: "c1".into(),
        parts: vec![text("42"), media("text/plain", b"facts", "f.txt")],
        is_error: false,
    };
    let messages = vec![
        message(Role::Developer, vec![text("be brief")]),
        message(
            Role::User,
            vec![text("look"), media("image/png", b"abc", ""), media("text/plain", b"T", "t.txt")],
        ),
        message(
            Role::Assistant,
            vec![
                thought("plan", "mine", MESSAGE_TOOL_PLAN),
                thought("hm", "cohere", THINKING),
                part(PartKind::ToolCall(call)),
            ],
        ),
        message(Role::Tool, vec![part(PartKind::ToolResult(Box::new(result)))]),
    ];
    let built = built(ChatInput { messages, ..ChatInput::default() }, true).unwrap();
    let expected = concat!(
        r#"{"model":"command","messages":[{"role":"system","content":[{"type":"text","text":"be brief"}]},"#,
        r#"{"role":"user","content":[{"type":"text","text":"look"},"#,
        r#"{"type":"image_url","image_url":{"url":"data:image/png;base64,YWJj"}}]},"#,
        r#"{"role":"assistant","tool_plan":"plan","content":[{"type":"thinking","thinking":"hm"}],"#,
        r#""tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]},"#,
        r#"{"role":"tool","tool_call_id":"c1","content":[{"type":"text","text":"42"},"#,
        r#"{"type":"document","document":{"data":{"title":"f.txt","text":"facts"}}}]}],"#,
        r#""documents":[{"id":"doc:0","data":{"title":"t.txt","text":"T"}}],"stream":false}"#
    );
    assert_eq!(built.body, expected);
    assert!(built.warnings.is_empty());
}

#[test]
fn a_chosen_tool_is_the_only_one_that_is_sent() {
    let function = |name: &str, strict| Tool {
        kind: Some(tool::Kind::Function(FunctionTool {
            name: name.into(),
            strict,
            ..FunctionTool::default()
        })),
        cache_breakpoint: None,
    };
    let with = |mode: Mode, names: &[&str]| ChatInput {
        tools: vec![function("f", Some(true)), function("g", None)],
        tool_choice: Some(ToolChoice {
            mode: mode.into(),
            tool_names: names.iter().map(|name| (*name).to_owned()).collect(),
        }),
        ..ChatInput::default()
    };
    let body = built(with(Mode::Required, &["g"]), true).unwrap().body;
    assert!(body.contains(r#""name":"g""#) && !body.contains(r#""name":"f""#), "{body}");
    assert!(body.contains(r#""tool_choice":"REQUIRED""#) && !body.contains("strict_tools"), "{body}");
    let body = built(with(Mode::None, &[]), true).unwrap().body;
    assert!(body.contains(r#""strict_tools":true,"tool_choice":"NONE""#), "{body}");
    assert!(!built(with(Mode::Auto, &[]), true).unwrap().body.contains("tool_choice"));
    let error = built(with(Mode::Required, &["h"]), true).unwrap_err();
    assert_eq!(error.caller.unwrap().facts().field.as_deref(), Some("input.tool_choice.tool_names"));
}

#[test]
fn what_cohere_lacks_is_dropped_with_a_warning_or_refused() {
    let foreign = message(Role::Assistant, vec![thought("hm", "claude", "sig"), text("a")]);
    let input = || ChatInput {
        messages: vec![foreign.clone()],
        choice_count: Some(2),
        end_user_id: "u".into(),
        parallel_tool_calls: None,
        reasoning: Some(ReasoningOptions { effort: "high".into(), ..ReasoningOptions::default() }),
        ..ChatInput::default()
    };
    let dropped = built(input(), false).unwrap();
    let fields: Vec<&str> = dropped.warnings.iter().map(|warning| warning.field.as_str()).collect();
    assert_eq!(
        fields,
        ["input.choice_count", "input.end_user_id", "input.messages[0].parts[0]", "input.reasoning.effort"]
    );
    assert!(dropped.body.contains(r#""thinking":{"type":"enabled"}"#), "{}", dropped.body);
    let refused = built(input(), true).unwrap_err();
    assert_eq!((refused.kind, refused.field.as_deref()), (Kind::Unsupported, Some("input.choice_count")));
    let off = ReasoningOptions { effort: "none".into(), ..ReasoningOptions::default() };
    let body = built(ChatInput { reasoning: Some(off), ..ChatInput::default() }, true).unwrap().body;
    assert!(body.contains(r#""thinking":{"type":"disabled"}"#), "{body}");
    let pdf = message(Role::User, vec![media("application/pdf", b"%PDF", "")]);
    let error = built(ChatInput { messages: vec![pdf], ..ChatInput::default() }, false).unwrap_err();
    assert_eq!(error.field.as_deref(), Some("input.messages[0].parts[0].media"));
}

#[test]
fn documents_and_safety_come_by_the_providers_own_options() {
    let option = v1::ProviderOptions {
        provider: "mine".into(),
        body_json: r#"{"documents":[{"data":{"text":"T"}}],"safety_mode":"STRICT"}"#.into(),
        ..v1::ProviderOptions::default()
    };
    let body =
        built(ChatInput { provider_options: vec![option], ..ChatInput::default() }, true).unwrap().body;
    assert!(body.ends_with(r#""documents":[{"data":{"text":"T"}}],"safety_mode":"STRICT"}"#), "{body}");
}
