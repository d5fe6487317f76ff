//! `tollgate store check`: whether the store is reached, has the right tables, and adds up.

use std::{fmt::Write as _, path::Path};

use super::{PATIENCE, failed};
use crate::{
    app::Failure,
    meter::{self, Survey},
    postgres::{Postgres, Schema, newest},
};

/// What was found.
#[derive(Default)]
struct Findings {
    text: String,
    wrong: usize,
}

impl Findings {
    fn add(&mut self, right: bool, what: &str) {
        let mark = if right { "ok   " } else { "WRONG" };
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{mark} {what}");
        self.wrong += usize::from(!right);
    }

    fn into_result(self) -> Result<String, Failure> {
        if self.wrong == 0 {
            return Ok(self.text);
        }
        Err(Failure::Start(format!("{} of the checks below failed\n{}", self.wrong, self.text.trim_end())))
    }
}

/// Checks the store.
pub(super) fn run(shared: Option<&Postgres>, store: &Path) -> Result<String, Failure> {
    let mut findings = Findings::default();
    if let Some(shared) = shared {
        check_postgres(shared, &mut findings)?;
    }
    if let Some(missing) = missing(store) {
        // Beside a PostgreSQL it has only what waits to be sent.
        let what = format!("{missing} does not exist; is --data-dir that of the gateway?");
        findings.add(shared.is_some(), &what);
        return findings.into_result();
    }
    let waiting = meter::waiting(store).map_err(Failure::Start)?;
    let what = match shared {
        None => format!("{} records", waiting.records),
        Some(_) => format!("{} records wait to be sent to PostgreSQL", waiting.unsent),
    };
    findings.add(true, &format!("{}: {what}", store.display()));
    findings.into_result()
}

/// Returns the folder of the store if it is not there, else the store if that is not.
fn missing(store: &Path) -> Option<String> {
    let folder = store.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.exists());
    match folder {
        Some(folder) => Some(format!("the folder {}", folder.display())),
        None => (!store.exists()).then(|| format!("the store {}", store.display())),
    }
}

fn check_postgres(shared: &Postgres, findings: &mut Findings) -> Result<(), Failure> {
    let place = shared.place();
    let schema = shared.schema(PATIENCE).map_err(|trouble| failed(&trouble))?;
    findings.add(true, &format!("{place}: reached"));
    if !check_schema(schema, findings) {
        return Ok(());
    }
    let survey = shared.run(PATIENCE, meter::survey).map_err(|trouble| failed(&trouble))?;
    findings.add(survey.encoding == "UTF8", &format!("encoding {}", survey.encoding));
    findings.add(survey.ahead, "there are partitions for this month and the next");
    check_sums(&survey, findings);
    for replica in &survey.replicas {
        findings.add(true, &format!("replica {replica}"));
    }
    Ok(())
}

/// Checks the version; false if nothing else can be looked at.
fn check_schema(schema: Schema, findings: &mut Findings) -> bool {
    match schema.check() {
        Err(trouble) => findings.add(false, &trouble.to_string()),
        Ok(()) if schema.behind() > 0 => findings.add(
            false,
            &format!(
                "tables of version {}, this Tollgate makes {}: run `tollgate store migrate`",
                schema.version,
                newest()
            ),
        ),
        Ok(()) => findings.add(true, &format!("tables of version {}", schema.version)),
    }
    schema.check().is_ok() && schema.behind() == 0
}

fn check_sums(survey: &Survey, findings: &mut Findings) {
    for month in &survey.months {
        let name = &month.name;
        let what = format!("{name}: {} records", month.records.calls);
        findings.add(true, &what);
        let kinds = [
            ("hour", month.hours, month.rolled),
            ("day", month.days, month.totalled),
            ("month", month.whole, month.totalled),
        ];
        for (kind, sums, records) in kinds {
            if sums != records {
                let what = format!(
                    "{name}: sums by {kind} have {} calls and {} nano-USD, their records {} and {}",
                    sums.calls, sums.cost_nanos, records.calls, records.cost_nanos
                );
                findings.add(false, &what);
            }
        }
    }
}
