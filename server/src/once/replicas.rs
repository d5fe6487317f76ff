//! What replicas tell each other of their calls: who runs, and what was answered, in the Redis that they share.
//!
//! A key for each id holds either the mark of the call that runs, which its replica renews and which goes by itself soon
//! after that replica has died, or the answer. When Redis is away, each replica knows only its own calls: a repeat at
//! another one is then a new call. One answer that is later than `ANSWER` may be a hiccup and is waited for; two in a row
//! are not, and while Redis is away no call waits at all.

use std::{
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use redis::{AsyncCommands as _, RedisResult, Script, ScriptInvocation, aio::MultiplexedConnection};
use tokio::{
    task::AbortHandle,
    time::{sleep, timeout},
};

use super::board::Scope;
use crate::{
    call::{Fingerprint, new_id},
    shared::Shared,
};

/// Goes up when the form of keys or values changes, so that replicas of two versions do not misread each other. All keys
/// are in the one slot of a cluster that its connection leads to.
const PREFIX: &str = "{tollgate}:2:once:";
/// Longest wait of a call for Redis.
const ANSWER: Duration = Duration::from_millis(25);
/// Longest wait if its last answer came in time.
const HICCUP: Duration = Duration::from_millis(100);
/// Longest wait for a kept answer, which may be large, and which is there.
const READ: Duration = Duration::from_millis(250);
/// Pause before Redis is tried once more.
const PAUSE: Duration = Duration::from_secs(1);
/// How long the mark of a running call lasts without being renewed, and how often it is.
pub(super) const LEASE: Duration = Duration::from_secs(10);
const RENEW: Duration = Duration::from_secs(3);
/// Kind and fingerprint, with which every value begins.
const HEAD: usize = 33;
/// Length of a mark: the head, and who set it.
const MARK: usize = HEAD + 16;
const RUNNING: u8 = b'R';
const KEPT: u8 = b'K';

/// Sets a mark where there is nothing, and returns how what is there begins.
const CLAIM: &str = "local held = redis.call('GETRANGE', KEYS[1], 0, 48)
if held == '' then redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) end
return held";
const OWN: &str = "if redis.call('GETRANGE', KEYS[1], 0, 48) == ARGV[1] then";
/// Puts the answer in the place of one's own mark, or where that has gone.
const KEEP: &str = "local held = redis.call('GETRANGE', KEYS[1], 0, 48)
if held == '' or held == ARGV[1] then redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end";

/// What the other replicas know of an id.
#[derive(Debug)]
pub(super) enum Elsewhere {
    /// Nothing; now they know that the call runs here.
    First(Held),
    /// The same request runs at another replica.
    Running,
    /// The same request was answered so.
    Kept(Bytes),
    /// The id stands for another request.
    Reused,
    /// Nobody can be asked.
    Away,
}

/// The Redis, as far as this room needs it.
pub(super) struct Replicas {
    shared: Arc<Shared>,
    connection: Mutex<Option<MultiplexedConnection>>,
    connecting: AtomicBool,
    /// Whether the last answer took longer than it may.
    late: AtomicBool,
    claim: Script,
    renew: Script,
    release: Script,
    keep: Script,
}

impl Replicas {
    pub(super) fn new(shared: Arc<Shared>) -> Arc<Self> {
        let replicas = Arc::new(Self {
            shared,
            connection: Mutex::default(),
            connecting: AtomicBool::default(),
            late: AtomicBool::default(),
            claim: Script::new(CLAIM),
            renew: Script::new(&format!("{OWN} redis.call('PEXPIRE', KEYS[1], ARGV[2]) end")),
            release: Script::new(&format!("{OWN} redis.call('DEL', KEYS[1]) end")),
            keep: Script::new(KEEP),
        });
        replicas.connect(Duration::ZERO);
        replicas
    }

    /// Asks for the right to be the call of an id.
    pub(super) async fn claim(self: &Arc<Self>, scope: Scope, fingerprint: Fingerprint) -> Elsewhere {
        let (key, mark) = (key_of(&scope), mark_of(&fingerprint));
        let mut claim = self.claim.prepare_invoke();
        claim.key(&key).arg(&mark).arg(millis(LEASE));
        let Some(held) = self.invoke::<Vec<u8>>(&claim).await else { return Elsewhere::Away };
        match held.first() {
            None => Elsewhere::First(Held::renewed(self.clone(), key, mark)),
            Some(_) if held.get(1..HEAD) != Some(fingerprint.as_bytes()) => Elsewhere::Reused,
            Some(&KEPT) => self.read(&key).await,
            Some(_) => Elsewhere::Running,
        }
    }

    /// Reads an answer that is there.
    async fn read(self: &Arc<Self>, key: &str) -> Elsewhere {
        let Some(mut connection) = self.connection() else { return Elsewhere::Away };
        match self.within(READ, connection.get::<_, Option<Vec<u8>>>(key)).await {
            None => Elsewhere::Away,
            Some(Some(value)) if value.first() == Some(&KEPT) => {
                Elsewhere::Kept(Bytes::from(value).slice(HEAD..))
            }
            // It went meanwhile: whoever asks again finds nothing.
            Some(_) => Elsewhere::Running,
        }
    }

    async fn invoke<T: redis::FromRedisValue>(self: &Arc<Self>, script: &ScriptInvocation<'_>) -> Option<T> {
        let mut connection = self.connection()?;
        let patience = if self.late.load(Ordering::Relaxed) { ANSWER } else { HICCUP };
        let began = Instant::now();
        let answer = self.within(patience, script.invoke_async(&mut connection)).await;
        self.late.store(began.elapsed() > ANSWER, Ordering::Relaxed);
        answer
    }

    /// Waits so long for Redis. One that fails or hangs is not asked again until it has been connected to anew.
    async fn within<T>(
        self: &Arc<Self>,
        patience: Duration,
        asked: impl Future<Output = RedisResult<T>>,
    ) -> Option<T> {
        if let Ok(Ok(answer)) = timeout(patience, asked).await {
            return Some(answer);
        }
        self.slot().take();
        self.connect(Duration::ZERO);
        None
    }

    fn connection(&self) -> Option<MultiplexedConnection> {
        self.slot().clone()
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<MultiplexedConnection>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects beside the calls, after a pause, for as long as that takes.
    fn connect(self: &Arc<Self>, pause: Duration) {
        if self.connecting.swap(true, Ordering::Relaxed) {
            return;
        }
        let replicas = Arc::downgrade(self);
        tokio::spawn(async move {
            let mut pause = pause;
            loop {
                sleep(pause).await;
                pause = PAUSE;
                let Some(replicas) = replicas.upgrade() else { return };
                let Ok(mut connection) = replicas.shared.connect(READ).await else { continue };
                // A server that hangs may take connections all the same.
                if redis::cmd("PING").query_async::<()>(&mut connection).await.is_ok() {
                    *replicas.slot() = Some(connection);
                    replicas.connecting.store(false, Ordering::Relaxed);
                    return;
                }
            }
        });
    }
}

/// The mark of a call that runs here. Dropping it takes it away.
pub(super) struct Held {
    replicas: Arc<Replicas>,
    key: String,
    mark: Vec<u8>,
    renewing: AbortHandle,
    kept: bool,
}

impl Held {
    /// Renews a mark that was set.
    fn renewed(replicas: Arc<Replicas>, key: String, mark: Vec<u8>) -> Self {
        let (redis, its_key, its_mark) = (replicas.clone(), key.clone(), mark.clone());
        let renewing = tokio::spawn(async move {
            loop {
                sleep(RENEW).await;
                let mut renew = redis.renew.prepare_invoke();
                renew.key(&its_key).arg(&its_mark).arg(millis(LEASE));
                redis.invoke::<()>(&renew).await;
            }
        });
        Self { replicas, key, mark, renewing: renewing.abort_handle(), kept: false }
    }

    /// Tells the others the answer. One that is slow to take it takes it later.
    pub(super) async fn keep(mut self, answer: &[u8], keep: Duration) {
        self.kept = true;
        let mut value = Vec::with_capacity(HEAD + answer.len());
        value.push(KEPT);
        value.extend_from_slice(&self.mark[1..HEAD]);
        value.extend_from_slice(answer);
        let (replicas, key, mark) = (self.replicas.clone(), self.key.clone(), self.mark.clone());
        let telling = tokio::spawn(async move {
            let Some(mut connection) = replicas.connection() else { return };
            let mut told = replicas.keep.prepare_invoke();
            told.key(&key).arg(&mark).arg(value).arg(millis(keep));
            replicas.within(READ, told.invoke_async::<()>(&mut connection)).await;
        });
        let _ = timeout(ANSWER, telling).await;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.renewing.abort();
        if self.kept {
            return;
        }
        let (replicas, key, mark) =
            (self.replicas.clone(), std::mem::take(&mut self.key), std::mem::take(&mut self.mark));
        // Without a runtime the process ends, and the mark by itself.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let mut release = replicas.release.prepare_invoke();
                release.key(&key).arg(&mark);
                replicas.invoke::<()>(&release).await;
            });
        }
    }
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held").field("key", &self.key).finish_non_exhaustive()
    }
}

fn key_of(scope: &Scope) -> String {
    let mut key = String::with_capacity(PREFIX.len() + 64);
    key.push_str(PREFIX);
    for byte in scope.as_bytes() {
        key.push_str(&format!("{byte:02x}"));
    }
    key
}

/// Makes a mark that is no other call's.
fn mark_of(fingerprint: &Fingerprint) -> Vec<u8> {
    let mut mark = Vec::with_capacity(MARK);
    mark.push(RUNNING);
    mark.extend_from_slice(fingerprint.as_bytes());
    mark.extend_from_slice(new_id().as_bytes());
    mark
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
