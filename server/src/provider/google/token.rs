//! Keeps a short-lived token: one request for a new one at a time, and the old one serves as long as it lasts.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use futures_util::future::BoxFuture;
use secrecy::SecretString;
use tokio::{sync::Mutex, time::Instant};

use crate::provider::Error;

/// How long before its end a token is replaced.
const EARLY: Duration = Duration::from_mins(5);

/// A token as its source gives it.
#[derive(Clone)]
pub(super) struct Token {
    pub(super) secret: SecretString,
    /// How long it holds from the moment it was asked for.
    pub(super) lifetime: Duration,
}

/// Where new tokens come from.
pub(super) trait Fetch: Send + Sync + 'static {
    /// Asks for a new token.
    fn fetch(&self) -> BoxFuture<'_, Result<Token, Error>>;
}

/// The token of one credential.
pub(super) struct Tokens<F>(Arc<Shared<F>>);

struct Shared<F> {
    source: F,
    kept: RwLock<Option<Kept>>,
    /// Held by whoever asks for a new token.
    asking: Mutex<()>,
}

#[derive(Clone)]
struct Kept {
    secret: SecretString,
    stale: Instant,
    expires: Instant,
}

impl<F: Fetch> Tokens<F> {
    pub(super) fn new(source: F) -> Self {
        Self(Arc::new(Shared { source, kept: RwLock::new(None), asking: Mutex::new(()) }))
    }

    pub(super) fn fetch(&self) -> &F {
        &self.0.source
    }

    /// Returns a token that holds. Waits only if there is none.
    ///
    /// # Errors
    /// As `Fetch::fetch`.
    pub(super) async fn get(&self) -> Result<SecretString, Error> {
        if let Some(kept) = self.0.kept() {
            if kept.stale <= Instant::now() {
                self.renew();
            }
            return Ok(kept.secret);
        }
        let _asking = self.0.asking.lock().await;
        match self.0.kept() {
            Some(kept) => Ok(kept.secret),
            None => self.0.ask().await,
        }
    }

    /// Replaces the token in the background, unless somebody does. If that fails, a later call tries again.
    fn renew(&self) {
        let shared = Arc::clone(&self.0);
        tokio::spawn(async move {
            let Ok(_asking) = shared.asking.try_lock() else { return };
            if shared.kept().is_none_or(|kept| kept.stale <= Instant::now()) {
                let _ = shared.ask().await;
            }
        });
    }
}

impl<F: Fetch> Shared<F> {
    fn kept(&self) -> Option<Kept> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        kept.clone().filter(|kept| Instant::now() < kept.expires)
    }

    async fn ask(&self) -> Result<SecretString, Error> {
        let asked = Instant::now();
        let token = self.source.fetch().await?;
        let early = EARLY.min(token.lifetime / 2);
        let kept = Kept {
            secret: token.secret.clone(),
            stale: asked + token.lifetime.saturating_sub(early),
            expires: asked + token.lifetime,
        };
        *self.kept.write().unwrap_or_else(PoisonError::into_inner) = Some(kept);
        Ok(token.secret)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::provider::Kind;

    /// Gives the tokens `0`, `1`, … of an hour each, after as many milliseconds as it is told.
    struct Counter {
        given: AtomicU64,
        takes: Duration,
    }

    impl Fetch for Counter {
        fn fetch(&self) -> BoxFuture<'_, Result<Token, Error>> {
            Box::pin(async {
                tokio::time::sleep(self.takes).await;
                let number = self.given.fetch_add(1, Ordering::Relaxed);
                if number == 2 {
                    return Err(Error::new(Kind::Denied, "no more"));
                }
                Ok(Token { secret: number.to_string().into(), lifetime: Duration::from_hours(1) })
            })
        }
    }

    fn tokens() -> Tokens<Counter> {
        Tokens::new(Counter { given: AtomicU64::new(0), takes: Duration::from_millis(50) })
    }

    async fn get(tokens: &Tokens<Counter>) -> String {
        tokens.get().await.unwrap().expose_secret().to_owned()
    }

    #[tokio::test(start_paused = true)]
    async fn many_calls_share_one_request() {
        let tokens = tokens();
        let all = futures_util::future::join_all((0..20).map(|_| get(&tokens))).await;
        assert!(all.iter().all(|token| token == "0"));
        assert_eq!(get(&tokens).await, "0");
        assert_eq!(tokens.fetch().given.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_old_token_serves_until_the_new_one_is_there() {
        let tokens = tokens();
        get(&tokens).await;
        tokio::time::advance(Duration::from_mins(56)).await;
        let before = Instant::now();
        assert_eq!(get(&tokens).await, "0");
        assert_eq!(before, Instant::now(), "nobody waits for the new token");
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(get(&tokens).await, "1");
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_has_ended_is_never_used() {
        let tokens = tokens();
        get(&tokens).await;
        tokio::time::advance(Duration::from_mins(61)).await;
        assert_eq!(get(&tokens).await, "1");
        tokio::time::advance(Duration::from_mins(61)).await;
        assert_eq!(tokens.get().await.unwrap_err().kind, Kind::Denied);
        assert_eq!(get(&tokens).await, "3");
    }
}
