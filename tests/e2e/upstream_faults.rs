//! What providers do wrong (the U rows of RELIABILITY), each in three views: the caller's, the provider's, the ledger's.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tollgate_api::admin::target_status::State;

use crate::{
    failover::state,
    records,
    support::{
        Gateway,
        blackhole::Blackhole,
        books::{Ending, Score},
        callers::{Ask, End, Saw, Surface, call, call_all},
        dice::seed,
        faces::{FACES, text},
        ledgers::{compare, count},
        meter::Meter,
        proxy::{Fate, Fault, Proxy},
    },
};

pub(crate) const SURFACES: [Surface; 3] = [Surface::Chat, Surface::Messages, Surface::Grpc];

/// Each of these cases, in each dialect, on each surface.
pub(crate) fn everywhere(cases: &[&str]) -> Vec<Ask> {
    let asks = FACES.into_iter().flat_map(|face| {
        SURFACES.into_iter().flat_map(move |surface| {
            let ask = move |case: &&str| {
                Ask::new(surface, face.name(), format!("{}-{surface:?}-{case}", face.name()))
            };
            cases.iter().map(ask)
        })
    });
    asks.collect()
}

#[tokio::test]
async fn u04_a_stall_within_a_stream_is_cut_after_the_idle_time_and_its_tokens_are_billed() {
    let meter = Meter::start(|seen| {
        let comments = String::from_utf8_lossy(&seen.body).contains("-comments");
        Score { tokens: 9, ending: Ending::Stall { after: 4, comments }, ..Score::default() }
    })
    .await;
    let gateway = Gateway::of_faces_once(&[meter.addr], "timeouts: { idle: 800ms }\n");
    let asks = everywhere(&["silence", "comments"]);
    let saw = call_all(&gateway, &asks).await;
    for answer in &saw {
        assert!(matches!(answer.end, End::Interrupted(_)), "{answer:?}");
        assert_eq!(answer.text, text(4), "{answer:?}");
        let took = answer.took();
        assert!((Duration::from_millis(780)..Duration::from_secs(30)).contains(&took), "{answer:?}");
        meter.hung_up(&answer.ask.case).await;
    }
    let records = records(&gateway).await;
    for record in &records {
        assert_eq!(record["usage"]["output_tokens"], "4", "{record}");
        assert_eq!(record["attempts"][0]["outcome"], "timeout", "{record}");
    }
    assert_eq!(compare(&saw, &meter.books(), &records), [""; 0]);
}

/// Every call was served by the second target, after the first failed in this way without a token.
async fn assert_failed_over(gateway: &Gateway, well: &Meter, saw: &[Saw], outcome: &str) {
    for saw in saw {
        assert_eq!((&saw.end, &saw.text), (&End::Ok, &text(3)), "{saw:?}");
    }
    let records = records(gateway).await;
    for record in &records {
        let attempts = record["attempts"].as_array().unwrap();
        let outcomes: Vec<_> = attempts.iter().map(|attempt| attempt["outcome"].as_str().unwrap()).collect();
        // Once the first is known to be down it is passed over.
        assert!(outcomes == [outcome, "ok"] || outcomes == ["ok"], "{record}");
        // What the first had told of its prompt before it fell silent is billed, and then stands beside the attempts.
        let last = &attempts[attempts.len() - 1];
        let usage = if last["output_tokens"].is_null() { &record["usage"] } else { last };
        assert_eq!(
            (count(usage, "input_tokens"), count(usage, "output_tokens")),
            (Some(11), Some(3)),
            "{record}"
        );
    }
    assert!(records.iter().any(|record| record["attempts"][0]["outcome"] == outcome), "{records:?}");
    assert_eq!(compare(saw, &well.books(), &records), [""; 0]);
}

#[tokio::test]
async fn u01_a_refused_connection_costs_nobody_an_answer() {
    let well = Meter::start(|_| Score::default()).await;
    let down = Proxy::start(well.addr, 0).await;
    down.die();
    let gateway = Gateway::of_faces(&[down.addr, well.addr], "");
    let saw = call_all(&gateway, &everywhere(&["one", "two"])).await;
    assert_failed_over(&gateway, &well, &saw, "unavailable").await;
    assert_eq!(down.accepted(), 0);
}

#[tokio::test]
async fn u02_a_connection_that_is_never_made_is_given_up_within_the_connect_timeout() {
    let well = Meter::start(|_| Score::default()).await;
    let hole = Blackhole::start().await;
    let gateway = Gateway::of_faces(&[hole.addr, well.addr], "timeouts: { connect: 1s }\n");
    let saw = call_all(&gateway, &everywhere(&["one"])).await;
    let longest = saw.iter().map(Saw::took).max().unwrap();
    assert!((Duration::from_millis(900)..Duration::from_secs(30)).contains(&longest), "{longest:?}");
    assert_failed_over(&gateway, &well, &saw, "timeout").await;
}

#[tokio::test]
async fn u03_silence_before_the_first_token_fails_over_and_without_another_target_is_a_timeout() {
    let (seed, timeouts) = (seed(), "timeouts: { first_token: 800ms }\n");
    let well = Meter::start(|_| Score::default()).await;
    let silent = Meter::start(|_| Score { first: Duration::from_secs(600), ..Score::default() }).await;
    // One that says nothing at all, and one whose head comes and no more.
    let headed =
        Meter::start(|_| Score { ending: Ending::Stall { after: 0, comments: true }, ..Score::default() })
            .await;
    let hole = Proxy::start(well.addr, seed).await;
    hole.fate(Fate::request(0, Fault::Blackhole));
    for first in [silent.addr, headed.addr, hole.addr] {
        let well = Meter::start(|_| Score::default()).await;
        let gateway = Gateway::of_faces(&[first, well.addr], timeouts);
        let saw = call_all(&gateway, &everywhere(&["two"])).await;
        assert_failed_over(&gateway, &well, &saw, "timeout").await;

        let gateway = Gateway::of_faces_once(&[first], timeouts);
        let saw = call_all(&gateway, &everywhere(&["alone"])).await;
        for saw in &saw {
            let timed_out = match saw.ask.surface {
                Surface::Chat => saw.end == End::Refused(504, "upstream_timeout".to_owned()),
                Surface::Messages => matches!(saw.end, End::Refused(504, _)),
                Surface::Grpc => saw.end == End::Refused(4, "upstream_timeout".to_owned()),
            };
            assert!(timed_out, "{saw:?}");
        }
        let records = records(&gateway).await;
        assert!(records.iter().all(|record| record["error_reason"] == "UPSTREAM_TIMEOUT"), "{records:?}");
    }
    for meter in [&silent, &headed] {
        // No request is left open.
        meter.until(|books| books.iter().all(|line| line.closed.is_some())).await;
    }
}

#[tokio::test]
async fn u03_silence_leaves_the_next_target_time_before_the_callers_deadline() {
    let silent = Meter::start(|_| Score { first: Duration::from_secs(60), ..Score::default() }).await;
    let well = Meter::start(|_| Score::default()).await;
    let gateway = Gateway::of_faces(&[silent.addr, well.addr], "timeouts: { first_token: 30s }\n");
    let deadline = Duration::from_secs(6);
    let asks: Vec<_> = everywhere(&["soon"]).into_iter().map(|ask| ask.within(deadline)).collect();
    let saw = call_all(&gateway, &asks).await;
    for saw in &saw {
        // Two thirds are for the first, which nobody knows yet: it might be no more than slow.
        assert!(saw.took() >= Duration::from_millis(3_900), "{saw:?}");
        silent.hung_up(&saw.ask.case).await;
    }
    assert_failed_over(&gateway, &well, &saw, "timeout").await;
    // That the caller has little time is no failure of a target of which nobody knows how long it takes.
    assert_eq!(state(&gateway, "openai-0/m-1").await, State::Closed);
}

/// Stands for a date forty seconds after the answer.
const DATE: &str = "date";

#[tokio::test]
async fn u13_a_wait_in_any_form_is_a_pause_that_is_kept_capped_and_told() {
    // What the provider says, and the pause that follows, in seconds; none if the next call may go there at once.
    let forms = [
        ("20", Some(20.0)),
        (DATE, Some(40.0)),
        ("0", None),
        ("-5", None),
        ("1e18", Some(60.0)),
        ("abc", Some(1.0)),
    ];
    let cases = [429, 503].into_iter().flat_map(|status| forms.map(|(form, pause)| (status, form, pause)));
    let cases = stream::iter(cases).map(|(status, form, pause)| assert_paused(status, form, pause));
    cases.buffer_unordered(3).collect::<Vec<_>>().await;
}

async fn assert_paused(status: u16, form: &str, pause: Option<f64>) {
    // What nobody can read says nothing of a provider that is down; one that limits is left alone for a second.
    let pause = pause.filter(|_| status == 429 || form != "abc");
    let name = format!("{status}, retry-after: {form}");
    let header = {
        let form = form.to_owned();
        move || match &*form {
            DATE => {
                let date = jiff::Timestamp::now() + Duration::from_secs(40);
                date.strftime("retry-after: %a, %d %b %Y %H:%M:%S GMT\r\n").to_string()
            }
            form => format!("retry-after: {form}\r\n"),
        }
    };
    let refuse = move |_: &_| Score { refusal: Some((status, header())), ..Score::default() };
    let limited = Meter::start(refuse).await;
    let well = Meter::start(|_| Score::default()).await;
    let gateway = Gateway::of_faces(&[limited.addr, well.addr], "");
    for (n, surface) in SURFACES.into_iter().enumerate() {
        let saw = call(&gateway, &Ask::new(surface, "openai", format!("n{n}"))).await;
        assert_eq!((&saw.end, &saw.text), (&End::Ok, &text(3)), "{name}");
    }
    let asked = limited.books().len();
    assert!(if pause.is_some() { asked < 3 } else { asked == 3 }, "{name}: asked {asked} times");
    // A limit is a pause, not a failure, however often it comes.
    let state = state(&gateway, "openai-0/m-1").await;
    assert_ne!(state, State::Open, "{name}");
    // Without another target the caller learns the time that is left.
    let alone = Gateway::of_faces(&[limited.addr], "");
    // Shorter than what is left of any pause, so that it is not waited for.
    let within = Duration::from_millis(if form == "abc" { 500 } else { 15_000 });
    let ask = Ask::new(Surface::Grpc, "openai", "alone").within(within);
    // Of a busy machine's calls some may have no time left.
    let (mut refused, mut tries) = (0, 0);
    while refused < 2 {
        tries += 1;
        assert!(tries < 20, "{name}");
        let saw = call(&alone, &ask).await;
        match &saw.end {
            End::Left => continue,
            End::Refused(_, reason) if reason.contains("deadline") => continue,
            End::Refused(..) => refused += 1,
            _ => panic!("{name}: {saw:?}"),
        }
        if let (429, Some(pause)) = (status, pause) {
            let told = saw.retry_after.unwrap_or_else(|| panic!("{name}: {saw:?}")).as_secs_f64();
            // Where nothing is told, the pause doubles with each refusal.
            let (least, longest) =
                if form == "abc" { (0.0, pause * f64::from(1 << tries)) } else { (pause / 2.0, pause) };
            assert!((least..=longest + 0.1).contains(&told), "{name}: {told}");
        }
    }
}
