//! Tests of the signer against a scripted token service on loopback.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;

/// Serves answers of STS, one per connection, and counts them.
async fn sts(answers: Vec<String>) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    tokio::spawn(async move {
        for answer in answers {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut text = Vec::new();
            let mut buffer = [0; 4096];
            while !text.ends_with(b"WebIdentityToken=a%3Db") {
                let read = socket.read(&mut buffer).await.unwrap();
                assert!(read > 0, "the request ended early");
                text.extend_from_slice(&buffer[..read]);
            }
            counted.fetch_add(1, Ordering::SeqCst);
            socket.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (url, count)
}

fn answer(id: &str, expires: SystemTime) -> String {
    let expires = jiff::Timestamp::try_from(expires).unwrap();
    let body = format!(
        "<AccessKeyId>{id}</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>\
         <Expiration>{expires}</Expiration>"
    );
    format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn signer(url: String, folder: &tempfile::TempDir) -> Signer {
    let token_file = folder.path().join("token");
    std::fs::write(&token_file, "a=b\n").unwrap();
    let source = Source::WebIdentity(WebIdentity { role: "arn:aws:iam::1:role/r".to_owned(), token_file });
    Signer::new(source, "us-east-1".to_owned(), "bedrock", Duration::from_secs(5), Some(url)).unwrap()
}

#[tokio::test]
async fn calls_at_the_same_time_share_one_look_and_keys_are_renewed_ahead() {
    let now = SystemTime::now();
    let hour = Duration::from_secs(3600);
    let refusal = "HTTP/1.1 503 Busy\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".to_owned();
    let (url, count) =
        sts(vec![answer("FIRST", now + hour), refusal, answer("SECOND", now + 2 * hour)]).await;
    let folder = tempfile::tempdir().unwrap();
    let signer = signer(url, &folder);
    let (one, other) = tokio::join!(signer.keys(now), signer.keys(now));
    assert_eq!((one.unwrap().id.as_str(), other.unwrap().id.as_str()), ("FIRST", "FIRST"));
    assert_eq!(count.load(Ordering::SeqCst), 1);
    // A renewal that fails does no harm while the keys hold, and is not tried again at once.
    let later = now + hour - Duration::from_secs(200);
    assert_eq!(signer.keys(later).await.unwrap().id, "FIRST");
    assert_eq!(signer.keys(later).await.unwrap().id, "FIRST");
    assert_eq!(count.load(Ordering::SeqCst), 2);
    assert_eq!(signer.keys(later + PAUSE).await.unwrap().id, "SECOND");
}

#[tokio::test]
async fn without_a_token_the_credential_is_denied() {
    let folder = tempfile::tempdir().unwrap();
    let signer = signer("http://127.0.0.1:9/".to_owned(), &folder);
    std::fs::remove_file(folder.path().join("token")).unwrap();
    let error = signer.keys(SystemTime::now()).await.err().unwrap();
    assert_eq!(error.kind, Kind::Denied);
}
