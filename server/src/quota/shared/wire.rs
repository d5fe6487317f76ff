//! What a replica and Redis say to each other in one exchange, and how it is written. The other side is `exchange.lua`.

use std::{collections::VecDeque, sync::Arc};

use redis::{FromRedisValue as _, Value};

/// What is told and asked of one counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ask {
    /// Name of the counter.
    pub(super) counter: Arc<str>,
    /// How it counts.
    pub(super) kind: Kind,
    /// The most; negative: no end.
    pub(super) limit: i64,
    /// The incarnation that this replica knows; 0: none.
    pub(super) id: i64,
    /// What this replica holds from now on.
    pub(super) held: i64,
    /// The free part of that.
    pub(super) free: i64,
    /// How much it would like to hold ahead.
    pub(super) wish: i64,
    /// How long the counter is kept if nobody asks, in milliseconds.
    pub(super) keep_ms: i64,
    /// What ledgers say was used in this period.
    pub(super) seeds: Vec<(Arc<str>, i64)>,
    /// What was used, by slot of a sliding window.
    pub(super) moves: Vec<(i64, i64)>,
}

/// How a counter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// In the calendar period that starts then, in milliseconds since the epoch.
    Calendar(i64),
    /// In slots of so many milliseconds.
    Sliding(i64),
    /// Only what is held.
    Concurrent,
}

/// One exchange. Told twice, it counts once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Exchange {
    /// Goes up by one with each.
    pub(super) sequence: u64,
    /// The counters.
    pub(super) asks: Vec<Ask>,
    /// What each call asks for: which of the counters, and how much.
    pub(super) claims: Vec<Vec<(usize, i64)>>,
}

/// Who talks.
#[derive(Clone, Debug)]
pub(super) struct Owner {
    /// This process.
    pub(super) id: Arc<str>,
    /// The ledger that has its records.
    pub(super) ledger: Arc<str>,
    /// How long it counts as alive after an exchange, in milliseconds.
    pub(super) ttl_ms: i64,
}

/// All keys are in one slot of a cluster, so that one function may touch them all. The number goes up when the form of
/// keys changes, so that replicas of two versions do not misread each other.
pub(super) const PREFIX: &str = "{tollgate}:quota:2";

/// Where replicas tell each other that room is wanted or was made.
pub(super) const CHANNEL: &str = "tollgate:quota:2";

/// Returns the key of a counter.
pub(super) fn key(counter: &str) -> String {
    format!("{PREFIX}:c:{counter}")
}

/// Returns the counter of a key.
pub(super) fn counter(key: &str) -> Option<&str> {
    key.strip_prefix(PREFIX)?.strip_prefix(":c:")
}

impl Exchange {
    /// Writes the keys.
    pub(super) fn keys(&self, owner: &Owner) -> Vec<String> {
        let own = [PREFIX.to_owned(), format!("{PREFIX}:o:{}", owner.id)];
        own.into_iter().chain(self.asks.iter().map(|ask| key(&ask.counter))).collect()
    }

    /// Writes the arguments.
    pub(super) fn arguments(&self, owner: &Owner) -> Vec<String> {
        let mut words = vec![
            owner.id.to_string(),
            self.sequence.to_string(),
            owner.ttl_ms.to_string(),
            owner.ledger.to_string(),
            CHANNEL.to_owned(),
        ];
        for ask in &self.asks {
            ask.write(&mut words);
        }
        words.push(self.claims.len().to_string());
        for claim in &self.claims {
            words.push(claim.len().to_string());
            for (counter, amount) in claim {
                words.extend([(counter + 1).to_string(), amount.to_string()]);
            }
        }
        words
    }
}

impl Ask {
    fn write(&self, words: &mut Vec<String>) {
        let (kind, start) = match self.kind {
            Kind::Calendar(start) => ("c", start),
            Kind::Sliding(width) => ("s", width),
            Kind::Concurrent => ("n", 0),
        };
        words.push(kind.to_owned());
        let numbers = [start, self.limit, self.id, self.held, self.free, self.wish, self.keep_ms];
        words.extend(numbers.map(|number| number.to_string()));
        words.push(self.seeds.len().to_string());
        words.extend(self.seeds.iter().flat_map(|(ledger, used)| [ledger.to_string(), used.to_string()]));
        words.push(self.moves.len().to_string());
        words.extend(self.moves.iter().flat_map(|(slot, used)| [slot.to_string(), used.to_string()]));
    }
}

/// What is answered to an exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    /// Server time in milliseconds since the epoch.
    pub(super) now_ms: i64,
    /// Replicas that are alive.
    pub(super) owners: i64,
    /// Of each counter, in the order of the asks.
    pub(super) counters: Vec<Told>,
    /// Of each claim, in their order.
    pub(super) verdicts: Vec<Verdict>,
}

/// How a counter stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// Its incarnation.
    pub(super) id: i64,
    /// Start of the calendar period, in milliseconds since the epoch.
    pub(super) period: i64,
    /// What all replicas told that they used.
    pub(super) used: i64,
    /// What running calls of other replicas hold.
    pub(super) reserved: i64,
    /// What others hold free.
    pub(super) free: i64,
    /// What this replica was granted ahead.
    pub(super) lease: i64,
    /// What was used in this period, by ledger.
    pub(super) ledgers: Vec<(Arc<str>, i64)>,
}

/// What became of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All of it is held.
    Granted,
    /// This counter is short.
    Short {
        /// Which of the asks.
        counter: usize,
        /// Milliseconds until there may be room.
        wait_ms: Option<i64>,
    },
    /// It cannot be told before the replicas have told what they know.
    Again,
}

impl Reply {
    /// Reads the answer to an exchange; absent if it is none.
    pub(super) fn read(value: Value, exchange: &Exchange) -> Option<Self> {
        let Value::Array(values) = value else { return None };
        let mut words = Words(values.into());
        let (now_ms, owners) = (words.number()?, words.number()?);
        let told = exchange.asks.iter().map(|_| words.told());
        let counters = told.collect::<Option<Vec<_>>>()?;
        let verdict = exchange.claims.iter().map(|_| words.verdict(counters.len()));
        let verdicts = verdict.collect::<Option<Vec<_>>>()?;
        words.0.is_empty().then_some(Self { now_ms, owners, counters, verdicts })
    }
}

struct Words(VecDeque<Value>);

impl Words {
    fn number(&mut self) -> Option<i64> {
        i64::from_redis_value(self.0.pop_front()?).ok()
    }

    fn told(&mut self) -> Option<Told> {
        let mut told = Told {
            id: self.number()?,
            period: self.number()?,
            used: self.number()?,
            reserved: self.number()?,
            free: self.number()?,
            lease: self.number()?,
            ledgers: Vec::new(),
        };
        for _ in 0..self.number()? {
            let ledger = String::from_redis_value(self.0.pop_front()?).ok()?;
            told.ledgers.push((ledger.into(), self.number()?));
        }
        Some(told)
    }

    fn verdict(&mut self, counters: usize) -> Option<Verdict> {
        let (verdict, wait_ms) = (self.number()?, self.number()?);
        Some(match usize::try_from(verdict) {
            Err(_) => Verdict::Again,
            Ok(0) => Verdict::Granted,
            Ok(n) if n <= counters => {
                Verdict::Short { counter: n - 1, wait_ms: Some(wait_ms).filter(|ms| *ms >= 0) }
            }
            Ok(_) => return None,
        })
    }
}
