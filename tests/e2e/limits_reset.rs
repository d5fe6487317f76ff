//! A reset of what was spent shows as zero used, on every replica, whatever happens after it.

use tollgate_api::admin::{self, budget_service_client::BudgetServiceClient};

use crate::support::{
    ADMIN_KEY, Gateway,
    http::Caller,
    postgres,
    redis::Redis,
    upstream::{Seen, Step, Upstream, chunk, completion, delta, stream_head, whole},
};

const SEARCH: &str = "tg_testsearch01_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG";
const PATH: &str = "/v1/chat/completions";
const LIMIT: i64 = 1_000_000;
/// What a call costs: 100 * 1 + 50 * 2 micro-USD.
pub(crate) const CALL: i64 = 200_000;

/// Streams never end by themselves.
pub(crate) fn by_kind(seen: &Seen) -> Vec<Step> {
    if seen.json()["stream"] == true {
        return vec![stream_head(), chunk(delta("hi")), Step::Hold];
    }
    whole(200, "application/json", completion("hi", 100, 50))
}

fn chat(streamed: bool) -> String {
    format!(
        r#"{{"model":"m","messages":[{{"role":"user","content":"hi"}}],"max_tokens":50,"stream":{streamed}}}"#
    )
}

/// A replica with a key of a team that has a budget.
pub(crate) fn replica(more: &str, upstream: &Upstream) -> Gateway {
    // The key list that every test configuration starts with goes on here.
    Gateway::start(&format!(
        "- {{ name: search, key: {SEARCH}, team: search }}\nteams:\n  search: {{ budget: {{ usd: 0.001, per: month }} }}\n\
         {more}providers:\n{}models:\n  m:\n    targets: [{{ provider: up, model: m-1 }}]\n    \
         price: {{ input_per_million: 1, output_per_million: 2 }}\n",
        upstream.provider("up")
    ))
}

pub(crate) async fn call(gateway: &Gateway) -> u16 {
    Caller::new(gateway.addr, SEARCH).post(PATH, chat(false)).await.status.as_u16()
}

/// How the budget stands: used, reserved, the most, and forgiven.
async fn stands(gateway: &Gateway) -> [i64; 4] {
    let answer = Caller::new(gateway.addr, SEARCH).get("/v1/quota").await;
    let quota = answer.json()["quotas"][0].clone();
    let number = |name: &str| quota[name].as_str().and_then(|text| text.parse().ok()).unwrap_or(-1);
    ["used", "reserved_amount", "limit", "forgiven_amount"].map(number)
}

/// Asks until it stands so. The test's own time limit is the only patience.
pub(crate) async fn until(gateway: &Gateway, holds: impl Fn([i64; 4]) -> bool) -> [i64; 4] {
    loop {
        let standing = stands(gateway).await;
        if holds(standing) {
            return standing;
        }
        tokio::task::yield_now().await;
    }
}

async fn reset(gateway: &Gateway) -> i64 {
    let request = admin::ResetUsageRequest {
        subject: "team:search".into(),
        window: "month".into(),
        ..Default::default()
    };
    let mut budgets = BudgetServiceClient::new(gateway.channel(ADMIN_KEY).await);
    budgets.reset_usage(request).await.unwrap().into_inner().adjustment.unwrap().amount
}

/// Waits until the budget stands so on all of them.
async fn all_stand(gateways: &[Gateway], wanted: [i64; 4]) {
    for gateway in gateways {
        until(gateway, |standing| standing == wanted).await;
    }
}

/// Resets while a call runs; returns what that call counts as.
async fn reset_meanwhile(gateways: &[Gateway]) -> i64 {
    all_stand(gateways, [0, 0, LIMIT, 0]).await;
    for number in 0..3 {
        assert_eq!(call(&gateways[number % gateways.len()]).await, 200);
    }
    let caller = Caller::new(gateways.last().unwrap().addr, SEARCH);
    let running = caller.open(PATH, chat(true), &[]).await;
    assert_eq!(running.status(), 200);
    for gateway in gateways {
        until(gateway, |[used, reserved, ..]| used == 3 * CALL && reserved > 0).await;
    }
    assert_eq!(reset(&gateways[0]).await, 3 * CALL);
    for gateway in gateways {
        let standing = until(gateway, |[.., forgiven]| forgiven == 3 * CALL).await;
        assert!(standing[0] == 0 && standing[1] > 0 && standing[2] == LIMIT, "{standing:?}");
    }
    drop(running);
    // What it had used when it was given up counts, for it ran after the reset.
    let [kept, ..] = until(&gateways[0], |[_, reserved, ..]| reserved == 0).await;
    assert!((1..CALL).contains(&kept), "{kept}");
    kept
}

/// Calls until it is refused; returns what is used then.
async fn exhaust(gateways: &[Gateway], kept: i64) -> i64 {
    let mut all = kept;
    for gateway in gateways.iter().cycle() {
        if call(gateway).await != 200 {
            break;
        }
        all += CALL;
    }
    // A call reserves less than it uses here.
    assert!(all > LIMIT - CALL && all < LIMIT + CALL, "{all}");
    all_stand(gateways, [all, 0, LIMIT, 3 * CALL]).await;
    let refused = Caller::new(gateways[0].addr, SEARCH).post(PATH, chat(false)).await.text();
    let [limit, all_in_dollars] =
        [LIMIT, all].map(|nanos| format!("$0.{nanos:09}").trim_end_matches('0').to_owned());
    assert!(
        refused.contains(&format!("limited to {limit} per month; {all_in_dollars} are used")),
        "{refused}"
    );
    all
}

/// Looks at a reset from all sides.
async fn story(mut gateways: Vec<Gateway>, redis: Option<&Redis>) {
    let kept = reset_meanwhile(&gateways).await;
    let all = exhaust(&gateways, kept).await;
    if let Some(redis) = redis {
        redis.flush();
        all_stand(&gateways, [all, 0, LIMIT, 3 * CALL]).await;
        assert_eq!(call(gateways.last().unwrap()).await, 429);
    }
    gateways[0].kill();
    gateways[0].restart();
    all_stand(&gateways, [all, 0, LIMIT, 3 * CALL]).await;
    assert_eq!(call(&gateways[0]).await, 429);
    assert_eq!(reset(&gateways[0]).await, all, "what was used since the first");
    all_stand(&gateways, [0, 0, LIMIT, 3 * CALL + all]).await;
    assert_eq!(call(&gateways[0]).await, 200);
}

#[tokio::test]
async fn a_reset_shows_as_zero_used_on_one_replica() {
    let upstream = Upstream::start(by_kind).await;
    story(vec![replica("", &upstream)], None).await;
}

#[tokio::test]
async fn a_reset_shows_as_zero_used_with_a_redis() {
    let (redis, upstream) = (Redis::start(), Upstream::start(by_kind).await);
    let shared = format!("shared: \"{}\"\ntimeouts: {{ shared: 5s }}\n", redis.url());
    story(vec![replica(&shared, &upstream)], Some(&redis)).await;
}

#[tokio::test]
async fn a_reset_shows_as_zero_used_on_all_replicas_of_a_redis_and_a_postgresql() {
    let (redis, upstream) = (Redis::start(), Upstream::start(by_kind).await);
    let more = format!(
        "shared: \"{}\"\ntimeouts: {{ shared: 5s }}\nstore: \"{}\"\npepper: pepper-of-the-tests-pepper-of-the-tests\n",
        redis.url(),
        postgres::database().await
    );
    let gateways = (0..2).map(|_| replica(&more, &upstream)).collect();
    story(gateways, Some(&redis)).await;
}
