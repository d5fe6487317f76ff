//! Where each quirk that real traffic shows is tested. A quirk that nobody claims is a failure.
//!
//! A unit test claims a quirk by its name (`sse-crlf` by a test that has `sse_crlf` in its own); the sources are searched
//! for it. What the comparisons of this run would catch is listed here, and so are tests of other names, which must exist.

use std::{collections::BTreeSet, path::Path};

use crate::exchange::Exchange;

/// What a run compares, and the quirks that fail it if they are mishandled.
const COMPARED: [(&str, &[&str]); 9] = [
    (
        "recorded bytes reach the caller of the same dialect",
        &[
            "obfuscation",
            "stop-reason-int",
            "big-int",
            "sse-id-lines",
            "ndjson",
            "oa-moderation-inline",
            "oa-service-tier",
            "br-invoke-chunk",
        ],
    ),
    ("any cut gives the same answer", &["read-splits-event", "read-many-events", "utf8-multibyte"]),
    (
        "a stream is told whole and ends well",
        &[
            "sse-no-done",
            "sse-crlf",
            "sse-comment",
            "json-leading-space",
            "json-array-stream",
            "finish-missing",
            "finish-key-absent",
            "delta-no-role",
            "delta-role-repeated",
            "id-empty",
            "multi-choice-stream",
            "co-event-types",
        ],
    ),
    ("a failure inside a success fails", &["error-in-200-stream", "or-error-choice", "gr-stream-error"]),
    (
        "counts, on every surface and in the record",
        &[
            "usage-chunk-empty-choices",
            "usage-null-each-chunk",
            "usage-with-finish-chunk",
            "usage-every-chunk",
            "usage-absent",
            "usage-details-null",
            "usage-counts-null",
            "usage-total-not-sum",
            "cached-tokens",
            "oa-cache-write",
            "reasoning-not-in-completion",
            "reasoning-outside-completion",
            "gr-x-groq-usage",
            "gr-usage-times",
            "ds-cache-names",
            "mi-cached",
            "or-usage-final-choice",
            "ol-no-prompt-count",
            "ol-native",
            "br-invoke-metrics",
        ],
    ),
    (
        "tool calls, by name and arguments",
        &[
            "tool-args-fragmented",
            "tool-args-whole",
            "tool-frag-id-repeated",
            "tool-frag-no-index",
            "parallel-tool-stream",
            "tool-args-object",
            "tool-calls-empty-list",
            "tool-content-null",
            "tool-content-missing",
            "legacy-function-call",
            "oa-custom-tool",
            "br-parallel-tools",
            "ge-parallel-tools",
            "ge-tool-no-args",
            "co-null-args",
        ],
    ),
    (
        "text, thoughts and refusals",
        &[
            "reasoning-content",
            "reasoning-field",
            "content-parts-array",
            "oa-refusal-null",
            "gr-channel",
            "co-tool-plan",
            "co-thinking",
        ],
    ),
    ("why an answer ended", &["tool-calls-finish-stop", "finish-nonstandard", "co-finish"]),
    ("vectors, number by number", &["oa-embedding-base64"]),
];

/// Quirks of requests, and what of a run fails with them: the upstream sees the model where the dialect has it.
const ASKED: [&str; 1] = ["az-model-in-path"];

/// Returns the quirks of the folder that nobody claims.
pub fn unclaimed(exchanges: &[Exchange]) -> Vec<String> {
    let seen: BTreeSet<&String> = exchanges.iter().flat_map(|exchange| &exchange.quirks).collect();
    let compared =
        |quirk: &str| ASKED.contains(&quirk) || COMPARED.iter().any(|(_, quirks)| quirks.contains(&quirk));
    let mut names = Vec::new();
    names_of_tests(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")), &mut names);
    let tested = |quirk: &str| {
        let words = format!("_{}_", quirk.replace('-', "_"));
        names.iter().any(|name| name.contains(&words))
    };
    seen.into_iter().filter(|quirk| !compared(quirk) && !tested(quirk)).cloned().collect()
}

/// Collects the names of test functions, each between underscores.
fn names_of_tests(folder: &Path, names: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            names_of_tests(&path, names);
            continue;
        }
        let Ok(source) = std::fs::read_to_string(&path) else { continue };
        let mut is_test = false;
        for line in source.lines().map(str::trim) {
            match line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ") {
                Some(rest) if is_test => {
                    names.push(format!("_{}_", rest.split('(').next().unwrap_or_default()));
                    is_test = false;
                }
                Some(_) => is_test = false,
                None => is_test |= line == "#[test]" || line.starts_with("#[tokio::test"),
            }
        }
    }
}
