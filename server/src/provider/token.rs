//! A short-lived access token: fetched when first needed, renewed before it ends, and fetched once however many wait.
//!
//! Plain logic takes the time as an argument; `get` and `request` are what adapters call.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ::http::{HeaderValue, Method, Request, Uri, header};
use futures_util::future::BoxFuture;
use serde::Deserialize;
use tokio::sync::Mutex;

use super::{
    Error, Kind,
    http::{self, Http, Pieces},
    json::{Count, Text},
    refusal,
};

/// Renewal begins when so much of the lifetime is left, at most `LONGEST_AHEAD`.
const AHEAD_SHARE: u32 = 5;
const LONGEST_AHEAD: Duration = Duration::from_secs(300);
/// The pause after a renewal that failed while the old token still holds.
const PAUSE: Duration = Duration::from_secs(10);
/// How long one fetch may take; it serves all callers, so none of their deadlines bounds it.
const PATIENCE: Duration = Duration::from_secs(10);
/// The lifetime of a token whose issuer does not tell it.
const ASSUMED_LIFETIME: Duration = Duration::from_secs(300);

/// A token as its issuer gave it.
#[derive(Clone, Debug)]
pub struct Token {
    /// The whole value of the `authorization` header, marked as sensitive.
    pub value: HeaderValue,
    /// How long it holds from now on.
    pub lifetime: Duration,
}

/// Where tokens come from.
pub trait Source: Send + Sync + 'static {
    /// Fetches a new token.
    ///
    /// # Errors
    /// `Denied` if the issuer refuses, `Unavailable` or `Timeout` if it cannot be asked.
    fn fetch(&self) -> BoxFuture<'_, Result<Token, Error>>;
}

/// The token of one source, shared by all calls.
#[derive(Debug)]
pub struct Cached<S>(Arc<Shared<S>>);

#[derive(Debug)]
struct Shared<S> {
    source: S,
    held: std::sync::Mutex<Held>,
    /// Held by the one who fetches.
    flight: Arc<Mutex<()>>,
}

#[derive(Debug, Default)]
struct Held {
    token: Option<Timed>,
    /// How many fetches have ended, and how the last one failed.
    fetches: u64,
    failure: Option<(Kind, String)>,
}

#[derive(Clone, Debug)]
struct Timed {
    value: HeaderValue,
    renew: Instant,
    end: Instant,
}

impl<S: Source> Cached<S> {
    /// Holds nothing yet; the first call fetches.
    pub fn new(source: S) -> Self {
        Self(Arc::new(Shared { source, held: std::sync::Mutex::default(), flight: Arc::default() }))
    }

    /// Returns a token that holds now.
    ///
    /// # Errors
    /// As `Source::fetch`; calls that waited for the same fetch share its failure.
    pub async fn get(&self) -> Result<HeaderValue, Error> {
        self.get_at(Instant::now()).await
    }

    async fn get_at(&self, now: Instant) -> Result<HeaderValue, Error> {
        let (held, seen) = self.0.look(now);
        match held {
            Some(held) => {
                if held.renew <= now {
                    self.renew_behind(now);
                }
                Ok(held.value)
            }
            None => self.0.fetch_or_wait(now, seen).await,
        }
    }

    /// Renews without letting a call wait for it, unless somebody does so already.
    fn renew_behind(&self, now: Instant) {
        let Ok(flight) = Arc::clone(&self.0.flight).try_lock_owned() else { return };
        let shared = Arc::clone(&self.0);
        tokio::spawn(async move {
            // What failed is kept for the calls that will need the new token; the old one still serves these.
            let _ = shared.fetch(now).await;
            drop(flight);
        });
    }
}

impl<S: Source> Shared<S> {
    /// Returns the token that holds, and how many fetches have ended.
    fn look(&self, now: Instant) -> (Option<Timed>, u64) {
        let held = self.lock();
        (held.token.clone().filter(|token| now < token.end), held.fetches)
    }

    async fn fetch_or_wait(&self, now: Instant, seen: u64) -> Result<HeaderValue, Error> {
        let _flight = self.flight.lock().await;
        if let Some(held) = self.look(now).0 {
            return Ok(held.value);
        }
        let shared_failure = {
            let held = self.lock();
            held.failure.clone().filter(|_| held.fetches > seen)
        };
        match shared_failure {
            Some((kind, message)) => Err(Error::new(kind, message)),
            None => self.fetch(now).await,
        }
    }

    async fn fetch(&self, now: Instant) -> Result<HeaderValue, Error> {
        let fetched = tokio::time::timeout(PATIENCE, self.source.fetch())
            .await
            .unwrap_or_else(|_| Err(Error::new(Kind::Timeout, "the token's issuer did not answer in time")));
        let mut held = self.lock();
        held.fetches += 1;
        match fetched {
            Ok(Token { value, lifetime }) => {
                let ahead = (lifetime / AHEAD_SHARE).min(LONGEST_AHEAD);
                let end = now + lifetime;
                held.token = Some(Timed { value: value.clone(), renew: end - ahead, end });
                held.failure = None;
                Ok(value)
            }
            Err(error) => {
                if let Some(token) = &mut held.token {
                    token.renew = now + PAUSE;
                }
                held.failure = Some((error.kind, error.message.clone()));
                Err(error)
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Granted<'a> {
    #[serde(borrow)]
    access_token: Text<'a>,
    expires_in: Count,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Refused<'a> {
    #[serde(borrow)]
    error: Text<'a>,
    #[serde(borrow)]
    error_description: Text<'a>,
}

/// Asks an OAuth 2.0 token endpoint (RFC 6749) with a form.
///
/// # Errors
/// `Denied` if it refuses; `Timeout`, `Unavailable` or `BadResponse` if it gives no token for another reason.
pub async fn request(http: &Http, endpoint: &Uri, form: &[(&str, &str)]) -> Result<Token, Error> {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let mut request = Request::new(Pieces::from(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = endpoint.clone();
    let headers = request.headers_mut();
    let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
    headers.insert(header::CONTENT_TYPE, form_type);
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    let response = http.send(request).await.map_err(|error| Error { unsent: true, ..error })?;
    let status = response.status();
    if !status.is_success() {
        return Err(refused(status.as_u16(), &http::read_error(response.into_body()).await));
    }
    granted(&http::read_all(response.into_body(), http::MAX_ERROR_BYTES).await?)
}

fn refused(status: u16, body: &[u8]) -> Error {
    let said: Refused<'_> = serde_json::from_slice(body).unwrap_or_default();
    let kind = match status {
        429 | 500.. => Kind::Unavailable,
        300..400 => Kind::BadResponse,
        _ => Kind::Denied,
    };
    let words = refusal::clean(&format!("{} {}", said.error.0, said.error_description.0));
    let mut error = Error::new(kind, format!("the token's issuer answered {status}: {words}"));
    error.unsent = true;
    error
}

fn granted(body: &[u8]) -> Result<Token, Error> {
    let bad = || Error { unsent: true, ..Error::new(Kind::BadResponse, "the token's issuer gave no token") };
    let granted: Granted<'_> = serde_json::from_slice(body).map_err(|_| bad())?;
    if granted.access_token.is_empty() {
        return Err(bad());
    }
    let mut value = HeaderValue::try_from(format!("Bearer {}", granted.access_token.0)).map_err(|_| bad())?;
    value.set_sensitive(true);
    // Some issuers write the number as a text, which is as good as none.
    let seconds = granted.expires_in.0.and_then(|seconds| u64::try_from(seconds).ok());
    let lifetime = seconds.map_or(ASSUMED_LIFETIME, |seconds| Duration::from_secs(seconds.min(86_400)));
    Ok(Token { value, lifetime })
}

#[cfg(test)]
mod tests;
