//! Nothing is buffered, nothing is lost: what passes, when, and unchanged.

use http_body_util::BodyExt as _;
use tollgate_api::v1::{self, chat_service_client::ChatServiceClient, stream_complete_response::Event};

use crate::{
    chat, gateway, record,
    support::{
        KEY,
        http::Caller,
        upstream::{Step, Upstream, chunk, completion, delta, end, finish, stream_head, whole},
    },
};

#[tokio::test]
async fn tokens_leave_when_they_arrive() {
    let upstream = Upstream::start(|_| {
        vec![
            stream_head(),
            chunk(delta("one")),
            Step::Await(1),
            chunk(delta(" two")),
            Step::Await(2),
            chunk(finish(3, 2)),
            end(),
        ]
    })
    .await;
    let gateway = gateway(&upstream);
    let answer = Caller::new(gateway.addr, KEY).open("/v1/chat/completions", chat(true), &[]).await;
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let mut body = answer.into_body();
    let mut next = async || body.frame().await.unwrap().unwrap().into_data().unwrap();
    // Each is here although the upstream waits to be told to go on.
    assert_eq!(next().await, delta("one"));
    upstream.release();
    assert_eq!(next().await, delta(" two"));
    upstream.release();
    let rest = body.collect().await.unwrap().to_bytes();
    assert!(rest.ends_with(b"data: [DONE]\n\n"));
}

#[tokio::test]
async fn nothing_is_sent_before_the_first_content() {
    let role = "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m-1\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n";
    let upstream =
        Upstream::start(move |_| vec![stream_head(), chunk(role), Step::Await(1), Step::Reset]).await;
    let gateway = gateway(&upstream);
    let caller = Caller::new(gateway.addr, KEY);
    let call = tokio::spawn(async move { caller.post("/v1/chat/completions", chat(true)).await });
    upstream.asked(1).await;
    assert!(!call.is_finished(), "the role frame alone must not commit the answer");
    upstream.release();
    // The failure is therefore still a real status, not a broken 200.
    let answer = call.await.unwrap();
    assert_eq!(answer.status, 502, "{}", answer.text());
    assert_eq!(answer.json()["error"]["code"], "upstream_unavailable");
}

#[tokio::test]
async fn the_express_lane_changes_only_model_and_usage_option() {
    let raw_answer = "  {\"id\":\"x\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"m-1-2026\", \"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"hi\",\"new_thing\":{\"deep\":[1e400,{}]}},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":1,\"total_tokens\":6},\"seed\":12345678901234567890}\n";
    let upstream = Upstream::start(move |_| whole(200, "application/json", raw_answer)).await;
    let gateway = gateway(&upstream);
    let sent = r#"{ "messages" : [{"role":"user","content":[{"type":"text","text":"hié","zz":1.50}]}], "future": {"a":[{"b":null}]},"model":"m", "temperature":0.70 }"#;
    let answer = Caller::new(gateway.addr, KEY).post("/v1/chat/completions", sent).await;
    assert_eq!(answer.text(), raw_answer);
    let seen = &upstream.seen()[0];
    assert_eq!(String::from_utf8_lossy(&seen.body), sent.replace("\"model\":\"m\"", "\"model\":\"m-1\""));
    assert_eq!(seen.header("authorization"), "Bearer sk-upstream");
    assert_eq!(seen.path, "/v1/chat/completions");
    let record = record(&gateway, answer.header("x-request-id")).await;
    assert_eq!((&record["model"], &record["usage"]["input_tokens"]), (&"m-1-2026".into(), &"5".into()));
}

#[tokio::test]
async fn usage_is_always_asked_for_and_shown_only_to_those_who_asked() {
    let upstream =
        Upstream::start(|_| vec![stream_head(), chunk(delta("a")), chunk(finish(3, 1)), end()]).await;
    let gateway = gateway(&upstream);
    let caller = Caller::new(gateway.addr, KEY);
    let unasked = caller.post("/v1/chat/completions", chat(true)).await;
    assert!(!unasked.text().contains("usage"), "{}", unasked.text());
    let asked = chat(true)
        .replace("\"stream\":true", "\"stream\":true,\"stream_options\":{\"include_usage\":true,\"x\":1}");
    let asked = caller.post("/v1/chat/completions", asked).await;
    assert!(asked.text().contains("\"prompt_tokens\":3"), "{}", asked.text());
    for seen in upstream.seen() {
        assert_eq!(seen.json()["stream_options"]["include_usage"], true);
    }
    assert_eq!(upstream.seen()[1].json()["stream_options"]["x"], 1);
    for answer in [unasked, asked] {
        let record = record(&gateway, answer.header("x-request-id")).await;
        assert_eq!(record["usage"]["input_tokens"], "3");
        assert_eq!(record["usage"]["source"], "SOURCE_PROVIDER");
    }
}

#[tokio::test]
async fn a_grpc_caller_gets_the_same_stream_as_typed_events() {
    let upstream = Upstream::start(|_| {
        vec![stream_head(), chunk(delta("a")), chunk(delta("b")), chunk(finish(3, 2)), end()]
    })
    .await;
    let gateway = gateway(&upstream);
    let mut client = ChatServiceClient::new(gateway.channel(KEY).await);
    let mut stream = client.stream_complete(stream_request()).await.unwrap().into_inner();
    let mut told = Vec::new();
    while let Some(message) = stream.message().await.unwrap() {
        told.push(message.event.unwrap());
    }
    let text: String = told
        .iter()
        .filter_map(|event| if let Event::Text(delta) = event { Some(delta.text.as_str()) } else { None })
        .collect();
    assert_eq!(text, "ab");
    let Event::Start(start) = &told[0] else { panic!("{told:?}") };
    assert_eq!(start.route.as_ref().unwrap().requested_model, "m");
    let [.., Event::ChoiceEnd(choice), Event::Usage(usage), Event::End(end)] = told.as_slice() else {
        panic!("{told:?}")
    };
    assert_eq!(choice.finish_reason(), v1::FinishReason::Stop);
    assert_eq!((usage.input_tokens, usage.output_tokens, usage.r#final), (Some(3), Some(2), true));
    assert_eq!(end.upstream_response_id, "chatcmpl-up");
    assert_eq!(record(&gateway, &start.id).await["surface"], "grpc");
}

#[tokio::test]
async fn a_whole_answer_is_the_same_path_folded() {
    let upstream = Upstream::start(|_| whole(200, "application/json", completion("hello", 4, 1))).await;
    let gateway = gateway(&upstream);
    let mut client = ChatServiceClient::new(gateway.channel(KEY).await);
    let stream = stream_request();
    let answer = client
        .complete(v1::CompleteRequest { input: stream.input, options: stream.options })
        .await
        .unwrap()
        .into_inner();
    let message = answer.choices[0].message.as_ref().unwrap();
    assert_eq!(message.parts[0].kind, Some(v1::part::Kind::Text("hello".to_owned())));
    assert_eq!(answer.usage.unwrap().input_tokens, Some(4));
    assert_eq!(answer.route.unwrap().attempts[0].outcome, "ok");
}

fn stream_request() -> v1::StreamCompleteRequest {
    let text = v1::Part { kind: Some(v1::part::Kind::Text("hello".to_owned())), ..Default::default() };
    let message = v1::Message { role: v1::Role::User.into(), parts: vec![text], ..Default::default() };
    v1::StreamCompleteRequest {
        input: Some(v1::ChatInput { model: "m".to_owned(), messages: vec![message], ..Default::default() }),
        ..Default::default()
    }
}
