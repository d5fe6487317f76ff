//! Tests of vendors' quirks as they were seen in recorded traffic: one for each, in the words of that list.

mod beside;
mod chat;
mod openrouter;

use std::collections::VecDeque;

use tollgate_api::v1::{
    self, ChatInput, Media, Message, Part, Role, Sampling, Thought, Tool, ToolChoice, media::Source, part,
    tool_choice::Mode,
};
use uuid::Uuid;

use super::{request, response::Decoder};
use crate::{
    call::{Event, Item, Payload},
    provider::{Error, Outgoing, translate::Built, vendors},
};

/// What an answer comes to: thought, text, calls, finish reason, tokens.
#[derive(Debug, Default, PartialEq)]
struct Told {
    thought: String,
    text: String,
    calls: Vec<(String, String)>,
    finish: &'static str,
    tokens: (Option<i64>, Option<i64>),
    tokens_in_thought: Vec<String>,
    /// `name json`.
    extensions: Vec<String>,
}

fn gather(items: impl IntoIterator<Item = Item>) -> Told {
    let mut told = Told::default();
    for item in items {
        match item {
            Item::Event(Event::Text(delta)) => told.text += &delta.text,
            Item::Event(Event::Thought(delta)) => told.thought += &delta.text,
            Item::Event(Event::ToolCall(delta)) => told.calls.last_mut().unwrap().1 += &delta.input,
            Item::Event(Event::PartStart(start)) => {
                if let Some(part::Kind::ToolCall(call)) = start.initial.unwrap().kind {
                    told.calls.push((call.name, String::new()));
                }
            }
            Item::Event(Event::PartEnd(end)) => {
                let token = end.continuity.map(|one| String::from_utf8(one.token.to_vec()).unwrap());
                told.tokens_in_thought.extend(token);
            }
            Item::Event(Event::ChoiceEnd(end)) => {
                told.finish = end.finish_reason().as_str_name().trim_start_matches("FINISH_REASON_");
            }
            Item::Event(Event::Usage(usage)) => told.tokens = (usage.input_tokens, usage.output_tokens),
            Item::Event(Event::End(end)) => {
                told.extensions =
                    end.extensions.into_iter().map(|one| format!("{} {}", one.r#type, one.json)).collect();
            }
            _ => {}
        }
    }
    told
}

fn stream(vendor: &str, chunks: &[&str]) -> Told {
    let mut decoder = Decoder::new("mine", &ChatInput::default()).of(vendors::find(vendor).unwrap());
    let mut out = VecDeque::new();
    for chunk in chunks {
        decoder.feed(chunk.as_bytes(), &mut out).unwrap();
    }
    decoder.finish(&mut out);
    gather(out)
}

/// Streams deltas of the first choice.
fn deltas(vendor: &str, deltas: &[&str]) -> Told {
    let chunks: Vec<String> =
        deltas.iter().map(|delta| format!(r#"{{"choices":[{{"index":0,"delta":{delta}}}]}}"#)).collect();
    stream(vendor, &chunks.iter().map(String::as_str).collect::<Vec<_>>())
}

fn whole(vendor: &str, body: &str) -> Told {
    let decoder = Decoder::new("mine", &ChatInput::default()).of(vendors::find(vendor).unwrap());
    gather(decoder.whole(body.as_bytes()).unwrap())
}

fn built(vendor: &str, input: ChatInput, streamed: bool) -> Result<Built, Error> {
    let payload = Payload::typed(input);
    let outgoing = Outgoing {
        call_id: Uuid::nil(),
        provider: "mine",
        model: "m",
        payload: &payload,
        streamed,
        usage_wanted: true,
        strict: false,
        traceparent: None,
        output_cap: None,
    };
    request::build(payload.view().unwrap(), &outgoing, vendors::find(vendor).unwrap())
}

fn call(name: &str, input: &str) -> (String, String) {
    (name.to_owned(), input.to_owned())
}

#[test]
fn mi_thinking_parts_are_thoughts_in_whole_answers_and_in_deltas() {
    let part = r#"{"content":[{"type":"thinking","thinking":[{"type":"text","text":"hm"}],"closed":true}]}"#;
    let told = deltas(
        "mistral",
        &[
            r#"{"content":""}"#,
            part,
            r#"{"content":[{"type":"text","text":"2 + 2"}]}"#,
            r#"{"content":" = 4"}"#,
        ],
    );
    assert_eq!((told.thought.as_str(), told.text.as_str()), ("hm", "2 + 2 = 4"));
    assert_eq!(told.tokens_in_thought, ["thinking"]);
    // Elsewhere such a part is a thought too, but nobody would take it back.
    assert!(deltas("databricks", &[part]).tokens_in_thought.is_empty());
}

#[test]
fn mi_thinking_parts_go_back_before_the_text() {
    let thought = Part {
        kind: Some(part::Kind::Thought(Thought { text: "hm".into(), ..Thought::default() })),
        continuity: Some(v1::Continuity { provider: "mine".into(), token: "thinking".into() }),
        ..Part::default()
    };
    let text = Part { kind: Some(part::Kind::Text("4".into())), ..Part::default() };
    let message = Message { role: Role::Assistant.into(), parts: vec![thought, text], name: String::new() };
    let body =
        built("mistral", ChatInput { messages: vec![message], ..ChatInput::default() }, false).unwrap().body;
    let expected = r#"{"role":"assistant","content":[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]},{"type":"text","text":"4"}],"prefix":true}"#;
    assert!(body.contains(expected), "{body}");
}

#[test]
fn mistral_is_asked_in_its_own_names() {
    let pdf = Media {
        mime_type: "application/pdf".into(),
        source: Some(Source::Uri("https://h/a.pdf".into())),
        ..Media::default()
    };
    let parts = vec![Part { kind: Some(part::Kind::Media(Box::new(pdf))), ..Part::default() }];
    let function = v1::FunctionTool { name: "f".into(), ..v1::FunctionTool::default() };
    let input = ChatInput {
        messages: vec![Message { role: Role::User.into(), parts, name: "ada".into() }],
        sampling: Some(Sampling { seed: Some(7), top_k: Some(3), ..Sampling::default() }),
        max_output_tokens: Some(9),
        end_user_id: "u".into(),
        tools: vec![Tool { kind: Some(v1::tool::Kind::Function(function)), cache_breakpoint: None }],
        tool_choice: Some(ToolChoice { mode: Mode::Required.into(), tool_names: Vec::new() }),
        ..ChatInput::default()
    };
    let built = built("mistral", input, true).unwrap();
    for member in [
        r#""random_seed":7"#,
        r#""max_tokens":9"#,
        r#""tool_choice":"any""#,
        r#"{"type":"document_url","document_url":"https://h/a.pdf"}"#,
        r#""stream":true}"#,
    ] {
        assert!(built.body.contains(member), "{member} in {}", built.body);
    }
    for absent in ["stream_options", "user\":\"u", "\"name\":\"ada", "top_k"] {
        assert!(!built.body.contains(absent), "{absent} in {}", built.body);
    }
    let fields: Vec<&str> = built.warnings.iter().map(|warning| warning.field.as_str()).collect();
    assert_eq!(fields, ["input.messages.name", "input.sampling.top_k", "input.end_user_id"]);
}

#[test]
fn mi_tool_no_type_and_tool_frag_no_index_are_whole_calls() {
    let told = deltas(
        "mistral",
        &[
            r#"{"content":null,"tool_calls":[{"id":"gSIMJiOkT","function":{"name":"f","arguments":"{\"a\": 1}"}}]}"#,
        ],
    );
    assert_eq!((told.calls, told.finish), (vec![call("f", "{\"a\": 1}")], "TOOL_CALLS"));
}

#[test]
fn wr_no_done_has_message_and_delta_in_one_chunk_and_tells_it_once() {
    let both = |said: &str| {
        format!(r#"{{"choices":[{{"index":0,"finish_reason":null,"message":{said},"delta":{said}}}]}}"#)
    };
    let begun = both(
        r#"{"content":null,"tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":null}}]}"#,
    );
    let more = both(
        r#"{"content":"","tool_calls":[{"index":0,"id":null,"function":{"name":null,"arguments":"{}"}}]}"#,
    );
    assert_eq!(stream("writer", &[&begun, &more]).calls, [call("f", "{}")]);
}

#[test]
fn finish_missing_and_legacy_function_call_of_snowflake_are_no_tool_call() {
    let body = r#"{"choices":[{"finish_reason":"","index":0,"message":{"audio":{"data":"","id":""},"content":"4","function_call":{"arguments":"","name":""},"refusal":"","role":"assistant","tool_calls":null}}]}"#;
    let told = whole("snowflake", body);
    assert_eq!((told.text.as_str(), told.calls.len(), told.finish), ("4", 0, "OTHER"));
}

#[test]
fn usage_counts_null_and_usage_every_chunk_tell_the_last_word() {
    let chunk = |input: &str, output: &str| {
        format!(
            r#"{{"choices":[{{"index":0,"delta":{{"role":"assistant","content":"a"}}}}],"usage":{{"prompt_tokens":{input},"completion_tokens":{output},"total_tokens":null}}}}"#
        )
    };
    let (first, second, last) = (chunk("null", "null"), chunk("10", "1"), chunk("10", "7"));
    let told = stream("databricks", &[&first, &second, &last]);
    assert_eq!((told.tokens, told.text.as_str()), ((Some(10), Some(7)), "aaa"));
}

#[test]
fn stop_reason_int_is_no_stop_sequence() {
    let chunk =
        r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop","stop_reason":154827}]}"#;
    assert_eq!(stream("crusoe", &[chunk]).finish, "STOP");
}

#[test]
fn ds_reasoning_null_changes_nothing() {
    let told = deltas(
        "deepseek",
        &[r#"{"content":null,"reasoning_content":"hm"}"#, r#"{"content":"a","reasoning_content":null}"#],
    );
    assert_eq!((told.thought.as_str(), told.text.as_str()), ("hm", "a"));
}

#[test]
fn pp_citations_are_kept_and_an_empty_delta_beside_the_message_is_passed_over() {
    let body = r#"{"choices":[{"delta":{"content":"","role":"assistant"},"finish_reason":"stop","index":0,"message":{"content":"8","role":"assistant"}}],"citations":["https://h"],"search_results":[{"url":"https://h"}],"usage":{"prompt_tokens":17,"completion_tokens":6,"cost":{"total_cost":0.006}}}"#;
    let told = whole("perplexity", body);
    assert_eq!((told.text.as_str(), told.tokens), ("8", (Some(17), Some(6))));
    assert_eq!(told.extensions, [r#"citations ["https://h"]"#, r#"search_results [{"url":"https://h"}]"#]);
}

#[test]
fn reasoning_think_tags_are_thoughts_for_vendors_that_write_them_and_text_for_others() {
    let cut = [r#"{"content":"<thi"}"#, r#"{"content":"nk>hm</th"}"#, r#"{"content":"ink>\n\nyes"}"#];
    let told = deltas("perplexity", &cut);
    assert_eq!((told.thought.as_str(), told.text.as_str()), ("hm", "yes"));
    let told = deltas("groq", &cut);
    assert_eq!((told.thought.as_str(), told.text.as_str()), ("", "<think>hm</think>\n\nyes"));
    let body = r#"{"choices":[{"index":0,"message":{"content":"<think>\nhm"},"finish_reason":"length"}]}"#;
    assert_eq!(whole("vllm", body).thought, "\nhm");
}

#[test]
fn ce_time_info_gp_timings_and_to_extra_fields_cost_nothing() {
    let told = stream(
        "together",
        &[
            r#"{"choices":[{"index":0,"text":"a","seed":18446744073709551615,"delta":{"token_id":1,"content":"a","tool_calls":[]},"finish_reason":"eos"}],"time_info":{"queue_time":0.1},"usage":{"prompt_tokens":1,"completion_tokens":2,"tokens_per_second":1.5,"prompt_tokens_details":null}}"#,
        ],
    );
    assert_eq!((told.text.as_str(), told.finish, told.tokens), ("a", "STOP", (Some(1), Some(2))));
}
