//! HTTP/1.1: a connection for each running call, worked by whoever waits for its answer.
//!
//! No task of its own moves a connection's bytes: nobody has to be woken to hand them on, and pieces of an answer that
//! arrived together are found together.

mod kept;
mod link;

use std::{
    sync::{Arc, Weak},
    task::{Context, Poll},
    time::Instant,
};

use http::{
    HeaderValue, Request, Response, Uri,
    header::HOST,
    uri::{Authority, PathAndQuery, Scheme},
};

use self::{kept::Kept, link::Link};
use super::{Incoming, Pieces, connect::Connector, failure::Failed, reach::Connecting};

/// Whom a connection leads to.
type Origin = (Scheme, Authority);

/// The connections to the hosts of one provider.
pub(super) struct One {
    connector: Connector,
    kept: Arc<Kept>,
}

impl One {
    pub(super) fn new(connector: Connector) -> Self {
        Self { connector, kept: Arc::default() }
    }

    /// Sends a request. A connection that was kept and died before anything was sent on it is replaced unseen.
    pub(super) async fn send(&self, mut request: Request<Pieces>) -> Result<Response<Incoming>, Failed> {
        let uri = request.uri().clone();
        let origin = address(&mut request).ok_or_else(|| Failed::unsent("the request has no host"))?;
        loop {
            let connecting = Connecting::start();
            let (mut link, was_kept) = match self.kept.take(&origin) {
                Some(link) => (link, true),
                None => (Box::new(Link::open(self.connector.clone(), uri.clone()).await?), false),
            };
            connecting.connected();
            let sent = Instant::now();
            let mut failed = match link.send(request).await {
                Ok(response) => {
                    let loan = Loan { link, origin, home: Arc::downgrade(&self.kept) };
                    return Ok(response.map(|body| Incoming::alone(body, loan)));
                }
                Err(failed) => failed,
            };
            match failed.take_message() {
                Some(unsent) if was_kept => request = unsent,
                _ => return Err(Failed::sending(&failed.into_error(), sent.elapsed())),
            }
        }
    }
}

/// Writes into a request what it says to its host, and returns where that is.
fn address(request: &mut Request<Pieces>) -> Option<Origin> {
    let uri = request.uri();
    let origin = (uri.scheme()?.clone(), uri.authority()?.clone());
    let usual = if origin.0 == Scheme::HTTPS { 443 } else { 80 };
    let (host, port) = (origin.1.host(), origin.1.port_u16().filter(|port| *port != usual));
    let host = match port {
        Some(port) => HeaderValue::from_maybe_shared(bytes::Bytes::from(format!("{host}:{port}"))),
        None => HeaderValue::from_str(host),
    };
    let path = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    request.headers_mut().entry(HOST).or_insert(host.ok()?);
    *request.uri_mut() = Uri::from(path);
    Some(origin)
}

/// A connection while its answer is read.
pub(super) struct Loan {
    link: Box<Link>,
    origin: Origin,
    home: Weak<Kept>,
}

impl Loan {
    /// Works on the connection, and looks at what that has brought.
    pub(super) fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        look: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.link.poll(cx, look)
    }

    /// Keeps the connection of an answer that was read to its end. Without this it is closed.
    pub(super) fn give_back(mut self) {
        if let Some(home) = self.home.upgrade()
            && self.link.is_free()
        {
            home.put(self.origin, self.link);
        }
    }
}

#[cfg(test)]
mod tests;
