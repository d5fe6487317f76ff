//! The way to a webhook: a bounded queue, one task, a signature, and patience.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use aws_lc_rs::hmac;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::mpsc::{Receiver, Sender, channel, error::TrySendError};

use super::{
    Settings,
    alert::Alert,
    store::{FIRST_HOLD, Store, Written},
};
use crate::telemetry::metrics;

/// Alerts that may wait for a webhook. Those beyond wait in the store for the next start, or for another replica.
const QUEUE: usize = 256;
/// Alerts that may wait for a store that is away.
const UNWRITTEN: usize = 1_024;
/// Ids that are remembered to be written down, so that the store is not asked each time.
const REMEMBERED: usize = 10_000;
/// Tries of one alert, and the waits between them.
const TRIES: u32 = 10;
const WAITS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(120));
/// How much longer than until the next try an alert is held: as long as a try may take, and more.
const SLACK: Duration = Duration::from_secs(30);

/// One request to a webhook.
pub struct Message {
    /// Where to.
    pub url: SecretString,
    /// The body, as JSON.
    pub body: String,
    /// Header `x-tollgate-signature`, if there is a secret.
    pub signature: Option<String>,
    /// Header `x-tollgate-alert-id`: the same however often it is sent.
    pub id: String,
}

/// Sends a request and returns its status, or in words why there is none. Follows no redirect, and takes bounded time.
pub type Post = Arc<dyn Fn(Message) -> BoxFuture<'static, Result<u16, String>> + Send + Sync>;

/// The near end of the way to one webhook.
pub(super) struct Outbox {
    store: Arc<dyn Store>,
    destination: String,
    queue: Sender<Written>,
    queued: Queued,
    /// Made while the store was away.
    unwritten: Vec<Alert>,
    written: (HashSet<String>, VecDeque<String>),
}

/// Ids of what is in the queue.
type Queued = Arc<Mutex<HashSet<String>>>;

/// The far end.
struct Courier {
    queued: Queued,
    store: Arc<dyn Store>,
    url: SecretString,
    host: String,
    secret: Option<SecretString>,
    post: Post,
}

impl Outbox {
    /// Starts the task that delivers.
    pub(super) fn start(store: Arc<dyn Store>, settings: &Settings, post: Post) -> Self {
        let url = settings.webhook.expose_secret();
        // The address may hold a secret, so a hash names it.
        let destination = blake3::hash(url.as_bytes()).to_hex()[..16].to_owned();
        let host = url.split("://").nth(1).unwrap_or("").split(['/', '?', '#']).next().unwrap_or("");
        let host = host.rsplit('@').next().unwrap_or("").to_owned();
        let (queue, incoming) = channel(QUEUE);
        let queued = Queued::default();
        let courier = Courier {
            queued: queued.clone(),
            store: store.clone(),
            url: settings.webhook.clone(),
            host,
            secret: settings.secret.clone(),
            post,
        };
        tokio::spawn(courier.run(incoming));
        Self { store, destination, queue, queued, unwritten: Vec::new(), written: Default::default() }
    }

    /// Keeps what is in the queue from other processes, and has delivered what one of them wrote down and could not
    /// deliver.
    pub(super) async fn take_over(&self) {
        let queued: Vec<String> = lock(&self.queued).iter().cloned().collect();
        for id in queued {
            if at(&self.store, move |store| store.hold(&id, FIRST_HOLD)).await.is_err() {
                break;
            }
        }
        let destination = self.destination.clone();
        match at(&self.store, move |store| store.take_over(&destination)).await {
            Ok(waiting) => waiting.into_iter().for_each(|alert| self.send(alert)),
            Err(error) => tracing::warn!(error, "alerts that wait for a webhook cannot be read"),
        }
    }

    /// Writes alerts down and has those delivered that are new.
    pub(super) async fn tell(&mut self, alerts: Vec<Alert>) {
        let mut waiting = std::mem::take(&mut self.unwritten);
        waiting.extend(alerts);
        let mut alerts = waiting.into_iter();
        while let Some(alert) = alerts.next() {
            let id = alert.id(&self.destination);
            if self.written.0.contains(&id) {
                continue;
            }
            let body = alert.body(&id, Timestamp::now());
            let (destination, written) = (self.destination.clone(), Written { id, body });
            let claim = written.clone();
            match at(&self.store, move |store| store.claim(&destination, &claim)).await {
                Ok(is_new) => {
                    self.remember(&written.id);
                    if is_new {
                        tracing::warn!(alert = alert.kind, id = written.id, "{}", alert.message);
                        metrics::alert(alert.kind, "made");
                        self.send(written);
                    }
                }
                Err(error) => {
                    tracing::warn!(error, "an alert cannot be written down; trying again");
                    self.unwritten.extend(std::iter::once(alert).chain(alerts).take(UNWRITTEN));
                    return;
                }
            }
        }
    }

    /// Puts an alert into the queue, unless it is there: another process may have had it meanwhile.
    fn send(&self, alert: Written) {
        let mut queued = lock(&self.queued);
        if queued.contains(&alert.id) {
            return;
        }
        let id = alert.id.clone();
        match self.queue.try_send(alert) {
            Ok(()) => _ = queued.insert(id),
            Err(TrySendError::Full(_)) => {
                tracing::error!("too many alerts wait for a webhook; this one waits for the next start")
            }
            Err(TrySendError::Closed(_)) => {
                tracing::error!("the task of a webhook is gone; alerts wait for the next start")
            }
        }
    }

    fn remember(&mut self, id: &str) {
        let (ids, order) = &mut self.written;
        if ids.insert(id.to_owned()) {
            order.push_back(id.to_owned());
        }
        while order.len() > REMEMBERED {
            let oldest = order.pop_front().unwrap_or_default();
            ids.remove(&oldest);
        }
    }
}

impl Courier {
    async fn run(self, mut incoming: Receiver<Written>) {
        while let Some(Written { id, body }) = incoming.recv().await {
            // From now on it is held as long as each try takes.
            lock(&self.queued).remove(&id);
            self.deliver(&id, &body).await;
        }
    }

    /// Sends until it is taken, there is no use in trying again, or another replica has taken over.
    async fn deliver(&self, id: &str, body: &str) {
        let mut wait = WAITS.0;
        for tried in 1..=TRIES {
            let (of, time) = (id.to_owned(), wait + SLACK);
            // Nobody can take it over from a store that is away.
            if at(&self.store, move |store| store.hold(&of, time)).await == Ok(false) {
                return;
            }
            let outcome = (self.post)(self.message(id, body, Timestamp::now().as_second())).await;
            let trouble = match outcome {
                Ok(200..=299) => return self.finish(id, "delivered").await,
                Ok(status) => format!("it answered with status {status}"),
                Err(ref trouble) => trouble.clone(),
            };
            let is_final = matches!(outcome, Ok(300..=399 | 400..=407 | 409..=424 | 426..=428 | 430..=499));
            if is_final || tried == TRIES {
                tracing::error!(webhook = self.host, id, tried, trouble, "an alert could not be delivered");
                return self.finish(id, "failed").await;
            }
            tracing::warn!(webhook = self.host, id, trouble, "an alert could not be delivered; trying again");
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(WAITS.1);
        }
    }

    fn message(&self, id: &str, body: &str, now: i64) -> Message {
        let signature = self.secret.as_ref().map(|secret| signature(secret, now, body));
        Message { url: self.url.clone(), body: body.to_owned(), signature, id: id.to_owned() }
    }

    async fn finish(&self, id: &str, outcome: &'static str) {
        metrics::alert("any", outcome);
        let id = id.to_owned();
        if let Err(error) = at(&self.store, move |store| store.done(&id)).await {
            tracing::error!(error, "that an alert is done cannot be noted; it may be sent again");
        }
    }
}

fn lock(queued: &Queued) -> MutexGuard<'_, HashSet<String>> {
    queued.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Works at the store without blocking the task.
async fn at<T: Send + 'static>(
    store: &Arc<dyn Store>,
    work: impl FnOnce(&dyn Store) -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let store = store.clone();
    let done = tokio::task::spawn_blocking(move || work(&*store)).await;
    done.unwrap_or_else(|_| Err("the work was aborted".to_owned()))
}

/// Signs a body with the time at which it is sent, so that a copy of it can be told by its age.
fn signature(secret: &SecretString, now: i64, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes());
    let tag = hmac::sign(&key, format!("{now}.{body}").as_bytes());
    let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={now},v1={hex}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alerts::store::Local;

    #[test]
    fn a_signature_is_that_of_time_and_body() {
        // From: printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac secret
        let expected = "t=1700000000,v1=49f24e537407743fa4a0242bb63b94b9a47ee99cbbe071ccd8a22550ae411686";
        assert_eq!(signature(&"secret".into(), 1_700_000_000, "{\"a\":1}"), expected);
    }

    fn alert(identity: &str) -> Alert {
        Alert {
            kind: "budget",
            identity: identity.to_owned(),
            message: "m".to_owned(),
            facts: serde_json::Map::new(),
        }
    }

    /// What a webhook got, and how it answers in turn.
    fn webhook(answers: &[u16]) -> (Post, Arc<Mutex<Vec<String>>>) {
        let (seen, answers) = (Arc::<Mutex<Vec<String>>>::default(), answers.to_vec());
        let got = seen.clone();
        let post: Post = Arc::new(move |message| {
            let mut got = got.lock().unwrap();
            let status = answers.get(got.len()).copied().unwrap_or(200);
            got.push(message.id);
            Box::pin(async move { if status == 0 { Err("no connection".to_owned()) } else { Ok(status) } })
        });
        (post, seen)
    }

    fn settings() -> Settings {
        let webhook = SecretString::from("http://user:pass@127.0.0.1:1/path?token=x");
        Settings { budget: None, forecast: false, soft_limits: false, deviation: None, webhook, secret: None }
    }

    fn store(dir: &tempfile::TempDir) -> Arc<dyn Store> {
        Arc::new(Local::open(&dir.path().join("tollgate.db")).unwrap())
    }

    async fn settle(seen: &Mutex<Vec<String>>, count: usize) {
        while seen.lock().unwrap().len() < count {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(Duration::from_secs(600)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_alert_is_sent_until_it_is_taken_and_never_again() {
        let dir = tempfile::tempdir().unwrap();
        let (post, seen) = webhook(&[0, 503, 429, 200]);
        let mut outbox = Outbox::start(store(&dir), &settings(), post.clone());
        outbox.tell(vec![alert("one"), alert("one")]).await;
        settle(&seen, 4).await;
        outbox.tell(vec![alert("one")]).await;
        let mut again = Outbox::start(store(&dir), &settings(), post);
        again.take_over().await;
        again.tell(vec![alert("one"), alert("two")]).await;
        settle(&seen, 5).await;
        let seen = seen.lock().unwrap();
        assert_eq!(seen.len(), 5, "four tries of one, one of two");
        assert!(seen[..4].iter().all(|id| *id == seen[0]) && seen[4] != seen[0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_final_and_does_not_hold_up_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let (post, seen) = webhook(&[410, 302, 200]);
        let mut outbox = Outbox::start(store(&dir), &settings(), post);
        outbox.tell(vec![alert("one"), alert("two"), alert("three")]).await;
        settle(&seen, 3).await;
        assert_eq!(seen.lock().unwrap().len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn what_one_process_could_not_deliver_the_next_one_does() {
        let dir = tempfile::tempdir().unwrap();
        let (down, _) = webhook(&[0; 5]);
        let mut outbox = Outbox::start(store(&dir), &settings(), down);
        outbox.tell(vec![alert("one")]).await;
        let (up, seen) = webhook(&[]);
        let next = Outbox::start(store(&dir), &settings(), up);
        next.take_over().await;
        settle(&seen, 1).await;
        assert_eq!(seen.lock().unwrap().len(), 1);
    }

    /// A store that is away for the first few questions.
    struct Away {
        store: Arc<dyn Store>,
        left: Mutex<u32>,
    }

    impl Store for Away {
        fn claim(&self, destination: &str, alert: &Written) -> Result<bool, String> {
            let mut left = self.left.lock().unwrap();
            if *left > 0 {
                *left -= 1;
                return Err("away".to_owned());
            }
            self.store.claim(destination, alert)
        }

        fn take_over(&self, destination: &str) -> Result<Vec<Written>, String> {
            self.store.take_over(destination)
        }

        fn hold(&self, id: &str, time: Duration) -> Result<bool, String> {
            self.store.hold(id, time)
        }

        fn done(&self, id: &str) -> Result<(), String> {
            self.store.done(id)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_written_down_is_told_when_the_store_is_back() {
        let dir = tempfile::tempdir().unwrap();
        let away = Arc::new(Away { store: store(&dir), left: Mutex::new(2) });
        let (post, seen) = webhook(&[]);
        let mut outbox = Outbox::start(away, &settings(), post);
        outbox.tell(vec![alert("one"), alert("two")]).await;
        // Nobody finds them again: it is the outbox that has not forgotten them.
        outbox.tell(Vec::new()).await;
        outbox.tell(vec![alert("three")]).await;
        settle(&seen, 3).await;
        assert_eq!(seen.lock().unwrap().len(), 3);
    }

    /// A store in which another process lets go of the same alert again and again.
    #[derive(Default)]
    struct Again(Mutex<Vec<String>>);

    impl Store for Again {
        fn claim(&self, _: &str, _: &Written) -> Result<bool, String> {
            Ok(true)
        }

        fn take_over(&self, _: &str) -> Result<Vec<Written>, String> {
            Ok(vec![Written { id: "again".to_owned(), body: "{}".to_owned() }])
        }

        fn hold(&self, id: &str, _: Duration) -> Result<bool, String> {
            self.0.lock().unwrap().push(id.to_owned());
            Ok(true)
        }

        fn done(&self, _: &str) -> Result<(), String> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_behind_a_dead_webhook_is_held_and_is_not_queued_again() {
        let store = Arc::new(Again::default());
        let (post, seen) = webhook(&[0, 200]);
        let mut outbox = Outbox::start(store.clone(), &settings(), post);
        outbox.tell(vec![alert("one")]).await;
        while seen.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        for _ in 0..3 {
            outbox.take_over().await;
        }
        let held = store.0.lock().unwrap().iter().filter(|id| *id == "again").count();
        assert_eq!(held, 2, "it is held while it waits");
        settle(&seen, 3).await;
        assert_eq!(seen.lock().unwrap()[2..], ["again"], "once");
    }
}
