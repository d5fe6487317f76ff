//! Tests of the shared token: time is given, issuers are scripted.

use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::Notify;

use super::*;

/// Gives `t1`, `t2`, … for an hour each; waits for a permit before each, and fails where told.
#[derive(Debug, Default)]
struct Issuer {
    fetches: AtomicU32,
    permit: Notify,
    failing: std::sync::atomic::AtomicBool,
}

impl Source for Arc<Issuer> {
    fn fetch(&self) -> BoxFuture<'_, Result<Token, Error>> {
        Box::pin(async move {
            let number = self.fetches.fetch_add(1, Ordering::SeqCst) + 1;
            self.permit.notified().await;
            if self.failing.load(Ordering::SeqCst) {
                return Err(Error::new(Kind::Denied, "no"));
            }
            let value = HeaderValue::try_from(format!("t{number}")).unwrap();
            Ok(Token { value, lifetime: Duration::from_secs(3600) })
        })
    }
}

fn cached() -> (Arc<Issuer>, Arc<Cached<Arc<Issuer>>>) {
    let issuer = Arc::new(Issuer::default());
    (Arc::clone(&issuer), Arc::new(Cached::new(issuer)))
}

async fn settle() {
    for _ in 0..16 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn many_calls_share_one_fetch_and_its_failure() {
    let (issuer, cached) = cached();
    issuer.failing.store(true, Ordering::SeqCst);
    let now = Instant::now();
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let cached = Arc::clone(&cached);
            tokio::spawn(async move { cached.get_at(now).await })
        })
        .collect();
    settle().await;
    issuer.permit.notify_one();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap_err().kind, Kind::Denied);
    }
    assert_eq!(issuer.fetches.load(Ordering::SeqCst), 1);
    // A failure is not kept: the next call asks again.
    issuer.failing.store(false, Ordering::SeqCst);
    issuer.permit.notify_one();
    assert_eq!(cached.get_at(now).await.unwrap(), "t2");
    assert_eq!(cached.get_at(now).await.unwrap(), "t2");
}

#[tokio::test]
async fn a_token_is_renewed_before_it_ends_and_no_call_waits_for_it() {
    let (issuer, cached) = cached();
    let start = Instant::now();
    let after = |seconds| start + Duration::from_secs(seconds);
    issuer.permit.notify_one();
    assert_eq!(cached.get_at(start).await.unwrap(), "t1");
    assert_eq!(cached.get_at(after(3299)).await.unwrap(), "t1");
    settle().await;
    assert_eq!(issuer.fetches.load(Ordering::SeqCst), 1);
    // Within the last five minutes the old one serves until the new one is there.
    assert_eq!(cached.get_at(after(3301)).await.unwrap(), "t1");
    assert_eq!(cached.get_at(after(3302)).await.unwrap(), "t1");
    settle().await;
    assert_eq!(issuer.fetches.load(Ordering::SeqCst), 2);
    issuer.permit.notify_one();
    settle().await;
    assert_eq!(cached.get_at(after(3303)).await.unwrap(), "t2");
}

#[tokio::test]
async fn a_failed_renewal_is_tried_again_after_a_pause_and_an_ended_token_serves_nobody() {
    let (issuer, cached) = cached();
    let start = Instant::now();
    let after = |seconds| start + Duration::from_secs(seconds);
    issuer.permit.notify_one();
    assert_eq!(cached.get_at(start).await.unwrap(), "t1");
    issuer.failing.store(true, Ordering::SeqCst);
    for (seconds, fetches) in [(3400, 2), (3405, 2), (3411, 3)] {
        issuer.permit.notify_one();
        assert_eq!(cached.get_at(after(seconds)).await.unwrap(), "t1");
        settle().await;
        assert_eq!(issuer.fetches.load(Ordering::SeqCst), fetches, "{seconds}");
    }
    issuer.permit.notify_one();
    assert_eq!(cached.get_at(after(3600)).await.unwrap_err().kind, Kind::Denied);
}

#[test]
fn answers_of_issuers_are_read() {
    let token = granted(br#"{"token_type":"Bearer","expires_in":3599,"access_token":"ey.J"}"#).unwrap();
    assert_eq!((token.value.to_str().unwrap(), token.lifetime.as_secs()), ("Bearer ey.J", 3599));
    assert!(token.value.is_sensitive());
    let lifetime = granted(br#"{"access_token":"a","expires_in":"3599"}"#).unwrap().lifetime;
    assert_eq!(lifetime, ASSUMED_LIFETIME);
    for body in ["", "{}", r#"{"access_token":""}"#, r#"{"access_token":"a\nb"}"#, "<html>"] {
        assert_eq!(granted(body.as_bytes()).unwrap_err().kind, Kind::BadResponse, "{body}");
    }
}

#[test]
fn refusals_tell_the_issuers_words() {
    let body =
        br#"{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret provided."}"#;
    let error = refused(401, body);
    assert_eq!((error.kind, error.unsent), (Kind::Denied, true));
    assert!(error.message.contains("invalid_client AADSTS7000215"), "{}", error.message);
    assert_eq!(refused(503, b"").kind, Kind::Unavailable);
    assert_eq!(refused(302, b"").kind, Kind::BadResponse);
}
