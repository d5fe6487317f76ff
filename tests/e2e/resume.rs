//! A stream that breaks off goes on at another target, on every surface, and both parts are in the ledger.

use tollgate_api::v1::{self, chat_service_client::ChatServiceClient, stream_complete_response::Event};

use crate::{
    record,
    support::{
        Gateway, KEY,
        http::Caller,
        upstream::{Step, Upstream, chunk, delta, end, finish, stream_head},
    },
};

/// One that resets the connection after three words, and one that has three more.
async fn upstreams() -> (Upstream, Upstream) {
    let first = Upstream::start(|_| {
        let words = ["one", " two", " three"].map(|word| chunk(delta(word)));
        [vec![stream_head()], words.to_vec(), vec![Step::Await(1), Step::Reset]].concat()
    })
    .await;
    let second = Upstream::start(|_| {
        let words = [" four", " five", " six"].map(|word| chunk(delta(word)));
        [vec![stream_head()], words.to_vec(), vec![chunk(finish(20, 3)), end()]].concat()
    })
    .await;
    (first, second)
}

fn gateway(first: &Upstream, second: &Upstream, on_interrupt: &str) -> Gateway {
    let price = "price: { input_per_million: 1, output_per_million: 2 }";
    Gateway::start(&format!(
        "providers:\n{}{}models:\n  m:\n    on_interrupt: {on_interrupt}\n    {price}\n    \
         targets: [{{ provider: first, model: m-1 }}, {{ provider: second, model: m-2 }}]\n",
        first.provider("first"),
        second.provider("second"),
    ))
}

/// What the second upstream was asked, and what the record says of both parts.
async fn check(second: &Upstream, gateway: &Gateway, id: &str) {
    let asked = second.seen()[0].json();
    let messages = asked["messages"].as_array().unwrap();
    let said: Vec<_> = messages.iter().map(|one| (&one["role"], &one["content"])).collect();
    assert_eq!(asked["model"], "m-2");
    assert_eq!(said[0], (&"user".into(), &"hello there".into()));
    assert_eq!(said[1], (&"assistant".into(), &"one two three".into()));
    assert!(said[2].1.as_str().unwrap().starts_with("Continue exactly where"), "{said:?}");
    let record = record(gateway, id).await;
    assert_eq!((&record["status"], &record["finish_reason"]), (&"OK".into(), &"stop".into()), "{record}");
    assert_eq!((&record["target"], &record["delivered_event_count"]), (&"second/m-2".into(), &"6".into()));
    let attempts = record["attempts"].as_array().unwrap();
    let number = |value: &serde_json::Value| value.as_str().map(|text| text.parse::<i64>().unwrap());
    let counts = attempts.iter().map(|one| {
        let (input, output) = (number(&one["input_tokens"]), number(&one["output_tokens"]));
        (one["outcome"].as_str().unwrap(), input, output, number(&one["cost_nanos"]))
    });
    let counts: Vec<_> = counts.collect();
    let input = counts[0].1.unwrap();
    assert_eq!(counts[0], ("unavailable", Some(input), Some(3), Some(input * 1_000 + 6_000)));
    assert_eq!(counts[1], ("ok", Some(20), Some(3), Some(26_000)));
    assert_eq!((&attempts[0]["estimated"], &attempts[1]["estimated"]), (&true.into(), &false.into()));
    let usage = &record["usage"];
    assert_eq!(
        (number(&usage["input_tokens"]), number(&usage["output_tokens"])),
        (Some(20 + input), Some(6))
    );
    assert_eq!(number(&usage["cost"]["amount_nanos"]), Some(input * 1_000 + 32_000));
}

fn chat_input() -> v1::ChatInput {
    let text = v1::Part { kind: Some(v1::part::Kind::Text("hello there".to_owned())), ..v1::Part::default() };
    let message = v1::Message { role: v1::Role::User.into(), parts: vec![text], ..v1::Message::default() };
    v1::ChatInput { model: "m".to_owned(), messages: vec![message], ..v1::ChatInput::default() }
}

/// Reads a stream to its end, and lets the upstream go on when the third word is here.
async fn grpc(gateway: &Gateway, first: &Upstream) -> (Vec<Event>, Option<tonic::Status>) {
    let mut client = ChatServiceClient::new(gateway.channel(KEY).await);
    let request = v1::StreamCompleteRequest { input: Some(chat_input()), ..Default::default() };
    let mut stream = client.stream_complete(request).await.unwrap().into_inner();
    let mut events = Vec::new();
    loop {
        match stream.message().await {
            Ok(Some(message)) => {
                events.extend(message.event);
                if text(&events) == "one two three" {
                    first.release();
                }
            }
            Ok(None) => return (events, None),
            Err(status) => return (events, Some(status)),
        }
    }
}

fn text(events: &[Event]) -> String {
    let deltas = events.iter().map(|event| match event {
        Event::Text(delta) => &*delta.text,
        _ => "",
    });
    deltas.collect()
}

#[tokio::test]
async fn over_grpc_the_answer_goes_on_under_one_id_with_a_notice() {
    let (first, second) = upstreams().await;
    let gateway = gateway(&first, &second, "continue");
    let (events, failed) = grpc(&gateway, &first).await;
    assert!(failed.is_none(), "{failed:?}");
    assert_eq!(text(&events), "one two three four five six");
    let starts: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Start(start) => Some(start.id.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(starts.len(), 1);
    let at = events.iter().position(|event| matches!(event, Event::Notice(_))).unwrap();
    let Event::Notice(notice) = &events[at] else { unreachable!() };
    assert_eq!(notice.code(), v1::notice::Code::Rerouted);
    assert_eq!((&*notice.details["from_target"], &*notice.details["to_target"]), ("first/m-1", "second/m-2"));
    assert_eq!(text(&events[..at]), "one two three");
    let parts = events.iter().filter(|event| match event {
        Event::PartStart(start) => start.part > 0,
        Event::PartEnd(_) => true,
        _ => false,
    });
    assert_eq!(parts.count(), 1, "one part, which ends once");
    check(&second, &gateway, &starts[0]).await;
}

#[tokio::test]
async fn a_caller_of_openais_dialect_sees_one_stream() {
    let (first, second) = upstreams().await;
    let gateway = gateway(&first, &second, "continue");
    first.release();
    let body = r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"hello there"}]}"#;
    let answer = Caller::new(gateway.addr, KEY).post("/v1/chat/completions", body).await;
    let all = answer.text();
    let chunks: Vec<serde_json::Value> = all
        .split("\n\n")
        .filter_map(|frame| frame.strip_prefix("data: ").filter(|data| *data != "[DONE]"))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    assert!(all.ends_with("data: [DONE]\n\n"), "{all}");
    let text: String =
        chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(text, "one two three four five six");
    assert!(chunks.iter().all(|chunk| chunk["id"] == chunks[0]["id"]), "{all}");
    assert_eq!(all.matches("\"role\"").count(), 1);
    assert_eq!(all.matches("\"finish_reason\":\"stop\"").count(), 1);
    check(&second, &gateway, answer.header("x-request-id")).await;
}

#[tokio::test]
async fn a_caller_of_anthropics_dialect_sees_one_message() {
    let (first, second) = upstreams().await;
    let gateway = gateway(&first, &second, "continue");
    first.release();
    let body = r#"{"model":"m","stream":true,"max_tokens":100,"messages":[{"role":"user","content":"hello there"}]}"#;
    let answer = Caller::new(gateway.addr, KEY).post("/v1/messages", body).await;
    let all = answer.text();
    let events: Vec<serde_json::Value> = all
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    let text: String = events.iter().filter_map(|event| event["delta"]["text"].as_str()).collect();
    assert_eq!(text, "one two three four five six");
    for (kind, count) in
        [("message_start", 1), ("content_block_start", 1), ("content_block_stop", 1), ("message_stop", 1)]
    {
        assert_eq!(events.iter().filter(|event| event["type"] == kind).count(), count, "{kind}: {all}");
    }
    let asked = second.seen()[0].json();
    assert_eq!(asked["max_completion_tokens"], 97, "the rest has the tokens that are left: {asked}");
    check(&second, &gateway, answer.header("x-request-id")).await;
}

#[tokio::test]
async fn by_default_the_interruption_is_told_with_what_was_used() {
    let (first, second) = upstreams().await;
    let gateway = gateway(&first, &second, "fail");
    let (events, failed) = grpc(&gateway, &first).await;
    let status = failed.unwrap();
    assert_eq!(status.code(), tonic::Code::Unavailable, "{status:?}");
    assert!(second.seen().is_empty());
    let Some(Event::Usage(usage)) = events.last() else { panic!("{events:?}") };
    assert!(usage.r#final);
    assert_eq!(usage.output_tokens, Some(3));
    let Some(Event::Start(start)) = events.first() else { panic!("{events:?}") };
    let record = record(&gateway, &start.id).await;
    assert_eq!((&record["delivered_event_count"], &record["status"]), (&"3".into(), &"UNAVAILABLE".into()));
    assert_eq!(record["usage"]["output_tokens"], "3");
}

#[tokio::test]
async fn a_rest_caller_is_told_what_an_interrupted_answer_came_to() {
    for (path, max) in [("/v1/chat/completions", ""), ("/v1/messages", r#""max_tokens":100,"#)] {
        let (first, second) = upstreams().await;
        let gateway = gateway(&first, &second, "fail");
        first.release();
        let body = format!(
            r#"{{"model":"m",{max}"stream":true,"messages":[{{"role":"user","content":"hello there"}}]}}"#
        );
        let answer = Caller::new(gateway.addr, KEY).post(path, body).await;
        let all = answer.text();
        let last = all.lines().filter_map(|line| line.strip_prefix("data: ")).next_back().unwrap();
        let error = serde_json::from_str::<serde_json::Value>(last).unwrap()["error"].clone();
        let told = &error["x_tollgate"];
        assert_eq!((&told["delivered_event_count"], &told["output_tokens"]), (&3.into(), &3.into()), "{all}");
        let usage = record(&gateway, answer.header("x-request-id")).await["usage"].clone();
        assert_eq!(told["input_tokens"].to_string(), usage["input_tokens"].as_str().unwrap());
        assert_eq!(told["cost_nanos"].to_string(), usage["cost"]["amount_nanos"].as_str().unwrap());
        assert_eq!(told["estimated"], true);
    }
}
