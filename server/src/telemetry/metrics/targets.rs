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

type Source = Box<dyn Fn() -> Vec<TargetGauges> + Send + Sync>;

/// Where to ask.
#[derive(Default)]
pub(super) struct Targets(RwLock<Option<Source>>);

impl Targets {
    pub(super) fn watch(&self, source: Source) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(source);
    }

    /// Adds the gauges to Prometheus text, of those targets that may have a label of their own.
    pub(super) fn render(&self, text: &mut String, has_label: impl Fn(&str) -> bool) {
        let source = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut targets = source.as_ref().map_or_else(Vec::new, |source| source());
        targets.retain(|one| has_label(&one.target));
        if targets.is_empty() {
            return;
        }
        let mut family = |name: &str, help: &str, value: fn(&TargetGauges) -> f64| {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
            for one in &targets {
                let _ = writeln!(
                    text,
                    "{name}{{target=\"{}\"}} {}",
                    super::calls::escape(&one.target),
                    value(one)
                );
            }
        };
        let help = "Whether a target is tried: 0 yes, 1 one call finds out, 2 no.";
        family(super::CIRCUIT_STATE, help, |one| f64::from(one.circuit_state));
        family(super::TARGET_HEALTH, "Share of attempts that succeed of late.", |one| one.health);
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
        targets.watch(Box::new(|| {
            let gauges = |name: &str, circuit_state, health| TargetGauges {
                target: name.into(),
                circuit_state,
                health,
            };
            vec![gauges("a/m\"x", 2, 0.25), gauges("made/up", 0, 1.0)]
        }));
        targets.render(&mut text, |target| target != "made/up");
        let values: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let expected = [
            r#"tollgate_circuit_state{target="a/m\"x"} 2"#,
            r#"tollgate_target_health{target="a/m\"x"} 0.25"#,
        ];
        assert_eq!(values, expected);
    }
}
