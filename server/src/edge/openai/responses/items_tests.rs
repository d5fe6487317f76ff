//! What the items and settings of a request become in the contract.

use tollgate_api::v1::{self, Media, Role, media, output_format, part, tool, tool_call, tool_choice::Mode};

use super::{output, parse};
use crate::call::Unread;
use crate::{
    edge::continuity,
    error::{Error, Reason},
};

fn input(members: &str) -> Result<v1::ChatInput, Error> {
    parse(format!(r#"{{"model":"m",{members}}}"#).as_bytes(), &Unread::default())
}

fn kinds(message: &v1::Message) -> Vec<part::Kind> {
    message.parts.iter().map(|part| part.kind.clone().unwrap()).collect()
}

fn text(text: &str) -> part::Kind {
    part::Kind::Text(text.to_owned())
}

#[test]
fn a_text_and_instructions_are_two_messages() {
    let input = input(r#""input":"hi","instructions":"be kind""#).unwrap();
    let roles: Vec<Role> = input.messages.iter().map(v1::Message::role).collect();
    assert_eq!(roles, [Role::System, Role::User]);
    assert_eq!(kinds(&input.messages[1]), [text("hi")]);
}

#[test]
fn the_items_of_a_turn_are_one_message_in_their_order() {
    let items = r#""input":[
        {"role":"user","content":"q"},
        {"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"a"},{"type":"summary_text","text":"b"}],
            "encrypted_content":"gAAA"},
        {"type":"message","id":"msg_1","role":"assistant","status":"completed",
            "content":[{"type":"output_text","text":"t","annotations":[]},{"type":"refusal","refusal":"no"}]},
        {"type":"function_call","call_id":"c1","name":"f","arguments":"{}"},
        {"type":"custom_tool_call","call_id":"c2","name":"g","input":"free"},
        {"type":"web_search_call","id":"ws_1","status":"completed"},
        {"type":"function_call_output","call_id":"c1","output":"done"},
        {"type":"custom_tool_call_output","call_id":"c2","output":[{"type":"input_text","text":"x"},
            {"type":"input_image","image_url":"data:image/png;base64,AQI=","detail":"low"}]},
        {"type":"item_reference","id":"msg_9"}]"#;
    let input = input(items).unwrap();
    let roles: Vec<Role> = input.messages.iter().map(v1::Message::role).collect();
    assert_eq!(roles, [Role::User, Role::Assistant, Role::Tool, Role::Tool, Role::Assistant]);
    let turn = &input.messages[1];
    assert_eq!(turn.parts.len(), 6);
    let Some(part::Kind::Thought(thought)) = &turn.parts[0].kind else { panic!() };
    assert_eq!((thought.text.as_str(), thought.summarized), ("a\n\nb", true));
    let token = turn.parts[0].continuity.as_ref().unwrap();
    assert_eq!(token.provider, "openai");
    assert!(token.token.starts_with(br#"{"type":"reasoning","id":"rs_1""#), "the whole item goes back");
    assert_eq!(kinds(turn)[1..3], [text("t"), part::Kind::Refusal("no".to_owned())]);
    let Some(part::Kind::ToolCall(call)) = &turn.parts[4].kind else { panic!() };
    assert_eq!((call.id.as_str(), &call.input), ("c2", &Some(tool_call::Input::Text("free".to_owned()))));
    let Some(part::Kind::Extension(theirs)) = &turn.parts[5].kind else { panic!() };
    assert_eq!((theirs.provider.as_str(), theirs.r#type.as_str()), ("openai", "web_search_call"));
    let Some(part::Kind::ToolResult(result)) = &input.messages[3].parts[0].kind else { panic!() };
    assert_eq!((result.tool_call_id.as_str(), result.parts.len()), ("c2", 2));
}

#[test]
fn media_are_read_from_wherever_they_are() {
    let items = r#""input":[{"role":"user","content":[
        {"type":"input_image","image_url":"https://a/b.png"},
        {"type":"input_image","file_id":"file-1"},
        {"type":"input_file","filename":"a.pdf","file_data":"data:application/pdf;base64,AQI="},
        {"type":"input_file","file_url":"https://a/b.pdf"},
        {"type":"input_audio","input_audio":{"data":"AQI=","format":"wav"}}]}]"#;
    let media: Vec<Media> = kinds(&input(items).unwrap().messages[0])
        .into_iter()
        .map(|kind| if let part::Kind::Media(media) = kind { *media } else { panic!("{kind:?}") })
        .collect();
    let bytes = || Some(media::Source::Data(vec![1, 2].into()));
    assert_eq!(media[0].source, Some(media::Source::Uri("https://a/b.png".to_owned())));
    assert_eq!(media[1].source, Some(media::Source::FileId("file-1".to_owned())));
    assert_eq!((media[2].filename.as_str(), &media[2].source), ("a.pdf", &bytes()));
    assert_eq!(media[3].source, Some(media::Source::Uri("https://a/b.pdf".to_owned())));
    // Without a type it would be taken for a picture.
    assert_eq!(media[3].mime_type, "application/pdf");
    assert_eq!((media[4].mime_type.as_str(), &media[4].source), ("audio/wav", &bytes()));
}

#[test]
fn tokens_of_ours_go_back_to_whom_they_are_from() {
    let token = |provider: &str| {
        continuity::encode(&v1::Continuity { provider: provider.to_owned(), token: b"sig".to_vec().into() })
    };
    let body = format!(
        r#"{{"model":"m","input":[
            {{"type":"reasoning","id":"rs_tg1","summary":[],"encrypted_content":"{}"}},
            {{"type":"reasoning","id":"rs_tg2","summary":[],"encrypted_content":"{}"}},
            {{"type":"reasoning","id":"rs_tg3","summary":[]}},
            {{"type":"function_call","call_id":"c","name":"f","arguments":"{{}}",
                "extra_content":{{"tollgate":{{"continuity":"{}"}}}}}}]}}"#,
        token("claude"),
        token("redacted.claude"),
        token("gem"),
    );
    assert!(output::is_ours(body.as_bytes()));
    let parts = &parse(body.as_bytes(), &Unread::default()).unwrap().messages[0].parts;
    assert_eq!(parts.len(), 3, "a thought of which nothing is left is none");
    assert_eq!(parts[0].continuity.as_ref().unwrap().provider, "claude");
    let Some(part::Kind::Thought(thought)) = &parts[1].kind else { panic!() };
    assert_eq!(thought.redacted, "sig");
    assert_eq!(parts[1].continuity.as_ref().unwrap().provider, "claude");
    assert_eq!(parts[2].continuity.as_ref().unwrap().provider, "gem");
    assert!(output::is_ours(br#"{"id":"rs_tg01"}"#) && !output::is_ours(br#"{"id":"rs_01"}"#));
}

#[test]
fn settings_find_their_fields() {
    let input = input(
        r#""input":"x","tools":[{"type":"function","name":"f","parameters":{"b":1,"a":2},"strict":true},
            {"type":"custom","name":"g","format":{"type":"grammar","syntax":"lark","definition":"s"}},
            {"type":"web_search","search_context_size":"low"}],
        "tool_choice":{"type":"allowed_tools","mode":"required","tools":[{"type":"function","name":"f"},{"type":"web_search"}]},
        "text":{"format":{"type":"json_schema","name":"n","schema":{"z":1,"a":2},"strict":true},"verbosity":"low"},
        "reasoning":{"effort":"high","summary":"auto"},"max_output_tokens":7,"top_logprobs":2,"temperature":0.5,
        "include":["reasoning.encrypted_content"],"truncation":"disabled","max_tool_calls":3,"safety_identifier":"s",
        "user":"u","prompt_cache_key":"k","store":true,"metadata":{"a":"b"},"background":false,"brand_new":1"#,
    )
    .unwrap();
    let Some(tool::Kind::Function(function)) = &input.tools[0].kind else { panic!() };
    assert_eq!((function.parameters_json_schema.as_str(), function.strict), (r#"{"b":1,"a":2}"#, Some(true)));
    let Some(tool::Kind::Custom(custom)) = &input.tools[1].kind else { panic!() };
    assert_eq!(custom.grammar.as_ref().unwrap().syntax, "lark");
    let Some(tool::Kind::Upstream(search)) = &input.tools[2].kind else { panic!() };
    assert_eq!(search.config_json, r#"{"search_context_size":"low"}"#);
    let choice = input.tool_choice.unwrap();
    assert_eq!(
        (choice.mode(), choice.tool_names),
        (Mode::Required, vec!["f".to_owned(), "web_search".to_owned()])
    );
    let Some(output_format::Kind::JsonSchema(schema)) = input.output_format.unwrap().kind else { panic!() };
    assert_eq!((schema.name.as_str(), schema.schema_json.as_str()), ("n", r#"{"z":1,"a":2}"#));
    assert_eq!((input.verbosity.as_str(), input.max_output_tokens), ("low", Some(7)));
    let reasoning = input.reasoning.unwrap();
    assert_eq!((reasoning.effort.as_str(), reasoning.summary.as_str()), ("high", "auto"));
    assert_eq!((input.logprobs.unwrap().top, input.sampling.unwrap().temperature), (Some(2), Some(0.5)));
    assert_eq!((input.end_user_id.as_str(), input.prompt_cache.unwrap().key.as_str()), ("s", "k"));
    assert_eq!((input.store, input.metadata["a"].as_str()), (Some(true), "b"));
    let options: Vec<_> =
        input.provider_options.iter().map(|one| (one.provider.as_str(), one.body_json.as_str())).collect();
    assert_eq!(options, [("openai", r#"{"max_tool_calls":3}"#), ("", r#"{"brand_new":1}"#)]);
}

#[test]
fn what_refers_to_kept_responses_is_refused_by_name() {
    for (member, field) in [
        (r#""previous_response_id":"resp_1""#, "previous_response_id"),
        (r#""conversation":{"id":"conv_1"}"#, "conversation"),
        (r#""background":true"#, "background"),
        (r#""prompt":{"id":"pmpt_1"}"#, "prompt"),
    ] {
        let error = input(&format!(r#""input":"x",{member}"#)).unwrap_err();
        assert_eq!(error.reason(), Reason::UnsupportedParameter, "{member}");
        assert_eq!(error.facts().field.as_deref(), Some(field));
    }
    let error = input(r#""input":[{"role":"user","content":[{"type":"input_image"}]}]"#).unwrap_err();
    assert_eq!(error.facts().field.as_deref(), Some("input[0].content[0].image_url"));
}
