//! Redis behind TLS: whom it trusts, who may come in, and what is told of those who may not.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::until_told;
use crate::{
    shared_limits::{DEGRADED, WELL, start, until_ready, upstream},
    support::redis::Redis,
};

/// What docs/replicas.md says that a user needs.
const RIGHTS: &str = "resetchannels ~{tollgate}:* &{tollgate}:* &tollgate:* +@read +@write +@connection +@pubsub \
                      +@transaction +fcall +eval +evalsha +script|load +function|load +time +info";

/// Writes an authority, and a certificate for `localhost` that it has signed.
fn certify(folder: &Path) {
    let authority = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // Else the certificate has the name of its authority, and Redis takes it for its own.
    params.distinguished_name.push(DnType::CommonName, "authority");
    let root = params.self_signed(&authority).unwrap();
    let (issuer, key) = (Issuer::new(params, authority), KeyPair::generate().unwrap());
    let names = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = names.signed_by(&key, &issuer).unwrap();
    for (name, text) in
        [("ca.pem", root.pem()), ("cert.pem", certificate.pem()), ("key.pem", key.serialize_pem())]
    {
        std::fs::write(folder.join(name), text).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_certificate_and_the_password_decide_and_what_is_wrong_with_them_is_told_without_secrets() {
    let (redis, safe) = Redis::start_with_tls(certify);
    let mut user = vec!["ACL", "SETUSER", "tollgate", "on", ">s3cret"];
    user.extend(RIGHTS.split(' '));
    redis.command(&user);
    let (upstream, file) = (upstream().await, |name: &str| redis.folder().join(name).display().to_string());
    let ca = format!("sslrootcert={}", file("ca.pem"));
    let own = format!("{ca}&sslcert={}&sslkey={}", file("cert.pem"), file("key.pem"));
    let plain = redis.addr.port();
    for (address, told) in [
        (format!("rediss://tollgate:s3cret@localhost:{safe}?{ca}"), None),
        (
            format!("rediss://tollgate:wr0ng@localhost:{safe}?{ca}"),
            Some("login: user or password is refused"),
        ),
        (
            format!("rediss://127.0.0.1:{safe}?{ca}"),
            Some("TLS: the server's certificate is for another name"),
        ),
        (format!("rediss://localhost:{safe}"), Some("?sslrootcert=FILE")),
        (format!("rediss://localhost:{plain}?{ca}"), Some("whether the server speaks TLS there")),
        (format!("redis://localhost:{safe}"), Some("speaks TLS there (`rediss://`)")),
        (format!("rediss://localhost:{safe}?{own}"), None),
    ] {
        let gateway = start(&address, "limits: { requests_per_minute: 10 }", "", &upstream);
        let Some(told) = told else {
            until_ready(&gateway, WELL).await;
            continue;
        };
        let detail = until_told(&gateway, told).await;
        assert!(!detail.contains("wr0ng"), "{detail}");
        until_ready(&gateway, DEGRADED).await;
    }
    // From now on it wants to see one too.
    redis.command(&["CONFIG", "SET", "tls-auth-clients", "yes"]);
    let limits = "limits: { requests_per_minute: 10 }";
    let with = start(&format!("rediss://localhost:{safe}?{own}"), limits, "", &upstream);
    until_ready(&with, WELL).await;
    let without = start(&format!("rediss://localhost:{safe}?{ca}"), limits, "", &upstream);
    until_told(&without, "`?sslcert=FILE&sslkey=FILE`").await;
}
