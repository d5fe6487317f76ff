//! Tests of the request.

use tollgate_api::v1::{
    self, Message, Part, ProviderOptions, ReasoningOptions, Role, Sampling, media::Source, part::Kind, tool,
    tool_call::Input, tool_choice::Mode,
};
use uuid::Uuid;

use super::*;
use crate::{call::Payload, provider::Kind as Failure};

fn built(model: &str, input: ChatInput, strict: bool) -> Result<Built, Error> {
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
    build(payload.view().unwrap(), &outgoing, Api::Studio)
}

fn body(model: &str, input: ChatInput) -> String {
    built(model, input, true).unwrap().body
}

fn contents(model: &str, messages: Vec<Message>) -> String {
    let built = built(model, ChatInput { messages, ..ChatInput::default() }, false).unwrap();
    built
        .body
        .strip_prefix(r#"{"contents":"#)
        .and_then(|rest| rest.strip_suffix('}'))
        .unwrap_or(&built.body)
        .to_owned()
}

/// The codes and fields of what was changed or left out.
fn warned(model: &str, input: ChatInput) -> Vec<(String, String)> {
    let warnings = built(model, input, false).unwrap().warnings;
    warnings.into_iter().map(|warning| (warning.code, warning.field)).collect()
}

fn part(kind: Kind) -> Part {
    Part { kind: Some(kind), ..Part::default() }
}

fn text(text: &str) -> Part {
    part(Kind::Text(text.to_owned()))
}

fn signed(part: Part, provider: &str, token: &'static str) -> Part {
    let continuity = v1::Continuity { provider: provider.to_owned(), token: token.into() };
    Part { continuity: Some(continuity), ..part }
}

fn call(id: &str, args: &str) -> Part {
    let input = Some(Input::ArgumentsJson(args.to_owned()));
    part(Kind::ToolCall(v1::ToolCall {
        id: id.to_owned(),
        name: "f".to_owned(),
        input,
        executed_upstream: false,
    }))
}

fn result(id: &str, parts: Vec<Part>, is_error: bool) -> Part {
    part(Kind::ToolResult(Box::new(v1::ToolResult { tool_call_id: id.to_owned(), parts, is_error })))
}

fn media(mime_type: &str, source: Source) -> Part {
    let mime_type = mime_type.to_owned();
    part(Kind::Media(Box::new(v1::Media { mime_type, source: Some(source), ..v1::Media::default() })))
}

fn says(role: Role, parts: Vec<Part>) -> Message {
    Message { role: role.into(), parts, name: String::new() }
}

#[test]
fn instructions_stand_apart_and_turns_have_gemini_roles() {
    let messages = vec![
        says(Role::System, vec![text("be brief")]),
        says(Role::User, vec![text("a \"b\"")]),
        says(Role::Assistant, vec![text("c"), text("")]),
        says(Role::Developer, vec![text("be kind")]),
        says(Role::Assistant, vec![text("")]),
    ];
    let expected = concat!(
        r#"{"systemInstruction":{"parts":[{"text":"be brief"},{"text":"be kind"}]},"#,
        r#""contents":[{"role":"user","parts":[{"text":"a \"b\""}]},{"role":"model","parts":[{"text":"c"}]}]}"#,
    );
    assert_eq!(body("gemini-2.5-pro", ChatInput { messages, ..ChatInput::default() }), expected);
}

#[test]
fn ge_tool_no_id_results_are_matched_by_name_and_order() {
    let messages = || {
        vec![
            says(Role::Assistant, vec![call("a", r#"{"x": 1}"#), call("b", "")]),
            says(Role::Tool, vec![result("a", vec![text("42")], false)]),
            says(Role::Tool, vec![result("b", vec![text(r#"{"ok":true}"#)], false)]),
            says(Role::User, vec![text("so?")]),
        ]
    };
    let expected = concat!(
        r#"[{"role":"model","parts":[{"functionCall":{"name":"f","args":{"x": 1}}},{"functionCall":{"name":"f","args":{}}}]},"#,
        r#"{"role":"user","parts":[{"functionResponse":{"name":"f","response":{"output":"42"}}},"#,
        r#"{"functionResponse":{"name":"f","response":{"ok":true}}}]},{"role":"user","parts":[{"text":"so?"}]}]"#,
    );
    assert_eq!(contents("gemini-2.5-flash", messages()), expected);
    let with_ids = contents("gemini-3-flash-preview", messages());
    let first = r#"{"functionCall":{"id":"a","name":"f","args":{"x": 1}},"thoughtSignature":"skip_thought_signature_validator"}"#;
    assert!(with_ids.contains(first), "{with_ids}");
    assert!(with_ids.contains(r#"{"functionCall":{"id":"b","name":"f","args":{}}}"#), "{with_ids}");
    assert!(with_ids.contains(r#"{"functionResponse":{"id":"b","name":"f","#), "{with_ids}");
}

#[test]
fn results_are_objects_whatever_they_hold() {
    for (parts, is_error, expected) in [
        (vec![text("no")], true, r#""response":{"error":"no"}"#),
        (vec![text("{}")], true, r#""response":{"error":{}}"#),
        (vec![], false, r#""response":{}"#),
        (vec![text("[1]")], false, r#""response":{"output":"[1]"}"#),
    ] {
        let messages = vec![
            says(Role::Assistant, vec![call("a", "{}")]),
            says(Role::Tool, vec![result("a", parts, is_error)]),
        ];
        let told = contents("gemini-2.5-flash", messages);
        assert!(told.contains(expected), "{expected} in {told}");
    }
}

#[test]
fn media_stand_in_results_of_new_models_and_after_those_of_old_ones() {
    let image = || media("image/png", Source::Data(bytes::Bytes::from_static(b"abc")));
    let messages = || {
        vec![
            says(Role::Assistant, vec![call("a", "{}")]),
            says(Role::Tool, vec![result("a", vec![image()], false)]),
        ]
    };
    let blob = r#"{"inlineData":{"mimeType":"image/png","data":"YWJj"}}"#;
    let new = contents("gemini-3.1-pro-preview", messages());
    assert!(new.contains(&format!(r#""response":{{}},"parts":[{blob}]}}}}"#)), "{new}");
    let old = contents("gemini-2.5-pro", messages());
    assert!(old.contains(&format!(r#""response":{{}}}}}},{blob}]"#)), "{old}");
}

#[test]
fn media_are_bytes_or_addresses() {
    let parts = vec![
        media("", Source::Uri("data:audio/wav;base64,YQ==".into())),
        media("application/pdf", Source::Uri("gs://b/a.pdf".into())),
        media("", Source::FileId("https://h/v1beta/files/x".into())),
    ];
    let expected = concat!(
        r#"[{"role":"user","parts":[{"inlineData":{"mimeType":"audio/wav","data":"YQ=="}},"#,
        r#"{"fileData":{"mimeType":"application/pdf","fileUri":"gs://b/a.pdf"}},"#,
        r#"{"fileData":{"fileUri":"https://h/v1beta/files/x"}}]}]"#,
    );
    assert_eq!(contents("g", vec![says(Role::User, parts)]), expected);
    let foreign = vec![says(Role::User, vec![media("", Source::FileId("file-1".into()))])];
    let error = built("g", ChatInput { messages: foreign, ..ChatInput::default() }, false).unwrap_err();
    assert_eq!(error.field.as_deref(), Some("input.messages[0].parts[0].media.file_id"));
}

#[test]
fn ge_thought_signature_goes_back_on_its_own_part() {
    let thought = part(Kind::Thought(v1::Thought { text: "hm".into(), ..Default::default() }));
    let ran = r#"{"executableCode":{"code":"1"},"thoughtSignature":"s"}"#;
    let parts = vec![
        signed(thought.clone(), "mine", "s0"),
        signed(text("a"), "mine", "s1"),
        signed(text(""), "gemini", "s2"),
        signed(call("a", "{}"), "gemini", "s3"),
        signed(
            part(Kind::ToolCall(v1::ToolCall { executed_upstream: true, ..Default::default() })),
            "mine",
            ran,
        ),
    ];
    let expected = format!(
        r#"[{{"role":"model","parts":[{{"text":"hm","thought":true,"thoughtSignature":"s0"}},{{"text":"a","thoughtSignature":"s1"}},{{"text":"","thoughtSignature":"s2"}},{{"functionCall":{{"name":"f","args":{{}}}},"thoughtSignature":"s3"}},{ran}]}}]"#
    );
    assert_eq!(contents("gemini-2.5-pro", vec![says(Role::Assistant, parts)]), expected);
    let foreign = vec![signed(thought, "claude", "x"), signed(text("a"), "claude", "y")];
    let input = ChatInput { messages: vec![says(Role::Assistant, foreign)], ..ChatInput::default() };
    assert_eq!(
        warned("g", input.clone()),
        [("continuity_dropped".into(), "input.messages[0].parts[0]".into())]
    );
    assert_eq!(body("g", input), r#"{"contents":[{"role":"model","parts":[{"text":"a"}]}]}"#);
}

#[test]
fn what_does_not_fit_is_refused_with_its_path() {
    for (message, path) in [
        (
            says(Role::Tool, vec![result("x", vec![], false)]),
            "input.messages[0].parts[0].tool_result.tool_call_id",
        ),
        (
            says(Role::Assistant, vec![call("a", "[1]")]),
            "input.messages[0].parts[0].tool_call.arguments_json",
        ),
        (says(Role::User, vec![call("a", "{}")]), "input.messages[0].parts[0]"),
        (says(Role::Tool, vec![text("a")]), "input.messages[0].parts[0]"),
        (says(Role::System, vec![media("image/png", Source::Uri("x".into()))]), "input.messages[0].parts[0]"),
        (says(Role::User, vec![Part::default()]), "input.messages[0].parts[0]"),
    ] {
        let input = ChatInput { messages: vec![message], ..ChatInput::default() };
        let error = built("g", input, false).unwrap_err();
        let field = error.caller.and_then(|caller| caller.facts().field.clone());
        assert_eq!(field.as_deref(), Some(path));
    }
}

fn function(name: &str, strict: Option<bool>) -> v1::Tool {
    let parameters_json_schema = r#"{"type":"object","$defs":{"z":1,"a":2}}"#.to_owned();
    let description = String::new();
    let function = v1::FunctionTool { name: name.to_owned(), description, parameters_json_schema, strict };
    v1::Tool { kind: Some(tool::Kind::Function(function)), cache_breakpoint: None }
}

#[test]
fn any_json_schema_is_passed_on_and_googles_own_tools_stand_beside() {
    let search = v1::UpstreamTool { r#type: "google_search".into(), config_json: String::new() };
    let search = v1::Tool { kind: Some(tool::Kind::Upstream(search)), cache_breakpoint: None };
    let input = ChatInput { tools: vec![function("f", None), search], ..ChatInput::default() };
    let expected = concat!(
        r#"{"contents":[],"tools":[{"functionDeclarations":[{"name":"f","parametersJsonSchema":"#,
        r#"{"type":"object","$defs":{"z":1,"a":2}}}]},{"googleSearch":{}}]}"#,
    );
    assert_eq!(body("g", input), expected);
}

#[test]
fn tool_choice_has_a_mode_and_names() {
    let asked = |mode: Option<Mode>, names: &[&str], strict| {
        let tool_names = names.iter().map(|name| (*name).to_owned()).collect();
        let tool_choice = mode.map(|mode| v1::ToolChoice { mode: mode.into(), tool_names });
        let input = ChatInput { tools: vec![function("f", strict)], tool_choice, ..ChatInput::default() };
        let body = body("g", input);
        body.split_once(r#""functionCallingConfig":"#).map(|(_, rest)| rest.trim_end_matches('}').to_owned())
    };
    for (mode, names, strict, expected) in [
        (None, &[][..], None, None),
        (Some(Mode::Auto), &[], None, Some(r#"{"mode":"AUTO""#)),
        (Some(Mode::None), &["f"], None, Some(r#"{"mode":"NONE""#)),
        (Some(Mode::Required), &["f"], None, Some(r#"{"mode":"ANY","allowedFunctionNames":["f"]"#)),
        (Some(Mode::Auto), &["f"], None, Some(r#"{"mode":"VALIDATED","allowedFunctionNames":["f"]"#)),
        (None, &[], Some(true), Some(r#"{"mode":"VALIDATED""#)),
    ] {
        assert_eq!(asked(mode, names, strict).as_deref(), expected, "{mode:?} {names:?}");
    }
}

#[test]
fn generation_config_has_every_parameter() {
    let schema = v1::JsonSchemaFormat { schema_json: r#"{"b":1,"a":2}"#.into(), ..Default::default() };
    let input = ChatInput {
        sampling: Some(Sampling {
            temperature: Some(0.7),
            top_k: Some(4),
            seed: Some(-1),
            ..Sampling::default()
        }),
        max_output_tokens: Some(9),
        stop: vec!["x".into()],
        choice_count: Some(2),
        output_format: Some(v1::OutputFormat { kind: Some(v1::output_format::Kind::JsonSchema(schema)) }),
        output_modalities: vec!["audio".into()],
        audio: Some(v1::AudioOptions { voice: "Kore".into(), format: String::new() }),
        logprobs: Some(v1::LogprobOptions { top: Some(3) }),
        service_tier: "flex".into(),
        ..ChatInput::default()
    };
    let expected = concat!(
        r#"{"contents":[],"generationConfig":{"temperature":0.7,"topK":4,"seed":-1,"maxOutputTokens":9,"stopSequences":["x"],"#,
        r#""candidateCount":2,"responseMimeType":"application/json","responseJsonSchema":{"b":1,"a":2},"#,
        r#""responseModalities":["AUDIO"],"speechConfig":{"voiceConfig":{"prebuiltVoiceConfig":{"voiceName":"Kore"}}},"#,
        r#""responseLogprobs":true,"logprobs":3},"serviceTier":"flex"}"#,
    );
    assert_eq!(body("g", input), expected);
}

#[test]
fn thinking_is_a_level_or_a_budget_by_the_model() {
    let thinks = |effort: &str, budget_tokens, summary: &str| {
        let (effort, summary) = (effort.to_owned(), summary.to_owned());
        let reasoning = Some(ReasoningOptions { effort, budget_tokens, summary });
        ChatInput { reasoning, ..ChatInput::default() }
    };
    for (model, effort, budget, summary, expected, warned_of) in [
        ("gemini-3-pro", "low", None, "", r#"{"thinkingLevel":"low"}"#, None),
        (
            "gemini-3-pro",
            "max",
            None,
            "auto",
            r#"{"thinkingLevel":"high","includeThoughts":true}"#,
            Some("input.reasoning.effort"),
        ),
        (
            "gemini-3-pro",
            "low",
            Some(7),
            "",
            r#"{"thinkingLevel":"low"}"#,
            Some("input.reasoning.budget_tokens"),
        ),
        ("gemini-2.5-flash", "high", None, "", r#"{"thinkingBudget":24576}"#, Some("input.reasoning.effort")),
        ("gemini-2.5-flash", "", Some(0), "none", r#"{"thinkingBudget":0,"includeThoughts":false}"#, None),
        ("gemini-2.5-pro", "none", None, "", r#"{"thinkingBudget":128}"#, Some("input.reasoning.effort")),
        (
            "models/gemini-2.5-pro",
            "low",
            Some(7),
            "",
            r#"{"thinkingBudget":7}"#,
            Some("input.reasoning.effort"),
        ),
    ] {
        let input = thinks(effort, budget, summary);
        let told = built(model, input.clone(), false).unwrap().body;
        assert!(told.contains(&format!(r#""thinkingConfig":{expected}"#)), "{model} {effort}: {told}");
        let fields: Vec<String> = warned(model, input.clone()).into_iter().map(|(_, field)| field).collect();
        assert_eq!(fields, warned_of.into_iter().collect::<Vec<_>>(), "{model} {effort}");
        assert_eq!(built(model, input, true).is_err(), warned_of.is_some(), "{model} {effort}");
    }
    let old = warned("gemini-2.0-flash", thinks("low", None, ""));
    assert_eq!(old, [("parameter_dropped".into(), "input.reasoning".into())]);
}

#[test]
fn what_gemini_lacks_is_dropped_with_a_warning_or_refused() {
    let custom = v1::CustomTool { name: "c".into(), ..Default::default() };
    let input = ChatInput {
        sampling: Some(Sampling { min_p: Some(0.1), ..Sampling::default() }),
        tools: vec![v1::Tool { kind: Some(tool::Kind::Custom(custom)), cache_breakpoint: None }],
        parallel_tool_calls: Some(false),
        end_user_id: "u".into(),
        verbosity: "low".into(),
        ..ChatInput::default()
    };
    let fields: Vec<String> = warned("g", input.clone()).into_iter().map(|(_, field)| field).collect();
    let expected = [
        "input.tools[0]",
        "input.parallel_tool_calls",
        "input.sampling.min_p",
        "input.end_user_id",
        "input.verbosity",
    ];
    assert_eq!(fields, expected);
    assert_eq!(built("g", input, true).unwrap_err().kind, Failure::Unsupported);
}

#[test]
fn options_reach_the_body_but_not_the_bounds_of_the_answer() {
    let with = |json: &str| {
        let option =
            ProviderOptions { provider: "mine".into(), body_json: json.into(), ..Default::default() };
        ChatInput { max_output_tokens: Some(9), provider_options: vec![option], ..ChatInput::default() }
    };
    let good = r#"{"cachedContent":"c","safetySettings":[],"generationConfig":{"mediaResolution":"LOW"}}"#;
    let expected = concat!(
        r#"{"contents":[],"generationConfig":{"maxOutputTokens":9,"mediaResolution":"LOW"},"#,
        r#""cachedContent":"c","safetySettings":[]}"#,
    );
    assert_eq!(body("g", with(good)), expected);
    for bad in [
        r#"{"contents":[]}"#,
        r#"{"generationConfig":{"maxOutputTokens":99}}"#,
        r#"{"generationConfig":{"candidate_count":9}}"#,
        r#"{"generation_config":{}}"#,
        r#"{"generationConfig":null}"#,
    ] {
        assert!(built("g", with(bad), false).is_err(), "{bad}");
    }
}

#[test]
fn vertex_takes_the_class_of_service_in_a_header() {
    let asked = |tier: &str, strict| {
        let payload = Payload::typed(ChatInput { service_tier: tier.to_owned(), ..ChatInput::default() });
        let outgoing = Outgoing {
            call_id: Uuid::nil(),
            provider: "mine",
            model: "g",
            payload: &payload,
            streamed: false,
            usage_wanted: true,
            strict,
            traceparent: None,
            output_cap: None,
        };
        build(payload.view().unwrap(), &outgoing, Api::Vertex)
    };
    let flex = asked("flex", true).unwrap();
    assert_eq!(flex.body, r#"{"contents":[]}"#);
    assert_eq!(flex.headers["x-vertex-ai-llm-shared-request-type"], "flex");
    assert!(asked("default", true).unwrap().headers.is_empty());
    assert!(asked("scale", true).is_err());
}
