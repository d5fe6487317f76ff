//! The root certificates, which may change under a running gateway.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use hyper_rustls::ConfigBuilderExt as _;
use rustls::ClientConfig;

/// The least time between two readings of the system's root certificates.
const READ_AGAIN: Duration = Duration::from_secs(10);

/// The system's own.
pub(super) static PLATFORM: Roots = Roots::new(&platform, READ_AGAIN);

type Read = dyn Fn() -> Result<ClientConfig, String> + Send + Sync;

/// Root certificates, read when they are first needed and again when a peer's certificate is not known by them.
pub(super) struct Roots {
    read: &'static Read,
    again_after: Duration,
    loaded: Mutex<Option<Loaded>>,
}

/// What was read, and in which reading.
#[derive(Clone)]
pub(super) struct Loaded {
    pub(super) config: ClientConfig,
    pub(super) reading: u64,
    at: Instant,
}

impl Roots {
    pub(super) const fn new(read: &'static Read, again_after: Duration) -> Self {
        Self { read, again_after, loaded: Mutex::new(None) }
    }

    /// Returns what was read last.
    ///
    /// # Errors
    /// A message for operators if there is nothing usable.
    pub(super) fn current(&self) -> Result<Loaded, String> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(loaded) = &*loaded {
            return Ok(loaded.clone());
        }
        let first = Loaded { config: (self.read)()?, reading: 1, at: Instant::now() };
        Ok(loaded.insert(first).clone())
    }

    /// Returns what was read after that reading, reading again if that is not too soon. Blocks on files.
    pub(super) fn newer(&self, than: u64) -> Option<Loaded> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let last = loaded.as_mut()?;
        if last.reading > than {
            return Some(last.clone());
        }
        if last.at.elapsed() < self.again_after {
            return None;
        }
        // Also after a failure: what cannot be read is not tried at every call.
        last.at = Instant::now();
        match (self.read)() {
            Ok(config) => {
                last.config = config;
                last.reading += 1;
                Some(last.clone())
            }
            Err(error) => {
                tracing::warn!(error, "root certificates could not be read again");
                None
            }
        }
    }
}

fn platform() -> Result<ClientConfig, String> {
    let verified = builder()?
        .try_with_platform_verifier()
        .map_err(|error| format!("the system's root certificates cannot be loaded: {error}"))?;
    Ok(verified.with_no_client_auth())
}

/// Makes a configuration that trusts nobody, for clients that never speak TLS.
///
/// # Errors
/// A message for operators.
pub(super) fn nobody() -> Result<ClientConfig, String> {
    Ok(builder()?.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth())
}

pub(super) fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, String> {
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))
}

#[cfg(test)]
mod tests;
