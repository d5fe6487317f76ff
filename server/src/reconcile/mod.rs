//! `tollgate reconcile`: what a provider says we used, beside what our ledger says.
//!
//! Place in the path: none; it reads a store, with or without a gateway beside it. The way: `table` and `export` (the
//! provider's file to lines) → `ours` (records to amounts of the same times) → `compare` (plain) → `show`. Config: reads
//! `providers` and `store`. Metrics: none. Tests: beside each file, `tests/e2e/reconcile.rs`.

mod amounts;
mod command;
mod compare;
mod export;
mod ours;
mod show;
mod table;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use tokio::runtime::Handle;

use crate::{
    config::{Config, Moment, Share},
    meter,
    postgres::Postgres,
};
pub use command::Reconcile;
pub use compare::Outcome;
pub use export::Family;

/// What to compare.
pub struct Options {
    /// The provider's file.
    pub file: PathBuf,
    /// Whose it is; absent: what it looks like.
    pub family: Option<Family>,
    /// Names of the configured providers whose calls count; empty: all that are the vendor's own.
    pub providers: Vec<String>,
    /// Only from then on.
    pub from: Option<Moment>,
    /// Only before then.
    pub until: Option<Moment>,
    /// How far the two may be apart, as a share of the larger.
    pub tolerance: Share,
}

/// Compares a provider's file with a store. Blocks; it needs a runtime around it.
///
/// # Errors
/// A message for the operator: what cannot be read, and why.
pub fn run(options: &Options, config: &Config, data_dir: &Path) -> Result<Outcome, String> {
    let shown = options.file.display();
    let text =
        std::fs::read_to_string(&options.file).map_err(|error| format!("cannot read {shown}: {error}"))?;
    let mut export = export::read(&text, options.family).map_err(|message| format!("{shown}: {message}"))?;
    let store = config.store_path(data_dir)?;
    let address = config.store_postgres()?;
    let shared = address.map(|address| Postgres::new(address, Handle::current())).transpose()?;
    if shared.is_some() {
        let unsent = meter::waiting(&store)?.unsent;
        if unsent > 0 {
            export.notes.push(format!("{unsent} records of this replica are not in PostgreSQL yet"));
        }
    }
    let providers = providers(options, config, export.family);
    let seconds = |moment: &Option<Moment>| moment.map(|moment| moment.seconds());
    let mut comparison = compare::Comparison::new(export, (seconds(&options.from), seconds(&options.until)))?;
    ours::read((shared.as_ref(), &store), comparison.span(), &providers, |call| comparison.add(call))?;
    Ok(comparison.finish(options.tolerance, providers.into_iter().collect()))
}

/// Returns the names of the providers whose calls the vendor bills: those at the vendor's own address, else all that
/// speak its dialect.
fn providers(options: &Options, config: &Config, family: Family) -> BTreeSet<String> {
    if !options.providers.is_empty() {
        return options.providers.iter().cloned().collect();
    }
    let speaking =
        config.providers.iter().flatten().filter(|(_, provider)| provider.dialect == family.name());
    let own = speaking
        .clone()
        .filter(|(_, provider)| provider.base_url.as_ref().is_none_or(|url| url.contains(family.host())));
    let names = |list: &mut dyn Iterator<Item = (&String, _)>| list.map(|(name, _)| name.clone()).collect();
    let own: BTreeSet<String> = names(&mut own.map(|(name, _)| (name, ())));
    let all: BTreeSet<String> = names(&mut speaking.map(|(name, _)| (name, ())));
    match (own.is_empty(), all.is_empty()) {
        (false, _) => own,
        (true, false) => all,
        (true, true) => [family.name().to_owned()].into(),
    }
}
