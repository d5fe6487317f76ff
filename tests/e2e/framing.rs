//! How a stream's bytes arrive never changes what it says, and a stream that lacks its end is never a success
//! (U07, U08, U12 of RELIABILITY), in three dialects and on three surfaces.

use futures_util::{StreamExt as _, stream};
use serde_json::Value;

use crate::{
    records,
    support::{
        Gateway,
        books::{Ending, Score},
        callers::{Ask, End, Saw, Surface, call, call_all},
        dice::{Dice, seed},
        faces::{FACES, Face, Told, text},
        ledgers::{compare, count, resident},
        meter::Meter,
        proxy::{Fate, Fault, Lane, Proxy},
        upstream::{Seen, Step, Upstream, chunk, end, stream_head},
    },
    upstream_faults::{SURFACES, everywhere},
};

const TOKENS: usize = 2;

/// The number after this word in the prompt's case.
fn number(seen: &Seen, word: &str) -> usize {
    let body = String::from_utf8_lossy(&seen.body);
    let rest = body.split_once(word).map_or("", |(_, rest)| rest);
    rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
}

/// Makes the calls, some at a time.
async fn made(gateway: &Gateway, asks: Vec<Ask>) -> Vec<Saw> {
    let calls = stream::iter(asks).map(async |ask| call(gateway, &ask).await);
    calls.buffer_unordered(16).collect().await
}

fn record_of<'a>(records: &'a [Value], case: &str) -> &'a Value {
    let mut of_case = records.iter().filter(|record| record["tags"]["case"] == case);
    let record = of_case.next().unwrap_or_else(|| panic!("{case} has no record"));
    assert!(of_case.next().is_none(), "{case} has two records");
    record
}

/// Every event boundary and, by lot, places within events. The last is the whole.
fn cuts(face: Face, dice: &mut Dice) -> Vec<usize> {
    let mut cuts = vec![0];
    for event in face.events(TOKENS) {
        let at = cuts[cuts.len() - 1];
        let size = u64::try_from(event.len()).unwrap();
        let mut inside: Vec<_> =
            (0..2).map(|_| at + usize::try_from(dice.within(1..size - 2)).unwrap()).collect();
        inside.sort_unstable();
        inside.dedup();
        cuts.extend(inside);
        cuts.push(at + event.len());
    }
    cuts
}

#[tokio::test]
async fn u07_a_body_that_ends_in_order_before_its_dialects_end_is_never_a_success() {
    let upstream = Upstream::start(|seen| {
        let body = Face::of(&seen.path).events(TOKENS).concat();
        let body = &body.as_bytes()[..number(seen, "-cut")];
        match number(seen, "-way") {
            0 => vec![stream_head(), chunk(body), end()]
                .into_iter()
                .filter(|step| !is_empty_chunk(step))
                .collect(),
            way => {
                let length =
                    if way == 1 { String::new() } else { format!("content-length: {}\r\n", body.len()) };
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n{length}connection: close\r\n\r\n"
                );
                vec![Step::Send([head.as_bytes(), body].concat()), Step::Close]
            }
        }
    })
    .await;
    let gateway = Gateway::of_faces_once(&[upstream.addr], "");
    let mut dice = Dice::new(seed());
    let mut asks = Vec::new();
    for face in FACES {
        for cut in cuts(face, &mut dice) {
            for surface in SURFACES {
                for way in 0..3 {
                    let case = format!("{}-{surface:?}-cut{cut}-way{way}", face.name());
                    asks.push(Ask::new(surface, face.name(), case));
                }
            }
        }
    }
    let total = asks.len();
    let saw = made(&gateway, asks).await;
    let records = records(&gateway).await;
    assert_eq!((saw.len(), records.len(), upstream.seen().len()), (total, total, total));
    for saw in &saw {
        let record = record_of(&records, &saw.ask.case);
        let face = FACES.into_iter().find(|face| face.name() == saw.ask.model).unwrap();
        let cut = saw.ask.case.split_once("-cut").and_then(|(_, rest)| rest.split('-').next()?.parse().ok());
        let bytes = face.events(TOKENS).concat().len();
        if cut == Some(bytes) {
            assert_eq!((&saw.end, &saw.text), (&End::Ok, &text(TOKENS)), "{saw:?}");
            let told = (&record["status"], &record["usage"]["source"]);
            assert_eq!(told, (&"OK".into(), &"SOURCE_PROVIDER".into()));
            continue;
        }
        // Some vendors of OpenAI's dialect never send `[DONE]`: the answer is whole once its finish reason and its usage
        // are there, and in the same dialect it is passed on as it came.
        let as_it_came = saw.ask.surface == Surface::Chat && matches!(saw.end, End::Broken(_));
        if cut >= Some(settled(face)) && (saw.end == End::Ok || as_it_came) {
            let told = (&saw.text, &record["finish_reason"], &record["usage"]["source"]);
            assert_eq!(told, (&text(TOKENS), &"stop".into(), &"SOURCE_PROVIDER".into()), "{saw:?}");
            continue;
        }
        let told = if saw.pieces == 0 {
            matches!(saw.end, End::Refused(..))
        } else {
            matches!(saw.end, End::Interrupted(_))
        };
        assert!(told && text(TOKENS).starts_with(&saw.text), "{saw:?} {record}");
        assert!(record["status"] != "OK" && record["attempts"][0]["outcome"] != "ok", "{saw:?} {record}");
        let output = count(&record["usage"], "output_tokens").unwrap_or(0);
        // Anthropic's dialect tells a first token before there is one.
        let most = saw.tokens().max(usize::from(face == Face::Anthropic));
        assert!((saw.tokens()..=most).contains(&usize::try_from(output).unwrap()), "{saw:?} {record}");
    }
}

/// Where all of a stream has been told, if the dialect may end there.
fn settled(face: Face) -> usize {
    let events = face.events(TOKENS);
    let after = usize::from(face == Face::OpenAi);
    events[..events.len() - after].concat().len()
}

fn is_empty_chunk(step: &Step) -> bool {
    matches!(step, Step::Send(bytes) if bytes.starts_with(b"0\r\n\r\n\r\n"))
}

#[tokio::test]
async fn u08_an_error_first_in_a_200_stream_is_an_error_with_a_status_and_the_next_target_serves() {
    let faulty = Meter::start(|seen| {
        let body = String::from_utf8_lossy(&seen.body);
        let after = body.contains("-opened").then_some(0);
        Score { ending: Ending::Failure { after, named: body.contains("-named") }, ..Score::default() }
    })
    .await;
    let well = Meter::start(|_| Score::default()).await;
    let asks = everywhere(&["named", "unnamed", "named-opened", "unnamed-opened"]);

    let alone = Gateway::of_faces_once(&[faulty.addr], "");
    let saw = call_all(&alone, &asks).await;
    for saw in &saw {
        let refused = matches!(&saw.end, End::Refused(status, _) if *status >= 500 || *status == 14);
        assert!(refused && saw.text.is_empty(), "{saw:?}");
    }
    let told = records(&alone).await;
    assert_eq!(compare(&saw, &faulty.books(), &told), [""; 0]);

    let both =
        Gateway::of_faces(&[faulty.addr, well.addr], "breaker: { failures: 1000000, min_calls: 1000000 }\n");
    let saw = call_all(&both, &asks).await;
    for saw in &saw {
        assert_eq!((&saw.end, &saw.text), (&End::Ok, &text(3)), "{saw:?}");
    }
    let told = records(&both).await;
    for record in &told {
        assert_eq!(record["attempts"][0]["outcome"], "unavailable", "{record}");
        assert_eq!(
            (&record["attempts"][1]["outcome"], record["attempts"].as_array().unwrap().len()),
            (&"ok".into(), 2)
        );
    }
    assert_eq!(compare(&saw, &well.books(), &told), [""; 0]);
}

/// A stream with another line end, a mark of its byte order, or data over several lines.
fn reshaped(face: Face, way: usize) -> String {
    let body = face.events(TOKENS).concat();
    match way {
        0 => body,
        1 => body.replace('\n', "\r\n"),
        2 => body.replace('\n', "\r"),
        3 => format!("\u{feff}{body}"),
        // After each brace that opens an object a JSON text may have a new line.
        _ => body.replace("data: {", "data: {\ndata: "),
    }
}

#[tokio::test]
async fn u12_text_arrives_byte_for_byte_however_the_stream_is_cut_and_written() {
    let upstream = Upstream::start(|seen| {
        let body = reshaped(Face::of(&seen.path), number(seen, "-shape"));
        let body = body.as_bytes();
        let pieces: Vec<_> = match number(seen, "-at") {
            0 => body.chunks(1).map(chunk).collect(),
            at => [&body[..at.min(body.len() - 1)], &body[at.min(body.len() - 1)..]].map(chunk).to_vec(),
        };
        [vec![stream_head()], pieces, vec![end()]].concat()
    })
    .await;
    let seed = seed();
    let slicer = Proxy::start(upstream.addr, seed).await;
    let slice = Lane { slice: Some(1), ..Lane::default() };
    slicer.fate(Fate { up: Lane::default(), down: slice });
    let gateway = Gateway::of_faces(&[upstream.addr], "");
    let sliced = Gateway::of_faces(&[slicer.addr], "");
    let (mut asks, mut bytewise) = (Vec::new(), Vec::new());
    for face in FACES {
        for surface in SURFACES {
            for shape in 0..5 {
                let case = format!("{}-{surface:?}-shape{shape}", face.name());
                bytewise.push(Ask::new(surface, face.name(), format!("{case}-at0")));
            }
        }
        let size = reshaped(face, 1).len();
        // All boundaries are in the calls above; these have only one each, from another start in every run.
        for at in (1 + usize::try_from(seed % 5).unwrap()..size).step_by(5) {
            let surface = SURFACES[at % SURFACES.len()];
            asks.push(Ask::new(surface, face.name(), format!("{}-shape{}-at{at}", face.name(), at % 2)));
        }
    }
    for (gateway, asks) in [(&sliced, bytewise.clone()), (&gateway, bytewise), (&gateway, asks)] {
        for saw in made(gateway, asks).await {
            assert_eq!((&saw.end, &saw.text), (&End::Ok, &text(TOKENS)), "{saw:?}");
        }
    }
    for record in [records(&gateway).await, records(&sliced).await].concat() {
        let usage = &record["usage"];
        assert_eq!(
            (count(usage, "input_tokens"), count(usage, "output_tokens")),
            (Some(11), Some(2)),
            "{record}"
        );
    }
}

#[tokio::test]
async fn u12_a_line_over_the_cap_is_an_error_and_memory_stays_flat() {
    let upstream = Upstream::start(|seen| {
        let face = Face::of(&seen.path);
        let first = face.opening(Some(11)).concat() + &face.delta("first ", None);
        let long = format!("data: {{\"x\": \"{}\"}}\n\n", "y".repeat(10 << 20));
        vec![stream_head(), chunk(first), chunk(long), end()]
    })
    .await;
    let gateway = Gateway::of_faces_once(&[upstream.addr], "");
    let mut sizes = vec![resident(gateway.pid())];
    for round in ["one", "two", "three"] {
        for ask in everywhere(&[round]) {
            let saw = call(&gateway, &ask).await;
            assert!(matches!(saw.end, End::Interrupted(_)) && saw.text == "first ", "{saw:?}");
        }
        sizes.push(resident(gateway.pid()));
    }
    // One at a time: a buffer up to the cap, and its copy while it grew, as often as there are workers that came to do it.
    // Less than half of what came.
    assert!(sizes[3].saturating_sub(sizes[0]) < 128 << 20, "{sizes:?}");
}

#[tokio::test]
async fn a_reset_at_any_byte_of_the_answer_is_no_success_and_the_record_has_what_was_delivered() {
    let seed = seed();
    let meter = Meter::start(|seen| {
        let usage = *[Told::Final, Told::Each].get(number(seen, "-told")).unwrap();
        Score { tokens: TOKENS, usage, ..Score::default() }
    })
    .await;
    let proxy = Proxy::start(meter.addr, seed).await;
    let gateway = Gateway::of_faces_once(&[proxy.addr], "");
    let mut dice = Dice::new(seed);
    let mut saw = Vec::new();
    for (n, ask) in
        everywhere(&["a-told0", "b-told0", "c-told0", "d-told1", "e-told1"]).into_iter().enumerate()
    {
        let fault = *dice.one_of(&[Fault::Reset, Fault::Fin]);
        let at = dice.within(0..900);
        // A kept connection would have bytes of earlier answers behind it.
        proxy.die();
        proxy.fate(Fate::answer(at, fault));
        proxy.revive();
        let answer = call(&gateway, &ask).await;
        assert!(!matches!(answer.end, End::Broken(_)), "{n}: {fault:?} at {at}: {answer:?}");
        assert!(text(TOKENS).starts_with(&answer.text), "{n}: {fault:?} at {at}: {answer:?}");
        saw.push(answer);
    }
    let ended = saw.iter().filter(|saw| saw.end == End::Ok).count();
    assert!(ended < saw.len() / 2, "{ended} of {} were not cut", saw.len());
    assert_eq!(compare(&saw, &meter.books(), &records(&gateway).await), [""; 0]);
}
