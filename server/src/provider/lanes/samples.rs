//! A small valid answer for every reader of streams, as a list of events, and how its wire writes them.

use bytes::Bytes;

use crate::provider::aws::frames::testing;

/// One event: its name, empty if it has none, and its data.
pub(super) type Event = (String, String);

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    Sse,
    Lines,
    Array,
    Messages,
}

/// A valid answer.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) wire: Wire,
    pub(super) events: Vec<Event>,
    /// After that many events the answer may end.
    pub(super) whole_after: usize,
}

impl Sample {
    fn new(wire: Wire, whole_after: usize, events: &[(&str, &str)]) -> Self {
        let events = events.iter().map(|(name, data)| ((*name).to_owned(), (*data).to_owned())).collect();
        Self { wire, events, whole_after }
    }

    /// Writes the first `count` events with that end of the line; no more than that.
    pub(super) fn begun(&self, count: usize, end: &str) -> Vec<u8> {
        let mut out = Vec::new();
        for (at, (name, data)) in self.events.iter().take(count).enumerate() {
            match self.wire {
                Wire::Sse => {
                    if !name.is_empty() {
                        out.extend_from_slice(format!("event: {name}{end}").as_bytes());
                    }
                    for line in data.split('\n') {
                        out.extend_from_slice(format!("data: {line}{end}").as_bytes());
                    }
                    out.extend_from_slice(end.as_bytes());
                }
                Wire::Lines => out.extend_from_slice(format!("{data}{end}").as_bytes()),
                Wire::Array => {
                    out.extend_from_slice(if at == 0 { b"[" } else { b",\n" });
                    out.extend_from_slice(data.as_bytes());
                }
                Wire::Messages => out.extend_from_slice(&testing::event(name, data)),
            }
        }
        out
    }

    /// Writes the whole answer.
    pub(super) fn body(&self, end: &str) -> Bytes {
        let mut out = self.begun(self.events.len(), end);
        if self.wire == Wire::Array {
            out.extend_from_slice(if self.events.is_empty() { b"[]" } else { b"]" });
        }
        out.into()
    }
}

/// Returns the valid answers for a reader; none for one of whole bodies.
pub(super) fn of(reader: &str) -> Vec<Sample> {
    match reader {
        "openai-responses-whole" | "openai-responses-express-whole" => Vec::new(),
        name if name.ends_with("-whole") || name.contains("-embeddings") || name.ends_with("-count") => {
            Vec::new()
        }
        name if name.starts_with("openai-responses") => vec![responses()],
        name if name.starts_with("openai-chat") => vec![chat()],
        name if name.starts_with("anthropic") => vec![anthropic()],
        "gemini" => [Wire::Sse, Wire::Array].map(gemini).into(),
        name if name.starts_with("bedrock") => vec![bedrock()],
        "cohere" => vec![cohere()],
        "pass-events" => vec![anthropic(), responses(), cohere()],
        "pass-lines" => vec![ollama()],
        "pass-messages" => vec![bedrock()],
        name => panic!("no sample for the reader {name}"),
    }
}

fn chat() -> Sample {
    Sample::new(
        Wire::Sse,
        13,
        &[
            (
                "",
                r#"{"id":"c","model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}"#,
            ),
            ("", r#"{"choices":[{"index":0,"delta":{"reasoning_content":"hm"}}]}"#),
            (
                "",
                r#"{"choices":[{"index":0,"delta":{"reasoning_details":[{"type":"r","text":"h","data":"e"}]}}]}"#,
            ),
            (
                "",
                r#"{"choices":[{"index":0,"delta":{"content":"<think>a</think>é\n"}},{"index":1,"delta":{"content":"b"}}]}"#,
            ),
            (
                "",
                r#"{"choices":[{"index":1,"delta":{"content":" b","annotations":[{"type":"url_citation","url_citation":{"url":"u","title":"t","start_index":0,"end_index":2}}]}}]}"#,
            ),
            (
                "",
                r#"{"choices":[{"index":0,"delta":{"content":"c"},"logprobs":{"content":[{"token":"c","logprob":-0.5,"bytes":[99],"top_logprobs":[]}]}}]}"#,
            ),
            (
                "",
                r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"x","type":"function","function":{"name":"f","arguments":""}}]}}]}"#,
            ),
            (
                "",
                r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"a\":"}},{"index":1,"id":"y","function":{"name":"g","arguments":"{}"}}]}}]}"#,
            ),
            (
                "",
                r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"1}"}}]}}]}"#,
            ),
            ("", r#"{"choices":[{"index":0,"delta":{"refusal":"no"}}]}"#),
            ("", r#"{"choices":[{"index":0,"delta":{"audio":{"id":"a","data":"AAAA","transcript":"t"}}}]}"#),
            ("", r#"{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}"#),
            ("", r#"{"choices":[{"index":1,"delta":{},"finish_reason":"stop"}],"service_tier":"default"}"#),
            ("", r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}"#),
            ("", "[DONE]"),
        ],
    )
}

fn responses() -> Sample {
    let events = [
        r#"{"type":"response.created","response":{"id":"r","model":"m","status":"in_progress","output":[]}}"#,
        r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"reasoning","id":"i0","summary":[]}}"#,
        r#"{"type":"response.reasoning_summary_text.delta","output_index":0,"summary_index":0,"delta":"hm"}"#,
        r#"{"type":"response.output_item.done","output_index":0,"item":{"type":"reasoning","id":"i0","summary":[{"type":"summary_text","text":"hm"}],"encrypted_content":"e"}}"#,
        r#"{"type":"response.output_item.added","output_index":1,"item":{"type":"message","id":"i1","content":[]}}"#,
        r#"{"type":"response.output_text.delta","output_index":1,"content_index":0,"delta":"é","logprobs":[{"token":"a","logprob":-1,"bytes":[1],"top_logprobs":[]}]}"#,
        r#"{"type":"response.output_text.annotation.added","output_index":1,"content_index":0,"annotation":{"type":"url_citation","url":"u","title":"t","start_index":0,"end_index":1}}"#,
        r#"{"type":"response.output_item.done","output_index":1,"item":{"type":"message","id":"i1","content":[{"type":"output_text","text":"éa","annotations":[]}]}}"#,
        r#"{"type":"response.output_item.added","output_index":2,"item":{"type":"function_call","call_id":"c","name":"f","arguments":""}}"#,
        r#"{"type":"response.function_call_arguments.delta","output_index":2,"delta":"{}"}"#,
        r#"{"type":"response.output_item.done","output_index":2,"item":{"type":"function_call","call_id":"c","name":"f","arguments":"{}"}}"#,
        r#"{"type":"response.output_item.done","output_index":3,"item":{"type":"web_search_call","id":"w","action":{"query":"q"}}}"#,
        r#"{"type":"response.completed","response":{"id":"r","status":"completed","output":[],"usage":{"input_tokens":1,"output_tokens":2}}}"#,
    ];
    let named: Vec<(String, &str)> = events.iter().map(|data| (kind(data), *data)).collect();
    let named: Vec<(&str, &str)> = named.iter().map(|(name, data)| (name.as_str(), *data)).collect();
    Sample::new(Wire::Sse, 13, &named)
}

/// Returns the `type` of an event, which is its name too.
fn kind(data: &str) -> String {
    let json: serde_json::Value = serde_json::from_str(data).unwrap();
    json["type"].as_str().unwrap().to_owned()
}

fn anthropic() -> Sample {
    let events = [
        r#"{"type":"message_start","message":{"id":"m","model":"c","role":"assistant","content":[],"usage":{"input_tokens":5,"cache_read_input_tokens":2,"output_tokens":1}}}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"s"}}"#,
        r#"{"type":"content_block_stop","index":0}"#,
        r#"{"type":"ping"}"#,
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"é"}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"citations_delta","citation":{"type":"char_location","cited_text":"x","start_char_index":0,"end_char_index":1}}}"#,
        r#"{"type":"content_block_stop","index":1}"#,
        r#"{"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"t","name":"f","input":{}}}"#,
        r#"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\"a\":1}"}}"#,
        r#"{"type":"content_block_stop","index":2}"#,
        r#"{"type":"content_block_start","index":3,"content_block":{"type":"web_search_tool_result","content":[]}}"#,
        r#"{"type":"content_block_stop","index":3}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":9}}"#,
        r#"{"type":"message_stop"}"#,
    ];
    let named: Vec<(String, &str)> = events.iter().map(|data| (kind(data), *data)).collect();
    let named: Vec<(&str, &str)> = named.iter().map(|(name, data)| (name.as_str(), *data)).collect();
    Sample::new(Wire::Sse, 17, &named)
}

fn gemini(wire: Wire) -> Sample {
    // A list must be closed.
    let whole_after = if wire == Wire::Array { usize::MAX } else { 6 };
    Sample::new(
        wire,
        whole_after,
        &[
            (
                "",
                r#"{"responseId":"r","modelVersion":"models/m","candidates":[{"content":{"role":"model","parts":[{"text":"hm","thought":true},{"text":"é"}]},"index":0}]}"#,
            ),
            (
                "",
                r#"{"candidates":[{"content":{"parts":[{"text":"b","thoughtSignature":"s"}]},"index":0,"citationMetadata":{"citations":[{"startIndex":0,"endIndex":1,"uri":"u"}]}}]}"#,
            ),
            (
                "",
                r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","partialArgs":[{"jsonPath":"$.a","stringValue":"x"}],"willContinue":true}}]},"index":0}]}"#,
            ),
            (
                "",
                r#"{"candidates":[{"content":{"parts":[{"functionCall":{}},{"functionCall":{"name":"g","args":{"b":1}}},{"inlineData":{"mimeType":"audio/wav","data":"AAAA"}}]},"index":0}]}"#,
            ),
            (
                "",
                r#"{"candidates":[{"content":{"parts":[{"executableCode":{"code":"c","language":"PYTHON"}},{"codeExecutionResult":{"outcome":"OUTCOME_OK","output":"o"}}]},"index":0,"logprobsResult":{"chosenCandidates":[{"token":"a","logProbability":-1}],"topCandidates":[]}}]}"#,
            ),
            (
                "",
                r#"{"candidates":[{"content":{"parts":[{"text":""}]},"finishReason":"STOP","index":0,"groundingMetadata":{"webSearchQueries":["q"],"groundingChunks":[{"web":{"uri":"u","title":"t"}}],"groundingSupports":[{"segment":{"startIndex":0,"endIndex":2},"groundingChunkIndices":[0]}]}}],"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":4,"thoughtsTokenCount":5,"totalTokenCount":12}}"#,
            ),
        ],
    )
}

fn bedrock() -> Sample {
    Sample::new(
        Wire::Messages,
        11,
        &[
            ("messageStart", r#"{"role":"assistant","p":"ab"}"#),
            ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"reasoningContent":{"text":"hm"}}}"#),
            (
                "contentBlockDelta",
                r#"{"contentBlockIndex":0,"delta":{"reasoningContent":{"signature":"s"}}}"#,
            ),
            ("contentBlockStop", r#"{"contentBlockIndex":0}"#),
            ("contentBlockDelta", r#"{"contentBlockIndex":1,"delta":{"text":"é"}}"#),
            (
                "contentBlockDelta",
                r#"{"contentBlockIndex":1,"delta":{"citation":{"title":"t","source":"s","location":{"web":{"url":"u"}}}}}"#,
            ),
            ("contentBlockStop", r#"{"contentBlockIndex":1}"#),
            (
                "contentBlockStart",
                r#"{"contentBlockIndex":2,"start":{"toolUse":{"toolUseId":"t","name":"f"}}}"#,
            ),
            ("contentBlockDelta", r#"{"contentBlockIndex":2,"delta":{"toolUse":{"input":"{\"a\":1}"}}}"#),
            ("contentBlockStop", r#"{"contentBlockIndex":2}"#),
            ("messageStop", r#"{"stopReason":"tool_use","additionalModelResponseFields":{"x":1}}"#),
            (
                "metadata",
                r#"{"usage":{"inputTokens":3,"outputTokens":4,"totalTokens":7},"metrics":{"latencyMs":1},"trace":{"a":1}}"#,
            ),
        ],
    )
}

fn cohere() -> Sample {
    Sample::new(
        Wire::Sse,
        10,
        &[
            (
                "message-start",
                r#"{"type":"message-start","id":"i","delta":{"message":{"role":"assistant"}}}"#,
            ),
            ("tool-plan-delta", r#"{"type":"tool-plan-delta","delta":{"message":{"tool_plan":"hm"}}}"#),
            (
                "content-start",
                r#"{"type":"content-start","index":0,"delta":{"message":{"content":{"type":"text","text":""}}}}"#,
            ),
            (
                "content-delta",
                r#"{"type":"content-delta","index":0,"delta":{"message":{"content":{"text":"é"}}},"logprobs":{"text":"é","logprobs":[-0.5]}}"#,
            ),
            (
                "citation-start",
                r#"{"type":"citation-start","index":0,"delta":{"message":{"citations":{"start":0,"end":1,"text":"é","sources":[{"type":"document","id":"d","document":{"title":"t"}}]}}}}"#,
            ),
            ("content-end", r#"{"type":"content-end","index":0}"#),
            (
                "tool-call-start",
                r#"{"type":"tool-call-start","index":0,"delta":{"message":{"tool_calls":{"id":"t","type":"function","function":{"name":"f","arguments":""}}}}}"#,
            ),
            (
                "tool-call-delta",
                r#"{"type":"tool-call-delta","index":0,"delta":{"message":{"tool_calls":{"function":{"arguments":"{}"}}}}}"#,
            ),
            ("tool-call-end", r#"{"type":"tool-call-end","index":0}"#),
            (
                "message-end",
                r#"{"type":"message-end","delta":{"finish_reason":"TOOL_CALL","usage":{"billed_units":{"input_tokens":1,"output_tokens":2},"tokens":{"input_tokens":3,"output_tokens":4}}}}"#,
            ),
        ],
    )
}

fn ollama() -> Sample {
    Sample::new(
        Wire::Lines,
        3,
        &[
            ("", r#"{"model":"m","message":{"content":"é"},"done":false}"#),
            ("", r#"{"model":"m","message":{"content":"b"},"done":false}"#),
            ("", r#"{"model":"m","done":true,"prompt_eval_count":3,"eval_count":4}"#),
        ],
    )
}
