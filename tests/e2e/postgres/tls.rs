//! TLS to a real PostgreSQL, in each way that `sslmode` asks for.

use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::runtime::Handle;
use tollgate_server::postgres::{Address, Postgres as Store, Trouble};

use crate::support::{port::Port, postgres::Postgres};

/// A server on TCP with a certificate for `localhost`, and the file of the authority that signed it.
fn server(port: u16) -> (Postgres, std::path::PathBuf) {
    let authority = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = params.self_signed(&authority).unwrap();
    let issuer = Issuer::new(params, authority);
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let server = Postgres::start_on(port, |folder| {
        let (cert, secret) = (folder.join("cert.pem"), folder.join("key.pem"));
        std::fs::write(&cert, certificate.pem()).unwrap();
        std::fs::write(&secret, key.serialize_pem()).unwrap();
        std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::write(folder.join("ca.pem"), root.pem()).unwrap();
        vec![
            "listen_addresses=127.0.0.1".to_owned(),
            "ssl=on".to_owned(),
            format!("ssl_cert_file={}", cert.display()),
            format!("ssl_key_file={}", secret.display()),
        ]
    });
    let ca = server.folder().join("ca.pem");
    (server, ca)
}

async fn is_encrypted(url: &str) -> Result<bool, Trouble> {
    let store = Store::new(Address::parse(url).unwrap(), Handle::current()).unwrap();
    let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let asked = store.call(Duration::from_secs(10), move |session| {
        Ok::<_, Trouble>(session.query_one(sql, &[])?.try_get::<_, bool>(0)?)
    });
    asked.await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_mode_decides_whether_it_is_encrypted_and_whom_it_trusts() {
    let port = Port::hold();
    let free = port.addr.port();
    let (server, ca) = tokio::task::spawn_blocking(move || server(free)).await.unwrap();
    let ca = ca.display();
    for (host, words, expected) in [
        ("127.0.0.1", "sslmode=disable".to_owned(), Some(false)),
        ("127.0.0.1", String::new(), Some(true)),
        ("127.0.0.1", "sslmode=require".to_owned(), Some(true)),
        ("127.0.0.1", format!("sslmode=verify-ca&sslrootcert={ca}"), Some(true)),
        ("localhost", format!("sslmode=verify-full&sslrootcert={ca}"), Some(true)),
        // For another host, and by an authority that nobody knows.
        ("127.0.0.1", format!("sslmode=verify-full&sslrootcert={ca}"), None),
        ("localhost", "sslmode=verify-full".to_owned(), None),
    ] {
        let found = is_encrypted(&format!("postgres://tollgate@{host}:{free}/postgres?{words}")).await;
        match expected {
            Some(expected) => assert_eq!(found.unwrap(), expected, "{host} {words}"),
            None => assert!(matches!(found, Err(Trouble::Away(_))), "{host} {words}: {found:?}"),
        }
    }
    drop(server);
}
