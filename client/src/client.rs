//! The client: one connection, and how each call is sent over it.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::time::Instant;
use tonic::{
    Code, Request, Response, Status,
    metadata::{Ascii, MetadataValue},
    transport::Channel,
};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::{
    builder::Builder,
    error::Error,
    retry::{Repeat, next_wait},
    secret::Key,
};

/// A connection to a gateway. Cheap to clone: clones share the connection, which is made again by itself
/// when it breaks.
///
/// A call that the server refuses before its first message, and asks to be repeated
/// (`google.rpc.RetryInfo`, `grpc-retry-pushback-ms`), is sent again up to two times, within the
/// deadline. Nothing else is repeated. Dropping the future or the stream of a call cancels it at the
/// server and at the provider.
#[derive(Clone, Debug)]
pub struct Client {
    channel: Channel,
    authorization: Option<Arc<MetadataValue<Ascii>>>,
    timeout: Option<Duration>,
}

impl Client {
    /// Connects to `addr` (`host:port`, or `https://host` for TLS) with a key. Fails if nothing answers
    /// there; whether the key is accepted shows with the first call.
    pub async fn connect(addr: impl Into<String>, key: impl Into<Key>) -> Result<Self, Error> {
        Self::builder(addr).key(key).connect().await
    }

    /// Starts to set up a client with more than an address and a key.
    pub fn builder(addr: impl Into<String>) -> Builder {
        Builder::new(addr)
    }

    pub(crate) fn from_parts(
        channel: Channel,
        authorization: Option<MetadataValue<Ascii>>,
        timeout: Option<Duration>,
    ) -> Self {
        Self { channel, authorization: authorization.map(Arc::new), timeout }
    }

    /// Returns a client on the same connection whose calls may take this long, streams to their end
    /// included; `None`: no limit of this side.
    #[must_use]
    pub fn with_timeout(&self, timeout: Option<Duration>) -> Self {
        Self { timeout, ..self.clone() }
    }

    /// Asks the health service about one service (`""`: the server as a whole). Needs no key.
    /// `None`: the server does not know the service.
    pub async fn health(&self, service: &str) -> Result<Option<ServingStatus>, Error> {
        let request = HealthCheckRequest { service: service.to_owned() };
        let asked = self
            .send(Repeat::Safe, request, |channel, request| async move {
                HealthClient::new(channel).check(request).await
            })
            .await;
        match asked {
            Ok(response) => Ok(Some(response.into_inner().status())),
            Err(error) if error.code() == Code::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns when a call that starts now must be over.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        // A timeout beyond what the clock can hold is no timeout.
        self.timeout.and_then(|timeout| Instant::now().checked_add(timeout))
    }

    /// Sends a call, and again where the server asks for it, until the deadline of this client.
    pub(crate) async fn send<M, R, F>(
        &self,
        repeat: Repeat,
        message: M,
        call: impl Fn(Channel, Request<M>) -> F,
    ) -> Result<Response<R>, Error>
    where
        M: Clone,
        F: Future<Output = Result<Response<R>, Status>>,
    {
        self.send_until(self.deadline(), repeat, message, call).await
    }

    pub(crate) async fn send_until<M, R, F>(
        &self,
        deadline: Option<Instant>,
        repeat: Repeat,
        message: M,
        call: impl Fn(Channel, Request<M>) -> F,
    ) -> Result<Response<R>, Error>
    where
        M: Clone,
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let mut attempts_made = 0;
        loop {
            let request = self.request(message.clone(), deadline, attempts_made)?;
            let error = match bounded(deadline, call(self.channel.clone(), request)).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            attempts_made += 1;
            match next_wait(&error, repeat, attempts_made, Instant::now(), deadline) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Err(error),
            }
        }
    }

    fn request<M>(
        &self,
        message: M,
        deadline: Option<Instant>,
        attempts_made: u32,
    ) -> Result<Request<M>, Error> {
        let mut request = Request::new(message);
        if let Some(authorization) = &self.authorization {
            request.metadata_mut().insert("authorization", MetadataValue::clone(authorization));
        }
        if attempts_made > 0 {
            request.metadata_mut().insert("grpc-previous-rpc-attempts", attempts_made.into());
        }
        if let Some(deadline) = deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::deadline());
            }
            request.set_timeout(left);
        }
        Ok(request)
    }
}

/// Awaits a call no longer than its deadline.
async fn bounded<R>(
    deadline: Option<Instant>,
    call: impl Future<Output = Result<R, Status>>,
) -> Result<R, Error> {
    let Some(deadline) = deadline else { return Ok(call.await?) };
    match tokio::time::timeout_at(deadline, call).await {
        Err(_) => Err(Error::deadline()),
        // tonic's own timer, set to the same deadline, reports a cancel.
        Ok(Err(status)) if status.code() == Code::Cancelled && Instant::now() >= deadline => {
            Err(Error::deadline())
        }
        Ok(answer) => Ok(answer?),
    }
}
