//! `tollgate store export`: usage records as lines, one at a time, however many there are.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use jiff::Timestamp;
use prost::Message as _;
use tollgate_api::v1;

use super::{Export, Format};
use crate::{
    app::Failure,
    config::Moment,
    edge,
    meter::{self, Stopped},
    postgres::Postgres,
};

/// The columns of a line of CSV.
const COLUMNS: [&str; 28] = [
    "id",
    "create_time",
    "key_id",
    "team_id",
    "requested_model",
    "model",
    "provider",
    "target",
    "operation",
    "surface",
    "status",
    "error_reason",
    "streamed",
    "cache_status",
    "recovered",
    "source",
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_write_input_tokens",
    "reasoning_output_tokens",
    "cost_nanos",
    "saved_nanos",
    "price_version",
    "estimated",
    "unpriced",
    "session_id",
    "tags",
];

/// Writes the records, and returns what to print beside them.
pub(super) fn run(wanted: &Export, shared: Option<&Postgres>, store: &Path) -> Result<String, Failure> {
    let range = (millis(wanted.from).unwrap_or(i64::MIN), millis(wanted.to).unwrap_or(i64::MAX));
    let Some(path) = &wanted.output else {
        let lines = Lines::new(io::stdout().lock(), wanted.format);
        let mut lines = lines.map_err(|error| broken(&error))?;
        all(&mut lines, shared, store, range)?;
        return lines.to.flush().map(|()| String::new()).map_err(|error| broken(&error));
    };
    let part = part_of(path);
    let file = File::options().create(true).truncate(true).write(true).mode(0o600).open(&part);
    let lines = file.and_then(|file| Lines::new(file, wanted.format));
    let mut lines = lines.map_err(|error| broken(&error))?;
    let count = all(&mut lines, shared, store, range)?;
    lines.to.flush().and_then(|()| fs::rename(&part, path)).map_err(|error| broken(&error))?;
    Ok(format!("{}: {count} records\n", path.display()))
}

/// Names the file while it is not whole.
fn part_of(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    path.with_file_name(name)
}

fn millis(moment: Option<Moment>) -> Option<i64> {
    let since = moment?.0.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).ok()
}

fn all<W: Write>(
    lines: &mut Lines<W>,
    shared: Option<&Postgres>,
    store: &Path,
    range: (i64, i64),
) -> Result<u64, Failure> {
    let mut count = 0_u64;
    let mut take = |record: &[u8]| {
        count += 1;
        lines.add(record)
    };
    match meter::dump(shared, store, range, &mut take) {
        Ok(()) => Ok(count),
        Err(Stopped::Read(message)) => Err(Failure::Start(message)),
        Err(Stopped::Take(error)) => Err(broken(&error)),
    }
}

fn broken(error: &io::Error) -> Failure {
    Failure::Start(format!("the records cannot be written: {error}"))
}

/// Records as lines.
struct Lines<W: Write> {
    to: BufWriter<W>,
    format: Format,
}

impl<W: Write> Lines<W> {
    fn new(to: W, format: Format) -> io::Result<Self> {
        let mut lines = Self { to: BufWriter::new(to), format };
        if format == Format::Csv {
            lines.row(COLUMNS.map(Cow::from))?;
        }
        Ok(lines)
    }

    /// Adds an encoded record.
    fn add(&mut self, record: &[u8]) -> io::Result<()> {
        match self.format {
            Format::Jsonl => {
                edge::write_json("tollgate.v1.UsageRecord", record, &mut self.to)?;
                self.to.write_all(b"\n")
            }
            Format::Csv => self.row(cells(&v1::UsageRecord::decode(record)?)),
        }
    }

    fn row<'c>(&mut self, cells: impl IntoIterator<Item = Cow<'c, str>>) -> io::Result<()> {
        for (at, cell) in cells.into_iter().enumerate() {
            if at > 0 {
                self.to.write_all(b",")?;
            }
            if cell.contains([',', '"', '\n', '\r']) {
                write!(self.to, "\"{}\"", cell.replace('"', "\"\""))?;
            } else {
                self.to.write_all(cell.as_bytes())?;
            }
        }
        self.to.write_all(b"\n")
    }
}

/// Returns the cells of a line, in the order of `COLUMNS`. What is not known is empty.
fn cells(record: &v1::UsageRecord) -> [Cow<'_, str>; COLUMNS.len()] {
    let usage = record.usage.as_ref();
    let cost = usage.and_then(|usage| usage.cost.as_ref());
    let known = |number: Option<i64>| number.map_or(Cow::from(""), |number| number.to_string().into());
    let flag = |flag: bool| Cow::from(if flag { "true" } else { "false" });
    let time = record.create_time.and_then(|time| Timestamp::new(time.seconds, time.nanos).ok());
    let tags: BTreeMap<_, _> = record.tags.iter().collect();
    let tags = if tags.is_empty() { String::new() } else { serde_json::json!(tags).to_string() };
    [
        Cow::from(&record.id),
        time.map_or_else(String::new, |time| time.to_string()).into(),
        Cow::from(&record.key_id),
        Cow::from(&record.team_id),
        Cow::from(&record.requested_model),
        Cow::from(&record.model),
        Cow::from(&record.provider),
        Cow::from(&record.target),
        Cow::from(&record.operation),
        Cow::from(&record.surface),
        Cow::from(&record.status),
        Cow::from(&record.error_reason),
        flag(record.streamed),
        record.cache_status().as_str_name().trim_start_matches("CACHE_STATUS_").to_ascii_lowercase().into(),
        flag(record.recovered),
        usage.map_or(Cow::from(""), |usage| {
            usage.source().as_str_name().trim_start_matches("SOURCE_").to_ascii_lowercase().into()
        }),
        known(usage.and_then(|usage| usage.input_tokens)),
        known(usage.and_then(|usage| usage.output_tokens)),
        known(usage.and_then(|usage| usage.cache_read_input_tokens)),
        known(usage.and_then(|usage| usage.cache_write_input_tokens)),
        known(usage.and_then(|usage| usage.reasoning_output_tokens)),
        known(cost.map(|cost| cost.amount_nanos)),
        known(cost.map(|cost| cost.saved_nanos)),
        cost.map_or(Cow::from(""), |cost| Cow::from(&cost.price_version)),
        cost.map_or(Cow::from(""), |cost| flag(cost.estimated)),
        flag(record.unpriced),
        Cow::from(&record.session_id),
        tags.into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(format: Format, record: &v1::UsageRecord) -> String {
        let mut lines = Lines::new(Vec::new(), format).unwrap();
        lines.add(&record.encode_to_vec()).unwrap();
        String::from_utf8(lines.to.into_inner().unwrap()).unwrap()
    }

    #[test]
    fn a_line_has_a_cell_for_each_name_and_what_is_not_known_is_empty() {
        let record = v1::UsageRecord {
            id: "r".to_owned(),
            team_id: "a, \"b\"".to_owned(),
            create_time: Some(prost_types::Timestamp { seconds: 0, nanos: 500_000_000 }),
            usage: Some(v1::Usage { input_tokens: Some(7), ..Default::default() }),
            ..Default::default()
        };
        let text = lines(Format::Csv, &record);
        let (names, line) = text.split_once('\n').unwrap();
        assert_eq!(names.split(',').count(), COLUMNS.len());
        assert!(
            line.starts_with("r,1970-01-01T00:00:00.5Z,,\"a, \"\"b\"\"\",") && line.contains(",7,,,"),
            "{line}"
        );
    }

    #[test]
    fn a_line_of_json_is_the_record_as_it_is_shown() {
        let record = v1::UsageRecord { id: "r".to_owned(), streamed: true, ..Default::default() };
        let shown: serde_json::Value = serde_json::from_str(&lines(Format::Jsonl, &record)).unwrap();
        assert_eq!((&shown["id"], &shown["streamed"]), (&"r".into(), &true.into()));
    }
}
