//! What callers of Anthropic Messages can ask for.

use super::features::{Feature, ask};

pub(super) const MESSAGES: &[Feature] = &[
    ask("system", r#"{"system":[{"type":"text","text":"MARK"}]}"#, &["MARK"]),
    ask(
        "cache mark",
        r#"{"system":[{"type":"text","text":"x","cache_control":{"type":"ephemeral","ttl":"1h"}}]}"#,
        &["1h"],
    ),
    ask(
        "image by address",
        r#"{"messages":[{"role":"user","content":[{"type":"image","source":{"type":"url","url":"https://x.test/MARK.png"}}]}]}"#,
        &["MARK"],
    ),
    ask(
        "document text",
        r#"{"messages":[{"role":"user","content":[{"type":"document","title":"t","source":{"type":"text","media_type":"text/plain","data":"MARK"}}]}]}"#,
        &["MARK", "TUFSSw=="],
    ),
    ask(
        "document title",
        r#"{"messages":[{"role":"user","content":[{"type":"document","title":"MARK","source":{"type":"base64","media_type":"application/pdf","data":"eA=="}}]}]}"#,
        &["MARK"],
    ),
    ask(
        "title of blocks",
        r#"{"messages":[{"role":"user","content":[{"type":"document","title":"MARK","source":{"type":"content","content":[{"type":"text","text":"x"}]}}]}]}"#,
        &["MARK"],
    ),
    ask(
        "document context",
        r#"{"messages":[{"role":"user","content":[{"type":"document","context":"MARK","source":{"type":"base64","media_type":"application/pdf","data":"eA=="}}]}]}"#,
        &["MARK"],
    ),
    ask(
        "document citations",
        r#"{"messages":[{"role":"user","content":[{"type":"document","citations":{"enabled":true},"source":{"type":"base64","media_type":"application/pdf","data":"eA=="}}]}]}"#,
        &["citations"],
    ),
    ask(
        "unknown block",
        r#"{"messages":[{"role":"user","content":[{"type":"text","text":"hi"},{"type":"smell","smell":"MARK"}]}]}"#,
        &["MARK"],
    ),
    ask(
        "thinking sent back",
        r#"{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"MARK"},{"type":"text","text":"yes"}]},{"role":"user","content":"go"}]}"#,
        &["MARK"],
    ),
    ask(
        "redacted thinking",
        r#"{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":[{"type":"redacted_thinking","data":"MARK"},{"type":"text","text":"yes"}]},{"role":"user","content":"go"}]}"#,
        &["MARK", "TUFSSw=="],
    ),
    ask(
        "failed result",
        r#"{"tools":[{"name":"f","input_schema":{"type":"object"}}],"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":[{"type":"tool_use","id":"callaaaa1","name":"f","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"callaaaa1","is_error":true,"content":"no"}]}]}"#,
        &["is_error", r#""status":"error""#, r#""error":"#, "rror: "],
    ),
    ask(
        "result with an image",
        r#"{"tools":[{"name":"f","input_schema":{"type":"object"}}],"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":[{"type":"tool_use","id":"callaaaa1","name":"f","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"callaaaa1","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"TUFSSw=="}}]}]}]}"#,
        &["TUFSSw=="],
    ),
    ask(
        "caller of a call",
        r#"{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":[{"type":"tool_use","id":"callaaaa1","name":"f","input":{},"caller":{"type":"MARK"}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"callaaaa1","content":"x"}]}]}"#,
        &["MARK"],
    ),
    ask(
        "unknown member of a tool",
        r#"{"tools":[{"name":"f","input_schema":{"type":"object"},"defer_loading":true}]}"#,
        &["defer_loading"],
    ),
    ask(
        "upstream tool",
        r#"{"tools":[{"type":"web_search_20250305","name":"web_search","max_uses":4242}]}"#,
        &["4242"],
    ),
    ask(
        "tool choice any",
        r#"{"tools":[{"name":"f","input_schema":{"type":"object"}}],"tool_choice":{"type":"any"}}"#,
        &["required", r#""any""#, "ANY", "REQUIRED"],
    ),
    ask(
        "no parallel calls",
        r#"{"tools":[{"name":"f","input_schema":{"type":"object"}}],"tool_choice":{"type":"auto","disable_parallel_tool_use":true}}"#,
        &[r#""parallel_tool_calls":false"#, r#""disable_parallel_tool_use":true"#],
    ),
    ask(
        "thinking budget",
        r#"{"max_tokens":9000,"thinking":{"type":"enabled","budget_tokens":4242}}"#,
        &["4242"],
    ),
    ask(
        "thinking disabled",
        r#"{"thinking":{"type":"disabled"}}"#,
        &[r#""none""#, r#""disabled""#, r#""thinkingBudget":0"#, r#""thinkingBudget":128"#],
    ),
    ask("effort", r#"{"output_config":{"effort":"low"}}"#, &[r#""low""#, "LOW", "budget", "thinkingBudget"]),
    ask("top_k", r#"{"top_k":4242}"#, &["4242"]),
    ask("user", r#"{"metadata":{"user_id":"MARK"}}"#, &["MARK"]),
    ask("service tier", r#"{"service_tier":"standard_only"}"#, &["standard_only"]),
    ask("mcp servers", r#"{"mcp_servers":[{"type":"url","url":"MARK"}]}"#, &["MARK"]),
    ask(
        "json schema",
        r#"{"output_config":{"format":{"type":"json_schema","schema":{"type":"object","properties":{"MARK":{"type":"string"}}}}}}"#,
        &["MARK"],
    ),
];
