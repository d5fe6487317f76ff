//! A provider whose behaviour changes with time, as a seed has it.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use futures_util::{
    StreamExt as _,
    future::{BoxFuture, pending},
    stream,
};
use http::HeaderMap;
use tokio::time::sleep;
use tollgate_api::v1;
use uuid::Uuid;

use crate::{
    call::{Event, Item, now},
    provider::{Answer, Error, Kind, Outgoing, Provider},
    route::lot::Lot,
};

/// How a provider treats the calls that come now.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mood {
    /// It answers after that long.
    Well(Duration),
    /// It takes the request and says nothing.
    Silent,
    /// 429, with or without a hint.
    Limited(Option<Duration>),
    /// 503, with or without a hint.
    Down(Option<Duration>),
    /// Nobody listens.
    Refusing,
    /// HTML with status 200.
    Garbage,
    /// It begins to answer and breaks off.
    Cut,
    /// It changes between well and down with every call.
    Flapping,
}

impl Mood {
    fn drawn(lot: &Lot) -> Self {
        let hint = |longest| (lot.below(2) == 0).then(|| lot.up_to(Duration::from_secs(longest)));
        match lot.below(10) {
            0 => Self::Silent,
            1 => Self::Limited(hint(8)),
            2 => Self::Down(hint(4)),
            3 => Self::Refusing,
            4 => Self::Garbage,
            5 => Self::Cut,
            6 => Self::Flapping,
            // Longer than what callers wait for at one target.
            7 => Self::Well(Duration::from_millis(1_500)),
            _ => Self::Well(Duration::from_millis(1 + lot.below(300))),
        }
    }
}

/// A provider, and what it was asked.
#[derive(Debug)]
pub(super) struct Fake {
    /// Its moods from the start on, each for a second; well after the last.
    moods: Vec<Mood>,
    start: Instant,
    /// Which call asked, and when.
    pub(super) asked: Mutex<Vec<(Uuid, Instant)>>,
}

impl Fake {
    pub(super) fn drawn(lot: &Lot, seconds: u64, start: Instant) -> Self {
        let mut moods = Vec::new();
        while moods.len() < usize::try_from(seconds).unwrap() {
            let mood = Mood::drawn(lot);
            moods.extend((0..=lot.below(3)).map(|_| mood));
        }
        moods.truncate(usize::try_from(seconds).unwrap());
        Self { moods, start, asked: Mutex::default() }
    }

    /// Notes the call and says how it is treated.
    fn ask(&self, call: Uuid) -> Mood {
        let (at, mut asked) = (now(), self.asked.lock().unwrap());
        asked.push((call, at));
        let second = usize::try_from((at - self.start).as_secs()).unwrap();
        let well = Mood::Well(Duration::from_millis(20));
        match self.moods.get(second).copied().unwrap_or(well) {
            Mood::Flapping if asked.len().is_multiple_of(2) => well,
            Mood::Flapping => Mood::Down(None),
            mood => mood,
        }
    }
}

pub(super) fn failed(kind: Kind, http_status: u16) -> Error {
    Error { http_status, ..Error::new(kind, "as the seed has it") }
}

pub(super) fn answer(is_cut: bool) -> Answer {
    let text = || v1::TextDelta { text: "hello ".to_owned(), choice: 0, part: 0 };
    let mut events = vec![Event::Start(Box::default()), Event::Text(text()), Event::Text(text())];
    if !is_cut {
        events.push(Event::End(Box::default()));
    }
    let cut = is_cut.then(|| Err(failed(Kind::Unavailable, 200)));
    let items = events.into_iter().map(|event| Ok(Item::Event(event))).chain(cut);
    let paced = stream::iter(items).then(|item| async {
        sleep(Duration::from_millis(5)).await;
        item
    });
    Answer {
        http_status: 200,
        upstream_request_id: String::new(),
        headers: HeaderMap::new(),
        warnings: Vec::new(),
        items: Box::pin(paced),
    }
}

impl Provider for Fake {
    fn chat<'a>(&'a self, request: Outgoing<'a, v1::ChatInput>) -> BoxFuture<'a, Result<Answer, Error>> {
        Box::pin(async move {
            let mood = self.ask(request.call_id);
            sleep(Duration::from_millis(2)).await;
            match mood {
                Mood::Well(after) => {
                    sleep(after).await;
                    Ok(answer(false))
                }
                Mood::Cut => Ok(answer(true)),
                Mood::Silent => pending().await,
                Mood::Limited(retry_after) => Err(failed(Kind::RateLimited { retry_after }, 429)),
                Mood::Down(retry_after) => Err(Error { retry_after, ..failed(Kind::Unavailable, 503) }),
                Mood::Refusing => Err(Error { unsent: true, ..failed(Kind::Unavailable, 0) }),
                Mood::Garbage | Mood::Flapping => Err(failed(Kind::BadResponse, 200)),
            }
        })
    }

    fn embed<'a>(&'a self, _: Outgoing<'a, v1::EmbedRequest>) -> BoxFuture<'a, Result<Answer, Error>> {
        Box::pin(async { Err(failed(Kind::Unsupported, 0)) })
    }
}
