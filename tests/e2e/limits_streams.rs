//! Token and dollar limits under streams that end well, are cut, refused, stall, or whose callers leave: what is settled
//! never passes a limit at any moment, nothing stays reserved, and nobody is refused who need not be.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use serde_json::Value;

use crate::{
    mixed::score,
    support::{
        ADMIN_KEY, Gateway, KEY,
        books::Score,
        callers::{Ask, End, Saw, Surface, call},
        dice::{Dice, seed},
        faces::FACES,
        http::Caller,
        ledgers::count,
        meter::Meter,
    },
    upstream_faults::SURFACES,
};

/// What one call of these tests may need of the token limit, at the most: its own bound, and its prompt.
const MOST: i64 = 4_096 + 64;
const TOKENS: i64 = 10 * MOST;
/// Ten times what one call may cost.
const NANOS: i64 = TOKENS * 2_000;

fn config(meter: &Meter) -> String {
    let (mut providers, mut models) = (String::new(), String::new());
    for face in FACES {
        let (name, addr) = (face.name(), meter.addr);
        let version = if name == "openai" { "/v1" } else { "" };
        providers += &format!(
            "  {name}: {{ dialect: {name}, base_url: \"http://{addr}{version}\", api_key: sk-up }}\n"
        );
        models += &format!(
            "  {name}: {{ targets: [{{ provider: {name}, model: m-1 }}], price: {{ input_per_million: 1, output_per_million: 2 }} }}\n"
        );
    }
    let usd = format!("0.{NANOS:09}");
    format!(
        "limits: {{ tokens_per_day: {TOKENS}, concurrent: 30 }}\nbudget: {{ usd: {usd}, per: month }}\n\
         timeouts: {{ first_token: 1s, idle: 1s }}\nbreaker: {{ failures: 1000000, min_calls: 1000000 }}\n\
         providers:\n{providers}models:\n{models}"
    )
}

/// The quota of a metric: limit, used and reserved.
async fn quota(gateway: &Gateway, metric: &str) -> [i64; 3] {
    let all = Caller::new(gateway.addr, KEY).get("/v1/quota").await.json();
    let quotas = all["quotas"].as_array().unwrap();
    let quota = quotas.iter().find(|one| one["metric"] == metric).unwrap();
    ["limit", "used", "reserved_amount"].map(|name| count(quota, name).unwrap_or(0))
}

/// Looks at the quotas until it is told to stop; returns how often it looked.
async fn watch(gateway: &Gateway, over: &AtomicBool) -> usize {
    let mut looks = 0;
    while !over.load(Relaxed) {
        for metric in ["tokens", "cost_nanos"] {
            let [limit, used, reserved] = quota(gateway, metric).await;
            assert!(used + reserved <= limit, "{metric}: {used} used and {reserved} reserved of {limit}");
        }
        looks += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    looks
}

fn ask(case: u64, dice: &mut Dice) -> Ask {
    let ask = Ask::new(*dice.one_of(&SURFACES), dice.one_of(&FACES).name(), format!("c{case}"));
    match dice.within(0..8) {
        0 => ask.leaving_after(usize::try_from(dice.within(1..6)).unwrap()),
        1 => ask.within(Duration::from_millis(dice.within(5..200))),
        2 => ask.whole(),
        _ => ask,
    }
}

/// Makes the call, again and again while a limit of ours refuses it in words of its own and there may be room for it
/// when others have ended.
async fn patient(gateway: &Gateway, ask: &Ask, refusals: &AtomicUsize) -> Saw {
    loop {
        let [_, used, _] = quota(gateway, "tokens").await;
        let saw = call(gateway, ask).await;
        let is_ours = |reason: &str| {
            ["rate_limit_exceeded", "rate_limited", "insufficient_quota", "budget_exhausted", "billing_error"]
                .contains(&reason)
        };
        let again = matches!(&saw.end, End::Refused(429 | 8, reason) if is_ours(reason));
        if !again || used + MOST > TOKENS {
            return saw;
        }
        refusals.fetch_add(1, Relaxed);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until nothing is reserved, and returns what is used.
async fn settled(gateway: &Gateway, metric: &str) -> i64 {
    for _ in 0..5_000 {
        let [_, used, reserved] = quota(gateway, metric).await;
        if reserved == 0 {
            return used;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("something stays reserved of {metric}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_settled_never_passes_a_limit_and_nothing_stays_reserved() {
    let seed = seed();
    let meter = Meter::start(move |seen| {
        let body = String::from_utf8_lossy(&seen.body);
        let case = body.split_once("case:c").unwrap().1.split(' ').next().unwrap().parse().unwrap();
        // Long answers, so that the limit is reached.
        let score = score(&mut Dice::of(!seed, case));
        Score { tokens: score.tokens * 110, gap: Duration::ZERO, ..score }
    })
    .await;
    let gateway = Gateway::start(&config(&meter));
    let (over, refusals) = (AtomicBool::new(false), AtomicUsize::new(0));
    let calls = async {
        let asks = (0..200).map(|case| ask(case, &mut Dice::of(seed, case)));
        let saw: Vec<Saw> = stream::iter(asks)
            .map(async |ask| patient(&gateway, &ask, &refusals).await)
            .buffer_unordered(15)
            .collect()
            .await;
        over.store(true, Relaxed);
        saw
    };
    let (saw, looks) = tokio::join!(calls, watch(&gateway, &over));
    assert!(looks > 10, "{looks}");
    let (tokens, nanos) = (settled(&gateway, "tokens").await, settled(&gateway, "cost_nanos").await);
    assert_eq!(quota(&gateway, "concurrent").await, [30, 0, 0]);

    // The ledger and the counters say the same.
    let usage = Caller::new(gateway.addr, ADMIN_KEY).get("/v1/usage").await.json();
    let sum = |name: &str| count(&usage["rows"][0]["usage"], name).unwrap_or(0);
    assert_eq!(sum("input_tokens") + sum("output_tokens"), tokens, "seed {seed}");
    assert_eq!(count(&usage["rows"][0]["usage"]["cost"], "amount_nanos"), Some(nanos), "seed {seed}");

    let ended = |is: fn(&End) -> bool| saw.iter().filter(|saw| is(&saw.end)).count();
    let refused = refusals.load(Relaxed);
    let (ok, left) = (ended(|end| *end == End::Ok), ended(|end| *end == End::Left));
    println!("{ok} ok, {left} left, {refused} refused; {tokens} of {TOKENS} tokens used");
    assert!(ok > 20 && refused > 0 && left > 0, "seed {seed}: {ok} ok, {refused} refused, {left} left");

    // Whoever comes alone now is served as long as there is room, one after the other.
    for case in 1_000..1_005 {
        let [_, used, _] = quota(&gateway, "tokens").await;
        let saw = call(&gateway, &Ask::new(Surface::Chat, "openai", format!("c{case}"))).await;
        let refused = matches!(&saw.end, End::Refused(429, reason) if reason == "rate_limit_exceeded");
        assert!(!refused || used + MOST > TOKENS, "refused though {used} of {TOKENS} are used: {saw:?}");
    }
}

#[tokio::test]
async fn a_limit_is_used_up_to_the_last_call_that_surely_fits() {
    let meter = Meter::start(|_| Score { tokens: 500, ..Default::default() }).await;
    let gateway = Gateway::start(&config(&meter));
    let mut calls = 0;
    let last = loop {
        let saw = call(&gateway, &Ask::new(Surface::Chat, "openai", format!("c{calls}"))).await;
        if saw.end != End::Ok {
            break saw;
        }
        calls += 1;
    };
    let End::Refused(429, _) = last.end else { panic!("{last:?}") };
    let used = settled(&gateway, "tokens").await;
    assert_eq!(used, calls * 511);
    let need = 4_096 + 16 + 10;
    assert!(
        used + need > TOKENS - 64 && used + need <= TOKENS + 511,
        "{used} used when {calls} calls fitted"
    );
    let quota: Value = Caller::new(gateway.addr, KEY).get("/v1/quota").await.json();
    assert_eq!(quota["quotas"].as_array().unwrap().len(), 3);
}
