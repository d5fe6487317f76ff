//! Who is told of what is spent: budgets that are nearly used up or will be, limits that only warn, and spend that leaves
//! its trend.
//!
//! Place in the path: none. A timer looks at how the limits of whoever called since the last time stand, on any replica,
//! and at what is spent in this hour; what is to be told is written down under an id that one replica wins, and delivered
//! by a task for each webhook. The rules are plain: `budget`, `deviation`. Config: `alerts`. Metrics: `tollgate_alerts_total`. Tests:
//! beside each file, `tests/e2e/alerts.rs`.

mod alert;
mod budget;
mod deliver;
mod deviation;
mod store;
mod trend;

use std::{path::Path, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use secrecy::SecretString;
use tollgate_api::v1;

pub use self::{
    alert::Alert,
    deliver::{Message, Post},
};
use self::{
    deliver::Outbox,
    store::{Local, Shared, Store},
    trend::Trend,
};
use crate::{error::Error, postgres::Postgres};

/// Between two looks at limits: so long an alert may be late.
const LOOK: Duration = Duration::from_secs(2);
/// Looks at limits for each look at trends.
const LOOKS_OF_TREND: u64 = 15;

/// What one webhook is told.
pub struct Settings {
    /// Share of a budget, in millionths, from which its use is told.
    pub budget: Option<u32>,
    /// Whether it is told that a budget will not last.
    pub forecast: bool,
    /// Whether limits that only warn are told when they are passed.
    pub soft_limits: bool,
    /// Which spend is watched for leaving its trend.
    pub deviation: Option<Deviation>,
    /// Where it goes.
    pub webhook: SecretString,
    /// What it is signed with.
    pub secret: Option<SecretString>,
}

/// Which spend is watched, and when it is out of the ordinary.
#[derive(Clone, Debug)]
pub struct Deviation {
    /// Words as in `group_by` of a usage report.
    pub by: Vec<String>,
    /// So many times the usual spread from the median.
    pub factor: u32,
    /// And by so many nano-USD an hour at least.
    pub at_least: i64,
    /// Weeks that are looked back on.
    pub weeks: u32,
}

/// What the room must know of the others.
pub trait Source: Send + Sync {
    /// Tells how the limits stand of whoever called since this was asked before.
    fn standings(&self) -> BoxFuture<'_, Result<Vec<v1::Quota>, Error>>;

    /// Tells what was spent in nano-USD, by value of a word and by hour, in this time; all in seconds since 1970.
    fn spend<'a>(&'a self, word: &'a str, from: i64, until: i64) -> BoxFuture<'a, Result<Vec<Spent>, Error>>;

    /// Tells when the first call was recorded, in seconds since 1970.
    fn oldest(&self) -> BoxFuture<'_, Result<Option<i64>, Error>>;
}

/// What was spent in an hour.
#[derive(Clone, Debug, PartialEq)]
pub struct Spent {
    /// Start of the hour, in seconds since 1970.
    pub hour: i64,
    /// The team, model or value of a tag.
    pub value: String,
    /// How much, in nano-USD.
    pub nanos: i64,
}

/// One configured alert at work.
struct Watch {
    settings: Settings,
    outbox: Outbox,
    trend: Option<Trend>,
}

/// Watches, and tells, until the process ends. Dropping the task loses nothing that was written down. What was told is
/// noted in the PostgreSQL that replicas share, if they do, else in the store file.
///
/// # Errors
/// A message for the operator if the store cannot be opened.
pub fn start(
    settings: Vec<Settings>,
    (store, postgres): (&Path, Option<Postgres>),
    source: Arc<dyn Source>,
    post: &Post,
) -> Result<(), String> {
    let store: Arc<dyn Store> = match postgres {
        Some(postgres) => Arc::new(Shared::new(postgres)),
        None => Arc::new(Local::open(store)?),
    };
    let watches: Vec<Watch> = settings
        .into_iter()
        .map(|settings| {
            let outbox = Outbox::start(store.clone(), &settings, post.clone());
            let trend = settings.deviation.clone().map(Trend::new);
            Watch { settings, outbox, trend }
        })
        .collect();
    tokio::spawn(run(watches, source));
    Ok(())
}

async fn run(mut watches: Vec<Watch>, source: Arc<dyn Source>) {
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut failing = false;
    for look in 0_u64.. {
        ticks.tick().await;
        let now = Timestamp::now();
        if look % LOOKS_OF_TREND == 0 {
            for watch in &watches {
                watch.outbox.take_over().await;
            }
        }
        match source.standings().await {
            Ok(standings) => {
                failing = false;
                for watch in &mut watches {
                    let told = budget::alerts(&watch.settings, &standings, now);
                    watch.outbox.tell(told).await;
                }
            }
            Err(error) => {
                if !failing {
                    tracing::warn!(%error, "how limits stand cannot be known; who is to be alerted waits");
                }
                failing = true;
            }
        }
        if look % LOOKS_OF_TREND != 0 {
            continue;
        }
        for watch in &mut watches {
            let Some(trend) = &mut watch.trend else { continue };
            match trend.look(&*source, now).await {
                Ok(told) => watch.outbox.tell(told).await,
                Err(error) => {
                    tracing::warn!(%error, "what is spent cannot be known, so nobody is alerted of it")
                }
            }
        }
    }
}
