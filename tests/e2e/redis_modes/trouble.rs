//! A Redis that is there and does not do what it should: it evicts, forgets its functions, is full, or takes no writes.

use super::{Pair, until_told};
use crate::{
    shared_limits::{DEGRADED, WELL},
    support::redis::Redis,
};

/// Fills it with so many keys.
fn fill(redis: &Redis, count: u32) {
    let fill =
        "for n = 1, ARGV[1] do redis.call('SET', 'other:' .. ARGV[2] .. ':' .. n, string.rep('x', 100)) end";
    for round in 0..count / 1_000 {
        redis.command(&["EVAL", fill, "0", "1000", &round.to_string()]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_redis_in_trouble_is_away_or_healed_and_nothing_is_admitted_uncounted() {
    let redis = Redis::start_with_port();
    let mut pair = Pair::start(&format!("redis://{}", redis.addr)).await;
    pair.spend(10).await;
    for words in [
        &["FUNCTION", "FLUSH"][..],
        &["SCRIPT", "FLUSH"],
        &["CONFIG", "RESETSTAT"],
        &["CLIENT", "KILL", "TYPE", "pubsub"],
    ] {
        redis.command(words);
        pair.try_hard().await;
    }
    // It takes no writes: another became the primary.
    redis.command(&["REPLICAOF", "127.0.0.1", "1"]);
    pair.until(DEGRADED).await;
    until_told(&pair.gateways[0], "takes no writes; give the address of the primary").await;
    pair.try_hard().await;
    redis.command(&["REPLICAOF", "NO", "ONE"]);
    pair.until(WELL).await;
    pair.spend(25).await;
    // It is full.
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
    pair.until(DEGRADED).await;
    assert!(pair.detail().await.contains("raise its `maxmemory`"), "{}", pair.detail().await);
    pair.try_hard().await;
    // It evicts whatever comes to hand, ours as well, and makes room for what others write again and again.
    redis.command(&["CONFIG", "SET", "maxmemory-policy", "allkeys-random"]);
    redis.command(&["CONFIG", "SET", "maxmemory", "4mb"]);
    pair.until(WELL).await;
    fill(&redis, 40_000);
    pair.try_hard().await;
    let evicted = redis.ask(&["INFO", "stats"]);
    assert!(!evicted.contains("evicted_keys:0\r"), "{evicted}");
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
    pair.ends_whole().await;
}
