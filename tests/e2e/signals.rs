//! Signals that come twice, or too early: the process ends, and nothing is lost.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use crate::{
    crash::{dies_at, provider, wrong},
    records,
    support::{
        Gateway, KEY,
        books::{Ending, Score},
        callers::{Ask, Saw, Surface},
        dice::{Dice, seed},
        faces::Face,
        http::Caller,
        ledgers::survived,
        meter::Meter,
    },
};

/// Sends a process a signal.
pub(crate) fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().unwrap();
    assert!(sent.success());
}

/// An upstream that begins to answer, and then says nothing more.
async fn endless() -> Meter {
    let ending = Ending::Stall { after: 1, comments: false };
    Meter::start(move |_| Score { ending, ..Score::default() }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k06_a_second_signal_ends_it_at_once_and_the_journal_is_sound() {
    for (first, second) in [("TERM", "TERM"), ("INT", "INT"), ("TERM", "INT")] {
        let meter = endless().await;
        let mut gateway = Gateway::start(&Gateway::faces(&[meter.addr], "timeouts: { grace: 60s }\n", ""));
        let ask = Ask::new(Surface::Chat, Face::OpenAi.name(), "held");
        let tags = [("x-tollgate-tags", "case=held")];
        let held = Caller::new(gateway.addr, KEY).open("/v1/chat/completions", ask.body(), &tags).await;
        signal(gateway.pid(), first);
        let ops = Caller::new(gateway.ops, "");
        while ops.get("/readyz").await.status == 200 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let asked = Instant::now();
        signal(gateway.pid(), second);
        assert_eq!(gateway.wait(), Some(1), "{first}, {second}");
        assert!(asked.elapsed() < Duration::from_secs(20), "it waited for the stream");
        drop(held);
        gateway.restart();
        let records = records(&gateway).await;
        // Either there was still the time to say so, or it is found at the next start.
        let ended = records[0]["recovered"] == true || records[0]["status"] == "CANCELLED";
        assert!(records.len() == 1 && ended, "{records:?}");
        assert_eq!(survived(&[Saw::left(&ask)], &meter.books(), &records), [""; 0]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k06_a_signal_while_it_starts_ends_it_and_hurts_nothing() {
    let meter = provider().await;
    let (mut gateway, saw) = dies_at("settle:after#9", &meter).await;
    let mut dice = Dice::new(seed());
    for _ in 0..10 {
        gateway.start_and_signal(dice.up_to(Duration::from_millis(60)), "TERM");
    }
    gateway.restart();
    assert_eq!(wrong(&gateway, &saw, &meter).await, [""; 0]);
}
