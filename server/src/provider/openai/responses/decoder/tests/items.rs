//! How each kind of item is told, by deltas and by its last word.

use super::*;

#[test]
fn resp_encrypted_reasoning_keeps_the_last_word_of_its_item() {
    let last = r#"{"id":"rs_1","type":"reasoning","encrypted_content":"new","summary":[]}"#;
    let items = streamed(&[
        &item("added", 0, r#"{"id":"rs_1","type":"reasoning","encrypted_content":"old","summary":[]}"#),
        &item("done", 0, last),
        &event("output_text.delta", 1, r#""delta":"a""#),
        &completed(""),
    ]);
    let expected = ["[thought false", &format!("] {last}"), "[", "text a", "]", "Stop completed"];
    assert_eq!(shown(&items), expected);
}

#[test]
fn resp_reasoning_summary_parts_are_one_thought() {
    let delta = |sub: u8, text: &str| {
        event("reasoning_summary_text.delta", 0, &format!(r#""summary_index":{sub},"delta":"{text}""#))
    };
    let last = r#"{"id":"rs_1","type":"reasoning","summary":[{"type":"summary_text","text":"one"},{"type":"summary_text","text":"two"}]}"#;
    let items = streamed(&[
        &delta(0, "o"),
        &delta(0, "ne"),
        &delta(1, "two"),
        &item("done", 0, last),
        &completed(""),
    ]);
    let told = ["[thought true", "thought o", "thought ne", "thought \n\n", "thought two"];
    assert_eq!(shown(&items)[..5], told);
    let body = format!(r#"{{"status":"completed","output":[{last}]}}"#);
    let items: Items = whole(&body).unwrap().into_iter().map(Ok).collect();
    let told = ["[thought true", "thought one", "thought \n\n", "thought two", &format!("] {last}")];
    assert_eq!(shown(&items)[..5], told);
}

#[test]
fn reasoning_text_of_open_models_is_a_thought_and_no_summary() {
    let last =
        r#"{"type":"reasoning","id":"r","content":[{"type":"reasoning_text","text":"hm"}],"summary":[]}"#;
    let items = streamed(&[
        &event("reasoning_text.delta", 0, r#""content_index":0,"delta":"hm""#),
        &item("done", 0, last),
        &completed(""),
    ]);
    assert_eq!(shown(&items), ["[thought false", "thought hm", &format!("] {last}"), "Stop completed"]);
}

#[test]
fn resp_reasoning_empty_leaves_no_trace_unless_the_vendor_keeps_it() {
    let body = r#"{"status":"completed","output":[{"id":"rs","type":"reasoning","summary":[]},
        {"type":"message","content":[{"type":"output_text","text":"a"}]}]}"#;
    let items: Items = whole(body).unwrap().into_iter().map(Ok).collect();
    assert_eq!(shown(&items), ["text a", "]", "Stop completed"]);
    let stored = ChatInput { store: Some(true), ..ChatInput::default() };
    let items = Decoder::new("mine", &stored).whole(body.as_bytes()).unwrap().into_iter().map(Ok).collect();
    assert_eq!(shown(&items)[0], "[thought false");
}

#[test]
fn resp_server_tools_are_calls_that_ran_with_their_results() {
    let output = concat!(
        r#"{"id":"ws","type":"web_search_call","action":{"type":"search","query":"q"}},"#,
        r#"{"id":"ci","type":"code_interpreter_call","code":"1","container_id":"c","outputs":[{"type":"logs","logs":"2"}]},"#,
        r#"{"id":"fs","type":"file_search_call","queries":["q"],"results":null},"#,
        r#"{"id":"mcp","type":"mcp_call","name":"ask","server_label":"s","arguments":"{}","error":null,"output":"yes"},"#,
        r#"{"id":"ig","type":"image_generation_call","output_format":"webp","quality":"low","result":"YWJj"},"#,
        r#"{"id":"l","type":"mcp_list_tools","tools":[]},"#,
        r#"{"id":"cc","type":"computer_call","call_id":"x","action":{}}"#,
    );
    let items: Items = streamed(&[&completed(output)]);
    let shown = shown(&items);
    let without_tokens: Vec<&str> =
        shown.iter().map(|line| if line.starts_with(']') { "]" } else { line }).collect();
    assert_eq!(
        without_tokens,
        [
            "[ran web_search ws",
            r#"input {"type":"search","query":"q"}"#,
            "]",
            "[ran code_interpreter ci",
            r#"input {"code":"1","container_id":"c"}"#,
            "]",
            r#"[result ci Text("[{\"type\":\"logs\",\"logs\":\"2\"}]")"#,
            "]",
            "[ran file_search fs",
            r#"input {"queries":["q"]}"#,
            "]",
            "[ran ask mcp",
            "input {}",
            "]",
            r#"[result mcp Text("yes")"#,
            "]",
            "[ran image_generation ig",
            r#"input {"output_format":"webp","quality":"low"}"#,
            "]",
            "[media image/webp",
            "]",
            r#"[mcp_list_tools {"id":"l","type":"mcp_list_tools","tools":[]}"#,
            "]",
            r#"[computer_call {"id":"cc","type":"computer_call","call_id":"x","action":{}}"#,
            "]",
            "ToolCalls completed",
        ]
    );
    assert_eq!(shown[2], r#"] {"id":"ws","type":"web_search_call","action":{"type":"search","query":"q"}}"#);
    assert!(shown[20].ends_with(r#""output_format":"webp","quality":"low"}"#), "{}", shown[20]);
}

#[test]
fn resp_compaction_is_kept_for_the_next_call() {
    let items = streamed(&[&completed(r#"{"id":"c","type":"compaction","encrypted_content":"e"}"#)]);
    assert_eq!(shown(&items)[0], r#"[compaction {"id":"c","type":"compaction","encrypted_content":"e"}"#);
}

#[test]
fn resp_phase_keeps_messages_apart_and_is_remembered() {
    let message = |phase: &str, text: &str| {
        format!(
            r#"{{"type":"message","phase":"{phase}","content":[{{"type":"output_text","text":"{text}"}}]}}"#
        )
    };
    let items =
        streamed(&[&completed(&format!("{},{}", message("commentary", "a"), message("final_answer", "b")))]);
    let expected = [
        "text a",
        r#"] {"phase":"commentary"}"#,
        "[",
        "text b",
        r#"] {"phase":"final_answer"}"#,
        "Stop completed",
    ];
    assert_eq!(shown(&items), expected);
}

#[test]
fn resp_parallel_calls_are_told_one_after_the_other_though_their_deltas_mix() {
    let call = |n: u8, arguments: &str| {
        format!(
            r#"{{"type":"function_call","id":"fc_{n}","call_id":"call_{n}","name":"f{n}","arguments":"{arguments}"}}"#
        )
    };
    let delta =
        |n: u8, text: &str| event("function_call_arguments.delta", n, &format!(r#""delta":"{text}""#));
    let items = streamed(&[
        &item("added", 0, &call(0, "")),
        &item("added", 1, &call(1, "")),
        &delta(1, "{1"),
        &delta(0, "{0"),
        &item("done", 1, &call(1, "{1}")),
        &delta(0, "}"),
        &item("done", 0, &call(0, "{0}")),
        &completed(""),
    ]);
    assert_eq!(
        shown(&items),
        [
            "[call f0 call_0",
            "input {0",
            "input }",
            "]",
            "[call f1 call_1",
            "input {1",
            "input }",
            "]",
            "ToolCalls completed",
        ]
    );
}

#[test]
fn text_flows_on_though_the_item_before_it_is_not_done() {
    let thought = r#"{"type":"reasoning","summary":[],"content":[{"type":"reasoning_text","text":"hm"}]}"#;
    let events = [
        item("added", 0, r#"{"type":"reasoning","summary":[]}"#),
        event("reasoning_text.delta", 0, r#""delta":"hm""#),
        item("added", 1, r#"{"type":"message","content":[]}"#),
        event("output_text.delta", 1, r#""delta":"4""#),
    ];
    let mut all: Vec<&str> = events.iter().map(String::as_str).collect();
    assert_eq!(shown(&streamed(&all))[..5], ["[thought false", "thought hm", "]", "[", "text 4"]);
    let (done, end) = (item("done", 0, thought), completed(""));
    all.extend([done.as_str(), end.as_str()]);
    assert_eq!(shown(&streamed(&all))[5..], ["]", "Stop completed"]);
}

#[test]
fn a_call_whose_name_comes_late_is_told_with_its_last_word() {
    let items = streamed(&[
        &item("added", 0, r#"{"type":"function_call","id":"fc"}"#),
        &event("function_call_arguments.delta", 0, r#""delta":"{}""#),
        &item("done", 0, r#"{"type":"function_call","id":"fc","name":"f","arguments":"{}","namespace":"n"}"#),
        &completed(""),
    ]);
    assert_eq!(shown(&items), ["[call f fc", "input {}", r#"] {"namespace":"n"}"#, "ToolCalls completed"]);
}

#[test]
fn oa_custom_tool_input_is_text() {
    let last = r#"{"type":"custom_tool_call","call_id":"c","name":"math","input":"4 + 4"}"#;
    let items = streamed(&[
        &item("added", 0, r#"{"type":"custom_tool_call","call_id":"c","name":"math","input":""}"#),
        &event("custom_tool_call_input.delta", 0, r#""delta":"4 +""#),
        &item("done", 0, last),
        &completed(""),
    ]);
    assert_eq!(shown(&items), ["[call math c", "input 4 +", "input  4", "]", "ToolCalls completed"]);
    let Ok(Item::Event(Told::PartStart(start))) = &items[1] else { panic!() };
    let Some(PartKind::ToolCall(call)) = &start.initial.as_ref().unwrap().kind else { panic!() };
    assert!(matches!(call.input, Some(v1::tool_call::Input::Text(_))));
}

#[test]
fn oa_refusal_text_is_a_refusal() {
    let items = streamed(&[
        &event("refusal.delta", 0, r#""content_index":0,"delta":"I can't""#),
        &item("done", 0, r#"{"type":"message","content":[{"type":"refusal","refusal":"I can't"}]}"#),
        &completed(""),
    ]);
    assert_eq!(shown(&items), ["[", "refusal I can't", "]", "Stop completed"]);
}

#[test]
fn citations_are_told_once_whether_they_came_before_or_with_the_last_word() {
    let cited = r#"{"type":"url_citation","url":"u","title":"t","start_index":1,"end_index":2}"#;
    let file = r#"{"type":"file_citation","file_id":"f","filename":"n","index":3}"#;
    let items = streamed(&[
        &event("output_text.delta", 0, r#""delta":"a""#),
        &event("output_text.annotation.added", 0, &format!(r#""annotation":{cited}"#)),
        &item(
            "done",
            0,
            &format!(
                r#"{{"type":"message","content":[{{"type":"output_text","text":"a","annotations":[{cited},{file}]}}]}}"#
            ),
        ),
        &completed(""),
    ]);
    let Ok(Item::Event(Told::PartEnd(end))) = &items[2] else { panic!("{items:?}") };
    let [first, second] = &end.annotations[..] else { panic!("{end:?}") };
    assert_eq!((first.start_index, first.end_index), (Some(1), Some(2)));
    assert!(
        matches!(&first.kind, Some(v1::annotation::Kind::Uri(uri)) if uri.uri == "u" && uri.title == "t")
    );
    assert!(matches!(&second.kind, Some(v1::annotation::Kind::Document(one)) if one.document_id == "f"));
}

#[test]
fn logprobs_belong_to_their_text() {
    let logprobs =
        r#"[{"token":"a","logprob":-0.5,"bytes":[97],"top_logprobs":[{"token":"b","logprob":-1.0}]}]"#;
    let body = format!(
        r#"{{"status":"completed","output":[{{"type":"message","content":[{{"type":"output_text","text":"a","logprobs":{logprobs}}}]}}]}}"#
    );
    let items = whole(&body).unwrap();
    let Item::Event(Told::Logprobs(delta)) = &items[2] else { panic!("{items:?}") };
    assert_eq!((delta.part, delta.logprobs[0].logprob, delta.logprobs[0].top.len()), (0, -0.5, 1));
}

#[test]
fn a_text_is_told_once_though_its_number_counts_on_from_the_item_before() {
    let last = r#"{"type":"message","content":[{"type":"output_text","text":"hi"}]}"#;
    let items = streamed(&[
        &event("output_text.delta", 1, r#""content_index":1,"delta":"hi""#),
        &item("done", 1, last),
        &completed(&format!(r#"{{"type":"reasoning","summary":[]}},{last}"#)),
    ]);
    assert_eq!(shown(&items), ["text hi", "]", "Stop completed"]);
}
