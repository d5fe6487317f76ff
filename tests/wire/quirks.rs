//! Where each quirk that real traffic shows is tested. A quirk that nobody claims is a failure.
//!
//! A unit test claims a quirk by its name (`sse-crlf` by a test that has `sse_crlf` in its own); the sources are searched
//! for it. What the comparisons of this run would catch is listed here, and so are tests of other names, which must exist.

use std::{collections::BTreeSet, path::Path};

use crate::exchange::Exchange;

/// What a run compares, and the quirks that fail it if they are mishandled.
const COMPARED: [(&str, &[&str]); 8] = [
    ("recorded bytes reach the caller of the same dialect", &["sse-id-lines", "ndjson", "br-invoke-chunk"]),
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
            "multi-choice-stream",
            "co-event-types",
        ],
    ),
    ("a failure inside a success fails", &["error-in-200-stream", "gr-stream-error"]),
    (
        "counts, on every surface and in the record",
        &[
            "usage-chunk-empty-choices",
            "usage-null-each-chunk",
            "usage-with-finish-chunk",
            "usage-every-chunk",
            "usage-details-null",
            "usage-counts-null",
            "usage-total-not-sum",
            "cached-tokens",
            "oa-cache-write",
            "reasoning-outside-completion",
            "gr-usage-times",
            "ol-native",
            "br-invoke-metrics",
        ],
    ),
    (
        "tool calls, by name and arguments",
        &[
            "tool-args-fragmented",
            "tool-args-whole",
            "tool-calls-empty-list",
            "tool-content-null",
            "tool-content-missing",
            "legacy-function-call",
            "br-parallel-tools",
            "ge-parallel-tools",
        ],
    ),
    (
        "text, thoughts and refusals",
        &["reasoning-content", "reasoning-field", "content-parts-array", "oa-refusal-null", "gr-channel"],
    ),
    ("why an answer ended", &["tool-calls-finish-stop"]),
];

/// Returns the quirks of the folder that nobody claims.
pub fn unclaimed(exchanges: &[Exchange]) -> Vec<String> {
    let seen: BTreeSet<&String> = exchanges.iter().flat_map(|exchange| &exchange.quirks).collect();
    let compared = |quirk: &str| COMPARED.iter().any(|(_, quirks)| quirks.contains(&quirk));
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
