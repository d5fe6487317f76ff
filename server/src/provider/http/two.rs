//! HTTP/2, for hosts that speak nothing else and where sockets are scarce.
//!
//! Streams share a connection, so three things keep them from harming each other. A stream's window is small and the
//! connection's is larger than all of them together: a reader that stalls holds up nobody. Only so many streams share
//! a connection that even if all of them stalled, their small unread frames would stay within what the h2 library
//! allows a connection before it takes them for an attack. And there are as many connections as the streams need,
//! whatever limit the peer sets: no stream waits for another to end.

mod host;
mod link;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use http::{Request, Response, Uri, Version};

use super::{
    Incoming, Pieces,
    connect::Connector,
    copy,
    failure::{Failed, is_unprocessed},
    reach::Connecting,
};
use host::Host;
pub(super) use host::Lease;

/// How often a request is handed to connections of which each turns out to be closing, before it is given up.
const TRIES: usize = 4;

/// The connections to the hosts of one provider.
pub(super) struct Two {
    connector: Connector,
    connect_timeout: Duration,
    hosts: Mutex<HashMap<Uri, Arc<Host>>>,
}

impl Two {
    pub(super) fn new(connector: Connector, connect_timeout: Duration) -> Self {
        Self { connector, connect_timeout, hosts: Mutex::default() }
    }

    /// Sends a request. One that the peer says it has not touched is sent once more, on another connection.
    pub(super) async fn send(&self, request: Request<Pieces>) -> Result<Response<Incoming>, Failed> {
        let mut request = request.map(Pieces::coalesced);
        *request.version_mut() = Version::HTTP_2;
        let host = self.host(request.uri())?;
        let (mut spare, mut refused_by) = (copy(&request), None);
        for _ in 0..TRIES {
            let connecting = Connecting::start();
            let lease = host.lease(refused_by).await?;
            connecting.connected();
            let sent = Instant::now();
            let mut failed = match lease.sender().try_send_request(request).await {
                Ok(response) => return Ok(response.map(|body| Incoming::leased(body, lease))),
                Err(failed) => failed,
            };
            if let Some(unsent) = failed.take_message() {
                lease.retire();
                request = unsent;
                continue;
            }
            let error = failed.into_error();
            if !is_unprocessed(&error) {
                return Err(Failed::sending(&error, sent.elapsed()));
            }
            let Some(spare) = spare.take() else { break };
            request = spare;
            refused_by = Some(lease.id());
        }
        Err(Failed::unsent("the host refused the request's stream"))
    }

    fn host(&self, uri: &Uri) -> Result<Arc<Host>, Failed> {
        let origin = Uri::builder()
            .scheme(uri.scheme_str().unwrap_or_default())
            .authority(uri.authority().map_or("", |authority| authority.as_str()))
            .path_and_query("/")
            .build()
            .map_err(|_| Failed::unsent("the request has no host"))?;
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let opener = || Host::new(self.connector.clone(), origin.clone(), self.connect_timeout);
        Ok(hosts.entry(origin.clone()).or_insert_with(|| Arc::new(opener())).clone())
    }
}

#[cfg(test)]
mod tests;
