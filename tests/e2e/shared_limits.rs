//! Limits hold over all replicas that share a Redis, and when Redis is away each does what can be done without.

use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::watch;

use crate::support::{
    Gateway, PATIENCE,
    http::{Answer, Caller},
    in_time,
    proxy::{Fate, Lane, Proxy},
    redis::Redis,
    upstream::{Seen, Step, Upstream, chunk, completion, delta, end, finish, stream_head, whole},
};

pub(crate) const LIMITED: &str = "tg_testlimited1_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG";
const PATH: &str = "/v1/chat/completions";

/// Three replicas, or as many, with a key of these limits, that share this Redis.
fn replicas(count: usize, shared: &str, limits: &str, upstream: &Upstream) -> Vec<Gateway> {
    (0..count).map(|_| replica(shared, limits, upstream)).collect()
}

/// One whose breaker does not open because the machine is busy, for no fault of Redis.
fn replica(shared: &str, limits: &str, upstream: &Upstream) -> Gateway {
    start(shared, limits, "timeouts: { shared: 5s }\n", upstream)
}

/// One with the patience that is usual.
fn impatient_replica(shared: &str, limits: &str, upstream: &Upstream) -> Gateway {
    start(shared, limits, "", upstream)
}

pub(crate) fn start(shared: &str, limits: &str, more: &str, upstream: &Upstream) -> Gateway {
    // The key list that every test configuration starts with goes on here.
    Gateway::start(&format!(
        "- {{ name: limited, key: {LIMITED}, {limits} }}\nshared: \"{shared}\"\n{more}providers:\n{}models:\n  m:\n    \
         targets: [{{ provider: up, model: m-1 }}]\n    price: {{ input_per_million: 1, output_per_million: 2 }}\n",
        upstream.provider("up")
    ))
}

pub(crate) async fn upstream() -> Upstream {
    Upstream::start(|_| whole(200, "application/json", completion("hi", 100, 50))).await
}

pub(crate) fn chat() -> &'static str {
    r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"max_tokens":50}"#
}

/// Makes so many calls at once, spread over the replicas.
async fn at_once(gateways: &[Gateway], count: usize) -> Vec<Answer> {
    let callers: Vec<_> = gateways.iter().map(|gateway| Caller::new(gateway.addr, LIMITED)).collect();
    let calls = (0..count).map(|n| {
        let caller = callers[n % callers.len()].clone();
        tokio::spawn(async move { caller.post(PATH, chat()).await })
    });
    let mut answers = Vec::new();
    for call in calls.collect::<Vec<_>>() {
        answers.push(call.await.unwrap());
    }
    answers
}

fn admitted(answers: &[Answer]) -> usize {
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!(answer.status, 429, "{}", answer.text());
        assert_eq!(answer.json()["error"]["code"], "rate_limit_exceeded", "{}", answer.text());
        assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1);
    }
    answers.iter().filter(|answer| answer.status == 200).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hundred_parallel_calls_against_a_hundred_a_minute_admit_a_hundred_on_one_replica_and_on_three()
{
    for count in [1, 3] {
        let (redis, upstream) = (Redis::start(), upstream().await);
        let gateways = replicas(count, &redis.url(), "limits: { requests_per_minute: 100 }", &upstream);
        let answers = at_once(&gateways, 300).await;
        assert_eq!((count, admitted(&answers)), (count, 100));
        assert_eq!(upstream.seen().len(), 100);
    }
}

/// On a machine that stands still for long enough a replica goes by its share beside others to whom Redis, which does not
/// hear of it, grants all: two shares of three may come on top, and not more. Where no replica says that Redis was late, it
/// is exact, and some burst of a few is like that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_is_exact_with_the_patience_that_replicas_have_unless_told_otherwise() {
    let mut spoiled = Vec::new();
    loop {
        let (redis, upstream) = (Redis::start(), upstream().await);
        let limits = "limits: { requests_per_minute: 100 }";
        let gateways: Vec<_> = (0..3).map(|_| start(&redis.url(), limits, "", &upstream)).collect();
        for gateway in &gateways {
            // Each hears of the others.
            until_ready(gateway, WELL).await;
            until_stands(gateway, |used, _| used == 0).await;
        }
        let before = was_late(&gateways).await;
        let admitted = admitted(&at_once(&gateways, 300).await);
        if admitted == 100 && was_late(&gateways).await == before {
            return;
        }
        assert!((1..=167).contains(&admitted), "{admitted}");
        // What is waited for is told once it has come or is given up.
        let told = Instant::now() + Duration::from_secs(10);
        while was_late(&gateways).await == before {
            assert!(Instant::now() < told, "{admitted} though Redis was never late");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        spoiled.push(admitted);
        assert!(spoiled.len() < 10, "Redis was late each time: {spoiled:?}");
    }
}

/// How often these say that Redis was late: in calls that they decided alone, and in exchanges.
async fn was_late(gateways: &[Gateway]) -> f64 {
    let mut sum = 0.0;
    for gateway in gateways {
        sum += metric(gateway, "tollgate_shared_claims_total{by=\"alone\"}").await;
        for outcome in ["late", "failed"] {
            sum +=
                metric(gateway, &format!("tollgate_shared_exchanges_total{{outcome=\"{outcome}\"}}")).await;
        }
    }
    sum
}

/// Leases last for nine seconds: only after that does a replica show that it never came back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_was_away_for_a_moment_counts_with_the_others_again() {
    let (redis, upstream) = (Redis::start(), upstream().await);
    let gateway = start(&redis.url(), "limits: { requests_per_day: 100000 }", "", &upstream);
    let caller = Caller::new(gateway.addr, LIMITED);
    let served = async {
        // A busy machine may make Redis late at first.
        while caller.post(PATH, chat()).await.status != 200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    in_time("a call is served", served).await;
    redis.signal("-STOP");
    until_ready(&gateway, DEGRADED).await;
    redis.signal("-CONT");
    until_ready(&gateway, WELL).await;
    let came_back = std::time::Instant::now();
    while came_back.elapsed() < Duration::from_secs(12) {
        // A busy machine may make it look late again for a moment.
        drop(caller.post(PATH, chat()).await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let alone = metric(&gateway, "tollgate_shared_claims_total{by=\"alone\"}").await;
    let served = admitted(&at_once(std::slice::from_ref(&gateway), 50).await);
    let alone_now = metric(&gateway, "tollgate_shared_claims_total{by=\"alone\"}").await;
    assert!(served > 0 && alone_now - alone < 50.0, "{served} served, {} of them alone", alone_now - alone);
}

/// How the only limit of the key stands: used and reserved.
async fn stands(gateway: &Gateway) -> (i64, i64) {
    stands_for(gateway, LIMITED).await
}

/// The same of another key.
pub(crate) async fn stands_for(gateway: &Gateway, key: &str) -> (i64, i64) {
    let quota = Caller::new(gateway.addr, key).get("/v1/quota").await.json()["quotas"][0].clone();
    let number = |name: &str| quota[name].as_str().and_then(|text| text.parse().ok()).unwrap_or(0);
    (number("used"), number("reserved_amount"))
}

/// Asks until it stands so.
async fn until_stands(gateway: &Gateway, holds: impl Fn(i64, i64) -> bool) {
    let patience = Instant::now() + PATIENCE;
    loop {
        let (used, reserved) = stands(gateway).await;
        if holds(used, reserved) {
            return;
        }
        assert!(Instant::now() < patience, "stays at {used} used, {reserved} reserved");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

pub(crate) async fn until_ready(gateway: &Gateway, text: &str) {
    let so = async {
        while Caller::new(gateway.ops, LIMITED).get("/readyz").await.text() != text {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    in_time(text, so).await;
}

pub(crate) const WELL: &str = "ready\n";
pub(crate) const DEGRADED: &str = "ready, degraded: redis does not answer in time\n";

/// Returns the value of a metric; 0 if it is not there yet.
pub(crate) async fn metric(gateway: &Gateway, name: &str) -> f64 {
    let text = crate::metrics(gateway).await;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(0.0, |value| value.trim().parse().unwrap())
}

/// A call whose end the upstream takes from its text.
fn ending(how: &str) -> String {
    let streamed = how != "whole" && how != "fail";
    format!(
        r#"{{"model":"m","messages":[{{"role":"user","content":"{how}"}}],"max_tokens":50,"stream":{streamed}}}"#
    )
}

/// Calls end as they say they will. What is used is less than the gateway must expect.
fn by_text(seen: &Seen) -> Vec<Step> {
    let how = seen.json()["messages"][0]["content"].as_str().unwrap().to_owned();
    let begun = [stream_head(), chunk(delta("hi"))];
    let more = match how.as_str() {
        "whole" => return whole(200, "application/json", completion("hi", 20, 30)),
        "fail" => return whole(400, "application/json", r#"{"error":{"message":"no"}}"#),
        "cut" => vec![Step::Close],
        "hang" => vec![Step::Hold],
        _ => vec![chunk(finish(20, 30)), end()],
    };
    begun.into_iter().chain(more).collect()
}

/// What the ledgers of all replicas say was spent.
async fn spent(gateways: &[Gateway]) -> i64 {
    let mut sum = 0;
    for gateway in gateways {
        for record in crate::records(gateway).await {
            let nanos = record["usage"]["cost"]["amount_nanos"].as_str();
            sum += nanos.map_or(0, |nanos| nanos.parse::<i64>().unwrap());
        }
    }
    sum
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_over_three_replicas_holds_at_every_instant_however_streams_end() {
    let (redis, upstream) = (Redis::start(), Upstream::start(by_text).await);
    let gateways = Arc::new(replicas(3, &redis.url(), "budget: { usd: 0.005, per: month }", &upstream));
    let calls = (0..180_usize).map(|n| {
        let caller = Caller::new(gateways[n % 3].addr, LIMITED);
        tokio::spawn(async move {
            match ["whole", "stream", "cut", "fail", "hang"][n / 3 % 5] {
                // The caller hangs up at the first content.
                "hang" => drop(caller.open(PATH, ending("hang"), &[]).await),
                how => drop(caller.try_post(PATH, ending(how), &[]).await),
            }
        })
    });
    let calls: Vec<_> = calls.collect();
    while calls.iter().any(|call| !call.is_finished()) {
        for gateway in gateways.iter() {
            let (used, reserved) = stands(gateway).await;
            assert!(used <= 5_000_000, "{used} used, {reserved} reserved");
        }
    }
    for gateway in gateways.iter() {
        until_stands(gateway, |_, reserved| reserved == 0).await;
    }
    // Whatever is left for a call can be had by it: nobody is refused for what nobody uses.
    let mut last = 0;
    while Caller::new(gateways[last % 3].addr, LIMITED).post(PATH, ending("whole")).await.status == 200 {
        last += 1;
    }
    until_stands(&gateways[0], |_, reserved| reserved == 0).await;
    let (used, _) = stands(&gateways[0]).await;
    assert_eq!(used, spent(&gateways).await);
    assert!(used <= 5_000_000 && used > 5_000_000 - 250_000, "{used}: a call may need at most 250 micro-USD");
}

#[tokio::test]
async fn a_redis_that_hangs_stops_nobody_and_is_seen_in_the_readiness() {
    let (redis, upstream) = (Redis::start(), upstream().await);
    // So long that whoever waits for Redis is told from whom a busy machine holds up.
    let patience = "timeouts: { shared: 1s }\n";
    let gateway = start(&redis.url(), "limits: { requests_per_hour: 100k }", patience, &upstream);
    until_ready(&gateway, WELL).await;
    let caller = Caller::new(gateway.addr, LIMITED);
    let well = median(&caller, 50).await;
    redis.signal("-STOP");
    let mut asked = 0;
    while metric(&gateway, "tollgate_shared_up").await > 0.5 {
        assert_eq!(caller.post(PATH, chat()).await.status, 200);
        asked += 1;
    }
    let hangs = median(&caller, 50).await;
    assert!(hangs <= well + Duration::from_millis(500), "{well:?}, then {hangs:?}");
    until_ready(&gateway, DEGRADED).await;
    let status = Caller::new(gateway.ops, LIMITED).get("/status").await.json();
    let stores = status["stores"].as_array().unwrap();
    let store = stores.iter().find(|store| store["name"] == "redis").unwrap();
    assert!(store["detail"].as_str().unwrap().contains("shared out"), "{store}");
    redis.signal("-CONT");
    until_ready(&gateway, WELL).await;
    let all = 100 + asked;
    until_stands(&gateway, |used, _| used == all).await;
}

/// Makes so many calls, none of which fails, and returns the median of their times.
async fn median(caller: &Caller, count: usize) -> Duration {
    let mut times = Vec::new();
    for _ in 0..count {
        let began = Instant::now();
        assert_eq!(caller.post(PATH, chat()).await.status, 200);
        times.push(began.elapsed());
    }
    times.sort_unstable();
    times[count / 2]
}

#[tokio::test]
async fn a_redis_that_becomes_slow_or_dies_or_forgets_fails_no_call_under_a_rate() {
    let (mut redis, upstream) = (Redis::start_with_port(), upstream().await);
    let proxy = Proxy::start(redis.addr, 7).await;
    let gateway = impatient_replica(
        &format!("redis://{}", proxy.addr),
        "limits: { requests_per_hour: 100k }",
        &upstream,
    );
    let caller = Caller::new(gateway.addr, LIMITED);
    for latency in [1, 20, 200, 2_000] {
        let slow = Lane { latency: Duration::from_millis(latency), ..Lane::default() };
        proxy.fate(Fate { up: slow, down: Lane::default() });
        // Its connections are made anew, as slow as that.
        proxy.die();
        median(&caller, 10).await;
        proxy.revive();
        median(&caller, 20).await;
    }
    assert!(proxy.accepted() < 60, "{} connections", proxy.accepted());
    proxy.fate(Fate::default());
    proxy.die();
    proxy.revive();
    until_ready(&gateway, WELL).await;
    until_stands(&gateway, |used, _| used == 120).await;
    redis.flush();
    median(&caller, 10).await;
    until_stands(&gateway, |used, _| used == 130).await;
    redis.kill();
    median(&caller, 10).await;
    until_ready(&gateway, DEGRADED).await;
    redis.restart();
    until_ready(&gateway, WELL).await;
    until_stands(&gateway, |used, _| used == 140).await;
}

#[tokio::test]
async fn what_a_killed_replica_held_is_free_again_soon() {
    let (redis, upstream) = (Redis::start(), Upstream::start(by_text).await);
    let mut gateways = replicas(2, &redis.url(), "budget: { usd: 0.005, per: month }", &upstream);
    let caller = Caller::new(gateways[0].addr, LIMITED);
    let running = caller.open(PATH, ending("hang"), &[]).await;
    assert_eq!(running.status(), 200);
    until_stands(&gateways[1], |_, reserved| reserved > 0).await;
    gateways[0].kill();
    until_stands(&gateways[1], |used, reserved| (used, reserved) == (0, 0)).await;
    drop(running);
    // What the stream had used until then is in its ledger, and counts when that is back.
    gateways[0].restart();
    let recovered = spent(&gateways[..1]).await;
    until_stands(&gateways[0], |used, _| used == recovered).await;
    until_stands(&gateways[1], |used, _| used == recovered).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_are_replaced_one_after_the_other_and_no_call_fails() {
    let (redis, upstream) = (Redis::start(), upstream().await);
    let limits = "limits: { requests_per_day: 1M }";
    let mut gateways: Vec<Option<Gateway>> =
        replicas(3, &redis.url(), limits, &upstream).into_iter().map(Some).collect();
    let addresses = gateways.iter().map(|gateway| gateway.as_ref().unwrap().addr).collect::<Vec<_>>();
    let (pool, seen) = watch::channel(addresses);
    let turns: Arc<[AtomicUsize; 4]> = Arc::default();
    let callers = (0..4_usize).map(|n| {
        let (seen, turns) = (seen.clone(), turns.clone());
        tokio::spawn(async move {
            let mut count = 0;
            loop {
                turns[n].fetch_add(1, Ordering::SeqCst);
                let addresses = seen.borrow().clone();
                if addresses.is_empty() {
                    return count;
                }
                let caller = Caller::new(addresses[(n + count) % addresses.len()], LIMITED);
                let answer = caller.post(PATH, chat()).await;
                assert_eq!(answer.status, 200, "{}", answer.text());
                count += 1;
            }
        })
    });
    let callers: Vec<_> = callers.collect();
    for slot in &mut gateways {
        let mut old = slot.take().unwrap();
        // As a load balancer does: first no new calls, then it is told to stop, and ends what it has begun.
        pool.send_modify(|addresses| addresses.retain(|addr| *addr != old.addr));
        for turn in turns.iter() {
            // Whoever chose it before is done with it when its next turn has begun.
            let before = turn.load(Ordering::SeqCst);
            let next = async {
                while turn.load(Ordering::SeqCst) == before {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            in_time("a caller's next turn", next).await;
        }
        assert!(Command::new("kill").arg(old.pid().to_string()).status().unwrap().success());
        assert_eq!(old.wait(), Some(0));
        let new = replica(&redis.url(), limits, &upstream);
        pool.send_modify(|addresses| addresses.push(new.addr));
        *slot = Some(new);
    }
    pool.send_modify(Vec::clear);
    let mut all = 0;
    for caller in callers {
        all += i64::try_from(caller.await.unwrap()).unwrap();
    }
    until_stands(gateways[0].as_ref().unwrap(), |used, _| used == all).await;
}

#[tokio::test]
async fn a_call_asks_redis_once_at_most_and_not_at_all_while_a_lease_lasts() {
    let (redis, upstream) = (Redis::start(), upstream().await);
    let gateway =
        replica(&redis.url(), "limits: { requests_per_minute: 100k, requests_per_day: 1M }", &upstream);
    until_ready(&gateway, WELL).await;
    let caller = Caller::new(gateway.addr, LIMITED);
    let began = Instant::now();
    median(&caller, 200).await;
    // A lease is for the calls of the next tenth of a second: on a slow machine for few.
    let tenths = began.elapsed().as_secs_f64() * 10.0;
    let asked = metric(&gateway, r#"tollgate_shared_claims_total{by="exchange"}"#).await;
    let leased = metric(&gateway, r#"tollgate_shared_claims_total{by="lease"}"#).await;
    let told = format!("{asked} asked, {leased} did not, in {tenths} tenths of a second");
    assert!(asked + leased > 199.5 && asked <= 20.0 + tenths, "{told}");
}
