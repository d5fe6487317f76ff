//! Every reader against arbitrary bytes, mutated answers, every slicing and every cut.

use std::collections::BTreeSet;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{
    Makes, Reader,
    check::{check, gist},
    family, readers, samples,
    samples::{Sample, Wire},
};
use crate::provider::registry;

const LINE_ENDS: [&str; 3] = ["\n", "\r\n", "\r"];

#[test]
fn every_registered_dialect_has_a_reader_and_every_reader_a_dialect() {
    let claimed: BTreeSet<&str> = readers().flat_map(|reader| reader.dialects.iter().copied()).collect();
    // What is built in reads no answer.
    let registered: BTreeSet<&str> =
        registry::dialects().filter(|dialect| *dialect != registry::ECHO).map(family).collect();
    assert_eq!(claimed, registered);
    for dialect in registered {
        let of = |makes: fn(Makes) -> bool| {
            readers().any(|reader| reader.dialects.contains(&dialect) && makes(reader.makes))
        };
        assert!(of(|makes| makes == Makes::Events), "{dialect} has no reader of streams");
    }
    let names: BTreeSet<&str> = readers().map(|reader| reader.name).collect();
    assert_eq!(names.len(), readers().count());
}

/// Reads a body whole, cut at these places, and at every byte; says what is wrong.
fn tried(reader: &Reader, body: &Bytes, cuts: &[usize]) -> Result<(), String> {
    let told = reader.read_cut(body, &[]);
    check(reader, body, &told).map_err(|why| format!("{}: {why}\n{}", reader.name, body.escape_ascii()))?;
    let every: Vec<usize> = (0..body.len()).collect();
    let every = if body.len() <= 8192 { &every[..] } else { &[] };
    for cuts in [cuts, every] {
        let sliced = reader.read_cut(body, cuts);
        check(reader, body, &sliced).map_err(|why| format!("{} sliced: {why}", reader.name))?;
        let (whole, sliced) = (gist(&told), gist(&sliced));
        if whole != sliced {
            return Err(format!(
                "{}: slicing changes the answer\n{}\n--- whole\n{whole}\n--- sliced\n{sliced}",
                reader.name,
                body.escape_ascii()
            ));
        }
    }
    Ok(())
}

#[test]
fn a_valid_answer_is_complete_however_it_is_sliced_and_cut_anywhere_it_is_not() {
    for reader in readers() {
        for sample in samples::of(reader.name) {
            for end in LINE_ENDS.iter().take(if sample.wire == Wire::Sse { 3 } else { 1 }) {
                let body = sample.body(end);
                tried(reader, &body, &[7, 100]).unwrap();
                assert!(reader.read_cut(&body, &[]).iter().all(Result::is_ok), "{}", reader.name);
                let whole = sample.begun(sample.whole_after, end).len();
                // An event that lacks its blank line is whole.
                let whole = if sample.whole_after == usize::MAX { body.len() } else { whole };
                let least = whole - if sample.wire == Wire::Messages { 0 } else { 2 * end.len() };
                for cut in 0..body.len() {
                    let cut_body = body.slice(..cut);
                    let told = reader.read_cut(&cut_body, &[]);
                    check(reader, &cut_body, &told).unwrap();
                    let complete = told.iter().all(Result::is_ok);
                    assert!(!complete || cut >= least, "{} is complete at {cut} of {whole}", reader.name);
                }
            }
        }
    }
}

/// Values that nobody expects.
fn odd_values() -> Vec<Value> {
    let deep = (0..100).fold(json!(1), |inner, _| json!([inner]));
    vec![
        Value::Null,
        json!(true),
        json!(-1),
        json!(0),
        json!(127),
        json!(128),
        json!(i64::MAX),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(1e300),
        json!(0.5),
        json!(""),
        json!("x"),
        json!("é\u{0}\u{2028}\\\""),
        json!("[DONE]"),
        json!("error"),
        json!("y".repeat(5000)),
        json!([]),
        json!([null]),
        json!([{}]),
        json!({}),
        json!({"": {}}),
        json!({"type": "text", "text": "t", "index": -3}),
        deep,
    ]
}

/// Lists the paths of all values in it.
fn paths(json: &Value, path: &str, out: &mut Vec<String>) {
    out.push(path.to_owned());
    match json {
        Value::Object(members) => {
            members.iter().for_each(|(name, inner)| paths(inner, &format!("{path}/{name}"), out));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, inner)| paths(inner, &format!("{path}/{at}"), out));
        }
        _ => {}
    }
}

/// What is done to an answer: what, where, with what.
type Change = (u8, usize, usize);

fn change(sample: &mut Sample, (what, place, with): Change) {
    let count = sample.events.len();
    if count == 0 {
        return;
    }
    let at = place % count;
    match what % 10 {
        0 => drop(sample.events.remove(at)),
        1 => sample.events.insert(with % count, sample.events[at].clone()),
        2 => sample.events.swap(at, with % count),
        3 => sample.events[at].0 = sample.events[with % count].0.clone(),
        4 => sample.events[at].0 = "error".to_owned(),
        5 => {
            sample.events[at].1 =
                ["", "[DONE]", "null", "7", "{", "\"\\ud800\"", "{\"a\":"][with % 7].to_owned()
        }
        _ => {
            let Ok(mut json) = serde_json::from_str::<Value>(&sample.events[at].1) else { return };
            alter(&mut json, what, place / count, with);
            sample.events[at].1 = json.to_string();
        }
    }
}

/// Puts an odd value, or one of the same answer, into some place; or takes a member away.
fn alter(json: &mut Value, what: u8, place: usize, with: usize) {
    let mut all = Vec::new();
    paths(json, "", &mut all);
    let path = &all[place % all.len()];
    let odd = odd_values();
    let value = match what % 10 {
        6 => json.pointer(&all[with % all.len()]).cloned().unwrap_or_default(),
        _ => odd[with % odd.len()].clone(),
    };
    let Some(slot) = json.pointer_mut(path) else { return };
    match (what % 10, slot) {
        (9, Value::Object(members)) => {
            let kept: Map<String, Value> =
                members.iter().skip(1).map(|(k, v)| (k.clone(), v.clone())).collect();
            *members = kept;
        }
        (8, Value::Array(items)) => items.push(value),
        (_, slot) => *slot = value,
    }
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    prop::collection::vec((any::<u8>(), 0..1000_usize, 0..1000_usize), 0..6)
}

/// Bytes to put into a body: `(place, which)`.
fn spoiled(body: Bytes, spots: &[(usize, usize)]) -> Bytes {
    const BYTES: [&[u8]; 12] = [
        b"\xff",
        b"\0",
        b"\r",
        b"\n",
        b"\r\n",
        b"\n\n",
        b"\xef\xbb\xbf",
        b"\xf0\x9f",
        b"\\",
        b"\"",
        b"data: ",
        b": x\n",
    ];
    let mut body = body.to_vec();
    for (place, which) in spots {
        let at = place % (body.len() + 1);
        body.splice(at..at, BYTES[which % BYTES.len()].iter().copied());
    }
    body.into()
}

/// Pieces of every wire's syntax, and bytes that belong to none.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        &b"data: "[..],
        b"event: error\n",
        b"\n\n",
        b"\r",
        b"\n",
        b"[DONE]",
        b"[",
        b"]",
        b"{",
        b"}",
        b",",
        b"\"",
        b"{\"choices\":[{\"index\":-1,\"delta\":{\"content\":\"a\"}}]}",
        b"{\"type\":\"message_stop\"}",
        b"{\"candidates\":[{\"finishReason\":\"STOP\"}]}",
        b"{\"error\":{\"message\":\"m\"}}",
        b"\xff\xfe",
        b"\0",
        b"<html>",
        b"\0\0\0\x10\0\0\0\0\x05\xc2\x48\xeb\x7d\x98\xc8\xff",
        b" ",
        b"\xef\xbb\xbf",
    ]);
    let arbitrary = prop::collection::vec(any::<u8>(), 0..8);
    let some = prop_oneof![4 => piece.prop_map(<[u8]>::to_vec), 1 => arbitrary];
    prop::collection::vec(some, 0..16).prop_map(|pieces| pieces.concat())
}

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0..20_000_usize, 0..6)
}

/// `PROPTEST_CASES` asks for longer runs.
fn config() -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig { cases: asked.unwrap_or(24), failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn arbitrary_bytes_make_no_reader_panic_or_break_a_rule(body in noise(), cuts in cuts()) {
        let body = Bytes::from(body);
        for reader in readers() {
            tried(reader, &body, &cuts).map_err(TestCaseError::fail)?;
        }
    }

    #[test]
    fn mutated_answers_make_no_reader_panic_or_break_a_rule(
        changes in changes(),
        spots in prop::collection::vec((0..20_000_usize, 0..100_usize), 0..2),
        end in prop::sample::select(LINE_ENDS.to_vec()),
        cuts in cuts(),
    ) {
        for reader in readers() {
            for mut sample in samples::of(reader.name) {
                changes.iter().for_each(|one| change(&mut sample, *one));
                tried(reader, &spoiled(sample.body(end), &spots), &cuts).map_err(TestCaseError::fail)?;
            }
        }
    }
}
