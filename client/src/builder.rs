//! How a client is set up: address, key, TLS, timeouts and HTTP/2 windows.

use std::time::Duration;

use tonic::{
    metadata::{Ascii, MetadataValue},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

use crate::{client::Client, error::Error, secret::Key};

/// Window of a whole connection, in bytes.
///
/// h2 charges every small DATA frame that waits to be read against a budget of half this window and,
/// when it is used up, closes the connection with every stream on it (RUSTSEC-2026-0258). Token streams
/// are exactly that: many frames of some 60 bytes. With hyper's default of 5 MiB one reader that stalls
/// kills the other streams; a large connection window beside small stream windows bounds what one
/// stalled stream can use up.
const CONNECTION_WINDOW: u32 = 64 << 20;
/// Window of one stream, in bytes: thousands of tokens, and 1/1000 of the connection's.
const STREAM_WINDOW: u32 = 64 << 10;
/// Largest answer, in bytes: a batch of embeddings is the largest.
pub(crate) const MAX_MESSAGE: usize = 64 << 20;
/// How often a connection with calls is asked whether it lives, so that a lost peer is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Sets up a [`Client`].
#[derive(Clone, Debug)]
pub struct Builder {
    addr: String,
    key: Option<Key>,
    ca: Option<Vec<u8>>,
    connect_timeout: Duration,
    timeout: Option<Duration>,
    user_agent: String,
    stream_window: u32,
}

impl Builder {
    /// Starts from an address: `host:port` or `http://host:port` for plain HTTP/2 (h2c),
    /// `https://host[:port]` for TLS.
    pub fn new(addr: impl Into<String>) -> Self {
        Self {
            addr: addr.into(),
            key: None,
            ca: None,
            connect_timeout: Duration::from_secs(5),
            timeout: None,
            user_agent: concat!("tollgate-client/", env!("CARGO_PKG_VERSION")).to_owned(),
            stream_window: STREAM_WINDOW,
        }
    }

    /// Sets the key to call with. Without one the server refuses every call but health checks.
    #[must_use]
    pub fn key(mut self, key: impl Into<Key>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Trusts the certificates of this PEM beside those of the system. Only for `https://`.
    #[must_use]
    pub fn ca_certificate(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.ca = Some(pem.into());
        self
    }

    /// Sets how long a connection may take to be made (default 5 s).
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets how long each call may take, streams to their end included (default: no limit of this side).
    /// Sent as `grpc-timeout`, so that the server and the provider stop in time too.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets the name of the calling program in `user-agent`.
    #[must_use]
    pub fn user_agent(mut self, name: impl Into<String>) -> Self {
        self.user_agent = name.into();
        self
    }

    /// Sets the HTTP/2 window of one stream in bytes (default 64 KiB). A program that only fetches large
    /// batches of embeddings over a slow line gains by a larger one; with many token streams on the
    /// connection, keep it small.
    #[must_use]
    pub fn stream_window(mut self, bytes: u32) -> Self {
        self.stream_window = bytes;
        self
    }

    /// Connects. Fails if the address or the key cannot be used, or nothing answers there.
    pub async fn connect(self) -> Result<Client, Error> {
        let (endpoint, authorization) = self.prepare()?;
        let channel = endpoint.connect().await.map_err(|error| Error::connect(&error))?;
        Ok(self.finish(channel, authorization))
    }

    /// Makes a client that connects with its first call, and fails only if the address or the key cannot
    /// be used. Must be called within a tokio runtime.
    pub fn connect_lazy(self) -> Result<Client, Error> {
        let (endpoint, authorization) = self.prepare()?;
        Ok(self.finish(endpoint.connect_lazy(), authorization))
    }

    fn finish(self, channel: Channel, authorization: Option<MetadataValue<Ascii>>) -> Client {
        Client::from_parts(channel, authorization, self.timeout)
    }

    fn prepare(&self) -> Result<(Endpoint, Option<MetadataValue<Ascii>>), Error> {
        Ok((self.endpoint()?, self.key.as_ref().map(Key::authorization).transpose()?))
    }

    fn endpoint(&self) -> Result<Endpoint, Error> {
        let uri = uri(&self.addr)?;
        let tls = uri.starts_with("https://");
        let endpoint = Endpoint::from_shared(uri)
            .map_err(|_| self.unusable())?
            .user_agent(self.user_agent.clone())
            .map_err(|_| Error::local("the user agent has characters that a header cannot hold"))?
            .connect_timeout(self.connect_timeout)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .initial_stream_window_size(self.stream_window)
            .http2_keep_alive_interval(KEEP_ALIVE);
        if !tls {
            return Ok(endpoint);
        }
        let mut config = ClientTlsConfig::new().with_native_roots();
        if let Some(pem) = &self.ca {
            config = config.ca_certificate(Certificate::from_pem(pem));
        }
        endpoint.tls_config(config).map_err(|error| Error::connect(&error))
    }

    fn unusable(&self) -> Error {
        Error::local(format!("{:?} is no address: write host:port or https://host", self.addr))
    }
}

/// Completes an address to a URI of scheme and authority.
fn uri(addr: &str) -> Result<String, Error> {
    let unusable = || Error::local(format!("{addr:?} is no address: write host:port or https://host"));
    let text = match addr.trim() {
        full if full.contains("://") => full.to_owned(),
        port if port.starts_with(':') => format!("http://127.0.0.1{port}"),
        plain => format!("http://{plain}"),
    };
    let parsed: http::Uri = text.parse().map_err(|_| unusable())?;
    let (Some(scheme), Some(authority)) = (parsed.scheme_str(), parsed.authority()) else {
        return Err(unusable());
    };
    // A path would be ignored without a word, and a user name would end up in messages.
    let bare = parsed.path() == "/" && parsed.query().is_none() && !authority.as_str().contains('@');
    if !matches!(scheme, "http" | "https") || !bare {
        return Err(unusable());
    }
    Ok(format!("{scheme}://{authority}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_completed() {
        assert_eq!(uri("127.0.0.1:8080").unwrap(), "http://127.0.0.1:8080");
        assert_eq!(uri(":8080").unwrap(), "http://127.0.0.1:8080");
        assert_eq!(uri("localhost").unwrap(), "http://localhost");
        assert_eq!(uri("[::1]:8080").unwrap(), "http://[::1]:8080");
        assert_eq!(uri("https://gate.example/").unwrap(), "https://gate.example");
    }

    #[test]
    fn what_cannot_be_an_address_is_refused() {
        for wrong in ["", "ftp://host", "http://host/v1", "http://user:pw@host", "a b"] {
            assert!(uri(wrong).is_err(), "{wrong:?}");
        }
    }
}
