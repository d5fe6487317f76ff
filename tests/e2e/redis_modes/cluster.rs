//! A cluster of three masters: the slot in which all lies is moved, and its master dies and is replaced.

use super::Pair;
use crate::{
    gateway_with,
    once::counting,
    once_replicas::{make_once, together},
    replicas,
    shared_limits::DEGRADED,
    support::{KEY, http::Caller, redis::Redis},
};

/// The slot of `{tollgate}`, which the second node has.
const SLOT: &str = "7332";
/// What each of them has at first.
const SLOTS: [[&str; 2]; 3] = [["0", "5460"], ["5461", "10922"], ["10923", "16383"]];

/// Three masters, and a replica of the first.
fn cluster() -> Vec<Redis> {
    let nodes: Vec<_> = (0..4).map(|_| node()).collect();
    for (node, [first, last]) in nodes.iter().zip(SLOTS) {
        node.command(&["CLUSTER", "ADDSLOTSRANGE", first, last]);
    }
    for (number, node) in nodes.iter().enumerate() {
        node.command(&["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()]);
    }
    for node in &nodes[1..] {
        let [port, bus] = [node.addr.port().to_string(), bus(node)];
        nodes[0].command(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
    }
    let knows_all = |node: &Redis| {
        let known = node.ask(&["CLUSTER", "NODES"]);
        known.lines().filter(|line| !line.contains("handshake")).count() == nodes.len()
            && node.ask(&["CLUSTER", "INFO"]).contains("cluster_state:ok")
    };
    until(|| nodes.iter().all(knows_all));
    nodes[3].command(&["CLUSTER", "REPLICATE", nodes[0].ask(&["CLUSTER", "MYID"]).trim()]);
    until(|| nodes[3].ask(&["INFO", "replication"]).contains("master_link_status:up"));
    nodes
}

fn node() -> Redis {
    Redis::start_in_cluster(&["--cluster-node-timeout", "2000", "--cluster-replica-validity-factor", "0"])
}

fn bus(node: &Redis) -> String {
    node.ask(&["CONFIG", "GET", "cluster-port"]).lines().nth(1).unwrap().to_owned()
}

/// Asks until it is so. The test's own time limit is the only patience.
fn until(holds: impl Fn() -> bool) {
    while !holds() {
        std::thread::yield_now();
    }
}

/// Moves our slot, as `redis-cli --cluster reshard` does, while calls go on.
fn moves(from: &Redis, to: &Redis) {
    let [source, target] = [from, to].map(|node| node.ask(&["CLUSTER", "MYID"]).trim().to_owned());
    to.command(&["CLUSTER", "SETSLOT", SLOT, "IMPORTING", &source]);
    from.command(&["CLUSTER", "SETSLOT", SLOT, "MIGRATING", &target]);
    let port = to.addr.port().to_string();
    loop {
        let keys = from.ask(&["CLUSTER", "GETKEYSINSLOT", SLOT, "100"]);
        let keys: Vec<_> = keys.lines().filter(|key| !key.is_empty()).collect();
        if keys.is_empty() {
            break;
        }
        let mut words = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
        words.extend(keys);
        from.command(&words);
    }
    for node in [to, from] {
        node.command(&["CLUSTER", "SETSLOT", SLOT, "NODE", &target]);
    }
}

fn address(nodes: &[Redis]) -> String {
    // Not the one that has the slot in the end.
    format!("redis+cluster://127.0.0.1:1,{},{}", nodes[1].addr, nodes[2].addr)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cluster_counts_exactly_while_its_slot_moves_and_its_master_is_replaced() {
    let mut nodes = tokio::task::spawn_blocking(cluster).await.unwrap();
    assert_eq!(nodes[1].ask(&["CLUSTER", "KEYSLOT", "{tollgate}"]).trim(), SLOT);
    let mut pair = Pair::start(&address(&nodes)).await;
    pair.spend(10).await;
    moves(&nodes[1], &nodes[0]);
    pair.spend(20).await;
    // What is used from now on is unknown to the one that will take over.
    until(|| nodes[0].ask(&["WAIT", "1", "100"]).trim() != "0");
    nodes[3].command(&["CONFIG", "SET", "masterauth", "wrong"]);
    nodes[0].command(&["CLIENT", "KILL", "TYPE", "replica"]);
    until(|| nodes[3].ask(&["INFO", "replication"]).contains("master_link_status:down"));
    pair.spend(30).await;
    nodes[0].kill();
    pair.until(DEGRADED).await;
    pair.try_hard().await;
    until(|| nodes[3].ask(&["INFO", "replication"]).contains("role:master"));
    pair.ends_whole().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_cluster_replicas_tell_each_other_of_targets_and_make_a_call_once() {
    let nodes = tokio::task::spawn_blocking(cluster).await.unwrap();
    let (up, spare) = (replicas::broken().await, replicas::well().await);
    let [one, other] = [(); 2].map(|()| replicas::replica(&address(&nodes), &up, &spare));
    for gateway in [&one, &other] {
        replicas::until(gateway, |status| replicas::redis_is(status, true)).await;
    }
    for _ in 0..3 {
        replicas::call(&one).await;
    }
    replicas::until(&other, replicas::is_open).await;

    let upstream = counting().await;
    let gateways = [(); 2].map(|()| gateway_with(&upstream, &format!("shared: \"{}\"\n", address(&nodes))));
    let [one, two] = [&gateways[0], &gateways[1]].map(|gateway| Caller::new(gateway.addr, KEY));
    together(&one, &two).await;
    make_once([&one, &two], &upstream).await;
}
