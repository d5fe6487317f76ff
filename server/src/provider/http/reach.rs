//! Whether a request can have reached its upstream, for those who give it up while they wait for its answer.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::task_local;

task_local! {
    static REACH: Arc<Reach>;
}

/// How far the last request of some work has come.
#[derive(Debug, Default)]
pub struct Reach {
    /// It waits for a connection, or waited for one until it was given up.
    connecting: AtomicBool,
}

impl Reach {
    /// Does this work and follows its requests. They must be made in the same task.
    pub async fn follow<F: Future>(self: &Arc<Self>, work: F) -> F::Output {
        REACH.scope(self.clone(), work).await
    }

    /// Tells whether it is certain that the last request never had a connection. False if there was none.
    pub fn is_unsent(&self) -> bool {
        self.connecting.load(Ordering::Relaxed)
    }
}

/// A request that waits for a connection.
pub(super) struct Connecting(Option<Arc<Reach>>);

impl Connecting {
    /// Starts the wait.
    pub(super) fn start() -> Self {
        let reach = REACH.try_with(Arc::clone).ok();
        if let Some(reach) = &reach {
            reach.connecting.store(true, Ordering::Relaxed);
        }
        Self(reach)
    }

    /// There is a connection.
    pub(super) fn connected(self) {
        if let Some(reach) = &self.0 {
            reach.connecting.store(false, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{net::TcpListener, time::timeout};

    use super::{
        super::{
            Http, Protocol,
            testing::{get, read_request},
        },
        *,
    };

    /// Gives up a request after a while, and tells whether it was surely never sent.
    async fn is_unsent(protocol: Protocol, url: String) -> bool {
        let http = Http::speaking(protocol, Duration::from_secs(60), url.starts_with("https")).unwrap();
        let reach = Arc::new(Reach::default());
        assert!(!reach.is_unsent(), "nothing is known of what was not begun");
        let given_up = timeout(Duration::from_millis(300), reach.follow(get(http, url))).await;
        assert!(given_up.is_err(), "the peer is silent");
        reach.is_unsent()
    }

    #[tokio::test]
    async fn only_a_request_that_had_a_connection_may_have_been_sent() {
        // Its kernel takes connections, so TLS waits for a hello that never comes and plain text for an answer.
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = silent.local_addr().unwrap();
        assert!(is_unsent(Protocol::Http1, format!("https://{addr}/")).await);
        assert!(is_unsent(Protocol::Http2, format!("https://{addr}/")).await);
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", silent.local_addr().unwrap());
        let http = Http::new(Duration::from_secs(60), false).unwrap();
        let reach = Arc::new(Reach::default());
        let asked = async { read_request(&mut silent.accept().await.unwrap().0).await };
        tokio::select! {
            _ = reach.follow(get(http, url)) => panic!("the peer is silent"),
            asked = asked => assert!(asked.is_some()),
        }
        assert!(!reach.is_unsent());
    }
}
