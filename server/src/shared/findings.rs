//! What a replica finds out about targets, told to the others: a key that lasts as long as the finding, for replicas that
//! start meanwhile, and a message for those that run.
//!
//! Times are told as what is left of them, so that no two clocks are compared.

use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::StreamExt as _;
use redis::{AsyncCommands as _, RedisError, aio::MultiplexedConnection};
use serde::{Deserialize, Serialize};
use tokio::{sync::mpsc, time::sleep};
use uuid::Uuid;

use super::Shared;
use crate::{
    call::now,
    route::{
        Health,
        health::{State, Transition},
    },
};

/// Goes up when the form of keys or messages changes, so that replicas of two versions do not misread each other.
/// All keys are in one slot of a cluster.
const CHANNEL: &str = "{tollgate}:2:health";
/// Findings that may wait to be told. More than there are transitions in any second in which they matter.
const WAITING: usize = 1_024;
/// Pause before Redis is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// No finding holds longer, whatever is told.
const LONGEST: Duration = Duration::from_secs(3600);
/// Keys that a starting replica reads.
const MOST_KEYS: usize = 10_000;
/// The others leave it to the replica that found out to try first, and hear of it.
const HEAD_START: Duration = Duration::from_millis(300);
/// Time between two looks at a Redis that has nothing to say.
const LOOK: Duration = Duration::from_secs(5);

/// A finding on its way.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
struct Finding {
    /// Who found out.
    replica: String,
    target: String,
    state: Word,
    /// How long it holds from now on, in milliseconds.
    rest_ms: u64,
}

/// What is told of a target. That one call finds out whether it is well is nobody else's matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Closed,
    Open,
    CoolingDown,
    Ejected,
}

impl Finding {
    fn of(transition: &Transition, replica: &str, now: Instant) -> Option<Self> {
        let state = match transition.state {
            State::Closed => Word::Closed,
            State::Open => Word::Open,
            State::CoolingDown => Word::CoolingDown,
            State::Ejected => Word::Ejected,
            State::HalfOpen => return None,
        };
        let rest = transition.until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        let rest_ms = u64::try_from(rest.as_millis()).ok()?;
        Some(Self { replica: replica.to_owned(), target: transition.target.to_string(), state, rest_ms })
    }

    fn key(&self) -> String {
        format!("{CHANNEL}:{}", self.target)
    }

    /// Applies what another replica found out.
    fn apply(&self, health: &Health, now: Instant) {
        let state = match self.state {
            Word::Closed => State::Closed,
            Word::Open => State::Open,
            Word::CoolingDown => State::CoolingDown,
            Word::Ejected => State::Ejected,
        };
        let rest = Duration::from_millis(self.rest_ms).min(LONGEST);
        let until = if state == State::Closed { now } else { now + rest + HEAD_START };
        health.named(&self.target.as_str().into()).told(state, until, now);
    }
}

/// Tells the other replicas what this one finds out, and hears what they do, for as long as the process lives.
pub fn share(shared: Arc<Shared>, health: Arc<Health>) {
    let (tell, told) = mpsc::channel(WAITING);
    health.on_change(move |transition| {
        if !transition.told_by_replica {
            // What cannot be told is found out by the others themselves.
            let _ = tell.try_send(transition.clone());
        }
    });
    tokio::spawn(run(shared, health, told));
}

async fn run(shared: Arc<Shared>, health: Arc<Health>, mut told: mpsc::Receiver<Transition>) {
    let replica = Uuid::now_v7().to_string();
    loop {
        let outcome = connected(&shared, &health, &mut told, &replica).await;
        shared.note(&outcome);
        sleep(PAUSE).await;
    }
}

/// Works with one connection until it fails.
async fn connected(
    shared: &Shared,
    health: &Health,
    told: &mut mpsc::Receiver<Transition>,
    replica: &str,
) -> Result<(), RedisError> {
    let mut commands = shared.commands().await?;
    // First the messages, then the keys: nothing that is told meanwhile is missed.
    let messages = shared.messages(CHANNEL).await?.into_on_message();
    let mut messages = pin!(messages);
    learn(&mut commands, health).await?;
    shared.note(&Ok(()));
    loop {
        tokio::select! {
            message = messages.next() => {
                let Some(message) = message else { return Err(super::hangs()) };
                match serde_json::from_slice::<Finding>(message.get_payload_bytes()) {
                    Ok(finding) if finding.replica != replica => finding.apply(health, now()),
                    Ok(_) => {}
                    Err(error) => tracing::debug!(%error, "shared: a finding that cannot be read"),
                }
            }
            transition = told.recv() => {
                let Some(transition) = transition else { return Ok(()) };
                if let Some(finding) = Finding::of(&transition, replica, now()) {
                    publish(&mut commands, &finding).await?;
                }
            }
            () = sleep(LOOK) => redis::cmd("PING").exec_async(&mut commands).await?,
        }
    }
}

/// Keeps a finding for as long as it holds, and tells it to those who listen.
async fn publish(commands: &mut MultiplexedConnection, finding: &Finding) -> Result<(), RedisError> {
    let Ok(text) = serde_json::to_string(finding) else { return Ok(()) };
    let mut pipe = redis::pipe();
    pipe.atomic();
    if finding.state == Word::Closed || finding.rest_ms == 0 {
        pipe.del(finding.key()).ignore();
    } else {
        pipe.pset_ex(finding.key(), &text, finding.rest_ms).ignore();
    }
    pipe.publish(CHANNEL, &text).ignore();
    pipe.exec_async(commands).await
}

/// Takes over what the replicas found out before this one was there, or while it could not be told.
async fn learn(commands: &mut MultiplexedConnection, health: &Health) -> Result<(), RedisError> {
    let mut keys = Vec::new();
    let mut found = commands.clone();
    let mut scan = found.scan_match::<_, String>(format!("{CHANNEL}:*")).await?;
    while let Some(key) = scan.next_item().await {
        keys.push(key?);
        if keys.len() == MOST_KEYS {
            break;
        }
    }
    drop(scan);
    for key in keys {
        let (text, rest): (Option<String>, i64) =
            redis::pipe().get(&key).pttl(&key).query_async(commands).await?;
        let finding = text.and_then(|text| serde_json::from_str::<Finding>(&text).ok());
        if let (Some(mut finding), Ok(rest)) = (finding, u64::try_from(rest)) {
            finding.rest_ms = rest;
            finding.apply(health, now());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::health::Settings;

    fn open(until: Option<Instant>) -> Transition {
        Transition {
            target: "p/m".into(),
            state: State::Open,
            until,
            last_failure: None,
            told_by_replica: false,
        }
    }

    #[test]
    fn a_finding_is_told_as_what_is_left_of_it_and_holds_for_the_hearer() {
        let now = now();
        let finding = Finding::of(&open(Some(now + Duration::from_secs(2))), "r1", now).unwrap();
        let text = serde_json::to_string(&finding).unwrap();
        assert_eq!(text, r#"{"replica":"r1","target":"p/m","state":"open","rest_ms":2000}"#);
        let health = Health::new(Settings::default());
        serde_json::from_str::<Finding>(&text).unwrap().apply(&health, now);
        let view = health.named(&"p/m".into()).view(now);
        assert!(view.told_by_replica && view.state == State::Open, "{view:?}");
        assert_eq!(view.retry_at, Some(now + Duration::from_secs(2) + HEAD_START));
    }

    #[test]
    fn that_a_target_is_tried_again_is_told_and_that_it_is_being_tried_is_not() {
        let now = now();
        let health = Health::new(Settings::default());
        let bad = Finding::of(&open(Some(now + Duration::from_secs(60))), "r1", now).unwrap();
        bad.apply(&health, now);
        let well = Transition { state: State::Closed, ..open(None) };
        Finding::of(&well, "r1", now).unwrap().apply(&health, now);
        assert_eq!(health.named(&"p/m".into()).view(now).state, State::Closed);
        let trying = Transition { state: State::HalfOpen, ..open(None) };
        assert_eq!(Finding::of(&trying, "r1", now), None);
    }
}
