//! Tests of the way there: what is written, what is dropped with a warning, what is refused.

use bytes::Bytes;
use tollgate_api::v1::{self, Continuity, Message, Part, Role, Sampling, part::Kind as PartKind};
use uuid::Uuid;

use super::*;
use crate::{call::Payload, provider::Kind};

const CLAUDE: &str = "us.anthropic.claude-3-7-sonnet-20250219-v1:0";
const NOVA: &str = "us.amazon.nova-2-lite-v1:0";
const GPT: &str = "openai.gpt-oss-120b-1:0";
const LLAMA: &str = "meta.llama3-2-1b-instruct-v1:0";

fn built(input: ChatInput, model: &str, strict: bool) -> Result<Chat, Error> {
    let payload = Payload::typed(input);
    let outgoing = Outgoing {
        call_id: Uuid::nil(),
        provider: "mine",
        model,
        payload: &payload,
        streamed: false,
        usage_wanted: true,
        strict,
        traceparent: None,
        output_cap: None,
    };
    build(payload.view().unwrap(), &outgoing)
}

fn body(input: ChatInput, model: &str) -> String {
    let chat = built(input, model, true).unwrap();
    assert!(chat.built.warnings.is_empty(), "{:?}", chat.built.warnings);
    chat.built.body
}

fn part(kind: PartKind) -> Part {
    Part { kind: Some(kind), ..Part::default() }
}

fn text(text: &str) -> Part {
    part(PartKind::Text(text.to_owned()))
}

fn says(role: Role, parts: Vec<Part>) -> Message {
    Message { role: role.into(), parts, name: String::new() }
}

fn with(messages: Vec<Message>) -> ChatInput {
    ChatInput { messages, ..ChatInput::default() }
}

fn function(name: &str) -> v1::Tool {
    let function = v1::FunctionTool {
        name: name.to_owned(),
        parameters_json_schema: r#"{"z":1,"a":2}"#.to_owned(),
        strict: Some(true),
        ..Default::default()
    };
    v1::Tool { kind: Some(v1::tool::Kind::Function(function)), cache_breakpoint: None }
}

fn call(id: &str, arguments: &str) -> Part {
    part(PartKind::ToolCall(v1::ToolCall {
        id: id.to_owned(),
        name: "f".to_owned(),
        input: Some(v1::tool_call::Input::ArgumentsJson(arguments.to_owned())),
        executed_upstream: false,
    }))
}

fn result(id: &str, text_of_it: &str) -> Part {
    part(PartKind::ToolResult(Box::new(v1::ToolResult {
        tool_call_id: id.to_owned(),
        parts: vec![text(text_of_it)],
        is_error: false,
    })))
}

fn signed(provider: &str, thought: v1::Thought) -> Part {
    let continuity = Continuity { provider: provider.to_owned(), token: Bytes::from_static(b"sig") };
    Part { kind: Some(PartKind::Thought(thought)), continuity: Some(continuity), ..Part::default() }
}

fn hm() -> v1::Thought {
    v1::Thought { text: "hm".to_owned(), ..v1::Thought::default() }
}

#[test]
fn a_conversation_with_tools_alternates_and_keeps_its_order() {
    let image = v1::Media {
        mime_type: "image/png".into(),
        source: Some(v1::media::Source::Data(Bytes::from_static(b"abc"))),
        ..Default::default()
    };
    let input = ChatInput {
        tools: vec![function("f")],
        ..with(vec![
            says(Role::System, vec![text("be brief")]),
            says(Role::User, vec![text("look"), text(" "), part(PartKind::Media(Box::new(image)))]),
            says(Role::Assistant, vec![call("t1", "{\"a\":1}"), call("t2", "")]),
            says(Role::Tool, vec![result("t1", "42")]),
            says(Role::Tool, vec![result("t2", "43")]),
            says(Role::User, vec![text("so?")]),
        ])
    };
    assert_eq!(
        body(input, CLAUDE),
        concat!(
            r#"{"messages":[{"role":"user","content":[{"text":"look"},{"image":{"format":"png","source":{"bytes":"YWJj"}}}]},"#,
            r#"{"role":"assistant","content":[{"toolUse":{"toolUseId":"t1","name":"f","input":{"a":1}}},"#,
            r#"{"toolUse":{"toolUseId":"t2","name":"f","input":{}}}]},"#,
            r#"{"role":"user","content":[{"toolResult":{"toolUseId":"t1","content":[{"text":"42"}],"status":"success"}},"#,
            r#"{"toolResult":{"toolUseId":"t2","content":[{"text":"43"}],"status":"success"}},{"text":"so?"}]}],"#,
            r#""system":[{"text":"be brief"}],"#,
            r#""toolConfig":{"tools":[{"toolSpec":{"name":"f","inputSchema":{"json":{"z":1,"a":2}},"strict":true}}]}}"#,
        )
    );
}

#[test]
fn reasoning_goes_back_to_whoever_can_read_it() {
    let redacted = v1::Thought { redacted: Bytes::from_static(b"sig"), ..v1::Thought::default() };
    for (provider, model, readable) in [
        ("mine", CLAUDE, true),
        ("bedrock", CLAUDE, true),
        ("anthropic", CLAUDE, true),
        ("anthropic", NOVA, false),
        ("openai", CLAUDE, false),
    ] {
        let parts = vec![signed(provider, hm()), signed(provider, redacted.clone()), text("a")];
        let chat = built(with(vec![says(Role::Assistant, parts)]), model, true).unwrap();
        let sent = concat!(
            r#"[{"reasoningContent":{"reasoningText":{"text":"hm","signature":"sig"}}},"#,
            r#"{"reasoningContent":{"redactedContent":"c2ln"}},{"text":"a"}]"#
        );
        assert_eq!(chat.built.body.contains(sent), readable, "{provider} {model}");
        let codes: Vec<&str> = chat.built.warnings.iter().map(|warning| warning.code.as_str()).collect();
        assert_eq!(codes, if readable { vec![] } else { vec!["continuity_dropped"] }, "{provider} {model}");
    }
}

#[test]
fn each_family_reasons_by_its_own_names() {
    let asking = |effort: &str, budget| ChatInput {
        reasoning: Some(v1::ReasoningOptions {
            effort: effort.to_owned(),
            budget_tokens: budget,
            ..Default::default()
        }),
        ..ChatInput::default()
    };
    for (model, effort, budget, fields) in [
        (CLAUDE, "", Some(2000), r#"{"thinking":{"type":"enabled","budget_tokens":2000}}"#),
        (CLAUDE, "", Some(1), r#"{"thinking":{"type":"enabled","budget_tokens":1024}}"#),
        (CLAUDE, "none", None, r#"{"thinking":{"type":"disabled"}}"#),
        (CLAUDE, "high", None, r#"{"thinking":{"type":"enabled","budget_tokens":16384}}"#),
        (
            "us.anthropic.claude-opus-4-6-v1",
            "high",
            None,
            r#"{"thinking":{"type":"adaptive"},"output_config":{"effort":"high"}}"#,
        ),
        (NOVA, "xhigh", None, r#"{"reasoningConfig":{"type":"enabled","maxReasoningEffort":"high"}}"#),
        (GPT, "medium", None, r#"{"reasoning_effort":"medium"}"#),
        ("qwen.qwen3-32b-v1:0", "medium", None, r#"{"reasoning_config":"high"}"#),
    ] {
        let body = built(asking(effort, budget), model, false).unwrap().built.body;
        assert!(body.contains(&format!(r#""additionalModelRequestFields":{fields}"#)), "{model}: {body}");
    }
    let mapped = built(asking("low", None), CLAUDE, false).unwrap().built.warnings;
    assert_eq!(
        (mapped[0].code.as_str(), mapped[0].field.as_str()),
        ("parameter_changed", "input.reasoning.effort")
    );
    assert_eq!(built(asking("low", None), LLAMA, true).unwrap_err().kind, Kind::Unsupported);
}

#[test]
fn sampling_goes_where_the_model_looks_for_it() {
    let input = |sampling| ChatInput {
        sampling: Some(sampling),
        max_output_tokens: Some(9),
        stop: vec!["END".to_owned()],
        ..ChatInput::default()
    };
    let sampling =
        Sampling { temperature: Some(0.7), top_p: Some(0.9), top_k: Some(5), ..Sampling::default() };
    let common = r#"{"messages":[],"inferenceConfig":{"maxTokens":9,"temperature":0.7,"topP":0.9,"stopSequences":["END"]}"#;
    for (model, rest) in [
        (
            CLAUDE,
            r#","additionalModelRequestFields":{"top_k":5},"additionalModelResponseFieldPaths":["/stop_sequence"]}"#,
        ),
        (NOVA, r#","additionalModelRequestFields":{"inferenceConfig":{"topK":5}}}"#),
        ("cohere.command-r-plus-v1:0", r#","additionalModelRequestFields":{"k":5}}"#),
    ] {
        assert_eq!(body(input(sampling.clone()), model), format!("{common}{rest}"));
    }
    let refused = built(input(sampling.clone()), LLAMA, true).unwrap_err();
    assert_eq!((refused.kind, refused.field.as_deref()), (Kind::Unsupported, Some("input.sampling.top_k")));
    let dropped = built(input(sampling), LLAMA, false).unwrap().built;
    assert_eq!(dropped.warnings[0].field, "input.sampling.top_k");
    let nan = Sampling { top_p: Some(f64::NAN), ..Sampling::default() };
    assert!(built(input(nan), CLAUDE, false).unwrap_err().caller.is_some());
}

#[test]
fn a_schema_goes_natively_by_a_tool_or_with_a_warning() {
    let format = v1::JsonSchemaFormat { schema_json: r#"{"b":1,"a":2}"#.to_owned(), ..Default::default() };
    let format = v1::OutputFormat { kind: Some(Format::JsonSchema(format)) };
    let input = || ChatInput { output_format: Some(format.clone()), ..ChatInput::default() };
    let native = built(input(), "google.gemma-3-27b-it", true).unwrap();
    assert!(native.built.body.contains(
        r#""outputConfig":{"textFormat":{"type":"json_schema","structure":{"jsonSchema":{"schema":"{\"b\":1,\"a\":2}","name":"response"}}}}"#
    ));
    assert_eq!(native.schema_tool, None);
    let by_tool = built(input(), CLAUDE, true).unwrap();
    assert_eq!(by_tool.schema_tool, Some(SCHEMA_TOOL));
    assert!(by_tool.built.body.contains(r#""inputSchema":{"json":{"b":1,"a":2}}"#));
    assert!(by_tool.built.body.contains(r#""toolChoice":{"tool":{"name":"structured_response"}}"#));
    let beside = built(ChatInput { tools: vec![function("f")], ..input() }, CLAUDE, true).unwrap();
    assert!(beside.built.body.contains(r#""toolChoice":{"any":{}}"#));
    let dropped = built(input(), LLAMA, false).unwrap();
    assert_eq!(dropped.built.warnings[0].field, "input.output_format.json_schema");
}

#[test]
fn tool_choice_and_the_tools_it_leaves() {
    use v1::tool_choice::Mode;
    let input = |mode: Mode, names: &[&str], messages| ChatInput {
        tools: vec![function("f"), function("g")],
        tool_choice: Some(v1::ToolChoice {
            mode: mode.into(),
            tool_names: names.iter().map(|name| (*name).to_owned()).collect(),
        }),
        ..with(messages)
    };
    let used = || vec![says(Role::Assistant, vec![call("t", "{}")])];
    let says_so = |input, wanted: &str| {
        let body = body(input, CLAUDE);
        assert!(body.contains(wanted), "{wanted} in {body}");
    };
    says_so(input(Mode::Required, &["g"], vec![]), r#""toolChoice":{"tool":{"name":"g"}}"#);
    says_so(input(Mode::Required, &[], vec![]), r#""toolChoice":{"any":{}}"#);
    says_so(input(Mode::Auto, &[], vec![]), r#""toolChoice":{"auto":{}}"#);
    assert!(!body(input(Mode::Auto, &["f"], vec![]), CLAUDE).contains(r#""name":"g""#));
    assert!(!body(input(Mode::None, &[], vec![]), CLAUDE).contains("toolConfig"));
    let kept = built(input(Mode::None, &[], used()), CLAUDE, false).unwrap().built;
    assert!(kept.body.contains("toolConfig") && kept.warnings[0].field == "input.tool_choice.mode");
    // The conversation has used a tool that is not offered any more.
    says_so(with(used()), r#""toolConfig":{"tools":[{"toolSpec":{"name":"f""#);
    let unknown = built(input(Mode::Auto, &["h"], vec![]), CLAUDE, false).unwrap_err();
    assert_eq!(unknown.caller.unwrap().facts().field.as_deref(), Some("input.tool_choice.tool_names[0]"));
}

#[test]
fn cache_points_stand_behind_text_and_only_where_they_are_known() {
    let marked =
        |part: Part| Part { cache_breakpoint: Some(v1::CacheBreakpoint { ttl: "1h".to_owned() }), ..part };
    let document = v1::Media {
        mime_type: "text/plain".into(),
        source: Some(v1::media::Source::Data(Bytes::from_static(b"abc"))),
        ..Default::default()
    };
    let input = || {
        with(vec![says(
            Role::User,
            vec![marked(text("a")), marked(part(PartKind::Media(Box::new(document.clone()))))],
        )])
    };
    let body = body(input(), CLAUDE);
    let point = r#"{"cachePoint":{"type":"default","ttl":"1h"}}"#;
    assert!(body.contains(&format!(r#"{{"text":"a"}},{point},{{"document""#)), "{body}");
    assert!(body.contains(&format!(r#"{{"text":"\n"}},{point}]"#)), "{body}");
    let dropped = built(input(), LLAMA, false).unwrap().built;
    assert!(!dropped.body.contains("cachePoint"));
    assert_eq!(dropped.warnings[0].field, "input.messages[0].parts[0].cache_breakpoint");
}

#[test]
fn own_extensions_and_options_are_sent_and_foreign_ones_are_not() {
    let guard = r#"{"guardContent":{"text":{"text":"x","qualifiers":["query"]}}}"#;
    let extension = |provider: &str| {
        part(PartKind::Extension(v1::Extension {
            provider: provider.to_owned(),
            r#type: "guardContent".to_owned(),
            json: guard.to_owned(),
        }))
    };
    let option = |patch: &str| v1::ProviderOptions {
        provider: "mine".to_owned(),
        body_json: patch.to_owned(),
        ..Default::default()
    };
    let patch =
        r#"{"guardrailConfig":{"guardrailIdentifier":"g"},"performanceConfig":{"latency":"optimized"}}"#;
    let input = ChatInput {
        provider_options: vec![option(patch)],
        ..with(vec![says(Role::User, vec![extension("mine"), extension("bedrock"), extension("gemini")])])
    };
    let built_ = built(input, CLAUDE, true).unwrap().built;
    assert!(built_.body.contains(&format!("[{guard},{guard}]")), "{}", built_.body);
    assert!(built_.body.ends_with(&patch[1..]), "{}", built_.body);
    assert_eq!(built_.warnings[0].code, "extension_dropped");
    let longer = option(r#"{"inferenceConfig":{"maxTokens":1}}"#);
    let refused = built(ChatInput { provider_options: vec![longer], ..ChatInput::default() }, CLAUDE, false);
    assert!(refused.unwrap_err().caller.is_some());
}

#[test]
fn foreign_ids_of_calls_are_made_to_fit_and_still_meet() {
    let id = "call|with/odd:characters".repeat(4);
    let body = body(
        ChatInput {
            tools: vec![function("f")],
            ..with(vec![
                says(Role::Assistant, vec![call(&id, "{}")]),
                says(Role::Tool, vec![result(&id, "1")]),
            ])
        },
        CLAUDE,
    );
    let replaced = tools::tool_id(&id).into_owned();
    assert!(replaced.len() <= 64 && replaced != id);
    assert_eq!(body.matches(&replaced).count(), 2);
}

#[test]
fn tools_that_the_provider_runs_and_calls_they_left_behind() {
    let upstream = |name: &str, config: &str| v1::Tool {
        kind: Some(v1::tool::Kind::Upstream(v1::UpstreamTool {
            r#type: name.to_owned(),
            config_json: config.to_owned(),
        })),
        cache_breakpoint: None,
    };
    let nova =
        body(ChatInput { tools: vec![upstream("nova_code_interpreter", "")], ..ChatInput::default() }, NOVA);
    assert!(nova.contains(r#"{"tools":[{"systemTool":{"name":"nova_code_interpreter"}}]}"#), "{nova}");
    let computer = upstream("computer_20250124", r#"{"name":"computer"}"#);
    let claude = body(ChatInput { tools: vec![computer], ..ChatInput::default() }, CLAUDE);
    assert!(
        claude.contains(
            r#""additionalModelRequestFields":{"tools":[{"type":"computer_20250124","name":"computer"}]}"#
        ),
        "{claude}"
    );
    let token = |provider: &str, token: &'static str| {
        Some(Continuity { provider: provider.to_owned(), token: Bytes::from_static(token.as_bytes()) })
    };
    let ran =
        v1::ToolCall { id: "t".into(), name: "run".into(), executed_upstream: true, ..Default::default() };
    let ran = |provider| Part {
        continuity: token(provider, "server_tool_use"),
        ..part(PartKind::ToolCall(ran.clone()))
    };
    let gave =
        |provider| Part { continuity: token(provider, "run_result"), ..result("t", "{\"exitCode\":0}") };
    let back = body(with(vec![says(Role::Assistant, vec![ran("mine"), gave("mine")])]), NOVA);
    assert!(
        back.contains(r#"{"toolUse":{"toolUseId":"t","name":"run","input":{},"type":"server_tool_use"}}"#),
        "{back}"
    );
    assert!(
        back.contains(r#""content":[{"json":{"exitCode":0}}],"status":"success","type":"run_result""#),
        "{back}"
    );
    let foreign = built(with(vec![says(Role::Assistant, vec![ran("gemini"), gave("gemini")])]), NOVA, true);
    let codes: Vec<String> =
        foreign.unwrap().built.warnings.into_iter().map(|warning| warning.code).collect();
    assert_eq!(codes, ["continuity_dropped", "tool_call_dropped"]);
}
