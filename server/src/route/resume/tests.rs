//! Tests of answers that go on at another target, by a clock that is turned by hand.

use std::{sync::Mutex, time::Duration};

use futures_util::{FutureExt as _, future::BoxFuture};
use http::HeaderMap;
use tollgate_api::v1::{self, Message, Part, Role, TextDelta, part};

use super::*;
use crate::{
    provider::{self, Answer, Outgoing, Provider},
    route::{Plan, dispatch, testing},
};

/// What a provider does, one after the other.
#[derive(Clone)]
enum Say {
    Event(Event),
    Fail(Kind),
    Wait(Duration),
}

/// Answers each call with the next of its scripts, and keeps what it was asked.
struct Scripted {
    scripts: Mutex<VecDeque<Vec<Say>>>,
    asked: Mutex<Vec<ChatInput>>,
    continues: bool,
}

impl Scripted {
    fn new(scripts: impl IntoIterator<Item = Vec<Say>>) -> Arc<Self> {
        let scripts = Mutex::new(scripts.into_iter().collect());
        Arc::new(Self { scripts, asked: Mutex::default(), continues: false })
    }

    fn asked(&self) -> Vec<ChatInput> {
        self.asked.lock().unwrap().clone()
    }
}

impl Provider for Scripted {
    fn chat<'a>(&'a self, asked: Outgoing<'a, ChatInput>) -> BoxFuture<'a, Result<Answer, provider::Error>> {
        self.asked.lock().unwrap().push(asked.payload.view().unwrap().clone());
        let script = self.scripts.lock().unwrap().pop_front().expect("it is not asked so often");
        if let [Say::Fail(kind)] = script[..] {
            let failed = provider::Error { http_status: 429, ..provider::Error::new(kind, "no") };
            return async { Err(failed) }.boxed();
        }
        let items = stream::iter(script).filter_map(async |say| match say {
            Say::Event(event) => Some(Ok(Item::Event(event))),
            Say::Fail(kind) => Some(Err(provider::Error::new(kind, "it broke off"))),
            Say::Wait(wait) => {
                tokio::time::sleep(wait).await;
                None
            }
        });
        let answer = Answer {
            http_status: 200,
            upstream_request_id: "up".to_owned(),
            headers: HeaderMap::new(),
            warnings: Vec::new(),
            items: Box::pin(items),
        };
        async { Ok(answer) }.boxed()
    }

    fn embed<'a>(
        &'a self,
        _: Outgoing<'a, v1::EmbedRequest>,
    ) -> BoxFuture<'a, Result<Answer, provider::Error>> {
        async { Err(provider::Error::new(Kind::Unsupported, "none")) }.boxed()
    }

    fn continues(&self, _: &str) -> bool {
        self.continues
    }
}

fn text(text: &str) -> Say {
    Say::Event(Event::Text(TextDelta { text: text.to_owned(), choice: 0, part: 0 }))
}

fn begun(texts: &[&str]) -> Vec<Say> {
    let start = Say::Event(Event::Start(Box::default()));
    std::iter::once(start).chain(texts.iter().map(|piece| text(piece))).collect()
}

fn cut(texts: &[&str]) -> Vec<Say> {
    [begun(texts), vec![Say::Fail(Kind::Unavailable)]].concat()
}

fn whole(texts: &[&str]) -> Vec<Say> {
    let end = ChoiceEnd { finish_reason: FinishReason::Stop.into(), ..ChoiceEnd::default() };
    let ends = vec![Say::Event(Event::ChoiceEnd(Box::new(end))), Say::Event(Event::End(Box::default()))];
    [begun(texts), ends].concat()
}

fn input() -> ChatInput {
    let question = Part { kind: Some(part::Kind::Text("why?".to_owned())), ..Part::default() };
    let messages = vec![Message { role: Role::User.into(), parts: vec![question], ..Message::default() }];
    ChatInput { messages, ..ChatInput::default() }
}

fn plan(providers: &[&Arc<Scripted>]) -> Plan {
    let names = ["a", "b", "c", "d"];
    let candidates = names.iter().zip(providers).map(|(name, one)| testing::candidate(name, (*one).clone()));
    let policy = Policy { on_interrupt: OnInterrupt::Continue, ..Policy::default() };
    testing::plan(candidates.collect(), policy)
}

/// What a call came to: its text, what else was said, in words, and how it ended.
#[derive(Debug, Default, PartialEq)]
struct Told {
    text: String,
    steps: Vec<String>,
    error: Option<Reason>,
}

async fn run_by(way: Way) -> Told {
    let way = Arc::new(way);
    let mut call = Call::for_test("m");
    let dispatched = dispatch(way.clone(), &mut call, |_| Ok(())).await.ok().unwrap();
    let mut steps = resume(way, &call, dispatched.items);
    let mut told = Told::default();
    while let Some(step) = steps.next().await {
        match step {
            Ok(Step::Item(Item::Event(Event::Text(delta)))) => told.text.push_str(&delta.text),
            Ok(Step::Item(Item::Event(Event::Notice(notice)))) => {
                let detail = |name: &str| notice.details[name].clone();
                told.steps.push(format!("{}>{}", detail("from_target"), detail("to_target")));
            }
            Ok(Step::Item(Item::Event(Event::ChoiceEnd(end)))) => {
                told.steps.push(end.finish_reason().as_str_name().to_owned());
            }
            Ok(Step::Item(_)) => {}
            Ok(Step::Reroute { outcome, next }) => told.steps.push(format!("{outcome}: {}", next.name)),
            Ok(Step::Answered { http_status, drains, .. }) => {
                told.steps.push(format!("{http_status}{}", if drains { " drains" } else { "" }));
            }
            Ok(Step::Cut { outcome }) => told.steps.push(format!("cut {outcome}")),
            Err(error) => told.error = Some(error.reason()),
        }
    }
    told
}

async fn run_with(providers: &[&Arc<Scripted>], input: ChatInput) -> Told {
    let way = testing::way(plan(providers));
    run_by(Way { request: Request::Chat(Payload::typed(input)), ..way }).await
}

async fn run(providers: &[&Arc<Scripted>]) -> Told {
    run_with(providers, input()).await
}

const STOP: &str = "FINISH_REASON_STOP";

#[tokio::test(start_paused = true)]
async fn an_answer_that_breaks_off_goes_on_at_the_next_target() {
    let (first, second) = (Scripted::new([cut(&["one ", "two "])]), Scripted::new([whole(&[" three"])]));
    let told = run(&[&first, &second]).await;
    assert_eq!((&*told.text, told.error), ("one two three", None));
    assert_eq!(told.steps, ["unavailable: b/m", "200", "a/m>b/m", STOP]);
    let asked = &second.asked()[0].messages;
    let words: Vec<_> = asked
        .iter()
        .map(|message| match &message.parts[0].kind {
            Some(part::Kind::Text(text)) => (message.role(), &**text),
            _ => panic!("{message:?}"),
        })
        .collect();
    assert_eq!(words[..2], [(Role::User, "why?"), (Role::Assistant, "one two")]);
    assert_eq!(words[2].0, Role::User);
    assert!(words[2].1.starts_with("Continue exactly where"), "{words:?}");
}

#[tokio::test(start_paused = true)]
async fn whether_the_rest_is_billed_to_its_end_is_told_when_it_begins() {
    let (first, second) = (Scripted::new([cut(&["one"])]), Scripted::new([cut(&[" two"])]));
    let third = Scripted::new([whole(&[" three"])]);
    let mut plan = plan(&[&first, &second, &third]);
    plan.candidates[1].provider.drains = true;
    let way = testing::way(plan);
    let told = run_by(Way { request: Request::Chat(Payload::typed(input())), ..way }).await;
    let steps = ["unavailable: b/m", "200 drains", "a/m>b/m", "unavailable: c/m", "200", "b/m>c/m", STOP];
    assert_eq!(told.steps, steps);
}

#[tokio::test(start_paused = true)]
async fn a_model_that_goes_on_by_itself_needs_no_instruction() {
    let first = Scripted::new([cut(&["one"])]);
    let scripts = Mutex::new(VecDeque::from([whole(&[" two"])]));
    let second = Arc::new(Scripted { scripts, asked: Mutex::default(), continues: true });
    assert_eq!(run(&[&first, &second]).await.text, "one two");
    let asked = second.asked();
    assert_eq!((asked[0].messages.len(), asked[0].messages[1].role()), (2, Role::Assistant));
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_falls_silent_within_its_answer_is_left_for_another() {
    let silent = [begun(&["one"]), vec![Say::Wait(Duration::from_secs(90)), text(" never")]].concat();
    let (first, second) = (Scripted::new([silent]), Scripted::new([whole(&[" two"])]));
    let way = testing::way(plan(&[&first, &second]));
    let timeouts = crate::route::Timeouts { idle: Duration::from_secs(60), ..way.timeouts };
    let started = now();
    let told = run_by(Way { timeouts, request: Request::Chat(Payload::typed(input())), ..way }).await;
    assert_eq!((&*told.text, &*told.steps[0]), ("one two", "timeout: b/m"));
    assert_eq!(now() - started, Duration::from_secs(60));
}

#[tokio::test(start_paused = true)]
async fn targets_that_fail_before_they_go_on_are_followed_by_others() {
    let first = Scripted::new([cut(&["one"])]);
    let limited = Scripted::new([vec![Say::Fail(Kind::RateLimited { retry_after: None })]]);
    let third = Scripted::new([whole(&[" two"])]);
    let told = run(&[&first, &limited, &third]).await;
    assert_eq!((&*told.text, told.error), ("one two", None));
    let steps = ["unavailable: b/m", "429", "rate_limited: c/m", "200", "a/m>c/m", STOP];
    assert_eq!(told.steps, steps);
}

#[tokio::test(start_paused = true)]
async fn a_second_answer_that_breaks_off_too_goes_on_with_both_parts() {
    let (first, second) = (Scripted::new([cut(&["one"])]), Scripted::new([cut(&[" two"])]));
    let third = Scripted::new([whole(&[" three"])]);
    assert_eq!(run(&[&first, &second, &third]).await.text, "one two three");
    let said = &third.asked()[0].messages[1].parts[0];
    assert_eq!(said.kind, Some(part::Kind::Text("one two".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn the_last_failure_is_told_when_no_target_is_left() {
    let (first, second) = (Scripted::new([cut(&["one"])]), Scripted::new([cut(&[" two"])]));
    let told = run(&[&first, &second]).await;
    assert_eq!((&*told.text, told.error), ("one two", Some(Reason::StreamInterrupted)));
}

#[tokio::test(start_paused = true)]
async fn a_call_has_so_many_attempts_and_no_more() {
    let first = Scripted::new([cut(&["1"])]);
    let others = [(); 3].map(|()| Scripted::new([cut(&["2"])]));
    let told = run(&[&first, &others[0], &others[1], &others[2]]).await;
    assert_eq!((&*told.text, told.error), ("122", Some(Reason::StreamInterrupted)));
    assert!(others[2].asked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_only_target_is_tried_once_more_if_its_connection_was_cut() {
    let only = Scripted::new([cut(&["one"]), whole(&[" two"])]);
    assert_eq!(run(&[&only]).await.text, "one two");
    let broken = [begun(&["one"]), vec![Say::Fail(Kind::BadResponse)]].concat();
    let told = run(&[&Scripted::new([broken])]).await;
    assert_eq!(told.error, Some(Reason::StreamInterrupted));
}

#[tokio::test(start_paused = true)]
async fn the_rest_has_the_tokens_that_are_left_and_nothing_is_asked_for_when_none_are() {
    let bounded = |most| ChatInput { max_output_tokens: Some(most), ..input() };
    let (first, second) = (Scripted::new([cut(&["one", " two"])]), Scripted::new([whole(&["."])]));
    run_with(&[&first, &second], bounded(5)).await;
    assert_eq!(second.asked()[0].max_output_tokens, Some(3));
    let (first, second) = (Scripted::new([cut(&["one", " two"])]), Scripted::new([]));
    let told = run_with(&[&first, &second], bounded(2)).await;
    assert_eq!(told.steps, ["cut unavailable", "FINISH_REASON_LENGTH"]);
    assert_eq!((&*told.text, told.error), ("one two", None));
}

#[tokio::test(start_paused = true)]
async fn the_first_token_timeout_and_the_deadline_hold_for_the_rest_too() {
    let slow = || Scripted::new([[vec![Say::Wait(Duration::from_secs(20))], whole(&["late"])].concat()]);
    let first = Scripted::new([cut(&["one"])]);
    let (second, third) = (slow(), Scripted::new([whole(&[" two"])]));
    let request = || Request::Chat(Payload::typed(input()));
    let way = testing::way(plan(&[&first, &second, &third]));
    let timeouts = crate::route::Timeouts { first_token: Duration::from_secs(5), ..way.timeouts };
    let told = run_by(Way { timeouts, request: request(), ..way }).await;
    assert_eq!(told.text, "one two");
    assert_eq!(told.steps, ["unavailable: b/m", "200", "timeout: c/m", "200", "a/m>c/m", STOP]);
    let first = Scripted::new([cut(&["one"])]);
    let way = testing::way(plan(&[&first, &slow()]));
    let deadline = crate::call::Deadline { at: now() + Duration::from_secs(3), by_caller: true };
    let told = run_by(Way { deadline, request: request(), ..way }).await;
    assert_eq!((&*told.text, told.error), ("one", Some(Reason::CallerDeadlineExceeded)));
}

#[tokio::test(start_paused = true)]
async fn what_no_other_model_can_go_on_with_is_interrupted() {
    let start = |kind| {
        let initial = Some(Part { kind: Some(kind), ..Part::default() });
        Say::Event(Event::PartStart(Box::new(v1::PartStart { choice: 0, part: 1, initial })))
    };
    let signed = v1::PartEnd { continuity: Some(v1::Continuity::default()), ..v1::PartEnd::default() };
    let cases = [
        ("a tool call", start(part::Kind::ToolCall(v1::ToolCall::default()))),
        ("a refusal", start(part::Kind::Refusal(String::new()))),
        ("a signed part", Say::Event(Event::PartEnd(Box::new(signed)))),
        ("a second choice", Say::Event(Event::Text(TextDelta { choice: 1, ..TextDelta::default() }))),
        ("an ended choice", Say::Event(Event::ChoiceEnd(Box::default()))),
    ];
    for (name, say) in cases {
        let script = [begun(&["one"]), vec![say, Say::Fail(Kind::Unavailable)]].concat();
        let told = run(&[&Scripted::new([script]), &Scripted::new([])]).await;
        assert_eq!(told.error, Some(Reason::StreamInterrupted), "{name}");
    }
    let schema =
        v1::OutputFormat { kind: Some(v1::output_format::Kind::JsonSchema(v1::JsonSchemaFormat::default())) };
    let inputs = [
        ChatInput { choice_count: Some(2), ..input() },
        ChatInput { output_format: Some(schema), ..input() },
    ];
    for input in inputs {
        let told = run_with(&[&Scripted::new([cut(&["one"])]), &Scripted::new([])], input).await;
        assert_eq!(told.error, Some(Reason::StreamInterrupted));
    }
}

#[tokio::test(start_paused = true)]
async fn failures_that_another_target_would_repeat_are_told() {
    for kind in [Kind::ContentPolicy, Kind::ContextLength, Kind::Invalid] {
        let script = [begun(&["one"]), vec![Say::Fail(kind)]].concat();
        let told = run(&[&Scripted::new([script]), &Scripted::new([])]).await;
        assert_eq!(told.error, Some(Reason::StreamInterrupted), "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_the_policy_a_stream_is_interrupted() {
    let (first, second) = (Scripted::new([cut(&["one"])]), Scripted::new([]));
    let mut plan = plan(&[&first, &second]);
    plan.policy = Arc::default();
    let way = Way { request: Request::Chat(Payload::typed(input())), ..testing::way(plan) };
    let told = run_by(way).await;
    assert_eq!((&*told.text, told.error), ("one", Some(Reason::StreamInterrupted)));
}

#[test]
fn bytes_are_given_up_only_where_an_answer_may_go_on() {
    let raw = |dialect| {
        let raw = crate::call::Raw {
            dialect,
            body: bytes::Bytes::from_static(b"{}"),
            model: 0..0,
            stream_options: None,
            headers: HeaderMap::new(),
        };
        Request::Chat(Payload::raw(raw, |_, _| Ok(input())))
    };
    let policy = |on_interrupt| Policy { on_interrupt, ..Policy::default() };
    let chat = Dialect::OpenAiChat;
    for (dialect, on_interrupt, streamed, given_up) in [
        (chat, OnInterrupt::Continue, true, true),
        (Dialect::AnthropicMessages, OnInterrupt::Continue, true, true),
        (chat, OnInterrupt::Continue, false, false),
        (chat, OnInterrupt::Fail, true, false),
        (Dialect::OpenAiCompletions, OnInterrupt::Continue, true, false),
        (Dialect::OpenAiResponses, OnInterrupt::Continue, true, false),
    ] {
        let mut request = raw(dialect);
        ready(&mut request, &policy(on_interrupt), &Asked { streamed, ..Asked::default() });
        let Request::Chat(payload) = &request else { unreachable!() };
        assert_eq!(payload.as_raw(dialect).is_none(), given_up, "{dialect:?} {on_interrupt:?} {streamed}");
    }
}

/// At whatever piece it breaks off, the words are whole and nothing waits.
#[tokio::test(start_paused = true)]
async fn wherever_it_breaks_off_the_text_is_whole() {
    let pieces = ["a", " b", "\n", "\n c", " d"];
    let began = now();
    for at in 1..pieces.len() {
        let (first, second) = (Scripted::new([cut(&pieces[..at])]), Scripted::new([whole(&pieces[at..])]));
        let told = run(&[&first, &second]).await;
        assert!(told.text.split_whitespace().eq(["a", "b", "c", "d"]), "{told:?}");
        assert_eq!(told.error, None);
    }
    assert_eq!(now(), began);
}
