//! What callers do wrong (the C rows of RELIABILITY): they go away, hang up before the bill, never read, or have little
//! time. Each in three views: the caller's, the provider's, the ledger's.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use serde_json::Value;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpSocket, TcpStream},
};

use crate::{
    records,
    support::{
        Gateway, KEY,
        blackhole::Blackhole,
        books::{Ending, OnCancel, Score},
        callers::{Ask, End, Saw, Surface, call, call_all},
        faces::{Told, text},
        lateness::Lateness,
        ledgers::{compare, count, resident},
        meter::Meter,
    },
    upstream_faults::everywhere,
};

/// The promise is 100 ms in 99 of 100. These calls run beside each other and beside other tests on a machine that may be
/// busy, so it is held by the quicker ones: they show that nothing in the gateway waits. None may be far off.
fn assert_prompt(mut lags: Vec<Duration>) {
    lags.sort_unstable();
    let (quick, last) = (lags[lags.len() / 4], lags[lags.len() - 1]);
    assert!(quick < Duration::from_millis(100) && last < Duration::from_secs(3), "{lags:?}");
}

/// How long after each caller left the provider saw it.
async fn lags(meter: &Meter, saw: &[Saw]) -> Vec<Duration> {
    let mut lags = Vec::new();
    for saw in saw.iter().filter(|saw| saw.end == End::Left) {
        lags.push(meter.hung_up(&saw.ask.case).await.saturating_duration_since(saw.ended));
    }
    lags
}

/// All records, once there are so many: a call is settled a moment after its caller has gone.
async fn settled(gateway: &Gateway, many: usize) -> Vec<Value> {
    let mut all = records(gateway).await;
    while all.len() < many {
        tokio::time::sleep(Duration::from_millis(10)).await;
        all = records(gateway).await;
    }
    all
}

/// Makes the calls and abandons each as soon as the provider has it.
async fn abandoned(gateway: &Gateway, meter: &Meter, asks: &[Ask]) -> Vec<Saw> {
    let calls = stream::iter(asks).map(async |ask| {
        tokio::select! {
            saw = call(gateway, ask) => panic!("{saw:?}"),
            _ = meter.until(|books| books.iter().any(|line| line.case == ask.case)) => Saw::left(ask),
        }
    });
    calls.buffer_unordered(4).collect().await
}

#[tokio::test]
async fn c01_c03_a_caller_that_goes_while_waiting_closes_the_upstream_and_is_billed_no_answer() {
    let meter = Meter::start(|_| Score { first: Duration::from_secs(60), ..Score::default() }).await;
    let gateway = Gateway::of_faces(&[meter.addr], "");
    let streamed = everywhere(&["waits", "waits-too"]);
    let whole = everywhere(&["whole", "whole-too"]).into_iter().map(Ask::whole);
    let asks: Vec<_> = streamed.into_iter().chain(whole).collect();
    let saw = abandoned(&gateway, &meter, &asks).await;
    assert_prompt(lags(&meter, &saw).await);
    let records = settled(&gateway, asks.len()).await;
    for record in &records {
        assert_eq!(
            (&record["status"], &record["attempts"][0]["outcome"]),
            (&"CANCELLED".into(), &"cancelled".into())
        );
        assert_eq!(count(&record["usage"], "output_tokens").unwrap_or(0), 0, "{record}");
    }
    assert_eq!(compare(&saw, &meter.books(), &records), [""; 0]);
}

#[tokio::test]
async fn c01_a_caller_that_goes_while_a_connection_is_made_leaves_its_record_at_once() {
    let hole = Blackhole::start().await;
    let gateway = Gateway::of_faces(&[hole.addr], "timeouts: { connect: 20s }\n");
    let asks = everywhere(&["streamed"]);
    for ask in &asks {
        let patience = Duration::from_millis(150);
        assert!(tokio::time::timeout(patience, call(&gateway, ask)).await.is_err(), "{ask:?}");
    }
    // Long before the connection would be given up.
    let records = tokio::time::timeout(Duration::from_secs(5), settled(&gateway, asks.len())).await.unwrap();
    for record in &records {
        assert_eq!(record["status"], "CANCELLED", "{record}");
        assert_eq!(count(&record["usage"], "output_tokens").unwrap_or(0), 0, "{record}");
    }
}

#[tokio::test]
async fn c02_a_caller_that_goes_after_any_token_closes_the_upstream_and_the_record_is_near_the_bill() {
    // Long enough that nobody is served before it has left, however busy the machine is.
    const TOKENS: usize = 100;
    let gap = Duration::from_millis(60);
    let meter = Meter::start(move |seen| {
        let each = String::from_utf8_lossy(&seen.body).contains("-each");
        let usage = if each { Told::Each } else { Told::Final };
        Score { tokens: TOKENS, gap, usage, ..Score::default() }
    })
    .await;
    let gateway = Gateway::of_faces(&[meter.addr], "");
    let mut asks = Vec::new();
    for after in 1..6 {
        asks.extend(
            everywhere(&[&format!("after{after}"), &format!("after{after}-each")])
                .into_iter()
                .map(|ask| ask.leaving_after(after)),
        );
    }
    let saw: Vec<_> = stream::iter(&asks).map(|ask| call(&gateway, ask)).buffer_unordered(15).collect().await;
    assert!(saw.iter().all(|saw| saw.end == End::Left), "{saw:?}");
    assert_prompt(lags(&meter, &saw).await);
    let records = settled(&gateway, asks.len()).await;
    let books = meter.books();
    assert_eq!(compare(&saw, &books, &records), [""; 0]);
    // What the gateway counts is what was made up to the close: not the whole answer, as a provider that bills it all
    // would, and not nothing. What was on its way when the caller left may be missing.
    for record in &records {
        let case = record["tags"]["case"].as_str().unwrap();
        let line = books.iter().find(|line| line.case == case).unwrap();
        let left = saw.iter().find(|saw| saw.ask.case == case).unwrap().ended;
        let lag = line.closed.unwrap().saturating_duration_since(left).as_millis() / gap.as_millis();
        let output = count(&record["usage"], "output_tokens").unwrap();
        let missing = line.billed(OnCancel::Generated).output - output;
        assert!((0..=2 + i64::try_from(lag).unwrap()).contains(&missing), "{line:?} {record}");
        assert!(line.billed(OnCancel::Full).output > output, "{line:?} {record}");
        let status = (&record["status"], &record["usage"]["source"]);
        assert_eq!(status, (&"CANCELLED".into(), &"SOURCE_ESTIMATED".into()));
    }
}

#[tokio::test]
async fn c04_hanging_up_before_the_usage_frame_does_not_make_the_answer_free() {
    let meter = Meter::start(|_| Score { tokens: 8, ending: Ending::BeforeUsage, ..Score::default() }).await;
    let gateway = Gateway::of_faces(&[meter.addr], "");
    // The text may come in fewer pieces than tokens, so the caller leaves once it has read all of it.
    let asks: Vec<_> = everywhere(&["all"]).into_iter().map(|ask| ask.leaving_with(text(8))).collect();
    let saw = call_all(&gateway, &asks).await;
    assert!(saw.iter().all(|saw| saw.end == End::Left && saw.text == text(8)), "{saw:?}");
    assert_prompt(lags(&meter, &saw).await);
    let records = settled(&gateway, asks.len()).await;
    for record in &records {
        assert_eq!(count(&record["usage"], "output_tokens"), Some(8), "{record}");
        assert!(count(&record["usage"], "input_tokens").unwrap() > 0, "{record}");
        assert_eq!(
            (&record["status"], &record["usage"]["source"]),
            (&"CANCELLED".into(), &"SOURCE_ESTIMATED".into())
        );
    }
    assert_eq!(compare(&saw, &meter.books(), &records), [""; 0]);
}

#[tokio::test]
async fn c08_a_callers_deadline_ends_a_running_stream_on_time_and_closes_the_upstream() {
    let limit = Duration::from_millis(600);
    let meter =
        Meter::start(|_| Score { tokens: 1_000, gap: Duration::from_millis(20), ..Score::default() }).await;
    let gateway = Gateway::of_faces(&[meter.addr], "");
    let mut on_time = false;
    let mut saw = Vec::new();
    // The machine may be busy: the best of a few tries is what the gateway can do.
    for round in ["one", "two", "three", "four", "five"] {
        let asks: Vec<_> = everywhere(&[round]).into_iter().map(|ask| ask.within(limit)).collect();
        let lateness = Lateness::measure();
        let answers = call_all(&gateway, &asks).await;
        for answer in &answers {
            let told = answer.ask.surface == Surface::Messages
                || answer.end == End::Interrupted("caller_deadline_exceeded".to_owned());
            assert!(told && matches!(answer.end, End::Interrupted(_)), "{answer:?}");
            assert!(answer.tokens() > 0 && text(1_000).starts_with(&answer.text), "{answer:?}");
            let closed = meter.hung_up(&answer.ask.case).await;
            assert!(closed.saturating_duration_since(answer.ended) < Duration::from_millis(500));
        }
        let off = answers.iter().map(|answer| answer.took().abs_diff(limit)).max().unwrap();
        saw.extend(answers);
        // The gateway's timer, its writer and this reader are woken one after the other.
        on_time = off <= lateness.allows(Duration::from_millis(50), 3);
        if on_time {
            break;
        }
    }
    assert!(on_time, "{:?}", saw.iter().map(Saw::took).collect::<Vec<_>>());
    let records = settled(&gateway, saw.len()).await;
    assert!(records.iter().all(|record| record["error_reason"] == "CALLER_DEADLINE_EXCEEDED"), "{records:?}");
    assert_eq!(compare(&saw, &meter.books(), &records), [""; 0]);
}

/// A caller that asks for a stream and never reads a byte of it.
async fn never_reads(gateway: &Gateway, case: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 << 10).unwrap();
    let mut stream = socket.connect(gateway.addr).await.unwrap();
    let body = Ask::new(Surface::Chat, "openai", case).body();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {KEY}\r\n\
         content-type: application/json\r\nx-tollgate-tags: case={case}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn c06_callers_that_never_read_cost_little_and_are_cut_with_their_upstream() {
    const CALLERS: u64 = 60;
    // Two hundred megabytes each, if anybody would take them.
    let meter = Meter::start(|_| Score { tokens: 1_000_000, ..Score::default() }).await;
    let gateway = Gateway::of_faces(&[meter.addr], "");
    call(&gateway, &Ask::new(Surface::Chat, "openai", "warm").leaving_after(3)).await;
    let before = resident(gateway.pid());
    let mut callers = Vec::new();
    for n in 0..CALLERS {
        callers.push(never_reads(&gateway, &format!("n{n}")).await);
    }
    // Until nothing moves any more.
    let mut sent = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now: usize = meter.books().iter().map(|line| line.bytes).sum();
        if now == sent {
            break;
        }
        sent = now;
    }
    let each = resident(gateway.pid()).saturating_sub(before) / CALLERS;
    assert!(each <= 256 << 10, "{} KiB for each", each >> 10);
    // A write that makes no progress for 30 s ends the connection, and the upstream with it. `edge::stall` is tested by
    // itself with a clock that jumps; here it is waited for in the long run only.
    let many = callers.len() + 1;
    if std::env::var_os("TOLLGATE_FAULT_STREAMS").is_none() {
        drop(callers);
    }
    meter.until(|books| books.iter().all(|line| line.closed.is_some())).await;
    let records = settled(&gateway, many).await;
    assert!(records.iter().all(|record| record["status"] == "CANCELLED"), "{records:?}");
}
