//! Three views of the same calls put together: what callers saw, what the provider booked, what the gateway recorded.
//! The rules are those of RELIABILITY §3 (I1, I2, I4, I7).

use std::{collections::HashMap, path::Path};

use serde_json::Value;

use super::{
    books::{Line, OnCancel},
    callers::{End, Saw},
    faces::Face,
};

/// What the rules found wrong, in words. Empty is right.
pub fn compare(saw: &[Saw], books: &[Line], records: &[Value]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut by_case: HashMap<&str, Vec<&Value>> = HashMap::new();
    for record in records {
        by_case.entry(record["tags"]["case"].as_str().unwrap_or_default()).or_default().push(record);
    }
    for saw in saw {
        let case = saw.ask.case.as_str();
        let lines: Vec<_> = books.iter().filter(|line| line.case == case).collect();
        match by_case.remove(case).as_deref() {
            // A gRPC client that gives up at its deadline may do so before the call has left it.
            None if saw.end == End::Left && saw.ask.timeout.is_some() && lines.is_empty() => {}
            None => wrong.push(format!("{case}: no record; the caller saw {:?}", saw.end)),
            Some([record]) => {
                let found = one(saw, &lines, record);
                wrong.extend(
                    found
                        .into_iter()
                        .map(|what| format!("{case}: {what}; saw {saw:?}; booked {lines:?}; {record}")),
                );
            }
            Some(many) => wrong.push(format!("{case}: {} records", many.len())),
        }
    }
    wrong.extend(by_case.keys().map(|case| format!("{case:?}: a record of a call that nobody made")));
    wrong
}

/// A count of a record; absent is nothing.
pub fn count(usage: &Value, name: &str) -> Option<i64> {
    usage[name].as_str().map(|count| count.parse().unwrap())
}

fn one(saw: &Saw, lines: &[&Line], record: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut rule = |holds: bool, what: &str| {
        if !holds {
            wrong.push(what.to_owned());
        }
    };
    let attempts = record["attempts"].as_array().map_or(0, Vec::len);
    rule(attempts >= lines.len(), "I1: the provider began more attempts than the record has");
    let ok = record["status"] == "OK";
    rule(saw.end != End::Ok || ok, "I4: success without an OK record");
    rule(!matches!(saw.end, End::Refused(..) | End::Interrupted(_)) || !ok, "an OK record of a failure");
    rule(!matches!(saw.end, End::Broken(_)), "the answer just stopped");
    rule(!saw.text.contains('\u{fffd}'), "a replacement character");
    // With more than one attempt that is billed, each has its own counts; the last one is whose answer the caller saw.
    let last = &record["attempts"][attempts.saturating_sub(1)];
    let apart = last["output_tokens"].is_string();
    let usage = if apart { last } else { &record["usage"] };
    let told = if apart { last["estimated"] == false } else { usage["source"] == "SOURCE_PROVIDER" };
    let flagged = apart || usage["source"] == "SOURCE_ESTIMATED" || told;
    let output = count(usage, "output_tokens").unwrap_or(0);
    let input = count(usage, "input_tokens").unwrap_or(0);
    let Some(line) = lines.iter().rev().find(|line| !line.refused && line.generated > 0) else {
        // Anthropic's dialect tells a first token before there is one.
        let told_ahead = lines.iter().any(|line| line.face == Face::Anthropic);
        rule(output <= i64::from(told_ahead) || lines.is_empty(), "I2: tokens of an answer that never began");
        return wrong;
    };
    if usage.is_null() && saw.tokens() == 0 {
        // Nothing came through of what was sent, so nothing could be counted.
        return wrong;
    }
    let billed = line.billed(OnCancel::Generated);
    if told && ok {
        rule((input, output) == (billed.input, billed.output), "I2: told tokens differ from those billed");
    } else {
        let got = i64::try_from(saw.tokens()).unwrap();
        rule(flagged, "I2: neither told nor estimated");
        let delivered = if saw.ask.streamed { got } else { 0 };
        rule(output >= delivered, "I2: fewer tokens than the caller has");
        // A whole answer is estimated by its length, a stream by its pieces.
        rule(output <= line.generated || !saw.ask.streamed, "I2: more tokens than were generated");
    }
    rule(
        !(line.whole && line.told && saw.end == End::Ok) || told,
        "I2: usage was told and delivered, and is estimated",
    );
    wrong
}

/// What the rules found wrong after a crash, in words. Of each call there is one record at most: of each that the caller
/// was told to be over, of each that the provider was asked for, and perhaps of one that was just about to be.
pub fn survived(saw: &[Saw], books: &[Line], records: &[Value]) -> Vec<String> {
    let mut wrong = Vec::new();
    for saw in saw {
        let case = saw.ask.case.as_str();
        let line = books.iter().find(|line| line.case == case);
        let mine: Vec<_> = records.iter().filter(|record| record["tags"]["case"] == case).collect();
        let mut rule = |holds: bool, what: &str| {
            if !holds {
                wrong.push(format!("{case}: {what}; saw {saw:?}; booked {line:?}; {mine:?}"));
            }
        };
        rule(mine.len() <= 1, "several records");
        let Some(record) = mine.first() else {
            rule(saw.end != End::Ok, "I4: success without a record");
            rule(line.is_none(), "I1: the provider was asked, and there is no record");
            continue;
        };
        let recovered = record["recovered"] == true;
        rule(
            saw.end != End::Ok || !recovered && record["status"] == "OK",
            "I4: success without an OK record",
        );
        rule(
            !recovered || record["error_reason"] == "STREAM_INTERRUPTED",
            "a recovered record that says otherwise",
        );
        let output = count(&record["usage"], "output_tokens").unwrap_or(0);
        let Some(line) = line else {
            rule(output == 0, "I2: tokens of a call that nobody was asked for");
            continue;
        };
        if record["status"] == "OK" && line.told {
            let billed = line.billed(OnCancel::Generated);
            let input = count(&record["usage"], "input_tokens").unwrap_or(0);
            rule(
                (input, output) == (billed.input, billed.output),
                "I2: told tokens differ from those billed",
            );
        } else {
            rule(
                record["usage"]["source"] != "SOURCE_PROVIDER" || line.told,
                "I2: neither told nor estimated",
            );
            rule(output <= line.generated.max(1), "I2: more tokens than were generated");
        }
    }
    wrong
}

/// Sockets and files that a process has open (I7).
pub fn open_files(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// Resident memory of a process, in bytes.
pub fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}
