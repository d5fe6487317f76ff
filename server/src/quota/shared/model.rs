//! The function in `exchange.lua` once more, plainly: random exchanges of several replicas have the same answers here and
//! in a real Redis, and never more is granted than the limit.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use proptest::prelude::*;

use super::{
    line::Line,
    tests::redis::Redis,
    wire::{Ask, Exchange, Kind, Owner, Reply, Told, Verdict},
};

const SLOTS: i64 = 60;
const QUIET_MS: i64 = 250;
const RECALL_MS: i64 = 100;
const SHARES: i64 = 20;

#[derive(Debug, Default)]
struct Model {
    alive: BTreeMap<Arc<str>, i64>,
    counters: HashMap<Arc<str>, Counter>,
    answered: HashMap<Arc<str>, (u64, Reply)>,
}

#[derive(Clone, Debug, Default)]
struct Counter {
    id: i64,
    period: i64,
    quiet_until: i64,
    awaited: Option<(Arc<str>, i64)>,
    ledgers: BTreeMap<Arc<str>, i64>,
    slots: BTreeMap<i64, i64>,
    /// What each replica holds, and the free part of it.
    held: BTreeMap<Arc<str>, (i64, i64)>,
}

/// A counter as one exchange sees it.
struct View {
    again: bool,
    recalled: bool,
    is_awaited: bool,
    held: i64,
    free: i64,
    room: i64,
    used: i64,
    reserved: i64,
    free_of_others: i64,
    slot_now: i64,
    slots: BTreeMap<i64, i64>,
}

impl Model {
    /// Answers as Redis should. What Redis drew itself, the time and the ids of new counters, is taken from its answer.
    fn exchange(&mut self, exchange: &Exchange, owner: &Owner, real: &Reply) -> Reply {
        if let Some((sequence, reply)) = self.answered.get(&owner.id)
            && *sequence == exchange.sequence
        {
            return reply.clone();
        }
        let now = real.now_ms;
        self.alive.retain(|other, till| *other == owner.id || *till > now);
        self.alive.insert(owner.id.clone(), now + owner.ttl_ms);
        let alive: BTreeSet<Arc<str>> = self.alive.keys().cloned().collect();
        let mut views = Vec::new();
        for (ask, told) in exchange.asks.iter().zip(&real.counters) {
            let counter = self.counters.entry(ask.counter.clone()).or_default();
            counter.open(ask, now, told.id);
            views.push(counter.read(ask, owner, &alive, now));
        }
        let mut verdicts = Vec::new();
        for claim in &exchange.claims {
            verdicts.push(verdict(claim, &mut views, &exchange.asks, now));
        }
        let owners = i64::try_from(alive.len()).unwrap();
        let mut counters = Vec::new();
        for (ask, view) in exchange.asks.iter().zip(views) {
            counters.push(self.counters.get_mut(&ask.counter).unwrap().close(ask, &view, owner, owners, now));
        }
        let reply = Reply { now_ms: now, owners, counters, verdicts };
        self.answered.insert(owner.id.clone(), (exchange.sequence, reply.clone()));
        reply
    }
}

impl Counter {
    fn open(&mut self, ask: &Ask, now: i64, drawn: i64) {
        if self.id == 0 {
            self.id = drawn;
            self.quiet_until = if ask.id == 0 { 0 } else { now + QUIET_MS };
        }
        if let Kind::Calendar(start) = ask.kind
            && start > self.period
        {
            self.period = start;
            self.ledgers.clear();
            self.held.clear();
        }
    }

    fn read(&mut self, ask: &Ask, owner: &Owner, alive: &BTreeSet<Arc<str>>, now: i64) -> View {
        let is_strange = ask.id != 0 && ask.id != self.id;
        let is_late = matches!(ask.kind, Kind::Calendar(start) if start < self.period);
        let slot_now = if let Kind::Sliding(width) = ask.kind { now / width } else { 0 };
        if !is_strange && !is_late {
            for (ledger, used) in &ask.seeds {
                let known = self.ledgers.entry(ledger.clone()).or_default();
                *known = (*known).max(*used);
            }
            for (slot, used) in &ask.moves {
                match ask.kind {
                    Kind::Calendar(_) => *self.ledgers.entry(owner.ledger.clone()).or_default() += used,
                    Kind::Sliding(_) if slot + SLOTS >= slot_now => {
                        *self.slots.entry((*slot).min(slot_now)).or_default() += used;
                    }
                    Kind::Sliding(_) | Kind::Concurrent => {}
                }
            }
        }
        self.slots.retain(|slot, _| slot + SLOTS >= slot_now);
        self.held.retain(|other, _| alive.contains(other));
        let others = || self.held.iter().filter(|(other, _)| **other != owner.id);
        let reserved: i64 = others().map(|(_, (held, _))| held).sum();
        let free_of_others: i64 = others().map(|(_, (_, free))| free).sum();
        let used = self.ledgers.values().sum::<i64>() + self.slots.values().sum::<i64>();
        let (held, free) = if is_late { (0, 0) } else { (ask.held, ask.free) };
        let waits = self.awaited.clone().filter(|(other, till)| *till > now && *other != owner.id);
        let had = self.held.get(&owner.id).map_or(0, |(_, free)| *free);
        if waits.is_some() && free < had {
            self.awaited = None;
        }
        View {
            again: is_strange || self.quiet_until > now,
            recalled: false,
            is_awaited: waits.is_some() && free >= had,
            held,
            free,
            room: ask.limit - used - reserved - held,
            used,
            reserved: reserved - free_of_others,
            free_of_others,
            slot_now,
            slots: self.slots.clone(),
        }
    }

    fn close(&mut self, ask: &Ask, view: &View, owner: &Owner, owners: i64, now: i64) -> Told {
        if view.recalled {
            self.awaited = Some((owner.id.clone(), now + RECALL_MS));
        }
        let may_lease = ask.limit >= 0 && !view.again && !view.is_awaited && !view.recalled;
        let part = view.room.div_euclid(SHARES * owners);
        let lease = if may_lease && ask.wish > 0 { ask.wish.min(part).max(0) } else { 0 };
        let (held, free) = (view.held + lease, view.free + lease);
        if held == 0 {
            self.held.remove(&owner.id);
        } else {
            self.held.insert(owner.id.clone(), (held, free));
        }
        Told {
            id: self.id,
            period: self.period,
            used: view.used,
            reserved: view.reserved,
            free: view.free_of_others,
            lease,
            ledgers: self.ledgers.clone().into_iter().collect(),
        }
    }
}

fn verdict(claim: &[(usize, i64)], views: &mut [View], asks: &[Ask], now: i64) -> Verdict {
    if claim.iter().any(|(counter, _)| views[*counter].again) {
        return Verdict::Again;
    }
    let is_short =
        |(counter, amount): &&(usize, i64)| asks[*counter].limit >= 0 && views[*counter].room < *amount;
    let Some((counter, amount)) = claim.iter().find(is_short).copied() else {
        for (counter, amount) in claim {
            views[*counter].room -= amount;
            views[*counter].held += amount;
        }
        return Verdict::Granted;
    };
    let view = &mut views[counter];
    view.recalled |= view.free_of_others > 0;
    Verdict::Short { counter, wait_ms: wait(&asks[counter], view, amount, now) }
}

fn wait(ask: &Ask, view: &View, amount: i64, now: i64) -> Option<i64> {
    let Kind::Sliding(width) = ask.kind else { return None };
    if amount > ask.limit {
        return None;
    }
    let mut excess = amount - view.room;
    let enough = |(_, used): &(&i64, &i64)| {
        excess -= **used;
        excess <= 0
    };
    let slot = view.slots.iter().find(enough).map_or(view.slot_now, |(slot, _)| *slot);
    Some((slot + SLOTS + 1) * width - now).filter(|wait| *wait >= 0)
}

/// One step of a test: what one of the replicas says, in small numbers.
#[derive(Clone, Debug)]
enum Step {
    Flush,
    Repeat(usize),
    Exchange { owner: usize, asks: Vec<Said>, claims: Vec<Vec<(usize, i64)>> },
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
    let client = ::redis::Client::open(redis.url()).unwrap();
    Line::new(Box::new(client.get_multiplexed_async_connection().await.unwrap()))
}

async fn run(redis: &Redis, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut commands =
        ::redis::Client::open(redis.url()).unwrap().get_multiplexed_async_connection().await.unwrap();
    ::redis::cmd("FLUSHALL").exec_async(&mut commands).await.unwrap();
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
                ::redis::cmd("FLUSHALL").exec_async(&mut commands).await.unwrap();
                model = Model::default();
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
        ::redis::Client::open(redis.url()).unwrap().get_multiplexed_async_connection().await.unwrap();
    let mut rule = ::redis::cmd("ACL");
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
