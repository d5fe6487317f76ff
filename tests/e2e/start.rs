//! Starting: what a new user sees, and what a wrong configuration says.

use std::process::{Command, Output};

use crate::support::{Gateway, http::Caller};

fn tollgate(arguments: &[&str], dir: &std::path::Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .args(arguments)
        .current_dir(dir)
        .env_remove("OPENAI_API_KEY")
        .output()
        .unwrap()
}

#[test]
fn check_names_every_problem_with_its_line_and_the_nearest_word() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("bad.yaml"),
        "listen: 127.0.0.1:0\nprovidrs: {}\nproviders:\n  a: { dialect: openai, api_kee: x }\nmodels:\n  m: { targets: [{ provider: b, model: y }] }\nadmin_key: ${TOLLGATE_TEST_UNSET}\n",
    )
    .unwrap();
    let output = tollgate(&["check", "--config", "bad.yaml"], dir.path());
    assert_eq!(output.status.code(), Some(1));
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    for expected in [
        "bad.yaml:2:",
        "`providers`",
        "bad.yaml:4:",
        "`api_key`",
        "bad.yaml:6:",
        "bad.yaml:7:",
        "TOLLGATE_TEST_UNSET",
    ] {
        assert!(text.contains(expected), "{expected} is missing in:\n{text}");
    }
    let serve = tollgate(&["serve", "--config", "bad.yaml"], dir.path());
    assert_eq!(serve.status.code(), Some(78), "serving it is refused");
}

#[test]
fn wrong_arguments_exit_with_64() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(tollgate(&["--no-such-flag"], dir.path()).status.code(), Some(64));
}

#[tokio::test]
async fn a_taken_port_is_said_in_words() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    let output = tollgate(&["--listen", &addr, "--ops-listen", "127.0.0.1:0"], dir.path());
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains(&addr), "{text}");
}

#[tokio::test]
async fn the_ops_port_answers_probes_and_metrics() {
    let gateway = Gateway::start("");
    let ops = Caller::new(gateway.ops, "");
    assert_eq!(ops.get("/livez").await.status, 200);
    assert_eq!(ops.get("/readyz").await.status, 200);
    assert!(ops.get("/metrics").await.text().contains("tollgate_build_info"));
    let config = ops.get("/config").await.text();
    assert!(!config.contains("0123456789abcdefghijklmnopqrstuvwxyz"), "no secret in {config}");
}
