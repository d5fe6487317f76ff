//! `tollgate store`: what operators do with the store beside a running gateway.

mod check;
mod export;

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand, ValueEnum};

use super::{Failure, postgres};
use crate::{
    config::{Config, Moment},
    meter,
    postgres::{Postgres, Trouble, newest},
};

/// Longest that one question may take: a ledger of a year is counted.
const PATIENCE: Duration = Duration::from_secs(30 * 60);

/// What is done with the store.
#[derive(Clone, Debug, Subcommand)]
pub enum Task {
    /// Bring the tables in PostgreSQL up to date, ahead of a rollout. Gateways that run go on with them.
    Migrate,
    /// Check connection, tables, sums against records, and what waits to be sent. Exits with 1 if anything is wrong.
    Check,
    /// Write usage records, oldest first, to standard output or a file.
    Export(Export),
}

/// Which records are written, and how.
#[derive(Clone, Debug, Args)]
pub struct Export {
    /// Records from then on: a date (its start in UTC) or an RFC 3339 time.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    from: Option<Moment>,
    /// Records before that.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    to: Option<Moment>,
    /// How they are written.
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    format: Format,
    /// File that they are written to, in place of standard output. It appears when it is whole.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One JSON object a line, as `/v1/usage/records` shows records.
    Jsonl,
    /// One line a record, with a line of names first.
    Csv,
}

fn moment(text: &str) -> Result<Moment, String> {
    Moment::parse(text)
        .ok_or_else(|| "write a date like 2027-01-01 or a time like 2027-01-01T12:00:00Z".to_owned())
}

/// Does it, and returns what to print. Blocks; it needs a runtime around it.
///
/// # Errors
/// What is wrong, in words.
pub fn run(task: Task, config: &Config, data_dir: &std::path::Path) -> Result<String, Failure> {
    let store = config.store_path(data_dir).map_err(Failure::Config)?;
    let shared = postgres(config)?;
    match (task, shared) {
        (Task::Migrate, Some(shared)) => migrate(&shared),
        (Task::Migrate, None) => {
            Ok(format!("{}: nothing to do; SQLite is brought up to date at every start\n", store.display()))
        }
        (Task::Check, shared) => check::run(shared.as_ref(), &store),
        (Task::Export(wanted), shared) => export::run(&wanted, shared.as_ref(), &store),
    }
}

fn migrate(shared: &Postgres) -> Result<String, Failure> {
    let before = shared.schema(PATIENCE).map_err(|trouble| failed(&trouble))?;
    shared.run(PATIENCE, meter::make_partitions).map_err(|trouble| failed(&trouble))?;
    let place = shared.place();
    Ok(match (before.version, newest()) {
        (before, now) if before == now => format!("{place}: up to date (version {now})\n"),
        (before, now) if before > now => {
            format!("{place}: newer (version {before}) than this Tollgate ({now}), which works with it\n")
        }
        (0, now) => format!("{place}: made the tables (version {now})\n"),
        (before, now) => format!("{place}: version {before} is version {now} now\n"),
    })
}

fn failed(trouble: &Trouble) -> Failure {
    Failure::Start(trouble.to_string())
}
