//! Chance that can be had again: every draw follows from one seed, which a failing test prints.

use std::{
    hash::{BuildHasher as _, RandomState},
    ops::Range,
    time::Duration,
};

/// A source of draws (splitmix64).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Dice of its own for the n-th of many, so that one's draws do not depend on what the others do.
    pub fn of(seed: u64, n: u64) -> Self {
        let mut dice = Self(seed ^ n.wrapping_mul(0xd134_2543_de82_ef95));
        dice.next();
        dice
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn within(&mut self, range: Range<u64>) -> u64 {
        range.start + self.next() % (range.end - range.start).max(1)
    }

    pub fn up_to(&mut self, most: Duration) -> Duration {
        Duration::from_micros(self.within(0..u64::try_from(most.as_micros()).unwrap() + 1))
    }

    pub fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        let at = self.within(0..u64::try_from(all.len()).unwrap());
        &all[usize::try_from(at).unwrap()]
    }
}

/// The seed of this run: `TOLLGATE_FAULT_SEED`, else a new one. It is printed, so a failing test shows it.
pub fn seed() -> u64 {
    let given = std::env::var("TOLLGATE_FAULT_SEED").ok().map(|seed| seed.parse().unwrap());
    let seed = given.unwrap_or_else(|| RandomState::new().hash_one(std::process::id()));
    eprintln!("to repeat this run: TOLLGATE_FAULT_SEED={seed}");
    seed
}
