//! Limits hold over all replicas that share a Redis, and when Redis is away each does what can be done without.

use crate::support::{
    Gateway,
    http::{Answer, Caller},
    redis::Redis,
    upstream::{Upstream, completion, whole},
};

const LIMITED: &str = "tg_testlimited1_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG";
const PATH: &str = "/v1/chat/completions";

/// Three replicas, or as many, with a key of these limits, that share this Redis.
fn replicas(count: usize, shared: &str, limits: &str, upstream: &Upstream) -> Vec<Gateway> {
    (0..count).map(|_| replica(shared, limits, upstream)).collect()
}

fn replica(shared: &str, limits: &str, upstream: &Upstream) -> Gateway {
    // The key list that every test configuration starts with goes on here.
    Gateway::start(&format!(
        "- {{ name: limited, key: {LIMITED}, {limits} }}\nshared: \"{shared}\"\nproviders:\n{}models:\n  m:\n    \
         targets: [{{ provider: up, model: m-1 }}]\n    price: {{ input_per_million: 1, output_per_million: 2 }}\n",
        upstream.provider("up")
    ))
}

async fn upstream() -> Upstream {
    Upstream::start(|_| whole(200, "application/json", completion("hi", 100, 50))).await
}

fn chat() -> &'static str {
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
