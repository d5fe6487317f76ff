//! Signs requests with keys that are looked up when they are needed, kept, and renewed before they end.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use ::http::{Request, Uri};
use futures_util::future::BoxFuture;
use tokio::sync::Mutex;

use super::{
    address,
    keys::{Keys, Lease},
    profile::Files,
    sigv4::{self, Scope},
    web_identity::WebIdentity,
};
use crate::provider::{
    Error, Kind,
    credential::Sign,
    http::{Http, Pieces},
};

/// Keys are renewed this long before they end.
const AHEAD: Duration = Duration::from_secs(300);
/// Other programs write new keys into the shared files.
const FILE_LIFE: Duration = Duration::from_secs(60);
/// How long a renewal that failed is not tried again while the old keys still hold.
const PAUSE: Duration = Duration::from_secs(30);

/// Where keys come from.
pub(super) enum Source {
    /// The configuration or the environment.
    Static(Keys),
    /// A profile of the shared files.
    Profile(Files, String),
    /// STS, for a token.
    WebIdentity(WebIdentity),
}

/// Signs the requests to one service in one region.
pub struct Signer {
    source: Source,
    region: String,
    service: &'static str,
    http: Http,
    sts: Uri,
    /// Held while keys are looked up, so that calls at the same time share one look.
    held: Mutex<Option<Held>>,
}

#[derive(Clone)]
struct Held {
    keys: Arc<Keys>,
    expires: Option<SystemTime>,
    /// From when on they are renewed; never if absent.
    renew: Option<SystemTime>,
}

impl Signer {
    /// Makes a signer. `sts` is the address of the token service; the region's own if absent.
    ///
    /// # Errors
    /// A message for operators.
    pub(super) fn new(
        source: Source,
        region: String,
        service: &'static str,
        connect_timeout: Duration,
        sts: Option<String>,
    ) -> Result<Self, String> {
        let sts: Uri = sts
            .unwrap_or_else(|| address("sts", &region))
            .parse()
            .map_err(|error| format!("AWS_ENDPOINT_URL_STS is no URL: {error}"))?;
        let https = matches!(source, Source::WebIdentity(_)) && sts.scheme_str() == Some("https");
        let http = Http::new(connect_timeout, https)?;
        Ok(Self { source, region, service, http, sts, held: Mutex::new(None) })
    }

    async fn keys(&self, now: SystemTime) -> Result<Arc<Keys>, Error> {
        let mut held = self.held.lock().await;
        if let Some(held) = held.as_ref().filter(|held| held.renew.is_none_or(|renew| now < renew)) {
            return Ok(held.keys.clone());
        }
        match self.look().await {
            Ok(lease) => {
                let renew = match (lease.expires, &self.source) {
                    (Some(expires), _) => expires.checked_sub(AHEAD),
                    (None, Source::Profile(..)) => Some(now + FILE_LIFE),
                    (None, _) => None,
                };
                let keys = Arc::new(lease.keys);
                *held = Some(Held { keys: keys.clone(), expires: lease.expires, renew });
                Ok(keys)
            }
            Err(error) => {
                let holding = held.as_mut().filter(|held| held.expires.is_none_or(|expires| now < expires));
                let Some(holding) = holding else { return Err(error) };
                tracing::warn!(error = %error.message, "aws credentials could not be renewed yet");
                holding.renew = Some(now + PAUSE);
                Ok(holding.keys.clone())
            }
        }
    }

    async fn look(&self) -> Result<Lease, Error> {
        match &self.source {
            Source::Static(keys) => Ok(Lease {
                keys: Keys {
                    id: keys.id.clone(),
                    secret: keys.secret.clone(),
                    session: keys.session.clone(),
                },
                expires: None,
            }),
            Source::Profile(files, name) => {
                let keys = files.profile(name).and_then(|profile| profile.keys);
                let keys = keys.ok_or_else(|| {
                    Error::new(Kind::Denied, format!("the AWS profile `{name}` has no keys any more"))
                })?;
                Ok(Lease { keys, expires: None })
            }
            Source::WebIdentity(identity) => identity.keys(&self.http, &self.sts).await,
        }
    }
}

impl Sign for Signer {
    fn sign<'a>(&'a self, request: &'a mut Request<Pieces>) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let now = SystemTime::now();
            let keys = self.keys(now).await?;
            let scope = Scope { region: &self.region, service: self.service };
            sigv4::sign(request, &keys, scope, now)
                .ok_or_else(|| Error::new(Kind::Denied, "the request cannot be signed with these AWS keys"))
        })
    }
}

#[cfg(test)]
mod tests;
