//! Alerts reach a webhook, signed, once for each crossing, and not again after a restart.

use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use serde_json::Value;

use crate::support::{
    Gateway, PATIENCE,
    http::Caller,
    postgres,
    upstream::{Seen, Upstream, completion, whole},
};

const LIMITED: &str = "tg_testlimited1_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG";
const SECRET: &str = "a secret between friends";
const HOUR: i64 = 3_600;

/// A webhook that takes everything.
async fn webhook() -> Upstream {
    Upstream::start(|_| whole(200, "text/plain", "ok")).await
}

fn alerts(webhook: &Upstream, what: &str) -> String {
    format!("alerts:\n- {{ webhook: \"http://{}/hook?token=x\", secret: {SECRET}, {what} }}\n", webhook.addr)
}

/// Checks the signature of an alert and returns what it says.
fn verified(seen: &Seen) -> Value {
    let (time, tag) = seen.header("x-tollgate-signature").split_once(",v1=").unwrap();
    let time = time.strip_prefix("t=").unwrap();
    let tag: Vec<u8> =
        (0..tag.len() / 2).map(|at| u8::from_str_radix(&tag[2 * at..2 * at + 2], 16).unwrap()).collect();
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let signed = [time.as_bytes(), b".", &seen.body].concat();
    hmac::verify(&key, &signed, &tag).expect("the signature is that of time and body");
    let body = seen.json();
    assert_eq!(body["id"], seen.header("x-tollgate-alert-id"));
    body
}

/// A gateway whose key may spend a thousandth of a dollar a month, by calls of a fifth of that.
fn gateway(upstream: &Upstream, more: &str) -> Gateway {
    Gateway::start(&format!(
        "- {{ name: limited, key: {LIMITED}, budget: {{ usd: 0.001, per: month }} }}\n{more}providers:\n{}models:\n  m:\n    \
         targets: [{{ provider: up, model: m-1 }}]\n    price: {{ input_per_million: 1, output_per_million: 2 }}\n",
        upstream.provider("up")
    ))
}

/// Waits until the gateway has noted that the webhook took what it was told: before that, a crash has it sent again.
async fn noted(gateway: &Gateway) {
    let store = rusqlite::Connection::open(gateway.data_dir().join("data/tollgate.db")).unwrap();
    let count = || {
        let done = "SELECT count(*) FROM alerts WHERE done_ms IS NOT NULL";
        store.query_row(done, [], |row| row.get::<_, i64>(0)).unwrap()
    };
    let patience = Instant::now() + PATIENCE;
    while count() == 0 {
        assert!(Instant::now() < patience, "it is not noted");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn call(gateway: &Gateway) -> u16 {
    let body = r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"max_tokens":50}"#;
    Caller::new(gateway.addr, LIMITED).post("/v1/chat/completions", body).await.status.as_u16()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_that_is_nearly_spent_is_told_once_and_signed_also_over_a_restart() {
    let upstream = Upstream::start(|_| whole(200, "application/json", completion("hi", 100, 50))).await;
    let (here, there) = (webhook().await, webhook().await);
    let config =
        alerts(&here, "budget: 60%") + alerts(&there, "budget: 80%").strip_prefix("alerts:\n").unwrap();
    let mut gateway = gateway(&upstream, &config);
    for _ in 0..3 {
        assert_eq!(call(&gateway).await, 200);
    }
    let told = verified(&here.asked(1).await[0]);
    assert_eq!((&told["type"], &told["threshold"]), (&"budget".into(), &"60%".into()), "{told}");
    assert_eq!((&told["limit"], &told["used"]), (&1_000_000.into(), &600_000.into()), "{told}");
    assert!(told["subject"].as_str().unwrap().starts_with("key:"), "{told}");
    assert_eq!(there.seen().len(), 0, "that one waits for more");

    noted(&gateway).await;
    gateway.kill();
    gateway.restart();
    assert_eq!(call(&gateway).await, 200);
    // That the other threshold is told shows that the first was looked at again, and nothing was sent.
    let told = verified(&there.asked(1).await[0]);
    assert_eq!((&told["threshold"], &told["used"]), (&"80%".into(), &800_000.into()), "{told}");
    assert_eq!((here.seen().len(), there.seen().len()), (1, 1));
}

/// How many alerts a gateway was the first to make.
async fn made(gateway: &Gateway) -> u64 {
    let metrics = crate::metrics(gateway).await;
    let lines = metrics
        .lines()
        .filter(|line| line.starts_with("tollgate_alerts_total{") && line.contains("outcome=\"made\""));
    lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_that_is_spent_on_two_replicas_is_told_by_one_of_them() {
    let upstream = Upstream::start(|_| whole(200, "application/json", completion("hi", 100, 50))).await;
    let (both, first, second) = (webhook().await, webhook().await, webhook().await);
    let store = format!("store: \"{}\"\n", postgres::database().await);
    let replica = |own: &Upstream| {
        let own = alerts(own, "budget: 80%");
        gateway(
            &upstream,
            &(store.clone() + &alerts(&both, "budget: 80%") + own.strip_prefix("alerts:\n").unwrap()),
        )
    };
    let (one, other) = (replica(&first), replica(&second));
    for gateway in [&one, &other] {
        for _ in 0..2 {
            assert_eq!(call(gateway).await, 200);
        }
    }
    // Each replica tells its own webhook after the one that both have.
    let told = [verified(&first.asked(1).await[0]), verified(&second.asked(1).await[0])];
    let told = [&told[0], &told[1], &verified(&both.asked(1).await[0])].map(|alert| alert["used"].clone());
    assert_eq!(told, [800_000, 800_000, 800_000], "neither spent more than half of it");
    assert_eq!(made(&one).await + made(&other).await, 3);
    assert_eq!(both.seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alert_of_a_replica_that_died_before_it_was_taken_is_told_by_another() {
    let upstream = Upstream::start(|_| whole(200, "application/json", completion("hi", 100, 50))).await;
    let url = postgres::database().await;
    let store = format!("store: \"{url}\"\n");
    let busy = Upstream::start(|_| whole(503, "text/plain", "later")).await;
    let mut one = gateway(&upstream, &(store.clone() + &alerts(&busy, "budget: 20%")));
    assert_eq!(call(&one).await, 200);
    busy.asked(1).await;
    one.kill();
    // As if the time had passed for which the dead one has it, and the webhook had moved.
    let hook = webhook().await;
    let moved = alerts(&hook, "budget: 20%");
    let url_of_hook = format!("http://{}/hook?token=x", hook.addr);
    let destination = blake3::hash(url_of_hook.as_bytes()).to_hex()[..16].to_owned();
    let late = format!("UPDATE tollgate.alerts SET held_until = now(), destination = '{destination}'");
    postgres::sql(&url, &late).await;
    let _other = gateway(&upstream, &(store + &moved));
    let seen = hook.asked(1).await;
    assert_eq!(verified(&seen[0])["type"], "budget");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_of_a_target_is_told_too() {
    let upstream = Upstream::start(|_| whole(200, "application/json", completion("hi", 100, 50))).await;
    let hook = webhook().await;
    let gateway = Gateway::start(&format!(
        "- {{ name: limited, key: {LIMITED} }}\n{}providers:\n{}models:\n  m:\n    \
         targets: [{{ provider: up, model: m-1, budget: {{ usd: 0.001, per: month }} }}]\n    \
         price: {{ input_per_million: 1, output_per_million: 2 }}\n",
        alerts(&hook, "budget: 20%"),
        upstream.provider("up")
    ));
    assert_eq!(call(&gateway).await, 200);
    let told = verified(&hook.asked(1).await[0]);
    assert_eq!((&told["subject"], &told["used"]), (&"target:up/m-1".into(), &200_000.into()), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alert_that_is_refused_for_now_comes_again_under_the_same_id() {
    let upstream = Upstream::start(|_| whole(200, "application/json", completion("hi", 100, 50))).await;
    let times = std::sync::atomic::AtomicUsize::new(0);
    let hook = Upstream::start(move |_| {
        let first = times.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
        whole(if first { 503 } else { 200 }, "text/plain", "x")
    })
    .await;
    let gateway = gateway(&upstream, &alerts(&hook, "budget: 20%"));
    assert_eq!(call(&gateway).await, 200);
    let seen = hook.asked(2).await;
    assert_eq!(verified(&seen[0])["id"], verified(&seen[1])["id"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spend_that_leaves_its_trend_is_told() {
    let upstream = Upstream::start(|_| whole(200, "application/json", completion("hi", 100, 50))).await;
    let hook = webhook().await;
    let mut gateway = gateway(&upstream, &alerts(&hook, "deviation: { by: [team], at_least: 50 }"));
    gateway.kill();
    let store = rusqlite::Connection::open(gateway.data_dir().join("data/tollgate.db")).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let hour = i64::try_from(now.as_secs()).unwrap() / HOUR * HOUR;
    let mut id = 0_u64;
    let mut spend = |team: &str, hour: i64, usd: i64| {
        id += 1;
        let insert = "INSERT INTO records (id, create_ms, key_id, team_id, requested_model, model, provider, target,
            operation, surface, status, error_reason, streamed, cache_status, recovered, cost_nanos, saved_nanos,
            price_version, estimated, unpriced, record)
            VALUES (?1, ?2, 'k', ?3, 'm', 'm', 'p', 't', 'chat', 'grpc', 'OK', '', 0, 0, 0, ?4, 0, 'v', 0, 0, x'')";
        let id = id.to_be_bytes();
        store.execute(insert, (&id[..], (hour + 60) * 1_000, team, usd * 1_000_000_000)).unwrap();
    };
    // Whichever hour it is when the gateway looks.
    for week in 1..=4 {
        for off in -1..=2 {
            spend("steady", hour - week * 7 * 24 * HOUR + off * HOUR, 100);
            spend("surging", hour - week * 7 * 24 * HOUR + off * HOUR, 100);
        }
    }
    for off in 0..=1 {
        spend("steady", hour + off * HOUR, 110);
        spend("surging", hour + off * HOUR, 900);
    }
    drop(store);
    gateway.restart();
    let told = verified(&hook.asked(1).await[0]);
    assert_eq!(
        (&told["type"], &told["by"], &told["value"]),
        (&"deviation".into(), &"team".into(), &"surging".into())
    );
    assert_eq!(told["usual_nanos"], 100_000_000_000_i64);
    assert_eq!(told["direction"], "above");
    tokio::time::timeout(Duration::from_secs(1), hook.asked(2)).await.expect_err("nobody else is told of");
}
