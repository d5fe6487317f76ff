//! Tests of what the head of a success tells of limits: it is the gateway's own business, whatever a vendor calls it.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tollgate_api::v1::ChatInput;

use super::*;
use crate::{
    call::Payload,
    provider::{Settings, build},
};

/// Names under which vendors tell limits, waits and times.
const TOLD: [&str; 20] = [
    "retry-after",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-tokens",
    "x-ratelimit-renewalperiod-tokens",
    "x-ratelimit-abusepenalty-active",
    "x-ratelimit-remaining-tokens-minute",
    "x-ratelimit-remaining-requests-day",
    "x-ratelimit-tokens-query-cost",
    "x-ratelimit-limit-req-10-second",
    "x-ratelimit",
    "x-ratelimit-reset",
    "ratelimit-remaining",
    "anthropic-ratelimit-requests-remaining",
    "anthropic-organization-id",
    "x-endpoint-monthly-call-limit",
    "x-trial-endpoint-call-limit",
    "x-trial-endpoint-call-remaining",
    "x-metrics-ttft-ms",
    "x-metrics-mean-itl-ms",
    "x-metrics-e2e-ms",
];

#[tokio::test]
async fn a_success_is_one_whatever_limits_it_tells_and_they_go_no_further() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let told: String = TOLD.iter().map(|name| format!("{name}: 1\r\n")).collect();
    let server = tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let (mut text, mut buffer) = (Vec::new(), [0; 4096]);
            while !text.ends_with(b"}") {
                let read = socket.read(&mut buffer).await.unwrap();
                assert!(read > 0, "the request ended early");
                text.extend_from_slice(&buffer[..read]);
            }
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
            socket.write_all(format!("{head}{told}content-length: 2\r\n\r\n{{}}").as_bytes()).await.unwrap();
        }
    });
    for dialect in
        ["openai", "azure", "groq", "cerebras", "mistral", "together", "xai", "cohere", "anthropic", "gemini"]
    {
        let settings = Settings {
            name: "mine".to_owned(),
            dialect: dialect.to_owned(),
            base_url: Some(format!("http://{address}")),
            api_key: Some("sk-secret".to_owned().into()),
            connect_timeout: Duration::from_secs(5),
            ..Settings::default()
        };
        let payload = Payload::typed(ChatInput::default());
        let outgoing = Outgoing {
            call_id: Uuid::nil(),
            provider: "mine",
            model: "m",
            payload: &payload,
            streamed: false,
            usage_wanted: false,
            strict: false,
            traceparent: None,
            output_cap: None,
        };
        let answer = build(&settings).unwrap().adapter.chat(outgoing).await.unwrap();
        assert_eq!(answer.http_status, 200, "{dialect}");
        let forwarded: Vec<_> = TOLD.iter().filter(|name| answer.headers.contains_key(**name)).collect();
        assert!(forwarded.is_empty(), "{dialect}: {forwarded:?}");
    }
    server.abort();
}
