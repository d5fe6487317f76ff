//! Sentinels, with passwords everywhere: the server dies, and its replica takes over.

use super::Pair;
use crate::{shared_limits::DEGRADED, support::redis::Redis};

/// Asks until it is so. The test's own time limit is the only patience. A sentinel cuts all connections to the one that it
/// promotes.
fn until(server: &Redis, told: &str) {
    while !server.try_ask(&["INFO", "replication"]).is_ok_and(|said| said.contains(told)) {
        std::thread::yield_now();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sentinels_lead_to_the_server_that_takes_over_and_nothing_is_forgotten() {
    let mut server = Redis::start_with(&["--requirepass", "p1"]);
    let port = server.addr.port().to_string();
    let login = ["--requirepass", "p1", "--masterauth", "p1"];
    let replica = Redis::start_with(&[&login[..], &["--replicaof", "127.0.0.1", &port]].concat());
    until(&replica, "master_link_status:up");
    let lines = [
        "sentinel down-after-milliseconds main 1000",
        "sentinel failover-timeout main 5000",
        "sentinel auth-pass main p1",
        "requirepass s1",
    ];
    let sentinel = Redis::start_sentinel_with("main", server.addr, &lines);
    let address = format!("redis+sentinel://:p1@127.0.0.1:1,{}/main?sentinel_password=s1", sentinel.addr);
    let mut pair = Pair::start(&address).await;
    pair.spend(20).await;
    // What is used from now on is unknown to the one that will take over.
    while server.ask(&["WAIT", "1", "100"]).trim() == "0" {}
    replica.command(&["CONFIG", "SET", "masterauth", "wrong"]);
    server.command(&["CLIENT", "KILL", "TYPE", "replica"]);
    until(&replica, "master_link_status:down");
    pair.spend(30).await;
    server.kill();
    pair.until(DEGRADED).await;
    pair.try_hard().await;
    until(&replica, "role:master");
    pair.ends_whole().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_refuses_the_password_is_told() {
    let server = Redis::start_with(&["--requirepass", "p1"]);
    let sentinel = Redis::start_sentinel_with("main", server.addr, &["requirepass s1"]);
    let upstream = crate::shared_limits::upstream().await;
    for (login, name, told) in [
        (":p1@", "main", "(a sentinel: login: user or password is refused"),
        (":p1@", "main?sentinel_password=wrong", "(a sentinel: login: user or password is refused"),
        ("", "main?sentinel_password=s1", "(login: user or password is refused"),
        (":p1@", "other?sentinel_password=s1", "(a sentinel: it knows no server of that name"),
    ] {
        let address = format!("redis+sentinel://{login}{}/{name}", sentinel.addr);
        let gateway =
            crate::shared_limits::start(&address, "limits: { requests_per_minute: 10 }", "", &upstream);
        super::until_told(&gateway, told).await;
    }
}
