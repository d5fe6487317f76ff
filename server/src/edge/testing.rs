//! What the tests of the edge share: a gateway on a real port, with a provider of their own.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::Router;
use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream};
use http::HeaderMap;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tollgate_api::v1;

use super::{
    About, Edge, Limits,
    listen::{Listener, Tls},
};
use crate::{
    auth::{Auth, Declared},
    call::{Caller, Event, Item, ModelGlobs, Scope, Scopes},
    error::{Error, Reason},
    meter::{Catalog, Meter},
    pipeline::Pipeline,
    provider::{Answer, Error as ProviderError, Kind, Named, Outgoing, Provider},
    route::{Alias, Routes},
};

/// A provider that says the words it was given; each needs a permit.
pub(super) struct Words {
    words: Vec<&'static str>,
    permits: Arc<Semaphore>,
}

impl Words {
    /// Says everything at once.
    pub(super) fn at_once(words: &[&'static str]) -> Self {
        Self { words: words.to_vec(), permits: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)) }
    }

    /// Says a word per permit.
    pub(super) fn by_permit(words: &[&'static str], permits: &Arc<Semaphore>) -> Self {
        Self { words: words.to_vec(), permits: permits.clone() }
    }
}

impl Provider for Words {
    fn chat<'a>(&'a self, _: Outgoing<'a, v1::ChatInput>) -> BoxFuture<'a, Result<Answer, ProviderError>> {
        let permits = self.permits.clone();
        let deltas = stream::iter(self.words.clone()).then(move |word| {
            let permits = permits.clone();
            async move {
                permits.acquire().await.expect("the semaphore is never closed").forget();
                Event::Text(v1::TextDelta { text: word.to_owned(), choice: 0, part: 0 })
            }
        });
        let stop = v1::ChoiceEnd { finish_reason: v1::FinishReason::Stop.into(), ..Default::default() };
        let usage =
            v1::Usage { input_tokens: Some(3), output_tokens: Some(2), r#final: true, ..Default::default() };
        let ending =
            [Event::ChoiceEnd(Box::new(stop)), Event::Usage(Box::new(usage)), Event::End(Box::default())];
        let start = v1::StreamStart { model: "words-1".to_owned(), ..Default::default() };
        let events = stream::iter([Event::Start(Box::new(start))]).chain(deltas).chain(stream::iter(ending));
        let answer = Answer {
            http_status: 200,
            upstream_request_id: "upstream-1".to_owned(),
            headers: HeaderMap::new(),
            warnings: Vec::new(),
            items: events.map(Item::Event).map(Ok).boxed(),
        };
        async move { Ok(answer) }.boxed()
    }

    fn embed<'a>(
        &'a self,
        _: Outgoing<'a, v1::EmbedRequest>,
    ) -> BoxFuture<'a, Result<Answer, ProviderError>> {
        async { Err(ProviderError::new(Kind::Invalid, "words are no vectors")) }.boxed()
    }
}

/// Builds an edge whose models `words` and `other` are served by this provider.
pub(super) fn edge(dir: &Path, provider: impl Provider) -> Edge {
    let store = dir.join("tollgate.db");
    let named = Named::new("fake", "fake", Arc::new(provider));
    let alias = Alias::plain(named, "words-1");
    let auth = Auth::start(dir, &store, Declared::default(), None).unwrap();
    let meter = Meter::start(dir, &store, Arc::new(Catalog::default())).unwrap();
    let routes = Routes::new([("words".to_owned(), alias.clone()), ("other".to_owned(), alias)]);
    let pipeline = Pipeline::for_test(auth, meter, routes);
    Edge {
        pipeline: Arc::new(pipeline),
        limits: LIMITS,
        keep_alive: Duration::from_secs(15),
        patience: Duration::from_secs(20),
        draining: CancellationToken::new(),
        cors: Arc::new([]),
        about: Arc::new(about()),
    }
}

/// What a process would be started with.
pub(super) fn about() -> About {
    About {
        start_time: SystemTime::now(),
        config_hash: "0123456789abcdef".to_owned(),
        shared: None,
        postgres: None,
    }
}

pub(super) const LIMITS: Limits = Limits { header: 16 * 1024, body: 64 * 1024, message: 64 * 1024 };

/// Knows the keys `chat` (which may do what keys usually may, with the model `words`) and `admin`.
pub(super) fn known_keys(headers: &HeaderMap) -> Result<Arc<Caller>, Error> {
    let given = headers.get("authorization").and_then(|value| value.to_str().ok());
    let scopes = match given {
        None => return Err(Error::new(Reason::ApiKeyMissing, "no key")),
        Some("Bearer chat") => Scopes::DEFAULT,
        Some("Bearer admin") => Scopes::from_iter([Scope::Admin]),
        Some(_) => return Err(Error::new(Reason::ApiKeyInvalid, "unknown key")),
    };
    Ok(Arc::new(Caller {
        key_id: "key1".to_owned(),
        key_name: "test".to_owned(),
        team_id: String::new(),
        scopes,
        allowed_models: ModelGlobs::new(vec!["words*".to_owned()]),
        default_tags: BTreeMap::new(),
        priority: crate::call::Priority::default(),
        limits: Arc::default(),
        teams: Arc::default(),
    }))
}

/// An app on a real port.
pub(super) struct Running {
    pub(super) addr: SocketAddr,
    pub(super) draining: CancellationToken,
    pub(super) served: tokio::task::JoinHandle<()>,
}

/// Serves an app on any port of the loopback.
pub(super) async fn serve(app: Router, draining: CancellationToken, tls: Option<&Tls>) -> Running {
    let listener = Listener::bind("127.0.0.1:0", tls).await.unwrap();
    let addr = listener.local_addr();
    let served = tokio::spawn(listener.serve(app, LIMITS, draining.clone(), Duration::from_secs(5)));
    Running { addr, draining, served }
}
