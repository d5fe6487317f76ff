//! Keys made at run time: their life over gRPC, and that revocation holds from the next call on.

use tollgate_api::admin::{self, key_service_client::KeyServiceClient};
use tonic::Code;

use crate::support::{ADMIN_KEY, Gateway, KEY, http::Caller};

const CHAT: &str = r#"{"model":"echo","messages":[{"role":"user","content":"hi"}]}"#;

fn named(name: &str) -> admin::CreateKeyRequest {
    let key = admin::Key { name: name.to_owned(), ..Default::default() };
    admin::CreateKeyRequest { key: Some(key), ..Default::default() }
}

#[tokio::test]
async fn a_key_lives_from_creation_over_rotation_to_revocation() {
    let mut gateway = Gateway::start("");
    let mut keys = KeyServiceClient::new(gateway.channel(ADMIN_KEY).await);
    let created = keys.create_key(named("batch")).await.unwrap().into_inner();
    let id = created.key.unwrap().id;
    let status = |addr, secret: &str| {
        let caller = Caller::new(addr, secret);
        async move { caller.post("/v1/chat/completions", CHAT).await.status.as_u16() }
    };
    assert_eq!(status(gateway.addr, &created.secret).await, 200);

    gateway.kill();
    gateway.restart();
    assert_eq!(status(gateway.addr, &created.secret).await, 200, "it survives a crash");

    let mut keys = KeyServiceClient::new(gateway.channel(ADMIN_KEY).await);
    let rotate = admin::RotateKeyRequest { id: id.clone(), ..Default::default() };
    let rotated = keys.rotate_key(rotate).await.unwrap().into_inner();
    assert_eq!(
        status(gateway.addr, &created.secret).await,
        401,
        "without overlap the old secret stops at once"
    );
    assert_eq!(status(gateway.addr, &rotated.secret).await, 200);

    keys.revoke_key(admin::RevokeKeyRequest { id }).await.unwrap();
    assert_eq!(status(gateway.addr, &rotated.secret).await, 401);
}

#[tokio::test]
async fn a_key_without_the_scope_may_not_make_keys() {
    let gateway = Gateway::start("");
    let mut keys = KeyServiceClient::new(gateway.channel(KEY).await);
    let status = keys.create_key(named("sneaky")).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(status.message().contains("admin"), "{status:?}");
}

#[tokio::test]
async fn a_caller_sees_only_its_own_records() {
    let gateway = Gateway::start("");
    let mine = Caller::new(gateway.addr, KEY);
    let theirs = Caller::new(gateway.addr, ADMIN_KEY);
    let id = theirs.post("/v1/chat/completions", CHAT).await.header("x-request-id").to_owned();
    assert_eq!(mine.get(&format!("/v1/usage/records/{id}")).await.status, 404);
    assert_eq!(theirs.get(&format!("/v1/usage/records/{id}")).await.status, 200);
}
