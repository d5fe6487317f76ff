//! A plain HTTP/1.1 caller.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

/// An answer read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.text()))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header's value, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// A caller with a connection pool of its own.
#[derive(Clone)]
pub struct Caller {
    client: Client<HttpConnector, Full<Bytes>>,
    addr: SocketAddr,
    key: String,
}

impl Caller {
    pub fn new(addr: SocketAddr, key: &str) -> Self {
        // Sooner than the gateway gives up on a connection that was opened in advance and never used.
        let client =
            Client::builder(TokioExecutor::new()).pool_idle_timeout(Duration::from_secs(2)).build_http();
        Self { client, addr, key: key.to_owned() }
    }

    /// Posts and returns as soon as the head is there.
    pub async fn open(
        &self,
        path: &str,
        body: impl Into<Bytes>,
        headers: &[(&str, &str)],
    ) -> http::Response<Incoming> {
        self.try_open(path, body, headers).await.unwrap()
    }

    /// Posts and returns as soon as the head is there, or with the reason why none came.
    pub async fn try_open(
        &self,
        path: &str,
        body: impl Into<Bytes>,
        headers: &[(&str, &str)],
    ) -> Result<http::Response<Incoming>, hyper_util::client::legacy::Error> {
        let mut request = Request::post(format!("http://{}{path}", self.addr))
            .header("authorization", format!("Bearer {}", self.key));
        if headers.iter().all(|(name, _)| *name != "content-type") {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.client.request(request.body(Full::new(body.into())).unwrap()).await
    }

    /// Posts and reads the whole answer. `None` if the connection broke before the body's end.
    pub async fn try_post(
        &self,
        path: &str,
        body: impl Into<Bytes>,
        headers: &[(&str, &str)],
    ) -> Option<Answer> {
        let (parts, body) = self.try_open(path, body, headers).await.ok()?.into_parts();
        let body = body.collect().await.ok()?.to_bytes();
        Some(Answer { status: parts.status, headers: parts.headers, body })
    }

    /// Posts and reads the whole answer.
    pub async fn post(&self, path: &str, body: impl Into<Bytes>) -> Answer {
        self.try_post(path, body, &[]).await.expect("the answer broke off")
    }

    /// Gets and reads the whole answer.
    pub async fn get(&self, path: &str) -> Answer {
        let request = Request::get(format!("http://{}{path}", self.addr))
            .header("authorization", format!("Bearer {}", self.key))
            .body(Full::default())
            .unwrap();
        let (parts, body) = self.client.request(request).await.unwrap().into_parts();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: body.collect().await.unwrap().to_bytes(),
        }
    }
}
