//! What people who use `tollctl` see: outputs, exit codes, Ctrl-C.

use std::{
    collections::HashMap,
    process::{Output, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    process::{Child, Command},
};
use tollgate_client::api::v1::{ErrorReason, UsageRecord, WatchUsageResponse, part};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::gateway::{Gateway, ending, start, text};

const KEY: &str = "tg_AAAAAAAAAAAA_0123456789abcdef0123456789abcdef";

fn tollctl(addr: &str, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollctl"));
    command
        .args(args)
        .env_clear()
        .env("TOLLGATE_ADDR", addr)
        .env("TOLLGATE_KEY", KEY)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

async fn run(addr: &str, args: &[&str]) -> (i32, String, String) {
    said(tollctl(addr, args).output().await.unwrap())
}

fn said(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

async fn interrupt(child: &Child) {
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().await.unwrap().success());
}

async fn in_time<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(120), what).await.expect("in time")
}

#[tokio::test]
async fn tokens_are_printed_as_they_come_and_then_the_summary() {
    let gateway = Gateway::start().await;
    let sender = gateway.chat_stream();
    let mut child = tollctl(&gateway.addr(), &["chat", "say", "this"]).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut first = [0; 4];
    sender.send(start()).await.unwrap();
    sender.send(text("one ")).await.unwrap();
    // The rest is sent only once the first piece has been seen.
    in_time(stdout.read_exact(&mut first)).await.unwrap();
    assert_eq!(&first, b"one ");
    for event in [text("two")].into_iter().chain(ending()) {
        sender.send(event).await.unwrap();
    }
    drop(sender);
    let mut rest = String::new();
    in_time(stdout.read_to_string(&mut rest)).await.unwrap();
    let (code, _, stderr) = said(in_time(child.wait_with_output()).await.unwrap());
    assert_eq!((code, rest.as_str()), (0, "two\n"));
    assert!(stderr.starts_with("echo · 3 in, 2 out · $0.0000015 · first token "), "{stderr}");
    assert!(stderr.trim_end().ends_with("· id call-1"), "{stderr}");
    let asked = &gateway.asked().messages[0].parts[0].kind;
    assert_eq!(asked, &Some(part::Kind::Text("say this".into())));
}

#[tokio::test]
async fn ctrl_c_cancels_the_call_and_exits_130() {
    let gateway = Gateway::start().await;
    let sender = gateway.chat_stream();
    sender.send(start()).await.unwrap();
    sender.send(text("one ")).await.unwrap();
    let mut child = tollctl(&gateway.addr(), &["chat", "hi"]).spawn().unwrap();
    let mut first = [0; 4];
    in_time(child.stdout.as_mut().unwrap().read_exact(&mut first)).await.unwrap();
    interrupt(&child).await;
    in_time(sender.closed()).await;
    let (code, stdout, stderr) = said(in_time(child.wait_with_output()).await.unwrap());
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (130, "\n", "cancelled\n"));
}

#[tokio::test]
async fn standard_input_is_asked_after_the_arguments() {
    let gateway = Gateway::start().await;
    let args = ["chat", "--no-stream", "sum", "up:", "--json", "--system", "be brief", "--max-tokens", "9"];
    let mut child = tollctl(&gateway.addr(), &args).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"a long text\n").await.unwrap();
    let (code, stdout, _) = said(in_time(child.wait_with_output()).await.unwrap());
    let answer: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &answer["id"]), (0, &"call-1".into()));
    let asked = gateway.asked();
    assert_eq!(asked.messages[1].parts[0].kind, Some(part::Kind::Text("sum up:\n\na long text".into())));
    assert_eq!((asked.model.as_str(), asked.max_output_tokens), ("echo", Some(9)));
}

#[tokio::test]
async fn json_of_a_stream_is_one_event_a_line() {
    let gateway = Gateway::start().await;
    let sender = gateway.chat_stream();
    for event in [start(), text("one")].into_iter().chain(ending()) {
        sender.send(event).await.unwrap();
    }
    drop(sender);
    let (code, stdout, stderr) = run(&gateway.addr(), &["--json", "chat", "hi"]).await;
    let events: Vec<serde_json::Value> =
        stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((code, events.len(), stderr.as_str()), (0, 5, ""));
    assert_eq!(events[1]["text"]["text"], "one");
    assert_eq!(events[4]["end"], serde_json::json!({}));
}

#[tokio::test]
async fn an_answer_that_is_cut_is_a_failure() {
    let gateway = Gateway::start().await;
    let sender = gateway.chat_stream();
    sender.send(start()).await.unwrap();
    sender.send(text("half")).await.unwrap();
    drop(sender);
    let (code, stdout, stderr) = run(&gateway.addr(), &["chat", "hi"]).await;
    assert_eq!((code, stdout.as_str()), (1, "half\n"));
    assert!(stderr.contains("STREAM_INTERRUPTED"), "{stderr}");
}

#[tokio::test]
async fn a_refusal_is_explained_in_words() {
    let gateway = Gateway::start().await;
    let mut details = ErrorDetails::new();
    let metadata = [("layer", "quota"), ("subject", "key:A"), ("metric", "requests"), ("window", "hour")];
    let metadata = metadata.into_iter().chain([("limit", "60"), ("used", "60")]);
    let metadata: HashMap<_, _> = metadata.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    details.set_error_info(ErrorReason::RateLimited.as_str_name(), "tollgate", metadata);
    details.set_retry_info(Some(Duration::from_secs(90)));
    gateway.fail([Status::with_error_details(Code::ResourceExhausted, "too many requests", details)]);
    let (code, stdout, stderr) = run(&gateway.addr(), &["models"]).await;
    assert_eq!((code, stdout.as_str()), (1, ""));
    for words in [
        "error: too many requests",
        "RATE_LIMITED (by quota)",
        "60 requests per hour of key:A, used 60",
        "after 90.0 s",
    ] {
        assert!(stderr.contains(words), "{words}: {stderr}");
    }
}

#[tokio::test]
async fn what_is_missing_is_said_with_how_to_give_it() {
    // Taken, and not listened on.
    let held = tokio::net::TcpSocket::new_v4().unwrap();
    held.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let nowhere = held.local_addr().unwrap().to_string();
    let (code, _, stderr) = run(&nowhere, &["models"]).await;
    assert_eq!(code, 1);
    assert!(stderr.contains(&format!("is tollgate running at {nowhere}?")), "{stderr}");
    let keyless = tollctl(&nowhere, &["models"]).env_remove("TOLLGATE_KEY").output().await.unwrap();
    let (code, _, stderr) = said(keyless);
    assert_eq!(code, 1);
    assert!(stderr.contains("--key") && stderr.contains("TOLLGATE_KEY"), "{stderr}");
}

#[tokio::test]
async fn a_wrong_command_line_exits_64_and_help_exits_0() {
    assert_eq!(run("127.0.0.1:1", &["usage", "--since", "yesterday"]).await.0, 64);
    assert_eq!(run("127.0.0.1:1", &["chat"]).await.0, 64);
    assert_eq!(run("127.0.0.1:1", &[]).await.0, 64);
    let (code, stdout, _) = run("127.0.0.1:1", &["--help"]).await;
    assert_eq!(code, 0);
    assert!(!stdout.contains(KEY), "help shows the key of the environment");
}

#[tokio::test]
async fn reports_follow_their_pages_and_add_up() {
    let gateway = Gateway::start().await;
    let (code, stdout, _) = run(&gateway.addr(), &["usage", "--by", "team", "--since", "7d"]).await;
    let lines: Vec<_> = stdout.lines().collect();
    assert_eq!((code, lines.len()), (0, 4));
    assert!(lines[3].starts_with("total     1,200"), "{stdout}");
    let (_, stdout, _) = run(&gateway.addr(), &["usage", "--json", "records", "--limit", "3"]).await;
    let value: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    let ids: Vec<_> = value["records"].as_array().unwrap().iter().map(|record| &record["id"]).collect();
    assert_eq!(ids, ["record-0", "record-1", "record-2"]);
}

#[tokio::test]
async fn a_watch_prints_records_as_they_come_and_ends_well_at_ctrl_c() {
    let gateway = Gateway::start().await;
    let sender = gateway.record_stream();
    let mut child = tollctl(&gateway.addr(), &["usage", "watch"]).spawn().unwrap();
    let record = UsageRecord { requested_model: "echo".into(), status: "OK".into(), ..Default::default() };
    sender.send(Ok(WatchUsageResponse { record: Some(record) })).await.unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = in_time(lines.next_line()).await.unwrap().unwrap();
    assert!(line.contains("echo") && line.contains("OK"), "{line}");
    interrupt(&child).await;
    in_time(sender.closed()).await;
    let (code, _, stderr) = said(in_time(child.wait_with_output()).await.unwrap());
    assert_eq!((code, stderr.as_str()), (0, ""));
}

#[tokio::test]
async fn an_update_sends_what_was_given_under_the_etag_that_was_read() {
    let gateway = Gateway::start().await;
    let args = ["keys", "update", "AAAAAAAAAAAA", "--name", "new", "--add-scope", "embed"];
    let (code, stdout, _) = run(&gateway.addr(), &args).await;
    assert_eq!(code, 0);
    assert!(stdout.contains("name       new\n"), "{stdout}");
    let updated = gateway.updated();
    assert_eq!(updated.update_mask.unwrap().paths, ["name", "scopes"]);
    let key = updated.key.unwrap();
    assert_eq!((key.etag.as_str(), key.scopes.join(" ").as_str()), ("v1", "chat embed"));
}

#[tokio::test]
async fn a_new_secret_stands_alone_on_standard_output() {
    let gateway = Gateway::start().await;
    let (code, stdout, stderr) = run(&gateway.addr(), &["keys", "create", "--name", "n"]).await;
    assert_eq!((code, stdout.as_str()), (0, "tg_AAAAAAAAAAAA_new\n"));
    assert!(stderr.contains("cannot be shown again"), "{stderr}");
    let (code, stdout, _) =
        run(&gateway.addr(), &["keys", "rotate", "AAAAAAAAAAAA", "--overlap", "1h"]).await;
    assert_eq!((code, stdout.as_str()), (0, "tg_AAAAAAAAAAAA_next\n"));
}

#[tokio::test]
async fn nothing_is_revoked_without_a_yes() {
    let gateway = Gateway::start().await;
    assert_eq!(run(&gateway.addr(), &["keys", "revoke", "AAAAAAAAAAAA"]).await.0, 64);
    assert!(gateway.calls().is_empty());
    assert_eq!(run(&gateway.addr(), &["keys", "revoke", "AAAAAAAAAAAA", "--yes"]).await.0, 0);
    assert_eq!(gateway.calls(), ["RevokeKey"]);
}

#[tokio::test]
async fn status_tells_whether_the_key_is_accepted() {
    let gateway = Gateway::start().await;
    let (code, stdout, _) = run(&gateway.addr(), &["status"]).await;
    assert_eq!(code, 0);
    assert!(stdout.contains("may use 2 models") && stdout.contains("as a whole: serving"), "{stdout}");
    gateway.fail([Status::unauthenticated("the key is unknown")]);
    let (code, stdout, _) = run(&gateway.addr(), &["status", "--json"]).await;
    let status: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &status["key_accepted"], &status["reachable"]), (1, &false.into(), &true.into()));
}

#[tokio::test]
async fn a_reader_that_goes_away_ends_the_program_quietly() {
    let gateway = Gateway::start().await;
    let sender = gateway.chat_stream();
    sender.send(start()).await.unwrap();
    let mut child = tollctl(&gateway.addr(), &["chat", "hi"]).spawn().unwrap();
    drop(child.stdout.take());
    while sender.send(text("more ")).await.is_ok() {}
    let (code, _, stderr) = said(in_time(child.wait_with_output()).await.unwrap());
    assert_eq!((code, stderr.as_str()), (0, ""));
}

#[tokio::test]
async fn an_explanation_asks_with_the_hints_of_the_command_line() {
    let gateway = Gateway::start().await;
    let args = [
        "explain",
        "m",
        "how",
        "far?",
        "--tag",
        "a=b",
        "--objective",
        "latency",
        "--deny",
        "x",
        "--no-fallback",
    ];
    let (code, stdout, stderr) = run(&gateway.addr(), &args).await;
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.lines().nth(1).unwrap().contains("a/m"), "{stdout}");
    assert!(stderr.contains("strategy ordered"), "{stderr}");
    let asked = gateway.explained();
    let (input, options) = (asked.input.unwrap(), asked.options.unwrap());
    assert_eq!(input.messages[0].parts[0].kind, Some(part::Kind::Text("how far?".into())));
    let hints = options.route.unwrap();
    assert_eq!((options.tags["a"].as_str(), hints.denied_providers), ("b", vec!["x".to_owned()]));
    assert_eq!((hints.allow_fallback, hints.objective), (Some(false), 2));
}

#[tokio::test]
async fn the_status_shows_targets_to_whoever_may_see_them() {
    let gateway = Gateway::start().await;
    let (code, stdout, _) = run(&gateway.addr(), &["status"]).await;
    assert_eq!(code, 0, "{stdout}");
    assert!(stdout.contains("configuration c0ffee") && stdout.contains("a/m     open"), "{stdout}");
    let (_, stdout, _) = run(&gateway.addr(), &["status", "--json"]).await;
    let json: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(json["status"]["targets"][0]["state"], "STATE_OPEN");
}

#[tokio::test]
async fn quota_shows_what_is_left_and_watches_thresholds() {
    let gateway = Gateway::start().await;
    let (code, stdout, stderr) = run(&gateway.addr(), &["quota"]).await;
    assert_eq!((code, stderr.as_str()), (0, ""));
    let row: Vec<_> = stdout.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row, ["team:search", "tokens/minute", "-", "100", "60", "10", "30", "-"]);
    let (code, stdout, _) = run(&gateway.addr(), &["quota", "--watch", "--at", "0.5,60%", "--json"]).await;
    assert_eq!((code, stdout.lines().count()), (0, 2));
    assert!(stdout.lines().all(|line| line.contains(r#""subject":"team:search""#)), "{stdout}");
    let (_, stdout, _) = run(&gateway.addr(), &["quota", "--watch", "--at", "0.5"]).await;
    assert_eq!(stdout, "team:search  tokens/minute  60 of 100, past 50%\n");
}
