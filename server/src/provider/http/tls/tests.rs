//! Certificates that do not hold, and those that come to hold.

use std::net::SocketAddr;

use bytes::Bytes;
use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::{
    super::{
        Http, Protocol,
        testing::{get, read_request, say_ok},
    },
    *,
};
use crate::provider::{Error, Kind};

/// What may be changed while others use it.
type Shared<T> = Arc<Mutex<T>>;

fn shared<T>(value: T) -> Shared<T> {
    Arc::new(Mutex::new(value))
}

/// A certificate that is its own authority, valid until the end of that year, and what serves with it.
fn certificate(name: &str, until: i32) -> (CertificateDer<'static>, TlsAcceptor) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_after = date_time_ymd(until, 12, 31);
    let certificate = params.self_signed(&key).unwrap().der().clone();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    (certificate, TlsAcceptor::from(Arc::new(config)))
}

/// Serves one request a connection with whatever certificate there is at the time.
async fn serve(acceptor: Shared<TlsAcceptor>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let accepting = acceptor.lock().unwrap().accept(socket);
            tokio::spawn(async move {
                let Ok(mut stream) = accepting.await else { return };
                if read_request(&mut stream).await.is_some() {
                    say_ok(&mut stream).await;
                }
            });
        }
    });
    addr
}

/// A client that trusts whatever certificate there is when it reads its roots.
fn trusting(trusted: Shared<CertificateDer<'static>>, again_after: Duration) -> Http {
    let read = move || {
        let mut roots = RootCertStore::empty();
        roots.add(trusted.lock().unwrap().clone()).unwrap();
        Ok(builder()?.with_root_certificates(roots).with_no_client_auth())
    };
    client(Box::leak(Box::new(Roots::new(Box::leak(Box::new(read)), again_after))))
}

fn client(roots: &'static Roots) -> Http {
    Http::trusting(roots, Protocol::Http1, Duration::from_secs(5), true).unwrap()
}

async fn ask(http: &Http, addr: SocketAddr) -> Result<Bytes, Error> {
    get(http.clone(), format!("https://localhost:{}/", addr.port())).await
}

const LONG: Duration = Duration::from_secs(3600);
const FAR: i32 = 4000;

#[tokio::test]
async fn a_certificate_that_does_not_hold_is_never_accepted() {
    let other = certificate("authority.test", FAR).0;
    for (name, until, trusted, said) in [
        ("localhost", 2001, None, "the certificate has expired"),
        ("other.test", FAR, None, "the certificate is for another name"),
        ("localhost", FAR, Some(other), "the certificate is signed by an unknown authority"),
    ] {
        let (own, acceptor) = certificate(name, until);
        let http = trusting(shared(trusted.unwrap_or(own)), Duration::ZERO);
        let error = ask(&http, serve(shared(acceptor)).await).await.unwrap_err();
        assert_eq!((error.kind, error.unsent), (Kind::Unavailable, true), "{said}");
        assert_eq!(error.message, format!("cannot connect: TLS: {said}"));
    }
}

#[tokio::test]
async fn a_renewed_certificate_is_accepted_at_the_next_call() {
    let key = certificate("localhost", 2001);
    let (renewed, acceptor) = certificate("localhost", FAR);
    let (served, trusted) = (shared(key.1), shared(renewed));
    let http = trusting(trusted, LONG);
    let addr = serve(served.clone()).await;
    ask(&http, addr).await.unwrap_err();
    *served.lock().unwrap() = acceptor;
    assert_eq!(ask(&http, addr).await.unwrap(), "ok");
}

#[tokio::test]
async fn a_new_authority_is_known_without_a_restart() {
    let (old, new) = (certificate("localhost", FAR), certificate("localhost", FAR));
    let (served, trusted) = (shared(old.1), shared(old.0));
    let http = trusting(trusted.clone(), Duration::ZERO);
    let addr = serve(served.clone()).await;
    assert_eq!(ask(&http, addr).await.unwrap(), "ok");
    *served.lock().unwrap() = new.1;
    *trusted.lock().unwrap() = new.0;
    // The first client's connection may still be kept: another one, of the same roots, has to make one.
    let http = client(http.0.roots);
    assert_eq!(ask(&http, addr).await.unwrap(), "ok", "the very call that finds it out succeeds");
}

#[tokio::test]
async fn roots_are_not_read_at_every_failure() {
    let (old, new) = (certificate("localhost", FAR), certificate("localhost", FAR));
    let trusted = shared(old.0);
    let http = trusting(trusted.clone(), LONG);
    let addr = serve(shared(new.1)).await;
    ask(&http, addr).await.unwrap_err();
    *trusted.lock().unwrap() = new.0;
    ask(&http, addr).await.unwrap_err();
}
