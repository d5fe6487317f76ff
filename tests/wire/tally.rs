//! What a run has compared and what it has left out, so that nothing is skipped in silence.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Requests of a dialect.
#[derive(Debug, Default)]
struct Requests {
    compared: BTreeSet<String>,
    /// What the typed lane loses, and of which exchanges.
    lost: BTreeMap<String, BTreeSet<String>>,
    /// Why, and which exchanges.
    left_out: BTreeMap<String, BTreeSet<String>>,
}

/// The requests of a run.
#[derive(Debug, Default)]
pub struct Tally(Mutex<BTreeMap<String, Requests>>, AtomicUsize);

impl Tally {
    /// Notes that a request was compared, or why it was not.
    pub fn note(&self, dialect: &str, id: &str, outcome: Result<(), &str>) {
        let mut all = self.0.lock().unwrap();
        let requests = all.entry(dialect.to_owned()).or_default();
        let ids = match outcome {
            Ok(()) => &mut requests.compared,
            Err(why) => requests.left_out.entry(why.to_owned()).or_default(),
        };
        ids.insert(id.to_owned());
    }

    /// Notes what the typed lane loses of a request.
    pub fn lose(&self, dialect: &str, id: &str, what: &[&str]) {
        let mut all = self.0.lock().unwrap();
        let requests = all.entry(dialect.to_owned()).or_default();
        for what in what {
            requests.lost.entry((*what).to_owned()).or_default().insert(id.to_owned());
        }
    }

    /// Notes that an answer was sent back with its signatures.
    pub fn second_turn(&self) {
        self.1.fetch_add(1, Ordering::Relaxed);
    }

    /// Prints what was compared, and what was left out and why.
    pub fn print(&self) {
        for (dialect, requests) in &*self.0.lock().unwrap() {
            let listed = |title: &str, sets: &BTreeMap<String, BTreeSet<String>>, but: &BTreeSet<String>| {
                let counts = sets.iter().map(|(what, ids)| (what, ids.difference(but).count()));
                let counts: Vec<String> =
                    counts.filter(|(_, n)| *n > 0).map(|(what, n)| format!("{n} {what}")).collect();
                if counts.is_empty() { String::new() } else { format!("; {title}: {}", counts.join(", ")) }
            };
            let left_out = listed("left out", &requests.left_out, &requests.compared);
            let lost = listed("lost by the typed lane", &requests.lost, &BTreeSet::new());
            println!("{dialect}: {} requests compared{left_out}{lost}", requests.compared.len());
        }
        println!("{} answers were sent back with their signatures", self.1.load(Ordering::Relaxed));
    }
}
