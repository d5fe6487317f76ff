//! The gates of all targets.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    gate::{Gate, Settings},
    stage::Load,
};
use crate::{
    config,
    telemetry::metrics::{self, QueueGauge},
};

/// Gates that are kept. Behind a pattern callers make up the names of targets, so beyond it those nobody uses go.
const MOST_KEPT: usize = 4_096;

/// The gates of all targets, by name.
#[derive(Debug)]
pub struct Gates {
    settings: Settings,
    gates: Mutex<HashMap<Arc<str>, Arc<Gate>>>,
}

impl Default for Gates {
    fn default() -> Self {
        Self::new(Settings::from(&config::Load::default()))
    }
}

impl Gates {
    /// Makes the gates; there is one for each target from the first time on that somebody asks for it.
    pub fn new(settings: Settings) -> Self {
        Self { settings, gates: Mutex::default() }
    }

    /// Returns the gate of a target. `limit` is the configured number of places; where aliases say different things
    /// of the same target, the least holds.
    pub fn of(&self, target: &Arc<str>, limit: Option<usize>) -> Arc<Gate> {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gate) = gates.get(target) {
            if let Some(limit) = limit {
                gate.at_most(limit);
            }
            return gate.clone();
        }
        if gates.len() >= MOST_KEPT {
            gates.retain(|_, gate| Arc::strong_count(gate) > 1 || !gate.is_idle());
        }
        let gate = Gate::new(target.clone(), self.settings, limit);
        gates.insert(target.clone(), gate.clone());
        gate
    }

    /// Shows in the metrics how many wait at each of these gates and before the stage, in place of those of any other.
    pub fn show(self: &Arc<Self>, stage: &Arc<Load>) {
        let (gates, stage) = (self.clone(), stage.clone());
        metrics::watch_queues(move || {
            let whole = QueueGauge { target: metrics::GATEWAY.into(), waiting: stage.status().waiting };
            std::iter::once(whole).chain(gates.queues()).collect()
        });
    }

    fn queues(&self) -> Vec<QueueGauge> {
        let gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        let gauge = |(target, gate): (&Arc<str>, &Arc<Gate>)| QueueGauge {
            target: target.clone(),
            waiting: gate.waiting(),
        };
        let mut queues: Vec<_> = gates.iter().map(gauge).collect();
        drop(gates);
        queues.sort_by(|one, other| one.target.cmp(&other.target));
        queues
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_has_one_gate_with_the_least_of_its_limits() {
        let gates = Gates::default();
        let target: Arc<str> = "up/m".into();
        assert_eq!(gates.of(&target, None).limit(), None);
        assert_eq!(gates.of(&target, Some(8)).limit(), Some(8));
        assert_eq!(gates.of(&target, Some(20)).limit(), Some(8));
        assert_eq!(gates.of(&target, None).limit(), Some(8));
        assert_eq!(gates.of(&"up/other".into(), None).limit(), None);
    }

    #[test]
    fn names_that_callers_make_up_do_not_pile_up() {
        let gates = Gates::default();
        let used = gates.of(&"up/used".into(), Some(1)).try_enter().unwrap();
        for number in 0..3 * MOST_KEPT {
            gates.of(&format!("up/{number}").into(), None);
        }
        assert!(gates.gates.lock().unwrap().len() <= MOST_KEPT);
        assert!(gates.of(&"up/used".into(), Some(1)).try_enter().is_none(), "its place is taken");
        drop(used);
        assert!(gates.of(&"up/used".into(), Some(1)).try_enter().is_some());
    }
}
