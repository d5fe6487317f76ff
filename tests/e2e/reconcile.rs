//! `tollgate reconcile` beside a gateway that runs: agrees where the books agree, and lists where not.

use std::process::Output;

use serde_json::{Value, json};

use crate::{
    chat, gateway, gateway_with, records,
    support::{
        Gateway, KEY,
        http::Caller,
        postgres,
        upstream::{Upstream, completion, whole},
    },
};

const DAY: i64 = 86_400;

/// An export of OpenAI's usage API, of three days around now in one bucket, so that midnight does not matter.
fn export(results: &Value) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let today = i64::try_from(now.as_secs()).unwrap() / DAY * DAY;
    let bucket = json!({ "object": "bucket", "start_time": today - DAY, "end_time": today + 2 * DAY, "results": results });
    json!({ "object": "page", "data": [bucket], "has_more": false, "next_page": null }).to_string()
}

fn result(model: &str, requests: i64, input: i64, output: i64) -> Value {
    json!({
        "object": "organization.usage.completions.result", "model": model, "num_model_requests": requests,
        "input_tokens": input, "output_tokens": output, "input_cached_tokens": 0, "project_id": null,
    })
}

async fn reconcile(gateway: &Gateway, export: &str, more: &[&str]) -> Output {
    let file = gateway.data_dir().join("export.json");
    std::fs::write(&file, export).unwrap();
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.arg("reconcile").arg("--config").arg(gateway.data_dir().join("config.yaml"));
    command.arg("--data-dir").arg(gateway.data_dir().join("data"));
    command.arg("--provider-report").arg(file).args(["--of", "up"]).args(more);
    command.output().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn books_that_agree_are_told_from_books_that_do_not() {
    let upstream = Upstream::start(|_| whole(200, "application/json", completion("hi", 100, 50))).await;
    let gateway = gateway(&upstream);
    let caller = Caller::new(gateway.addr, KEY);
    for _ in 0..3 {
        assert_eq!(caller.post("/v1/chat/completions", chat(false)).await.status, 200);
    }
    assert_eq!(records(&gateway).await.len(), 3);
    // The name that the provider answers with is the one that counts.
    let model = records(&gateway).await[0]["model"].as_str().unwrap().to_owned();

    let dated = format!("{model}-2026-01-31");
    let same =
        reconcile(&gateway, &export(&json!([result(&dated, 2, 200, 100), result(&model, 1, 100, 50)])), &[])
            .await;
    let text = String::from_utf8_lossy(&same.stdout).into_owned();
    assert_eq!(same.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&same.stderr));
    assert!(text.contains("agreed: 0 of 1 differ"), "{text}");

    let other =
        export(&json!([result(&dated, 3, 303, 150), result("unknown-to-us", 1, 7, 7), { "images": 2 }]));
    let other = reconcile(&gateway, &other, &["--json"]).await;
    assert_eq!(other.status.code(), Some(1));
    let told: Value = serde_json::from_slice(&other.stdout).unwrap();
    assert_eq!(told["agrees"], false);
    let rows = told["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 2, "{told}");
    let input: Vec<_> = rows.iter().map(|row| row["difference"]["input_tokens"].as_i64().unwrap()).collect();
    assert!(input.contains(&-3) && input.contains(&-7), "{told}");
    assert!(told["not_compared"][0].as_str().unwrap().contains("images=2"), "{told}");

    let close = export(&json!([result(&dated, 3, 303, 150)]));
    assert_eq!(reconcile(&gateway, &close, &["--tolerance", "1%"]).await.status.code(), Some(0));
    assert_eq!(reconcile(&gateway, &close, &["--tolerance", "0.5%"]).await.status.code(), Some(1));

    let wrong = reconcile(&gateway, "a,b\n1,2\n", &[]).await;
    assert_eq!(wrong.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("no column"), "says why");
    let wrong = reconcile(&gateway, "{\"data\": [", &[]).await;
    let told = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(told.contains("export.json: is no JSON") && told.contains("an export is JSON of"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_books_of_replicas_that_share_a_postgresql_are_those_of_all_of_them() {
    let upstream = Upstream::start(|_| whole(200, "application/json", completion("hi", 100, 50))).await;
    let store = format!("store: \"{}\"\n", postgres::database().await);
    let (one, other) = (gateway_with(&upstream, &store), gateway_with(&upstream, &store));
    for (gateway, calls) in [(&one, 2), (&other, 3)] {
        for _ in 0..calls {
            let answer = Caller::new(gateway.addr, KEY).post("/v1/chat/completions", chat(false)).await;
            assert_eq!(answer.status, 200);
        }
    }
    // A list from each: what was settled there before is in PostgreSQL then.
    records(&one).await;
    let all = records(&other).await;
    assert_eq!(all.len(), 5);
    let model = all[0]["model"].as_str().unwrap();
    let same = reconcile(&one, &export(&json!([result(model, 5, 500, 250)])), &[]).await;
    let text = String::from_utf8_lossy(&same.stdout).into_owned();
    assert_eq!(same.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&same.stderr));
}
