//! What callers of Responses can ask for.

use super::features::{Feature, ask};

pub(super) const RESPONSES: &[Feature] = &[
    ask("instructions", r#"{"instructions":"MARK"}"#, &["MARK"]),
    ask(
        "developer",
        r#"{"input":[{"role":"developer","content":"MARK"},{"role":"user","content":"hi"}]}"#,
        &["MARK"],
    ),
    ask(
        "image detail",
        r#"{"input":[{"role":"user","content":[{"type":"input_image","image_url":"data:image/png;base64,TUFSSw==","detail":"high"}]}]}"#,
        &["high", "HIGH"],
    ),
    ask(
        "image id",
        r#"{"input":[{"role":"user","content":[{"type":"input_image","file_id":"MARK"}]}]}"#,
        &["MARK"],
    ),
    ask(
        "pdf by address",
        r#"{"input":[{"role":"user","content":[{"type":"input_file","file_url":"https://x.test/MARK.pdf"}]}]}"#,
        &["MARK"],
    ),
    ask(
        "unknown part",
        r#"{"input":[{"role":"user","content":[{"type":"input_text","text":"hi"},{"type":"smell","smell":"MARK"}]}]}"#,
        &["MARK"],
    ),
    ask(
        "unknown item",
        r#"{"input":[{"role":"user","content":"hi"},{"type":"web_search_call","id":"MARK"},{"role":"user","content":"go"}]}"#,
        &["MARK"],
    ),
    ask(
        "unknown member of an item",
        r#"{"input":[{"role":"user","content":"hi","brand_new":"MARK"}]}"#,
        &["MARK"],
    ),
    ask(
        "result with an image",
        r#"{"input":[{"role":"user","content":"hi"},{"type":"function_call","call_id":"callaaaa1","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"callaaaa1","output":[{"type":"input_image","image_url":"data:image/png;base64,TUFSSw=="}]}]}"#,
        &["TUFSSw=="],
    ),
    ask(
        "reasoning sent back",
        r#"{"input":[{"role":"user","content":"hi"},{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"MARK"},{"role":"assistant","content":"yes"},{"role":"user","content":"go"}]}"#,
        &["MARK"],
    ),
    ask("effort", r#"{"reasoning":{"effort":"low"}}"#, &[r#""low""#, "LOW", "budget", "thinkingBudget"]),
    ask("summary", r#"{"reasoning":{"summary":"detailed"}}"#, &["detailed", "includeThoughts", "summarized"]),
    ask("unknown member of reasoning", r#"{"reasoning":{"brand_new":"MARK"}}"#, &["MARK"]),
    ask(
        "json schema",
        r#"{"text":{"format":{"type":"json_schema","name":"n","schema":{"type":"object","properties":{"MARK":{"type":"string"}}}}}}"#,
        &["MARK"],
    ),
    ask("verbosity", r#"{"text":{"verbosity":"low"}}"#, &[r#""verbosity":"low""#]),
    ask(
        "custom tool",
        r#"{"tools":[{"type":"custom","name":"MARK","format":{"type":"grammar","syntax":"lark","definition":"start: x"}}]}"#,
        &["MARK"],
    ),
    ask("upstream tool", r#"{"tools":[{"type":"MARK"}]}"#, &["MARK"]),
    ask("include", r#"{"include":["file_search_call.results"]}"#, &["file_search_call.results"]),
    ask("logprobs", r#"{"include":["message.output_text.logprobs"],"top_logprobs":3}"#, &["ogprobs"]),
    ask("truncation", r#"{"truncation":"auto"}"#, &[r#""truncation":"auto""#]),
    ask("max tool calls", r#"{"max_tool_calls":4242}"#, &["4242"]),
    ask("metadata", r#"{"metadata":{"k":"MARK"}}"#, &["MARK"]),
    ask("service tier", r#"{"service_tier":"flex"}"#, &["flex"]),
    ask("cache key", r#"{"prompt_cache_key":"MARK"}"#, &["MARK"]),
];
