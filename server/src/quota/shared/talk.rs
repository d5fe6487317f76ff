//! The talk with Redis: one exchange at a time, on a thread of its own, so that busy workers do not make Redis look slow.
//! Answers that take longer than a call may wait, one by far or two in a row, open the breaker; from then on calls go by
//! what is known here, and this finds out when Redis is back.

use std::{sync::Arc, thread, time::Duration};

use futures_util::StreamExt as _;
use redis::RedisError;
use tokio::{
    runtime,
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Core,
    line::Line,
    state::State,
    wire::{self, CHANNEL, Reply},
};
use crate::telemetry::metrics::{self, Exchanged};

/// Longest that an answer is of use at all.
const LATE: Duration = Duration::from_secs(1);
/// Pause before a Redis that is away is tried again.
const PROBE: Duration = Duration::from_secs(1);
/// So many times as long calls may wait for the first connection.
const FIRST: u32 = 10;
/// In so many parts a call's patience is counted.
const PARTS: u32 = 5;
/// So many times as long calls wait once more for an answer that is late for the first time.
const MORE: u32 = 3;
/// How often it is looked after those who wait for a late answer.
const LOOK_AFTER: Duration = Duration::from_millis(20);

/// Starts the talk, until it is stopped.
pub(super) fn start(core: Arc<Core>, stop: CancellationToken) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("shared: cannot start to talk with Redis: {error}");
    let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let talk = async move {
        let lines = watch::Sender::new(0);
        let all = async { tokio::join!(exchanges(&core, &lines), listen(&core, &lines), look_after(&core)) };
        stop.run_until_cancelled(all).await;
    };
    thread::Builder::new().name("quota".to_owned()).spawn(move || runtime.block_on(talk)).map_err(failed)?;
    Ok(())
}

/// Talks over one connection after the other.
async fn exchanges(core: &Arc<Core>, lines: &watch::Sender<u64>) {
    loop {
        let before = *core.answered.borrow();
        let outcome = connected(core, lines).await;
        go_away(core);
        core.shared.note_counters(&outcome);
        metrics::shared_exchange(Exchanged::Failed, None);
        if *core.answered.borrow() == before {
            sleep(PROBE).await;
        }
    }
}

fn go_away(core: &Arc<Core>) {
    core.alone();
    // Those who wait for this to change look again.
    core.answered.send_modify(|_| {});
}

/// Waits so many parts of a call's patience. A part counts once however long it takes: that this machine is too busy to
/// run this thread is no fault of Redis.
async fn within<F: Future + Unpin>(core: &Core, parts: u32, answer: &mut F) -> Option<F::Output> {
    for _ in 0..parts {
        if let Ok(answer) = timeout(core.patience / PARTS, &mut *answer).await {
            return Some(answer);
        }
    }
    None
}

/// Waits for an answer that is late. It may be a hiccup: those who wait for it do so a little longer, and none is admitted
/// by what is known here alone that this answer refuses.
async fn late<F>(core: &Arc<Core>, answer: &mut F) -> Result<Reply, RedisError>
where
    F: Future<Output = Result<Reply, RedisError>> + Unpin,
{
    if let Some(reply) = within(core, PARTS * MORE, answer).await {
        return reply;
    }
    be_away(core);
    timeout(LATE, answer).await.map_err(|_| crate::shared::hangs())?
}

fn be_away(core: &Arc<Core>) {
    go_away(core);
    core.shared.note_counters(&Err(crate::shared::hangs()));
}

/// Talks over one connection until it fails. `lines` tells that there is a new one.
async fn connected(core: &Arc<Core>, lines: &watch::Sender<u64>) -> Result<(), RedisError> {
    let mut line = Line::new(Box::new(core.shared.connect(core.patience + LATE).await?));
    lines.send_modify(|line| *line += 1);
    core.state().rebuild();
    let mut delays = 0;
    loop {
        until_due(core).await;
        let sent = core.now();
        let exchange = core.state().next(sent);
        let mut answer = Box::pin(line.exchange(&exchange, &core.owner));
        let (reply, in_time) = match within(core, PARTS, &mut answer).await {
            Some(reply) => (reply?, true),
            None => (late(core, &mut answer).await?, false),
        };
        let now = core.now();
        let how = if in_time { Exchanged::InTime } else { Exchanged::Late };
        metrics::shared_exchange(how, Some(now.saturating_sub(sent)));
        let told = {
            let mut state = core.state();
            let told = state.apply(&reply, sent, now);
            if in_time {
                state.come_back();
            }
            metrics::shared_leases(state.leases());
            told
        };
        core.tell(told);
        core.answered.send_replace(exchange.sequence);
        if in_time {
            delays = 0;
            core.shared.note_counters(&Ok(()));
            continue;
        }
        // After a hiccup it is tried again at once. Two in a row are none.
        delays += 1;
        if delays > 1 {
            be_away(core);
            sleep(PROBE).await;
        }
        core.state().hurry();
    }
}

/// Waits until there is something to tell.
async fn until_due(core: &Core) {
    loop {
        let due = core.state().sleep();
        let rest = due.saturating_sub(core.now());
        if rest.is_zero() {
            return;
        }
        tokio::select! {
            () = sleep(rest) => {}
            () = core.wake.notified() => {}
        }
    }
}

/// Looks after the calls that wait while Redis is away: none waits for long.
async fn look_after(core: &Arc<Core>) {
    sleep(core.patience * FIRST).await;
    if *core.answered.borrow() == 0 {
        go_away(core);
    }
    let mut changes = core.answered.subscribe();
    loop {
        // Whether Redis comes or goes, this is told.
        if changes.changed().await.is_err() {
            return;
        }
        while core.state().is_away() {
            sleep(LOOK_AFTER).await;
            // It may be back by now, which this must not undo.
            let told = core.change(|state| state.look_after(core.now()));
            core.tell(told);
        }
    }
}

/// Hears what other replicas need. Anew with every new line: where the old one led, nobody may speak any more.
async fn listen(core: &Arc<Core>, lines: &watch::Sender<u64>) {
    let mut lines = lines.subscribe();
    loop {
        lines.mark_unchanged();
        if let Ok(messages) = core.shared.messages(CHANNEL).await {
            // What was said meanwhile was missed.
            core.change(State::rebuild);
            let mut messages = messages.into_on_message();
            let heard = async {
                while let Some(message) = messages.next().await {
                    hear(core, &message.get_payload::<String>().unwrap_or_default());
                }
            };
            tokio::select! {
                () = heard => {}
                _ = lines.changed() => continue,
            }
        }
        sleep(PROBE).await;
    }
}

fn hear(core: &Core, message: &str) {
    let (word, key) = message.split_once(' ').unwrap_or((message, ""));
    let counter = wire::counter(key).unwrap_or_default();
    match word {
        "recall" => core.change(|state| state.recall(counter)),
        "room" => core.change(|state| state.room(counter)),
        "rebuild" => core.change(State::rebuild),
        _ => {}
    }
}
