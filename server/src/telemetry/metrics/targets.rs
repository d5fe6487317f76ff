//! How targets are, as it is when somebody looks: a gauge that is set at changes would miss what passes by itself.

use std::{
    fmt::Write as _,
    sync::{Arc, PoisonError, RwLock},
};

/// What is shown of a target.
#[derive(Clone, Debug)]
pub struct TargetGauges {
    /// Its name.
    pub target: Arc<str>,
    /// 0 if it is tried, 1 if one call finds out, 2 if it is left alone.
    pub circuit_state: u8,
    /// Share of attempts that succeed of late, 0 to 1.
    pub health: f64,
}

/// How many calls wait for a place at a target.
#[derive(Clone, Debug)]
pub struct QueueGauge {
    /// Its name, or that of the gateway as a whole.
    pub target: Arc<str>,
    /// Those who wait.
    pub waiting: usize,
}

type Source<T> = Box<dyn Fn() -> Vec<T> + Send + Sync>;

/// Where to ask.
pub(super) struct Watched<T>(RwLock<Option<Source<T>>>);

impl<T> Default for Watched<T> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<T> Watched<T> {
    pub(super) fn watch(&self, source: Source<T>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(source);
    }

    fn look(&self) -> Vec<T> {
        let source = self.0.read().unwrap_or_else(PoisonError::into_inner);
        source.as_ref().map_or_else(Vec::new, |source| source())
    }
}

/// What is watched of the targets.
#[derive(Default)]
pub(super) struct Targets {
    pub(super) health: Watched<TargetGauges>,
    pub(super) queues: Watched<QueueGauge>,
}

impl Targets {
    /// Adds the gauges to Prometheus text, of those targets that may have a label of their own.
    pub(super) fn render(&self, text: &mut String, has_label: impl Fn(&str) -> bool) {
        let mut targets = self.health.look();
        targets.retain(|one| has_label(&one.target));
        let help = "Whether a target is tried: 0 yes, 1 one call finds out, 2 no.";
        let states = targets.iter().map(|one| (&*one.target, f64::from(one.circuit_state)));
        family(text, super::CIRCUIT_STATE, help, states);
        let health = targets.iter().map(|one| (&*one.target, one.health));
        family(text, super::TARGET_HEALTH, "Share of attempts that succeed of late.", health);
        let mut queues = self.queues.look();
        queues.retain(|one| *one.target == *super::GATEWAY || has_label(&one.target));
        let count = |waiting| f64::from(u32::try_from(waiting).unwrap_or(u32::MAX));
        let waiting = queues.iter().map(|one| (&*one.target, count(one.waiting)));
        family(text, super::QUEUE_DEPTH, "Calls that wait for a place.", waiting);
    }
}

fn family<'a>(text: &mut String, name: &str, help: &str, values: impl Iterator<Item = (&'a str, f64)>) {
    let mut values = values.peekable();
    if values.peek().is_none() {
        return;
    }
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
    for (target, value) in values {
        let _ = writeln!(text, "{name}{{target=\"{}\"}} {value}", super::calls::escape(target));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gauges_are_shown_as_they_are_now_for_targets_with_a_label() {
        let targets = Targets::default();
        let mut text = String::new();
        targets.render(&mut text, |_| true);
        assert_eq!(text, "", "nobody to ask");
        targets.health.watch(Box::new(|| {
            let gauges = |name: &str, circuit_state, health| TargetGauges {
                target: name.into(),
                circuit_state,
                health,
            };
            vec![gauges("a/m\"x", 2, 0.25), gauges("made/up", 0, 1.0)]
        }));
        targets.queues.watch(Box::new(|| {
            let gauge = |name: &str, waiting| QueueGauge { target: name.into(), waiting };
            vec![gauge("_gateway", 1), gauge("a/m\"x", 7), gauge("made/up", 3)]
        }));
        targets.render(&mut text, |target| target.starts_with("a/"));
        let values: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let expected = [
            r#"tollgate_circuit_state{target="a/m\"x"} 2"#,
            r#"tollgate_target_health{target="a/m\"x"} 0.25"#,
            r#"tollgate_queue_depth{target="_gateway"} 1"#,
            r#"tollgate_queue_depth{target="a/m\"x"} 7"#,
        ];
        assert_eq!(values, expected);
    }
}
