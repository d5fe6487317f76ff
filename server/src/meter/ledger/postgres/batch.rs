//! Records on their way from the local ledger to PostgreSQL: one array for each column, inserted by one statement.

use std::{borrow::Cow, collections::BTreeSet, sync::LazyLock};

use jiff::{SignedDuration, Timestamp, ToSpan as _, tz::TimeZone};
use rusqlite::Row;
use uuid::Uuid;

use crate::postgres::{Session, Trouble, types::ToSql};

/// What a column holds.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Id,
    Int,
    Text,
    Tags,
    Bytes,
}

/// The columns of `records` but its number, in both databases.
const COLUMNS: [(&str, Kind); 28] = [
    ("id", Kind::Id),
    ("create_ms", Kind::Int),
    ("key_id", Kind::Text),
    ("team_id", Kind::Text),
    ("requested_model", Kind::Text),
    ("model", Kind::Text),
    ("provider", Kind::Text),
    ("target", Kind::Text),
    ("operation", Kind::Text),
    ("surface", Kind::Text),
    ("status", Kind::Text),
    ("error_reason", Kind::Text),
    ("streamed", Kind::Int),
    ("cache_status", Kind::Int),
    ("recovered", Kind::Int),
    ("source", Kind::Int),
    ("input_tokens", Kind::Int),
    ("output_tokens", Kind::Int),
    ("cache_read", Kind::Int),
    ("cache_write", Kind::Int),
    ("reasoning", Kind::Int),
    ("cost_nanos", Kind::Int),
    ("saved_nanos", Kind::Int),
    ("price_version", Kind::Text),
    ("estimated", Kind::Int),
    ("unpriced", Kind::Int),
    ("tags", Kind::Tags),
    ("record", Kind::Bytes),
];

/// A record that is there already, from a batch whose end was not heard of, is passed over.
static INSERT: LazyLock<String> = LazyLock::new(|| {
    let types = COLUMNS.iter().zip(1..).map(|((_, kind), at)| match kind {
        Kind::Id => format!("${at}::uuid[]"),
        Kind::Int => format!("${at}::bigint[]"),
        Kind::Text | Kind::Tags => format!("${at}::text[]"),
        Kind::Bytes => format!("${at}::bytea[]"),
    });
    let taken = COLUMNS.iter().map(|(name, kind)| match kind {
        Kind::Tags => format!("{name}::jsonb"),
        _ => (*name).to_owned(),
    });
    let names = names();
    format!(
        "INSERT INTO tollgate.records ({names}) SELECT {} FROM unnest({}) AS batch ({names}) ON CONFLICT DO NOTHING",
        taken.collect::<Vec<_>>().join(", "),
        types.collect::<Vec<_>>().join(", "),
    )
});

/// Returns the names of the columns, for a statement.
pub(super) fn names() -> String {
    COLUMNS.map(|(name, _)| name).join(", ")
}

/// Values of one column.
enum Values {
    Ids(Vec<Uuid>),
    Ints(Vec<Option<i64>>),
    Texts(Vec<Option<String>>),
    Bytes(Vec<Vec<u8>>),
}

impl Values {
    fn as_array(&self) -> &(dyn ToSql + Sync) {
        match self {
            Self::Ids(values) => values,
            Self::Ints(values) => values,
            Self::Texts(values) => values,
            Self::Bytes(values) => values,
        }
    }
}

/// Some records, in the order of their numbers.
pub(super) struct Batch {
    last: i64,
    len: usize,
    bytes: usize,
    months: BTreeSet<Month>,
    columns: Vec<Values>,
}

impl Batch {
    /// Begins one after the record of this number.
    pub(super) fn new(after: i64) -> Self {
        let columns = COLUMNS.iter().map(|(_, kind)| match kind {
            Kind::Id => Values::Ids(Vec::new()),
            Kind::Int => Values::Ints(Vec::new()),
            Kind::Text | Kind::Tags => Values::Texts(Vec::new()),
            Kind::Bytes => Values::Bytes(Vec::new()),
        });
        Self { last: after, len: 0, bytes: 0, months: BTreeSet::new(), columns: columns.collect() }
    }

    /// Adds a row: the number, and then the columns in their order.
    pub(super) fn add(&mut self, row: &Row<'_>) -> rusqlite::Result<()> {
        for ((at, (_, kind)), values) in COLUMNS.iter().enumerate().zip(&mut self.columns) {
            let at = at + 1;
            match values {
                Values::Ids(ids) => ids.push(Uuid::from_bytes(row.get(at)?)),
                Values::Ints(numbers) => numbers.push(row.get(at)?),
                Values::Texts(texts) => {
                    let text: Option<String> = row.get(at)?;
                    texts.push(
                        text.map(|text| if *kind == Kind::Tags { tags(text) } else { without_nul(text) }),
                    );
                }
                Values::Bytes(all) => {
                    let bytes = row.get_ref(at)?.as_blob()?;
                    self.bytes += bytes.len();
                    all.push(bytes.to_owned());
                }
            }
        }
        self.months.insert(Month::of(row.get("create_ms")?));
        self.last = row.get("seq")?;
        self.len += 1;
        Ok(())
    }

    /// Returns the local number of the last record.
    pub(super) fn last(&self) -> i64 {
        self.last
    }

    /// Returns how many there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Returns how many bytes they are, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the months that they lie in.
    pub(super) fn months(&self) -> impl Iterator<Item = Month> {
        self.months.iter().copied()
    }

    /// Inserts those that are not there yet, and returns how many that were.
    pub(super) fn insert(&self, session: &mut Session) -> Result<u64, Trouble> {
        let values: Vec<_> = self.columns.iter().map(Values::as_array).collect();
        session.execute(&INSERT, &values)
    }
}

/// PostgreSQL's texts cannot hold a NUL. The record itself keeps it.
fn without_nul(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text }
}

/// The same for tags, which are JSON.
fn tags(json: String) -> String {
    if !json.contains("\\u0000") {
        return json;
    }
    let tags: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&json).unwrap_or_default();
    let clean = |text: &str| Cow::from(text.replace('\0', "\u{fffd}")).into_owned();
    let tags =
        tags.iter().map(|(name, value)| (clean(name), clean(value.as_str().unwrap_or_default()).into()));
    serde_json::Value::Object(tags.collect()).to_string()
}

/// A calendar month in UTC, of which `records` has a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Month {
    /// Its year.
    pub(super) year: i16,
    /// Its number, from 1 on.
    pub(super) month: i8,
}

impl Month {
    /// Returns the month of a time in milliseconds since 1970. What lies outside the calendar is in its first month.
    pub(super) fn of(ms: i64) -> Self {
        let time = Timestamp::UNIX_EPOCH.checked_add(SignedDuration::from_millis(ms));
        let day = time.unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(TimeZone::UTC).date();
        Self { year: day.year(), month: day.month() }
    }

    /// Returns the month so many after this one.
    pub(super) fn later(self, months: i64) -> Self {
        let first = jiff::civil::Date::new(self.year, self.month, 1);
        match first.and_then(|first| first.checked_add(months.months())) {
            Ok(day) => Self { year: day.year(), month: day.month() },
            Err(_) => self,
        }
    }

    /// Returns its start, in milliseconds since 1970.
    pub(super) fn start_ms(self) -> i64 {
        let first = jiff::civil::Date::new(self.year, self.month, 1);
        first
            .and_then(|first| first.to_zoned(TimeZone::UTC))
            .map_or(0, |start| start.timestamp().as_millisecond())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_knows_its_bounds_and_the_next() {
        let december = Month::of(1_798_761_599_999);
        assert_eq!((december.year, december.month), (2026, 12));
        let january = december.later(1);
        assert_eq!((january.year, january.month, january.start_ms()), (2027, 1, 1_798_761_600_000));
        assert_eq!(Month::of(january.start_ms()), january);
        assert_eq!(Month::of(i64::MAX), Month { year: 1970, month: 1 });
    }

    #[test]
    fn what_postgres_cannot_hold_is_replaced_in_columns() {
        assert_eq!(without_nul("a\0b".to_owned()), "a\u{fffd}b");
        assert_eq!(tags(r#"{"a":"b"}"#.to_owned()), r#"{"a":"b"}"#);
        let escaped = serde_json::json!({ "a\0": "b\0\\u0000" }).to_string();
        let clean: serde_json::Value = serde_json::from_str(&tags(escaped)).unwrap();
        assert_eq!(clean, serde_json::json!({ "a\u{fffd}": "b\u{fffd}\\u0000" }));
    }

    #[test]
    fn every_column_has_its_place_in_the_statement() {
        assert!(INSERT.contains("$28::bytea[]") && INSERT.contains("tags::jsonb") && !INSERT.contains("$29"));
    }
}
