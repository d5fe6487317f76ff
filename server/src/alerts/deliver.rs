//! The way to a webhook: a bounded queue, one task, a signature, and patience.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use aws_lc_rs::hmac;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::mpsc::{Receiver, Sender, channel, error::TrySendError};

use super::{Settings, alert::Alert, store::Store};
use crate::telemetry::metrics;

/// Alerts that may wait for a webhook. Those beyond wait in the store for the next start.
const QUEUE: usize = 256;
/// Ids that are remembered to be written down, so that the store is not asked each time.
const REMEMBERED: usize = 10_000;
/// Tries of one alert, and the waits between them.
const TRIES: u32 = 10;
const WAITS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(120));

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
    store: Arc<Store>,
    destination: String,
    queue: Sender<(String, String)>,
    written: std::sync::Mutex<(HashSet<String>, VecDeque<String>)>,
}

/// The far end.
struct Courier {
    store: Arc<Store>,
    url: SecretString,
    host: String,
    secret: Option<SecretString>,
    post: Post,
}

impl Outbox {
    /// Starts the task that delivers, first what the last process could not.
    pub(super) fn start(store: Arc<Store>, settings: &Settings, post: Post) -> Self {
        let url = settings.webhook.expose_secret();
        // The address may hold a secret, so a hash names it.
        let destination = blake3::hash(url.as_bytes()).to_hex()[..16].to_owned();
        let host = url.split("://").nth(1).unwrap_or("").split(['/', '?', '#']).next().unwrap_or("");
        let host = host.rsplit('@').next().unwrap_or("").to_owned();
        let (queue, incoming) = channel(QUEUE);
        let courier = Courier {
            store: store.clone(),
            url: settings.webhook.clone(),
            host,
            secret: settings.secret.clone(),
            post,
        };
        // Read before anything new is written down, which comes by the queue.
        let waiting =
            store.waiting(&destination, Timestamp::now().as_millisecond()).unwrap_or_else(|error| {
                tracing::error!(%error, "alerts that wait for a webhook cannot be read");
                Vec::new()
            });
        tokio::spawn(courier.run(waiting, incoming));
        Self { store, destination, queue, written: std::sync::Mutex::default() }
    }

    /// Writes alerts down and has those delivered that are new.
    pub(super) async fn tell(&self, alerts: Vec<Alert>) {
        for alert in alerts {
            let id = alert.id(&self.destination);
            if self.is_written(&id) {
                continue;
            }
            let now = Timestamp::now();
            let body = alert.body(&id, now);
            let (store, destination) = (self.store.clone(), self.destination.clone());
            let (of, text) = (id.clone(), body.clone());
            let claim = move || store.claim(&of, &destination, &text, now.as_millisecond());
            match tokio::task::spawn_blocking(claim).await {
                Ok(Ok(is_new)) => {
                    self.remember(&id);
                    if is_new {
                        tracing::warn!(alert = alert.kind, id, "{}", alert.message);
                        metrics::alert(alert.kind, "made");
                        self.send(id, body);
                    }
                }
                Ok(Err(error)) => tracing::error!(%error, "an alert cannot be written down; trying again"),
                Err(_) => tracing::error!("writing an alert down failed; trying again"),
            }
        }
    }

    fn send(&self, id: String, body: String) {
        match self.queue.try_send((id, body)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                tracing::error!("too many alerts wait for a webhook; this one waits for the next start")
            }
            Err(TrySendError::Closed(_)) => {
                tracing::error!("the task of a webhook is gone; alerts wait for the next start")
            }
        }
    }

    fn is_written(&self, id: &str) -> bool {
        self.written.lock().unwrap_or_else(std::sync::PoisonError::into_inner).0.contains(id)
    }

    fn remember(&self, id: &str) {
        let mut written = self.written.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (ids, order) = &mut *written;
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
    async fn run(self, waiting: Vec<(String, String)>, mut incoming: Receiver<(String, String)>) {
        for (id, body) in waiting {
            self.deliver(&id, &body).await;
        }
        while let Some((id, body)) = incoming.recv().await {
            self.deliver(&id, &body).await;
        }
    }

    /// Sends until it is taken, or there is no use in trying again.
    async fn deliver(&self, id: &str, body: &str) {
        let mut wait = WAITS.0;
        for tried in 1..=TRIES {
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
        let (store, id) = (self.store.clone(), id.to_owned());
        let done = move || store.done(&id, Timestamp::now().as_millisecond());
        if !matches!(tokio::task::spawn_blocking(done).await, Ok(Ok(()))) {
            tracing::error!("that an alert is done cannot be noted; it may be sent again after a restart");
        }
    }
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
    use std::sync::Mutex;

    use super::*;

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

    async fn settle(seen: &Mutex<Vec<String>>, count: usize) {
        while seen.lock().unwrap().len() < count {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(Duration::from_secs(600)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_alert_is_sent_until_it_is_taken_and_never_again() {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(&dir.path().join("tollgate.db")).unwrap());
        let (post, seen) = webhook(&[0, 503, 429, 200]);
        let outbox = Outbox::start(store.clone(), &settings(), post.clone());
        outbox.tell(vec![alert("one"), alert("one")]).await;
        settle(&seen, 4).await;
        outbox.tell(vec![alert("one")]).await;
        let again = Outbox::start(store, &settings(), post);
        again.tell(vec![alert("one"), alert("two")]).await;
        settle(&seen, 5).await;
        let seen = seen.lock().unwrap();
        assert_eq!(seen.len(), 5, "four tries of one, one of two");
        assert!(seen[..4].iter().all(|id| *id == seen[0]) && seen[4] != seen[0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_final_and_does_not_hold_up_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(&dir.path().join("tollgate.db")).unwrap());
        let (post, seen) = webhook(&[410, 302, 200]);
        let outbox = Outbox::start(store, &settings(), post);
        outbox.tell(vec![alert("one"), alert("two"), alert("three")]).await;
        settle(&seen, 3).await;
        assert_eq!(seen.lock().unwrap().len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn what_one_process_could_not_deliver_the_next_one_does() {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(&dir.path().join("tollgate.db")).unwrap());
        let (down, _) = webhook(&[0; 5]);
        let outbox = Outbox::start(store.clone(), &settings(), down);
        outbox.tell(vec![alert("one")]).await;
        let (up, seen) = webhook(&[]);
        let _next = Outbox::start(store, &settings(), up);
        settle(&seen, 1).await;
        assert_eq!(seen.lock().unwrap().len(), 1);
    }
}
