//! What vendors tell beside the text: filters, citations, tools that ran, sources, padding.

use super::*;
use crate::provider::openai::express::whole_chat;

#[test]
fn az_prompt_filter_chunk_and_az_content_filter_results_say_why_an_answer_was_cut() {
    let told = stream(
        "openai",
        &[
            r#"{"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":[{"prompt_index":0}]}"#,
            r#"{"choices":[{"content_filter_results":{},"delta":{"content":"","role":"assistant"},"finish_reason":null,"index":0}],"id":"c"}"#,
            r#"{"choices":[{"content_filter_results":{"hate":{"filtered":false}},"delta":{"content":"a"},"finish_reason":null,"index":0}]}"#,
            r#"{"choices":[{"content_filter_results":{"hate":{"filtered":true}},"delta":{},"finish_reason":"content_filter","index":0}]}"#,
            r#"{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#,
        ],
    );
    assert_eq!((told.text.as_str(), told.finish), ("a", "CONTENT_FILTER"));
    let filters = r#"content_filter_results {"hate":{"filtered":true}}"#;
    assert_eq!(told.extensions, [r#"prompt_filter_results [{"prompt_index":0}]"#, filters]);
}

#[test]
fn oa_annotations_are_citations_of_their_text() {
    let note = r#"{"type":"url_citation","url_citation":{"end_index":8,"start_index":4,"title":"Ruby","url":"https://h"}}"#;
    let body = format!(
        r#"{{"choices":[{{"index":0,"message":{{"content":"See [it]","refusal":null,"annotations":[{note}]}},"finish_reason":"stop"}}]}}"#
    );
    let items = Decoder::new("mine", &ChatInput::default()).whole(body.as_bytes()).unwrap();
    let notes: Vec<_> = items
        .into_iter()
        .filter_map(|item| match item {
            Item::Event(Event::PartEnd(end)) => Some(end.annotations),
            _ => None,
        })
        .flatten()
        .collect();
    assert_eq!((notes.len(), notes[0].start_index, notes[0].end_index), (1, Some(4), Some(8)));
    let Some(v1::annotation::Kind::Uri(cited)) = &notes[0].kind else { panic!("{notes:?}") };
    assert_eq!((cited.uri.as_str(), cited.title.as_str()), ("https://h", "Ruby"));
}

#[test]
fn gr_executed_tools_ran_already_and_are_kept_with_their_results() {
    let begun = r#"{"index":0,"type":"search","arguments":"{}","search_results":{"results":[]}}"#;
    let done = r#"{"index":0,"type":"search","arguments":"{}","output":"sunny"}"#;
    let second = r#"{"index":1,"type":"python","arguments":"{}","output":"4"}"#;
    let told = deltas(
        "groq",
        &[
            r#"{"reasoning":"hm"}"#,
            &format!(r#"{{"executed_tools":[{begun}]}}"#),
            &format!(r#"{{"executed_tools":[{done}]}}"#),
            &format!(r#"{{"executed_tools":[{second}]}}"#),
            r#"{"content":"sunny"}"#,
        ],
    );
    assert_eq!((told.text.as_str(), told.calls.len(), told.finish), ("sunny", 0, "OTHER"));
    let all = format!("[{done},{second}]");
    assert_eq!(told.extensions, [format!("executed_tools {all}")]);
    let body = format!(
        r#"{{"choices":[{{"index":0,"message":{{"content":"sunny","executed_tools":{all}}},"finish_reason":"stop"}}]}}"#
    );
    let told = whole("groq", &body);
    assert_eq!((told.calls.len(), told.finish), (0, "STOP"), "the caller has nothing to run");
    assert_eq!(told.extensions, [format!("executed_tools {all}")]);
}

#[test]
fn xa_sources_cost_is_the_price_and_the_sources_are_units() {
    let body = r#"{"choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"num_sources_used":3,"cost_in_usd_ticks":8934000}}"#;
    let Item::Raw(_, seen) = whole_chat(body.into()).unwrap() else { panic!() };
    let usage = seen.usage.unwrap();
    assert_eq!(usage.billable_units["sources"], 3);
    assert_eq!(usage.cost.unwrap().amount_nanos, 893_400, "ten ticks are a nano-dollar");
    let none = body.replace(":3,", ":0,");
    let Item::Raw(_, seen) = whole_chat(none.into()).unwrap() else { panic!() };
    assert!(seen.usage.unwrap().billable_units.is_empty());
}

#[test]
fn vl_extra_members_change_nothing() {
    let told = stream(
        "vllm",
        &[
            r#"{"id":"chat-96","prompt_logprobs":null,"choices":[{"index":0,"delta":{"role":"assistant"},"logprobs":null,"finish_reason":null}]}"#,
            r#"{"id":"chat-96","choices":[{"index":0,"delta":{"content":"a","tool_calls":[]},"logprobs":null,"finish_reason":"length","stop_reason":null}]}"#,
        ],
    );
    assert_eq!((told.text.as_str(), told.calls.len(), told.finish), ("a", 0, "LENGTH"));
    assert!(told.extensions.is_empty(), "{:?}", told.extensions);
}

#[test]
fn model_name_resolved_is_the_answers_own_in_both_lanes() {
    let body = r#"{"model":"deepseek-v4-flash","choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop"}]}"#;
    let items = Decoder::new("mine", &ChatInput::default()).whole(body.as_bytes()).unwrap();
    let Item::Event(Event::Start(start)) = &items[0] else { panic!("{items:?}") };
    assert_eq!(start.model, "deepseek-v4-flash");
    let Item::Raw(bytes, seen) = whole_chat(body.into()).unwrap() else { panic!() };
    assert_eq!((seen.model.as_deref(), bytes.as_ref()), (Some("deepseek-v4-flash"), body.as_bytes()));
}
