//! Names and addresses of which some lead nowhere.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Instant,
};

use hyper_util::client::legacy::connect::dns::Name;
use tokio::net::{TcpListener, TcpSocket};
use tower::service_fn;

use super::{super::failure::Failed, *};
use crate::provider::{Error, Kind};

/// An address where nothing answers: a listener whose queue is full drops what comes, as a blackhole does.
async fn blackhole() -> (SocketAddr, impl Sized) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let addr = listener.local_addr().unwrap();
    let mut queue = Vec::new();
    while let Ok(queued) = tokio::time::timeout(Duration::from_millis(50), TcpStream::connect(addr)).await {
        queue.push(queued.unwrap());
    }
    (addr, (listener, queue))
}

fn lines<R>(resolver: R, limit: Duration) -> Lines<HttpConnector<R>> {
    Lines { tcp: tcp(resolver, limit), protocol: Protocol::Http1 }
}

async fn connect_to(addrs: Vec<SocketAddr>, limit: Duration) -> Result<(), Error> {
    let resolver =
        service_fn(move |_: Name| std::future::ready(Ok::<_, Infallible>(addrs.clone().into_iter())));
    let mut connector = Timed { inner: lines(resolver, limit), limit };
    // Without a port in the URL the resolver's holds.
    let connecting = connector.call(Uri::from_static("http://upstream.test/")).await;
    connecting.map(drop).map_err(|error| Failed::connecting(error.as_ref()).into())
}

#[tokio::test]
async fn a_blackhole_costs_the_connect_timeout() {
    let (addr, _full) = blackhole().await;
    let began = Instant::now();
    let error = connect_to(vec![addr], Duration::from_millis(300)).await.unwrap_err();
    assert_eq!((error.kind, error.unsent), (Kind::Timeout, true), "{}", error.message);
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_dead_address_leaves_time_for_the_next() {
    let (dead, _full) = blackhole().await;
    let alive = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addrs = vec![dead, alive.local_addr().unwrap()];
    let mut tries = 0;
    // A machine that does other things may use up all of the time.
    while let Err(error) = connect_to(addrs.clone(), Duration::from_secs(1)).await {
        tries += 1;
        assert!(tries < 5, "{error:?}");
    }
}

#[tokio::test]
async fn a_host_that_moved_is_found_by_the_next_connection() {
    let (old, new) =
        (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let at = Arc::new(Mutex::new(old.local_addr().unwrap()));
    let asked = at.clone();
    let resolver = service_fn(move |_: Name| {
        let found = vec![*asked.lock().unwrap()];
        std::future::ready(Ok::<_, Infallible>(found.into_iter()))
    });
    let mut connector = lines(resolver, Duration::from_secs(10));
    for listener in [old, new] {
        *at.lock().unwrap() = listener.local_addr().unwrap();
        let connecting = connector.call(Uri::from_static("http://upstream.test/"));
        let (connected, accepted) = tokio::join!(connecting, listener.accept());
        assert!(connected.is_ok() && accepted.is_ok());
    }
}

#[tokio::test]
async fn a_name_that_is_nowhere_is_unavailable() {
    let resolver = service_fn(|_: Name| {
        std::future::ready(Err::<std::vec::IntoIter<SocketAddr>, _>(io::Error::other("NXDOMAIN")))
    });
    let mut connector = lines(resolver, Duration::from_secs(1));
    let Err(error) = connector.call(Uri::from_static("http://nowhere.test/")).await else {
        panic!("resolved")
    };
    let error: Error = Failed::connecting(error.as_ref()).into();
    assert_eq!((error.kind, error.unsent), (Kind::Unavailable, true));
    assert_eq!(error.message, "cannot connect: the host's name cannot be resolved");
}
