//! Who is refused because the counters that replicas share are away is told to come back; who asks for more than the whole
//! limit is not.

use serde_json::json;
use tollgate_api::v1::{self, chat_service_client::ChatServiceClient};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{
    input,
    support::{
        Gateway, KEY,
        http::{Answer, Caller},
        redis::Redis,
        upstream::{Upstream, completion, whole},
    },
};

async fn until_ready(gateway: &Gateway, text: &str) {
    while Caller::new(gateway.ops, KEY).get("/readyz").await.text() != text {
        tokio::task::yield_now().await;
    }
}

/// What a refusal says of a retry.
fn told(answer: &Answer) -> (u16, &str, &str, &str) {
    let header = |name| answer.header(name);
    let (reason, retry) = (header("x-tollgate-reason"), header("x-should-retry"));
    (answer.status.as_u16(), reason, retry, header("retry-after"))
}

/// The same of a gRPC status: pushback, and whether there is a `RetryInfo` of a second.
fn grpc(status: &Status) -> (Code, String, bool) {
    let pushback = status.metadata().get("grpc-retry-pushback-ms").unwrap().to_str().unwrap().to_owned();
    let delay = status.get_details_retry_info().and_then(|info| info.retry_delay);
    (status.code(), pushback, delay == Some(std::time::Duration::from_secs(1)))
}

#[tokio::test]
async fn who_only_redis_could_admit_is_told_to_try_again_and_who_asks_for_too_much_is_not() {
    let upstream = Upstream::start(|_| whole(200, "application/json", completion("hi", 100, 50))).await;
    let redis = Redis::start();
    let gateway = Gateway::start(&format!(
        "shared: \"{}\"\nbudget: {{ usd: 0.005, per: month }}\nproviders:\n{}models:\n  m:\n    \
         targets: [{{ provider: up, model: m-1 }}]\n    price: {{ input_per_million: 1, output_per_million: 2 }}\n",
        redis.url(),
        upstream.provider("up")
    ));
    until_ready(&gateway, "ready\n").await;
    redis.signal("-STOP");
    until_ready(&gateway, "ready, degraded: redis does not answer in time\n").await;

    let caller = Caller::new(gateway.addr, KEY);
    let chat = |max_tokens: u32| {
        json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": max_tokens})
            .to_string()
    };
    for path in ["/v1/chat/completions", "/v1/messages"] {
        let refused = caller.post(path, chat(50)).await;
        assert_eq!(told(&refused), (429, "BUDGET_EXHAUSTED", "true", "1"), "{path}: {}", refused.text());
        assert!(refused.text().contains("(Redis) are away"), "{path}: {}", refused.text());
        let refused = caller.post(path, chat(5_000)).await;
        assert_eq!(told(&refused), (429, "BUDGET_EXHAUSTED", "false", ""), "{path}: {}", refused.text());
        assert!(refused.text().contains("more than the whole limit"), "{path}: {}", refused.text());
    }
    let mut client = ChatServiceClient::new(gateway.channel(KEY).await);
    let mut complete = async |max_output_tokens| {
        let input = v1::ChatInput { max_output_tokens: Some(max_output_tokens), ..input("m") };
        let request = v1::CompleteRequest { input: Some(input), ..Default::default() };
        grpc(&client.complete(request).await.unwrap_err())
    };
    assert_eq!(complete(50).await, (Code::ResourceExhausted, "1000".to_owned(), true));
    assert_eq!(complete(5_000).await, (Code::ResourceExhausted, "-1".to_owned(), false));
    redis.signal("-CONT");
}
