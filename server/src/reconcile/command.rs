//! The command line of `tollgate reconcile`.

use std::path::{Path, PathBuf};

use super::{Family, Options, Outcome};
use crate::config::{Config, Moment, Share};

/// Compare the ledger with a provider's usage or cost export, and list the differences. Ends with 0 if they agree and
/// with 1 if not.
#[derive(Clone, Debug, clap::Args)]
pub struct Reconcile {
    /// The export: JSON of the provider's usage or cost API, or CSV of its console.
    #[arg(long, value_name = "FILE")]
    provider_report: PathBuf,
    /// Whose export it is [default: what it looks like]
    #[arg(long, value_name = "openai|anthropic", value_parser = family)]
    provider: Option<Family>,
    /// Configured provider whose calls count; may be given several times [default: those at the vendor's own address]
    #[arg(long = "of", value_name = "NAME")]
    of: Vec<String>,
    /// Start of the time that is compared, as a date in UTC or RFC 3339 [default: that of the export]
    #[arg(long, value_name = "TIME", value_parser = moment)]
    from: Option<Moment>,
    /// End of the time that is compared [default: that of the export]
    #[arg(long, value_name = "TIME", value_parser = moment)]
    to: Option<Moment>,
    /// How far amounts may be apart, as a share of the larger, like `0.5%`.
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = share)]
    tolerance: Share,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn family(text: &str) -> Result<Family, String> {
    Family::from_name(text).ok_or_else(|| "write openai or anthropic".to_owned())
}

fn moment(text: &str) -> Result<Moment, String> {
    Moment::parse(text)
        .ok_or_else(|| "write a date like 2027-01-01 or a time like 2027-01-01T12:00:00Z".to_owned())
}

fn share(text: &str) -> Result<Share, String> {
    Share::parse(text).ok_or_else(|| "write a share like 0.5% or 0.005".to_owned())
}

impl Reconcile {
    /// Compares, and returns what to print and whether the two agree.
    ///
    /// # Errors
    /// A message for the operator: what cannot be read, and why.
    pub fn run(self, config: &Config, data_dir: &Path) -> Result<(String, bool), String> {
        let options = Options {
            file: self.provider_report,
            family: self.provider,
            providers: self.of,
            from: self.from,
            until: self.to,
            tolerance: self.tolerance,
        };
        let outcome: Outcome = super::run(&options, config, data_dir)?;
        let text = if self.json { outcome.to_json() } else { outcome.to_text() };
        Ok((text, outcome.agrees()))
    }
}
