//! Who counts limits: this process, or all replicas that share a Redis.

use std::{io::ErrorKind, path::Path, sync::Arc};

use uuid::Uuid;

use super::Spent;
use crate::{
    auth::Auth,
    config::Config,
    meter::Meter,
    quota::{Calendar, Engine, Local, Replicated},
    shared::Shared,
};

/// Starts to count.
pub(super) fn engine(
    config: &Config,
    shared: Option<&Arc<Shared>>,
    (meter, auth): (&Arc<Meter>, &Arc<Auth>),
    data_dir: &Path,
) -> Result<Arc<dyn Engine>, String> {
    let calendar = Calendar::new(config.time_zone.0.clone());
    let history = Arc::new(Spent { meter: meter.clone(), auth: auth.clone() });
    let Some(shared) = shared else { return Ok(Arc::new(Local::new(history, calendar))) };
    // All replicas read one ledger in PostgreSQL; without it each has one of its own.
    let ledger = match config.store_postgres()? {
        Some(_) => "postgres".to_owned(),
        None => ledger_name(data_dir)?,
    };
    let patience = config.timeouts.shared.0;
    Ok(Arc::new(Replicated::start(shared.clone(), history, calendar, &ledger, patience)?))
}

/// Returns what the ledger in this directory is called among replicas. The name is made up once.
fn ledger_name(data_dir: &Path) -> Result<String, String> {
    let file = data_dir.join("ledger-name");
    let explain = |error: std::io::Error| format!("`{}` cannot be used: {error}", file.display());
    match std::fs::read_to_string(&file) {
        Ok(name) if !name.trim().is_empty() => return Ok(name.trim().to_owned()),
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(explain(error)),
        Ok(_) | Err(_) => {}
    }
    let name = Uuid::now_v7().simple().to_string();
    std::fs::write(&file, &name).map_err(explain)?;
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_keeps_its_name() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let name = ledger_name(one.path()).unwrap();
        assert_eq!(ledger_name(one.path()).unwrap(), name);
        assert_ne!(ledger_name(other.path()).unwrap(), name);
    }
}
