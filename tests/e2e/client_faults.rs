//! What callers do wrong (the C rows of RELIABILITY): they go away, hang up before the bill, never read, or have little
//! time. Each in three views: the caller's, the provider's, the ledger's.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, future::join_all, stream};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};
use tollgate_api::v1::{self, chat_service_client::ChatServiceClient};
use tonic::{Streaming, transport::Channel};

use crate::{
    cancel::{leaves, until_metric},
    records,
    support::{
        Gateway, KEY, PATIENCE,
        blackhole::Blackhole,
        books::{Ending, OnCancel, Score},
        callers::{Ask, End, Saw, Surface, call, call_all},
        faces::{Told, text},
        in_time,
        lateness::{Lateness, assert_kept, assert_prompt},
        ledgers::{compare, count, resident},
        meter::Meter,
    },
    upstream_faults::{SURFACES, everywhere},
};

/// How long after each caller left the provider saw it.
async fn lags(meter: &Meter, saw: &[Saw]) -> Vec<Duration> {
    let mut lags = Vec::new();
    for saw in saw.iter().filter(|saw| saw.end == End::Left) {
        lags.push(meter.hung_up(&saw.ask.case).await.saturating_duration_since(saw.ended));
    }
    lags
}

/// All records, once there are so many: a call is settled a moment after its caller has gone.
pub(crate) async fn settled(gateway: &Gateway, many: usize) -> Vec<Value> {
    let patience = Instant::now() + PATIENCE;
    let mut all = records(gateway).await;
    while all.len() < many {
        assert!(Instant::now() < patience, "{} of {many} records", all.len());
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
    let meter = Meter::start(|_| Score { first: Duration::from_secs(600), ..Score::default() }).await;
    let gateway = Gateway::of_faces(&[meter.addr], "timeouts: { first_token: 600s }\n");
    let streamed = everywhere(&["waits", "waits-too"]);
    let whole = everywhere(&["whole", "whole-too"]).into_iter().map(Ask::whole);
    let asks: Vec<_> = streamed.into_iter().chain(whole).collect();
    let lateness = Lateness::measure();
    let saw = abandoned(&gateway, &meter, &asks).await;
    assert_prompt(lags(&meter, &saw).await, &lateness);
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
    let gateway = Gateway::of_faces(&[hole.addr], "timeouts: { connect: 600s }\n");
    let asks = everywhere(&["streamed"]);
    for ask in &asks {
        let begun = async {
            until_metric(&gateway, "tollgate_inflight_requests 1").await;
            // It is on its way to the attempt, if it is not there yet.
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        leaves(&gateway, ask, begun).await;
        until_metric(&gateway, "tollgate_inflight_requests 0").await;
    }
    // Long before the connection would be given up.
    let records = settled(&gateway, asks.len()).await;
    for record in &records {
        assert_eq!(record["status"], "CANCELLED", "{record}");
        // Nothing was sent, so nothing can have been read.
        assert_eq!(count(&record["usage"], "input_tokens").unwrap_or(0), 0, "{record}");
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
    let lateness = Lateness::measure();
    let saw: Vec<_> = stream::iter(&asks).map(|ask| call(&gateway, ask)).buffer_unordered(15).collect().await;
    assert!(saw.iter().all(|saw| saw.end == End::Left), "{saw:?}");
    assert_prompt(lags(&meter, &saw).await, &lateness);
    let records = settled(&gateway, asks.len()).await;
    let books = meter.books();
    assert_eq!(compare(&saw, &books, &records), [""; 0]);
    // What the gateway counts is what was made up to the close: not the whole answer, as a provider that bills it all
    // would, and not nothing. What was on its way when the caller left may be missing.
    for record in &records {
        let case = record["tags"]["case"].as_str().unwrap();
        let line = books.iter().find(|line| line.case == case).unwrap();
        let left = saw.iter().find(|saw| saw.ask.case == case).unwrap().ended;
        let lag = line.closed.unwrap().saturating_duration_since(left);
        let lag = lateness.allows(lag, 2).as_millis() / gap.as_millis();
        let output = count(&record["usage"], "output_tokens").unwrap();
        let missing = line.billed(OnCancel::Generated).output - output;
        assert!((0..=2 + i64::try_from(lag).unwrap()).contains(&missing), "{line:?} {record}");
        assert!(line.billed(OnCancel::Full).output > output, "{line:?} {record}");
        let status = (&record["status"], &record["usage"]["source"]);
        assert_eq!(status, (&"CANCELLED".into(), &"SOURCE_ESTIMATED".into()));
    }
}

#[tokio::test]
async fn c02_a_provider_that_bills_the_whole_answer_is_read_to_its_end_if_it_is_set_to_be() {
    let gap = Duration::from_millis(60);
    let meter = Meter::start(move |_| Score { tokens: 40, gap, ..Score::default() }).await;
    let drains =
        Gateway::faces(&[meter.addr], "", "").replace("api_key: sk-up", "api_key: sk-up, on_cancel: drain");
    let gateway = Gateway::start(&drains);
    let mut asks = Vec::new();
    for after in [1, 3] {
        let leaves = |ask: Ask| ask.leaving_after(after);
        asks.extend(everywhere(&[&format!("after{after}")]).into_iter().map(leaves));
    }
    let saw = call_all(&gateway, &asks).await;
    assert!(saw.iter().all(|saw| saw.end == End::Left), "{saw:?}");
    let records = settled(&gateway, asks.len()).await;
    let books = meter.books();
    for record in &records {
        let line = books.iter().find(|line| record["tags"]["case"] == line.case.as_str()).unwrap();
        assert!(line.whole && line.told && line.closed.is_none(), "{line:?}");
        let billed = line.billed(OnCancel::Full);
        let usage = &record["usage"];
        assert_eq!(count(usage, "output_tokens"), Some(billed.output), "{record}");
        assert_eq!(count(usage, "input_tokens"), Some(billed.input), "{record}");
        let status = (&record["status"], &usage["source"]);
        assert_eq!(status, (&"CANCELLED".into(), &"SOURCE_PROVIDER".into()), "{record}");
    }
    until_metric(&gateway, &format!("tollgate_drains_total{{outcome=\"drained\"}} {}", asks.len())).await;
}

#[tokio::test]
async fn c04_hanging_up_before_the_usage_frame_does_not_make_the_answer_free() {
    let meter = Meter::start(|_| Score { tokens: 8, ending: Ending::BeforeUsage, ..Score::default() }).await;
    let gateway = Gateway::of_faces(&[meter.addr], "");
    // The text may come in fewer pieces than tokens, so the caller leaves once it has read all of it.
    let asks: Vec<_> = everywhere(&["all"]).into_iter().map(|ask| ask.leaving_with(text(8))).collect();
    let lateness = Lateness::measure();
    let saw = call_all(&gateway, &asks).await;
    assert!(saw.iter().all(|saw| saw.end == End::Left && saw.text == text(8)), "{saw:?}");
    assert_prompt(lags(&meter, &saw).await, &lateness);
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
    let mut off = Vec::new();
    let mut saw = Vec::new();
    // The machine may be busy: the best of some tries is what the gateway can do.
    for round in 0..20 {
        let round = format!("round-{round}");
        let asks: Vec<_> = everywhere(&[&round]).into_iter().map(|ask| ask.within(limit)).collect();
        let lateness = Lateness::measure();
        let answers = call_all(&gateway, &asks).await;
        if answers.iter().any(|answer| matches!(answer.end, End::Refused(..) | End::Left)) {
            // All of the time had gone before the first token came.
            continue;
        }
        let mut worst = Duration::ZERO;
        for answer in &answers {
            let told = answer.ask.surface == Surface::Messages
                || answer.end == End::Interrupted("caller_deadline_exceeded".to_owned());
            assert!(told && matches!(answer.end, End::Interrupted(_)), "{answer:?}");
            assert!(text(1_000).starts_with(&answer.text), "{answer:?}");
            let closed = meter.hung_up(&answer.ask.case).await.saturating_duration_since(answer.ended);
            worst = worst.max(closed).max(answer.took().abs_diff(limit));
        }
        assert!(answers.iter().any(|answer| answer.tokens() > 0), "{answers:?}");
        saw.extend(answers);
        // The gateway's timer, its writer and this reader are woken one after the other.
        off.push((worst, lateness.allows(Duration::from_millis(50), 3)));
        if off.iter().any(|(worst, allowed)| worst <= allowed) {
            break;
        }
    }
    assert!(off.iter().any(|(worst, allowed)| worst <= allowed), "off and allowed: {off:?}");
    let mut records = settled(&gateway, saw.len()).await;
    records.retain(|record| saw.iter().any(|saw| record["tags"]["case"] == *saw.ask.case));
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
    const CALLERS: usize = 60;
    const LIMIT: Duration = Duration::from_secs(3);
    // Two hundred megabytes each, if anybody would take them.
    let meter = Meter::start(|_| Score { tokens: 1_000_000, ..Score::default() }).await;
    let gateway = Gateway::of_faces(&[meter.addr], "timeouts: { write: 3s }\n");
    call(&gateway, &Ask::new(Surface::Chat, "openai", "warm").leaving_after(3)).await;
    let before = resident(gateway.pid());
    let (started, lateness) = (Instant::now(), Lateness::measure());
    let mut callers = Vec::new();
    for n in 0..CALLERS {
        callers.push(never_reads(&gateway, &format!("n{n}")).await);
    }
    // A third of them takes a few bytes every second, which is as good as nothing.
    let crumbs = callers.split_off(CALLERS * 2 / 3).into_iter().map(async |mut caller| {
        while caller.read(&mut [0; 10]).await.is_ok_and(|read| read > 0) {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let crumbs = tokio::spawn(join_all(crumbs.collect::<Vec<_>>()));
    // Until the buffers on the way are full, a caller has everything; from then on nothing moves.
    let (mut most, mut moved, mut cut) = (0, HashMap::new(), Duration::ZERO);
    while meter.books().iter().any(|line| line.closed.is_none()) || meter.books().len() <= CALLERS {
        most = most.max(resident(gateway.pid()).saturating_sub(before));
        for line in meter.books() {
            let (bytes, at) = moved.entry(line.case).or_insert((0, Instant::now()));
            if *bytes < line.bytes {
                (*bytes, *at) = (line.bytes, Instant::now());
            }
            if let Some(closed) = line.closed {
                cut = cut.max(closed.saturating_duration_since(*at));
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(started.elapsed() < Duration::from_secs(300), "callers that do not read are not cut");
    }
    let each = (most / (CALLERS as u64)) >> 10;
    println!("the last upstream was closed {cut:?} after its last byte; {each} KiB for each");
    assert!(cut < lateness.allows(3 * LIMIT, 3), "{cut:?}");
    assert!(each <= 256, "{each} KiB for each");
    let records = settled(&gateway, CALLERS + 1).await;
    assert!(records.iter().all(|record| record["status"] == "CANCELLED"), "{records:?}");
    crumbs.abort();
}

/// A gRPC stream that is begun and then left unread, though its connection is read.
async fn left_unread(
    channel: &Channel,
    case: &str,
    timeout: Option<&str>,
) -> Result<Streaming<v1::StreamCompleteResponse>, tonic::Status> {
    let text = v1::part::Kind::Text(format!("case:{case} please"));
    let part = v1::Part { kind: Some(text), ..Default::default() };
    let message = v1::Message { role: v1::Role::User.into(), parts: vec![part], ..Default::default() };
    let input = v1::ChatInput { model: "openai".to_owned(), messages: vec![message], ..Default::default() };
    let mut request =
        tonic::Request::new(v1::StreamCompleteRequest { input: Some(input), ..Default::default() });
    let metadata = request.metadata_mut();
    metadata.insert("authorization", format!("Bearer {KEY}").parse().unwrap());
    metadata.insert("x-tollgate-tags", format!("case={case}").parse().unwrap());
    if let Some(timeout) = timeout {
        metadata.insert("grpc-timeout", timeout.parse().unwrap());
    }
    let mut stream = ChatServiceClient::new(channel.clone()).stream_complete(request).await?.into_inner();
    assert!(stream.message().await?.is_some());
    Ok(stream)
}

/// A channel whose streams have small windows in a large one.
async fn narrow(gateway: &Gateway) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{}", gateway.addr)).unwrap();
    let windows = endpoint.initial_stream_window_size(64 << 10).initial_connection_window_size(4 << 20);
    windows.connect().await.unwrap()
}

/// An answer without end for cases that begin with `un`, and a short one for others.
async fn endless() -> Meter {
    Meter::start(|seen| {
        let unread = String::from_utf8_lossy(&seen.body).contains("case:un");
        Score { tokens: if unread { 1_000_000 } else { 3 }, ..Score::default() }
    })
    .await
}

#[tokio::test]
async fn c06_an_unread_stream_of_a_busy_connection_is_cut_and_its_siblings_are_not() {
    let meter = endless().await;
    let gateway = Gateway::of_faces(&[meter.addr], "timeouts: { write: 2s }\n");
    let channel = narrow(&gateway).await;
    let (started, lateness) = (Instant::now(), Lateness::measure());
    let mut stream = left_unread(&channel, "unread", None).await.unwrap();
    let mut siblings = 0;
    while meter.lines("unread")[0].closed.is_none() {
        let mut sibling = left_unread(&channel, &format!("sibling{siblings}"), None).await.unwrap();
        while sibling.message().await.unwrap().is_some() {}
        siblings += 1;
        assert!(started.elapsed() < PATIENCE, "the stream is not cut");
    }
    let took = meter.hung_up("unread").await - started;
    assert!(
        (Duration::from_secs(2)..lateness.allows(Duration::from_secs(15), 3)).contains(&took),
        "{took:?}"
    );
    // Nor is the connection.
    let mut sibling = left_unread(&channel, &format!("sibling{siblings}"), None).await.unwrap();
    while sibling.message().await.unwrap().is_some() {}
    siblings += 1;
    let told = loop {
        match stream.message().await {
            Ok(message) => assert!(message.is_some(), "ended as success"),
            Err(status) => break status,
        }
    };
    assert_eq!(told.code(), tonic::Code::Cancelled, "{told:?}");
    let records = settled(&gateway, siblings + 1).await;
    let unread = records.iter().find(|record| record["tags"]["case"] == "unread").unwrap();
    assert_eq!(unread["status"], "CANCELLED", "{unread}");
    assert!(count(&unread["usage"], "output_tokens").unwrap() > 0, "{unread}");
}

#[tokio::test]
async fn c08_a_deadline_ends_a_stream_that_nobody_reads() {
    let meter = endless().await;
    let gateway = Gateway::of_faces(&[meter.addr], "");
    let channel = narrow(&gateway).await;
    let limit = Duration::from_millis(700);
    let mut round = 0;
    assert_kept(Duration::from_millis(50), 5, &[gateway.pid()], async || {
        round += 1;
        let case = format!("unread{round}");
        let started = Instant::now();
        // Else all of the time had gone before the first token came.
        let Ok(mut stream) = left_unread(&channel, &case, Some("700m")).await else { return limit };
        let closed = meter.hung_up(&case).await;
        let told = loop {
            match stream.message().await {
                Ok(message) => assert!(message.is_some(), "ended as success"),
                Err(status) => break status,
            }
        };
        assert_eq!(told.code(), tonic::Code::DeadlineExceeded, "{told:?}");
        let record = in_time("a record", async {
            loop {
                let found =
                    records(&gateway).await.into_iter().find(|record| record["tags"]["case"] == *case);
                if let Some(record) = found {
                    break record;
                }
            }
        });
        let record = record.await;
        assert_eq!(record["error_reason"], "CALLER_DEADLINE_EXCEEDED", "{record}");
        (closed - started).abs_diff(limit)
    })
    .await;
}

#[tokio::test]
async fn c08_no_attempt_is_made_that_could_not_end_in_time() {
    for surface in SURFACES {
        // What is asked for would be waited for, if the caller had the time.
        let refusal = Some((503, "retry-after: 40\r\n".to_owned()));
        let meter = Meter::start(move |_| Score { refusal: refusal.clone(), ..Score::default() }).await;
        let gateway = Gateway::start(&Gateway::faces(&[meter.addr], "", ", retry: { max_backoff: 60s }"));
        let ask = Ask::new(surface, "openai", "once").within(Duration::from_secs(30));
        let saw = call(&gateway, &ask).await;
        let told = matches!(&saw.end, End::Refused(_, reason) if !reason.contains("deadline"));
        assert!(told && saw.took() < Duration::from_secs(25), "{saw:?}");
        assert_eq!(meter.lines("once").len(), 1);
        let records = settled(&gateway, 1).await;
        assert_eq!(records[0]["error_reason"], "UPSTREAM_UNAVAILABLE", "{records:?}");
        assert_eq!(compare(&[saw], &meter.books(), &records), [""; 0]);
    }
}

#[tokio::test]
async fn c08_an_attempt_is_made_again_if_the_time_is_enough() {
    for surface in SURFACES {
        let asked = AtomicUsize::new(0);
        let meter = Meter::start(move |_| {
            let is_first = asked.fetch_add(1, Ordering::Relaxed) == 0;
            let refusal = is_first.then(|| (503, "retry-after: 1\r\n".to_owned()));
            Score { refusal, ..Score::default() }
        })
        .await;
        let gateway = Gateway::of_faces(&[meter.addr], "");
        let ask = Ask::new(surface, "openai", "twice").within(Duration::from_secs(20));
        let saw = call(&gateway, &ask).await;
        assert_eq!(saw.end, End::Ok, "{saw:?}");
        assert!(saw.took() >= Duration::from_secs(1), "{saw:?}");
        assert_eq!(meter.lines("twice").len(), 2);
    }
}
