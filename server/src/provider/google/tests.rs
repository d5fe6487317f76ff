//! Tests of the credentials against a token endpoint on loopback.

use std::time::{Duration, UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rcgen::{KeyPair, PKCS_RSA_SHA256, PublicKeyData as _, RsaKeySize};
use rustls::crypto::aws_lc_rs::default_provider;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;
use crate::provider::Kind;

fn settings(credentials: &Value) -> Settings {
    let mut settings = Settings { connect_timeout: Duration::from_secs(5), ..Settings::default() };
    settings.cloud.credentials = Some(credentials.to_string().into());
    settings
}

fn account(key: &KeyPair, token_uri: &str) -> Value {
    json!({
        "type": "service_account",
        "project_id": "told-project",
        "private_key_id": "k1",
        "private_key": key.serialize_pem(),
        "client_email": "robot@told-project.iam.gserviceaccount.com",
        "token_uri": token_uri,
    })
}

fn key() -> KeyPair {
    KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap()
}

/// Answers one request and returns it with the URL it was sent to.
async fn endpoint(status: &str, body: &str) -> (String, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}/token", listener.local_addr().unwrap());
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let served = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let read = socket.read(&mut buffer).await.unwrap();
            request.extend_from_slice(&buffer[..read]);
            let text = String::from_utf8_lossy(&request);
            let length = text.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
            let length: usize = length.map_or(0, |length| length.parse().unwrap());
            if text.split_once("\r\n\r\n").is_some_and(|(_, body)| body.len() == length) {
                break;
            }
        }
        socket.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(request).unwrap()
    });
    (uri, served)
}

async fn signed(settings: &Settings) -> Result<Request<Pieces>, Error> {
    let mut request = Request::new(Pieces::default());
    credential(settings).unwrap().apply(&mut request).await.map(|()| request)
}

#[test]
fn the_assertion_is_signed_with_the_accounts_key() {
    let key = key();
    let Source::ServiceAccount(account) =
        Source::of_json(&account(&key, "https://h/token").to_string()).unwrap()
    else {
        panic!("another source")
    };
    let jwt = account.assertion(UNIX_EPOCH + Duration::from_secs(1_000)).unwrap();
    let (signed, signature) = jwt.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let part = |at: usize| -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(signed.split('.').nth(at).unwrap()).unwrap()).unwrap()
    };
    assert_eq!(part(0), json!({"alg": "RS256", "typ": "JWT", "kid": "k1"}));
    let claims = part(1);
    assert_eq!((&claims["iat"], &claims["exp"]), (&json!(1_000), &json!(1_000 + 59 * 60)));
    assert_eq!(claims["aud"], "https://h/token");
    let algorithms = default_provider().signature_verification_algorithms;
    let verifies = |message: &[u8]| {
        algorithms.all.iter().any(|one| one.verify_signature(key.der_bytes(), message, &signature).is_ok())
    };
    assert!(verifies(signed.as_bytes()));
    assert!(!verifies(b"something else"));
}

#[tokio::test]
async fn a_service_account_is_exchanged_for_a_bearer() {
    let (uri, served) = endpoint("200 OK", r#"{"access_token":"ya29.t","expires_in":3599}"#).await;
    let settings = settings(&account(&key(), &uri));
    let request = signed(&settings).await.unwrap();
    assert_eq!(request.headers()[AUTHORIZATION], "Bearer ya29.t");
    assert!(request.headers()[AUTHORIZATION].is_sensitive());
    let asked = served.await.unwrap();
    assert!(
        asked.contains("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=ey"),
        "{asked}"
    );
    assert_eq!(project(&settings).unwrap().as_deref(), Some("told-project"));
}

#[tokio::test]
async fn a_users_refresh_token_is_exchanged_and_the_quota_project_named() {
    let (uri, served) = endpoint("200 OK", r#"{"access_token":"u"}"#).await;
    let user = json!({
        "type": "authorized_user", "client_id": "c/1", "client_secret": "s&", "refresh_token": "r",
        "quota_project_id": "pays", "token_uri": uri,
    });
    let request = signed(&settings(&user)).await.unwrap();
    assert_eq!(request.headers()["x-goog-user-project"], "pays");
    let asked = served.await.unwrap();
    assert!(
        asked.ends_with("grant_type=refresh_token&client_id=c%2F1&client_secret=s%26&refresh_token=r"),
        "{asked}"
    );
}

#[tokio::test]
async fn failures_say_whose_they_are_and_no_secret() {
    for (status, body, kind) in [
        ("400 Bad Request", r#"{"error":"invalid_grant","error_description":"no"}"#, Kind::Denied),
        ("503 Busy", "", Kind::Unavailable),
        ("200 OK", "{}", Kind::Denied),
        ("200 OK", "<html>", Kind::Denied),
        ("200 OK", r#"{"access_token":"a\nb"}"#, Kind::Denied),
    ] {
        let (uri, _served) = endpoint(status, body).await;
        let user = json!({"type": "authorized_user", "refresh_token": "r-secret", "token_uri": uri});
        let error = signed(&settings(&user)).await.unwrap_err();
        assert_eq!(error.kind, kind, "{status} {body}");
        assert!(!format!("{error:?}").contains("r-secret"));
    }
    let user = json!({"type": "authorized_user", "token_uri": "http://127.0.0.1:1/token"});
    assert_eq!(signed(&settings(&user)).await.unwrap_err().kind, Kind::Unavailable);
}

#[test]
fn every_mistake_of_the_configuration_is_named() {
    let of = |credentials: Value| credential(&settings(&credentials)).err().unwrap_or_default();
    assert!(of(json!({})).contains("no `type`"));
    assert!(of(json!({"type": "external_account"})).contains("must be of type"));
    assert!(of(json!({"type": "service_account", "private_key": "x"})).contains("no RSA key"));
    assert!(of(json!({"type": 7})).contains("no JSON of Google Cloud's"));
    let mut lost = Settings::default();
    lost.cloud.credentials = Some("/nowhere/key.json".into());
    assert!(credential(&lost).err().unwrap().contains("cannot be read"));
    lost.cloud.project = Some("a/../b".to_owned());
    assert!(project(&lost).unwrap_err().contains("`project`"));
    lost.cloud.region = Some("evil.example/".to_owned());
    assert!(region(&lost).unwrap_err().contains("`region`"));
}

#[test]
fn each_location_has_its_host() {
    for (region, host) in [
        ("global", "https://aiplatform.googleapis.com"),
        ("europe-west4", "https://europe-west4-aiplatform.googleapis.com"),
        ("eu", "https://aiplatform.eu.rep.googleapis.com"),
    ] {
        assert_eq!(vertex_host(region), host);
    }
    assert_eq!(region(&Settings::default()).unwrap(), "global");
}
