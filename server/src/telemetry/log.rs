//! Log lines: to standard error, as text or JSON, never with keys, prompts or answers.

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// Checks a level or directives (`info`, `info,tollgate_server::route=debug`).
///
/// # Errors
/// What may be written instead.
pub fn check(directives: &str) -> Result<(), String> {
    filter(directives).map(|_| ())
}

/// Starts logging. `RUST_LOG` is not read: the configuration says what is logged.
///
/// # Errors
/// As `check`, or when logging was started before.
pub fn start(directives: &str, json: bool) -> Result<(), String> {
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    let registry = tracing_subscriber::registry().with(filter(directives)?);
    let started = if json { registry.with(lines.json()).try_init() } else { registry.with(lines).try_init() };
    started.map_err(|error| error.to_string())
}

/// Logs where a panic happened, without its message, which may quote what a caller sent.
pub fn hook_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        tracing::error!(%place, "a bug: the gateway panicked here; the call fails, the process goes on");
    }));
}

fn filter(directives: &str) -> Result<EnvFilter, String> {
    // A bare word is read as a module's name, so `inof` would silently log nothing.
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    let is_bare = |part: &&str| !part.contains(['=', ':', '[']);
    if directives.split(',').map(str::trim).filter(is_bare).any(|part| !levels.contains(&part)) {
        return Err(format!("not a level; valid are {}", levels.join(", ")));
    }
    EnvFilter::builder().parse(directives).map_err(|_| {
        "not log directives; write a level, or e.g. `info,tollgate_server::route=debug`".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_directives_are_told_from_mistakes() {
        for good in ["info", "off", "info,tollgate_server::route=debug", "tollgate_server=trace"] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in ["inof", "", "tollgate_server=loud", "info,,debug"] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
