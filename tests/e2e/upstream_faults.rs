//! What providers do wrong (the U rows of RELIABILITY), each in three views: the caller's, the provider's, the ledger's.

use std::time::Duration;

use crate::{
    records,
    support::{
        Gateway,
        books::{Ending, Score},
        callers::{Ask, End, Surface, call_all},
        faces::{FACES, text},
        ledgers::compare,
        meter::Meter,
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
    let gateway = Gateway::of_faces(&[meter.addr], "timeouts: { idle: 400ms }\n");
    let asks = everywhere(&["silence", "comments"]);
    let saw = call_all(&gateway, &asks).await;
    for answer in &saw {
        assert!(matches!(answer.end, End::Interrupted(_)), "{answer:?}");
        assert_eq!(answer.text, text(4), "{answer:?}");
        let took = answer.took();
        assert!((Duration::from_millis(380)..Duration::from_secs(3)).contains(&took), "{answer:?}");
        meter.hung_up(&answer.ask.case).await;
    }
    let records = records(&gateway).await;
    for record in &records {
        assert_eq!(record["usage"]["output_tokens"], "4", "{record}");
        assert_eq!(record["attempts"][0]["outcome"], "timeout", "{record}");
    }
    assert_eq!(compare(&saw, &meter.books(), &records), [""; 0]);
}
