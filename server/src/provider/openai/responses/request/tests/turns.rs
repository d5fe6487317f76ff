//! How the turns of a conversation become items.

use super::*;

#[test]
fn a_system_message_at_the_head_is_the_instructions() {
    let system = || message(Role::System, vec![text("be brief")]);
    let user = || message(Role::User, vec![text("hi")]);
    says(
        conversation(vec![system(), user()]),
        r#""instructions":"be brief","input":[{"role":"user","content":"hi"}]"#,
    );
    says(conversation(vec![system()]), r#""input":[{"role":"system","content":"be brief"}]"#);
    says(conversation(vec![user(), system()]), r#"{"role":"system","content":"be brief"}]"#);
    let developer = conversation(vec![message(Role::Developer, vec![text("d")])]);
    says(developer.clone(), r#"[{"role":"developer","content":"d"}]"#);
    let xai = built_for(developer, "xai", true).unwrap().body;
    assert!(xai.contains(r#"[{"role":"system","content":"d"}]"#), "{xai}");
}

#[test]
fn media_have_their_kinds() {
    let parts = vec![
        text("look"),
        media("image/png", Source::Data("abc".into())),
        media("", Source::Uri("https://x/y.png".into())),
        media("image/png", Source::FileId("file-1".into())),
        media("audio/mpeg", Source::Data("abc".into())),
        media("application/pdf", Source::Uri("https://x/y.pdf".into())),
        media("text/csv", Source::Data("abc".into())),
    ];
    says(
        conversation(vec![message(Role::User, parts)]),
        concat!(
            r#"[{"type":"input_text","text":"look"},{"type":"input_image","image_url":"data:image/png;base64,YWJj"},"#,
            r#"{"type":"input_image","image_url":"https://x/y.png"},{"type":"input_image","file_id":"file-1"},"#,
            r#"{"type":"input_audio","input_audio":{"data":"YWJj","format":"mp3"}},"#,
            r#"{"type":"input_file","file_url":"https://x/y.pdf"},"#,
            r#"{"type":"input_file","filename":"file","file_data":"data:text/csv;base64,YWJj"}]"#,
        ),
    );
    let video = conversation(vec![message(Role::User, vec![media("video/mp4", Source::Data("a".into()))])]);
    let refused = built_for(video, "openai", false).unwrap_err();
    assert_eq!(refused.field.as_deref(), Some("input.messages[0].parts[0].media"));
}

#[test]
fn a_turn_of_the_model_keeps_its_order() {
    let item = r#"{"type":"reasoning","id":"rs","encrypted_content":"e","summary":[],"status":null}"#;
    let parts = vec![
        with_token(thought(""), "mine", item),
        with_token(Kind::Text("wait".into()), "mine", r#"{"phase":"commentary"}"#),
        part(Kind::ToolCall(call("c1", Input::ArgumentsJson("{\"a\":1}".into())))),
        part(Kind::ToolCall(call("c2", Input::Text("4 + 4".into())))),
        text("a"),
        part(Kind::Refusal("no".into())),
    ];
    let result = |id: &str, parts| {
        part(Kind::ToolResult(Box::new(ToolResult { tool_call_id: id.into(), parts, is_error: false })))
    };
    let image = media("image/png", Source::Data("abc".into()));
    let results = vec![result("c1", vec![text("x"), image]), result("c2", vec![text("8")])];
    let input = conversation(vec![message(Role::Assistant, parts), message(Role::Tool, results)]);
    says(
        input,
        concat!(
            r#""input":[{"type":"reasoning","id":"rs","encrypted_content":"e","summary":[]},"#,
            r#"{"role":"assistant","content":"wait","phase":"commentary"},"#,
            r#"{"type":"function_call","call_id":"c1","name":"f","arguments":"{\"a\":1}"},"#,
            r#"{"type":"custom_tool_call","call_id":"c2","name":"f","input":"4 + 4"},"#,
            r#"{"role":"assistant","content":[{"type":"output_text","text":"a"},{"type":"refusal","refusal":"no"}]},"#,
            r#"{"type":"function_call_output","call_id":"c1","output":[{"type":"input_text","text":"x"},"#,
            r#"{"type":"input_image","image_url":"data:image/png;base64,YWJj"}]},"#,
            r#"{"type":"custom_tool_call_output","call_id":"c2","output":"8"}]"#,
        ),
    );
}

#[test]
fn the_state_of_reasoning_goes_back_to_whom_it_belongs() {
    // A caller of the same API sends the vendor's own string.
    says(
        assistant(vec![with_token(thought("hm"), "openai", "gAAA")]),
        r#"[{"type":"reasoning","encrypted_content":"gAAA","summary":[{"type":"summary_text","text":"hm"}]}]"#,
    );
    for foreign in [
        with_token(thought("hm"), "claude", "sig"),
        with_token(thought("hm"), "mine", "reasoning_content"),
        part(thought("hm")),
    ] {
        let built = built(assistant(vec![foreign.clone(), foreign, text("a")]));
        assert!(built.body.contains(r#""input":[{"role":"assistant","content":"a"}]"#), "{}", built.body);
        let codes: Vec<&str> = built.warnings.iter().map(|warning| warning.code.as_str()).collect();
        assert_eq!(codes, ["continuity_dropped"]);
    }
}

#[test]
fn reasoning_that_nobody_kept_is_not_referred_to() {
    let parts =
        || vec![with_token(thought(""), "mine", r#"{"type":"reasoning","id":"rs","summary":[]}"#), text("a")];
    says(assistant(parts()), r#""input":[{"role":"assistant","content":"a"}]"#);
    let stored = ChatInput { store: Some(true), ..assistant(parts()) };
    says(stored, r#""input":[{"type":"reasoning","id":"rs","summary":[]},"#);
}

#[test]
fn items_of_the_vendors_own_tools_go_back_as_they_came() {
    let ran = |input| Kind::ToolCall(ToolCall { executed_upstream: true, ..call("ws", input) });
    let image = Media { source: Some(Source::Data("abc".into())), ..Media::default() };
    let search = r#"{"type":"web_search_call","id":"ws","action":{"query":"q"}}"#;
    // Callers of this API call the vendor by its name, whatever the configured provider is called.
    let program = Extension {
        provider: "openai".into(),
        r#type: "program".into(),
        json: r#"{"type":"program"}"#.into(),
    };
    let parts = vec![
        with_token(ran(Input::ArgumentsJson("{}".into())), "mine", search),
        part(Kind::ToolResult(Box::default())),
        with_token(ran(Input::ArgumentsJson("{}".into())), "mine", "{}"),
        with_token(Kind::Media(Box::new(image)), "mine", r#"{"type":"image_generation_call","id":"ig"}"#),
        part(Kind::Extension(program)),
        with_token(
            Kind::ToolCall(call("c", Input::ArgumentsJson("{}".into()))),
            "mine",
            r#"{"namespace":"n"}"#,
        ),
    ];
    says(
        assistant(parts),
        &format!(
            r#""input":[{search},{{"type":"image_generation_call","id":"ig","result":"YWJj"}},{{"type":"program"}},{{"type":"function_call","call_id":"c","name":"f","arguments":"{{}}","namespace":"n"}}]"#
        ),
    );
    let dropped = built(assistant(vec![part(ran(Input::ArgumentsJson("{}".into()))), text("a")]));
    assert_eq!(dropped.warnings[0].code, "tool_call_dropped");
}
