//! What callers of Chat Completions can ask for.

use super::features::{Feature, ask};

pub(super) const CHAT: &[Feature] = &[
    ask("text", r#"{"messages":[{"role":"user","content":"MARK"}]}"#, &["MARK"]),
    ask(
        "system",
        r#"{"messages":[{"role":"system","content":"MARK"},{"role":"user","content":"hi"}]}"#,
        &["MARK"],
    ),
    ask(
        "late developer",
        r#"{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"yes"},{"role":"developer","content":"MARK"},{"role":"user","content":"go"}]}"#,
        &["MARK"],
    ),
    ask(
        "image by address",
        r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://x.test/MARK.png"}}]}]}"#,
        &["MARK"],
    ),
    ask(
        "image bytes",
        r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,TUFSSw=="}}]}]}"#,
        &["TUFSSw=="],
    ),
    ask(
        "image detail",
        r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,TUFSSw==","detail":"high"}}]}]}"#,
        &["high", "HIGH"],
    ),
    ask(
        "sound",
        r#"{"messages":[{"role":"user","content":[{"type":"input_audio","input_audio":{"data":"TUFSSw==","format":"wav"}}]}]}"#,
        &["TUFSSw=="],
    ),
    ask(
        "video by address",
        r#"{"messages":[{"role":"user","content":[{"type":"video_url","video_url":{"url":"https://x.test/MARK.mp4"}}]}]}"#,
        &["MARK"],
    ),
    ask(
        "pdf bytes",
        r#"{"messages":[{"role":"user","content":[{"type":"file","file":{"filename":"a.pdf","file_data":"data:application/pdf;base64,TUFSSw=="}}]}]}"#,
        &["TUFSSw=="],
    ),
    ask(
        "file id",
        r#"{"messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"MARK"}}]}]}"#,
        &["MARK"],
    ),
    ask(
        "unknown part",
        r#"{"messages":[{"role":"user","content":[{"type":"text","text":"hi"},{"type":"smell","smell":"MARK"}]}]}"#,
        &["MARK"],
    ),
    ask(
        "unknown member of a part",
        r#"{"messages":[{"role":"user","content":[{"type":"text","text":"hi","brand_new":"MARK"}]}]}"#,
        &["MARK"],
    ),
    ask(
        "cache mark",
        r#"{"messages":[{"role":"user","content":[{"type":"text","text":"hi","cache_control":{"type":"ephemeral","ttl":"1h"}}]}]}"#,
        &["1h"],
    ),
    ask(
        "cache mark of a tool",
        r#"{"tools":[{"type":"function","function":{"name":"f","cache_control":{"type":"ephemeral","ttl":"1h"}}}]}"#,
        &["1h"],
    ),
    ask("name", r#"{"messages":[{"role":"user","name":"MARK","content":"hi"}]}"#, &["MARK"]),
    ask(
        "tool",
        r#"{"tools":[{"type":"function","function":{"name":"f","description":"MARK","parameters":{"type":"object","properties":{}}}}]}"#,
        &["MARK"],
    ),
    ask(
        "strict tool",
        r#"{"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{}},"strict":true}}]}"#,
        &[r#""strict":true"#, "strict_tools", "VALIDATED"],
    ),
    ask(
        "unknown member of a tool",
        r#"{"tools":[{"type":"function","function":{"name":"f","brand_new":"MARK"}}]}"#,
        &["MARK"],
    ),
    ask("legacy function", r#"{"functions":[{"name":"MARK"}],"function_call":{"name":"MARK"}}"#, &["MARK"]),
    ask("custom tool", r#"{"tools":[{"type":"custom","custom":{"name":"MARK"}}]}"#, &["MARK"]),
    ask("upstream tool", r#"{"tools":[{"type":"MARK"}]}"#, &["MARK"]),
    ask(
        "tool choice none",
        r#"{"tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":"none"}"#,
        &[r#""none""#, r#""NONE""#, r#"!"f""#],
    ),
    ask(
        "tool choice required",
        r#"{"tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":"required"}"#,
        &["required", r#""any""#, "ANY", "REQUIRED"],
    ),
    ask(
        "tool choice by name",
        r#"{"tools":[{"type":"function","function":{"name":"f"}},{"type":"function","function":{"name":"g"}}],"tool_choice":{"type":"function","function":{"name":"f"}}}"#,
        &[
            r#"{"type":"function","function":{"name":"f"}}"#,
            r#"{"type":"function","name":"f"}"#,
            r#"{"type":"tool","name":"f"}"#,
            r#"["f"]"#,
            r#"{"tool":{"name":"f"}}"#,
            "REQUIRED",
        ],
    ),
    ask(
        "allowed tools",
        r#"{"tools":[{"type":"function","function":{"name":"f"}},{"type":"function","function":{"name":"GONE"}}],"tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[{"type":"function","function":{"name":"f"}}]}}}"#,
        &["allowed_tools", r#""name":"f""#],
    ),
    ask(
        "no parallel calls",
        r#"{"tools":[{"type":"function","function":{"name":"f"}}],"parallel_tool_calls":false}"#,
        &[r#""parallel_tool_calls":false"#, r#""disable_parallel_tool_use":true"#],
    ),
    ask(
        "calls and results",
        r#"{"tools":[{"type":"function","function":{"name":"f"}}],"messages":[{"role":"user","content":"hi"},{"role":"assistant","tool_calls":[{"id":"callaaaa1","type":"function","function":{"name":"f","arguments":"{\"q\":\"MARK\"}"}},{"id":"callaaaa2","type":"function","function":{"name":"f","arguments":""}}]},{"role":"tool","tool_call_id":"callaaaa1","content":"one"},{"role":"tool","tool_call_id":"callaaaa2","content":"two"}]}"#,
        &["MARK"],
    ),
    ask(
        "json schema",
        r#"{"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"object","properties":{"MARK":{"type":"string"}}}}}}"#,
        &["MARK"],
    ),
    ask("json mode", r#"{"response_format":{"type":"json_object"}}"#, &["json_object", "application/json"]),
    ask("effort", r#"{"reasoning_effort":"low"}"#, &[r#""low""#, "LOW", "budget", "thinkingBudget"]),
    ask(
        "no effort",
        r#"{"reasoning_effort":"none"}"#,
        &[r#""none""#, r#""disabled""#, r#""thinkingBudget":0"#],
    ),
    ask(
        "thought sent back",
        r#"{"messages":[{"role":"user","content":"hi"},{"role":"assistant","reasoning_content":"MARK","tool_calls":[{"id":"callaaaa1","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"callaaaa1","content":"one"}]}"#,
        &["MARK"],
    ),
    ask(
        "thought's details sent back",
        r#"{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"yes","reasoning_details":[{"type":"reasoning.text","text":"hm","signature":"MARK"}]},{"role":"user","content":"go"}]}"#,
        &["MARK"],
    ),
    ask(
        "refusal sent back",
        r#"{"messages":[{"role":"user","content":"hi"},{"role":"assistant","refusal":"MARK"},{"role":"user","content":"go"}]}"#,
        &["MARK"],
    ),
    ask(
        "spoken answer sent back",
        r#"{"messages":[{"role":"user","content":"hi"},{"role":"assistant","audio":{"id":"MARK"}},{"role":"user","content":"go"}]}"#,
        &["MARK"],
    ),
    ask("logprobs", r#"{"logprobs":true,"top_logprobs":3}"#, &["ogprobs"]),
    ask("stop", r#"{"stop":["MARK"]}"#, &["MARK"]),
    ask("n", r#"{"n":2}"#, &[r#""n":2"#, r#""candidateCount":2"#]),
    ask("temperature", r#"{"temperature":0.25}"#, &["0.25"]),
    ask("top_p", r#"{"top_p":0.25}"#, &["0.25"]),
    ask("seed", r#"{"seed":4242}"#, &["4242"]),
    ask("frequency penalty", r#"{"frequency_penalty":0.25}"#, &["0.25"]),
    ask("presence penalty", r#"{"presence_penalty":0.25}"#, &["0.25"]),
    ask("bias", r#"{"logit_bias":{"4242":1}}"#, &["4242"]),
    ask("max tokens", r#"{"max_completion_tokens":4242}"#, &["4242"]),
    ask("metadata", r#"{"metadata":{"k":"MARK"}}"#, &["MARK"]),
    ask("user", r#"{"user":"MARK"}"#, &["MARK"]),
    ask("service tier", r#"{"service_tier":"flex"}"#, &["flex"]),
    ask("store", r#"{"store":true}"#, &[r#""store":true"#]),
    ask("prediction", r#"{"prediction":{"type":"content","content":"MARK"}}"#, &["MARK"]),
    ask("verbosity", r#"{"verbosity":"low"}"#, &[r#""verbosity":"low""#]),
    ask("cache key", r#"{"prompt_cache_key":"MARK"}"#, &["MARK"]),
    ask(
        "spoken answer",
        r#"{"modalities":["text","audio"],"audio":{"voice":"MARK","format":"wav"}}"#,
        &["MARK"],
    ),
    ask("unknown member", r#"{"brand_new":"MARK"}"#, &["MARK"]),
];
