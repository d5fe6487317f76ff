//! Random exchanges, in the model and in a real Redis.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use proptest::prelude::*;

use super::Model;
use crate::{
    quota::shared::{
        line::Line,
        wire::{Ask, Exchange, Kind, Owner, PREFIX, Reply, Verdict},
    },
    redis_server::Redis,
};

/// One step of a test: what one of the replicas says, in small numbers.
#[derive(Clone, Debug)]
enum Step {
    Flush,
    /// Who is alive is evicted.
    Evict,
    Repeat(usize),
    Exchange {
        owner: usize,
        asks: Vec<Said>,
        claims: Vec<Vec<(usize, i64)>>,
    },
}

#[derive(Clone, Debug)]
struct Said {
    counter: usize,
    knows: bool,
    period: i64,
    held: i64,
    free: i64,
    wish: i64,
    seed: Option<i64>,
    moves: Vec<(i64, i64)>,
}

/// Five counters: of two calendar limits, two windows, the second short enough to pass, and of calls in flight.
const KINDS: [(Kind, i64); 5] = [
    (Kind::Calendar(0), 500),
    (Kind::Calendar(0), -1),
    (Kind::Sliding(1_000), 100),
    (Kind::Sliding(1), 50),
    (Kind::Concurrent, 20),
];

fn said() -> impl Strategy<Value = Said> {
    let numbers = (0_i64..40, 0_i64..20, prop_oneof![Just(0_i64), 1_i64..200]);
    let told = (proptest::option::of(0_i64..300), proptest::collection::vec((-70_i64..3, 1_i64..9), 0..3));
    let who = (0..KINDS.len(), proptest::bool::weighted(0.9), prop_oneof![9 => Just(0_i64), 1 => 1_i64..3]);
    (who, numbers, told).prop_map(|((counter, knows, period), (held, free, wish), (seed, moves))| Said {
        counter,
        knows,
        period,
        held: held + free,
        free,
        wish,
        seed,
        moves,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let claim = proptest::collection::vec((0_usize..5, 0_i64..60), 1..3);
    let exchange =
        (0_usize..4, proptest::collection::vec(said(), 1..4), proptest::collection::vec(claim, 0..4));
    prop_oneof![
        1 => Just(Step::Flush),
        1 => Just(Step::Evict),
        4 => (0_usize..4).prop_map(Step::Repeat),
        40 => exchange.prop_map(|(owner, asks, claims)| Step::Exchange { owner, asks, claims }),
    ]
}

/// Writes a step as an exchange, with what the replica knows.
fn written(
    asks: &[Said],
    claims: &[Vec<(usize, i64)>],
    sequence: u64,
    known: &HashMap<usize, i64>,
    now: i64,
    ledger: &Arc<str>,
) -> Exchange {
    let mut once: Vec<&Said> = Vec::new();
    for said in asks {
        if once.iter().all(|other| other.counter != said.counter) {
            once.push(said);
        }
    }
    let ask = |said: &&Said| {
        let (kind, limit) = KINDS[said.counter];
        let kind = if matches!(kind, Kind::Calendar(_)) { Kind::Calendar(said.period) } else { kind };
        let slot = |back: i64| match kind {
            Kind::Sliding(width) => now / width + back,
            Kind::Calendar(_) | Kind::Concurrent => 0,
        };
        let is_calendar = matches!(kind, Kind::Calendar(_));
        let mut moves: BTreeMap<i64, i64> = BTreeMap::new();
        for (back, used) in &said.moves {
            *moves.entry(slot(*back)).or_default() += used;
        }
        Ask {
            counter: format!("c{}", said.counter).into(),
            kind,
            limit,
            id: if said.knows { known.get(&said.counter).copied().unwrap_or(0) } else { 0 },
            held: said.held,
            free: said.free,
            wish: said.wish,
            keep_ms: 60_000,
            seeds: said.seed.filter(|_| is_calendar).map(|used| (ledger.clone(), used)).into_iter().collect(),
            moves: if kind == Kind::Concurrent { Vec::new() } else { moves.into_iter().collect() },
        }
    };
    let charge = |(counter, amount): &(usize, i64)| (counter % once.len(), *amount);
    let claims = claims.iter().map(|claim| {
        let by_counter: BTreeMap<usize, i64> = claim.iter().map(charge).collect();
        by_counter.into_iter().collect()
    });
    Exchange { sequence, claims: claims.collect(), asks: once.iter().map(ask).collect() }
}

/// Never more is granted than is left when it is granted.
fn check(exchange: &Exchange, reply: &Reply) -> Result<(), TestCaseError> {
    for (index, (ask, told)) in exchange.asks.iter().zip(&reply.counters).enumerate() {
        let granted = exchange.claims.iter().zip(&reply.verdicts);
        let granted =
            granted.filter(|(_, verdict)| **verdict == Verdict::Granted).flat_map(|(claim, _)| claim);
        let mine = granted.filter(|(counter, _)| *counter == index);
        let granted = told.lease + mine.map(|(_, amount)| amount).sum::<i64>();
        let others = told.used + told.reserved + told.free;
        prop_assert!(ask.limit < 0 || granted == 0 || others + granted <= ask.limit, "{ask:?} {told:?}");
    }
    Ok(())
}

fn sorted(mut reply: Reply) -> Reply {
    reply.counters.iter_mut().for_each(|told| told.ledgers.sort());
    reply
}

async fn connect(redis: &Redis) -> Line {
    let client = redis::Client::open(redis.url()).unwrap();
    Line::new(Box::new(client.get_multiplexed_async_connection().await.unwrap()))
}

async fn run(redis: &Redis, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut commands =
        redis::Client::open(redis.url()).unwrap().get_multiplexed_async_connection().await.unwrap();
    redis::cmd("FLUSHALL").exec_async(&mut commands).await.unwrap();
    let (mut line, mut model) = (connect(redis).await, Model::default());
    // Two share a ledger; one dies at once when it is silent.
    let owner =
        |(id, ledger, ttl_ms): (&str, &str, i64)| Owner { id: id.into(), ledger: ledger.into(), ttl_ms };
    let owners = [("a", "l1", 10_000), ("b", "l1", 10_000), ("c", "l2", 2), ("d", "l3", 10_000)].map(owner);
    let mut known: Vec<HashMap<usize, i64>> = vec![HashMap::new(); owners.len()];
    let mut last: Vec<Option<Exchange>> = vec![None; owners.len()];
    let (mut sequence, mut now) = (0, 0);
    for step in steps {
        let (who, exchange) = match step {
            Step::Flush => {
                redis::cmd("FLUSHALL").exec_async(&mut commands).await.unwrap();
                model = Model::default();
                continue;
            }
            Step::Evict => {
                redis::cmd("DEL").arg(PREFIX).exec_async(&mut commands).await.unwrap();
                model.forget_the_era();
                continue;
            }
            Step::Repeat(who) => match last[who].clone() {
                Some(exchange) => (who, exchange),
                None => continue,
            },
            Step::Exchange { owner, asks, claims } => {
                sequence += 1;
                let ledger = &owners[owner].ledger;
                (owner, written(&asks, &claims, sequence, &known[owner], now, ledger))
            }
        };
        let reply = sorted(line.exchange(&exchange, &owners[who]).await.unwrap());
        let expected = model.exchange(&exchange, &owners[who], &reply);
        prop_assert_eq!(&reply, &expected, "{:?}", exchange);
        check(&exchange, &reply)?;
        now = now.max(reply.now_ms);
        for (ask, told) in exchange.asks.iter().zip(&reply.counters) {
            known[who].insert(ask.counter[1..].parse().unwrap(), told.id);
        }
        last[who] = Some(exchange);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn redis_answers_as_the_model_does(steps in proptest::collection::vec(step(), 1..80)) {
        // One server for all cases of this thread.
        thread_local!(static REDIS: Redis = Redis::start());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        REDIS.with(|redis| runtime.block_on(run(redis, steps)))?;
    }
}

#[tokio::test]
async fn where_functions_are_not_allowed_a_script_does_the_same() {
    let redis = Redis::start();
    let mut commands =
        redis::Client::open(redis.url()).unwrap().get_multiplexed_async_connection().await.unwrap();
    let mut rule = redis::cmd("ACL");
    rule.arg(&["SETUSER", "default", "-fcall", "-function"]);
    rule.exec_async(&mut commands).await.unwrap();
    let owner = Owner { id: "a".into(), ledger: "l".into(), ttl_ms: 1_000 };
    let ask = Ask {
        counter: "c".into(),
        kind: Kind::Concurrent,
        limit: 1,
        id: 0,
        held: 0,
        free: 0,
        wish: 0,
        keep_ms: 1_000,
        seeds: Vec::new(),
        moves: Vec::new(),
    };
    let exchange = Exchange { sequence: 1, asks: vec![ask], claims: vec![vec![(0, 1)], vec![(0, 1)]] };
    let reply = connect(&redis).await.exchange(&exchange, &owner).await.unwrap();
    let short = Verdict::Short { counter: 0, wait_ms: None };
    assert_eq!(reply.verdicts, [Verdict::Granted, short]);
    assert_eq!(Duration::from_millis(reply.now_ms.unsigned_abs()).as_secs() / 1_000_000_000, 1);
}
