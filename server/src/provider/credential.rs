//! What opens a vendor's door: a key in a header, or something that is made anew for each request.

use std::sync::Arc;

use ::http::{HeaderName, HeaderValue, Request};
use futures_util::future::BoxFuture;
use secrecy::{ExposeSecret as _, SecretString};

use super::{Error, http::Pieces};

/// Signs or stamps a request just before it is sent: short-lived tokens, request signatures.
pub trait Sign: Send + Sync + 'static {
    /// Adds what the vendor wants to see. May call a token endpoint; concurrent calls share one.
    ///
    /// # Errors
    /// `Denied` if no credential can be had, `Unavailable` or `Timeout` if its source cannot be reached.
    fn sign<'a>(&'a self, request: &'a mut Request<Pieces>) -> BoxFuture<'a, Result<(), Error>>;
}

/// How requests to one provider are authenticated. Sent to its own `base_url` only.
#[derive(Clone)]
pub enum Credential {
    /// Servers that need none.
    None,
    /// A key in a header of its own.
    Header(HeaderName, HeaderValue),
    /// Whatever is made anew.
    Signed(Arc<dyn Sign>),
}

impl Credential {
    /// Makes `authorization: Bearer <key>`, or none without a key.
    ///
    /// # Errors
    /// A message for operators if no header can hold the key.
    pub fn bearer(key: Option<&SecretString>) -> Result<Self, String> {
        Self::header(::http::header::AUTHORIZATION, "Bearer ", key)
    }

    /// Makes a header of that name whose value is the prefix and the key, or none without a key.
    ///
    /// # Errors
    /// As `bearer`.
    pub fn header(name: HeaderName, prefix: &str, key: Option<&SecretString>) -> Result<Self, String> {
        let Some(key) = key else { return Ok(Self::None) };
        let mut value = HeaderValue::try_from(format!("{prefix}{}", key.expose_secret()))
            .map_err(|_| "`api_key` holds characters that no header may have".to_owned())?;
        value.set_sensitive(true);
        Ok(Self::Header(name, value))
    }

    /// Makes a credential of whatever is made anew for each request.
    pub fn signed(signer: impl Sign) -> Self {
        Self::Signed(Arc::new(signer))
    }

    /// Adds the credential to a request, in place of whatever stands there.
    ///
    /// # Errors
    /// As `Sign::sign`.
    pub async fn apply(&self, request: &mut Request<Pieces>) -> Result<(), Error> {
        match self {
            Self::None => Ok(()),
            Self::Header(name, value) => {
                request.headers_mut().insert(name, value.clone());
                Ok(())
            }
            Self::Signed(signer) => signer.sign(request).await,
        }
    }
}
