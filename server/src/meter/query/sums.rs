//! Sums over records, by bucket of time and by group.

use std::collections::HashMap;

use rusqlite::{Connection, Row, params_from_iter, types::Value};
use tollgate_api::v1::{self, usage};

use super::{
    filter::{Conditions, Span, expression},
    page::{self, Token},
};
use crate::{call::Caller, error::Error, meter::ledger::reader::unreadable};

/// Most words of `group_by`.
const MOST_GROUPS: usize = 5;

/// A question that was checked.
pub(super) struct Report {
    conditions: Conditions,
    names: Vec<String>,
    bucket: Bucket,
    span: Span,
    fingerprint: u64,
    token: Option<Token>,
    size: usize,
}

/// One part of what is summed up, with the values of its first two question marks.
struct Source {
    sql: String,
    range: [i64; 2],
}

/// Columns of the sums of an hour.
const ROLLUPS: &str = "hour_ms AS create_ms, key_id, team_id, requested_model, provider, target, surface, status,
    NULL AS tags, calls, hits, source_min, source_max, input_tokens, output_tokens, cache_read, cache_write, reasoning,
    cost_nanos, saved_nanos, version_min, version_max, estimated FROM rollups";
/// The same columns of a single record.
const RECORDS: &str = "create_ms, key_id, team_id, requested_model, provider, target, surface, status,
    tags, 1 AS calls, cache_status IN (3, 4, 5) AS hits, source AS source_min, source AS source_max, input_tokens,
    output_tokens, cache_read, cache_write, reasoning, cost_nanos, saved_nanos, price_version AS version_min,
    price_version AS version_max, estimated FROM records";
const HOUR_MS: i64 = 3_600_000;

/// Returns the whole hours within a span: the first one's start and the last one's end.
fn whole_hours(start_ms: i64, end_ms: i64) -> (i64, i64) {
    let floor = |ms: i64| ms.saturating_sub(ms.rem_euclid(HOUR_MS));
    let first = floor(start_ms.max(0).saturating_add(HOUR_MS - 1));
    (first, floor(end_ms))
}

#[derive(Clone, Copy, PartialEq)]
enum Bucket {
    None,
    Hour,
    Day,
    Month,
}

impl Bucket {
    fn from_name(name: &str) -> Result<Self, Error> {
        match name {
            "" | "none" => Ok(Self::None),
            "hour" => Ok(Self::Hour),
            "day" => Ok(Self::Day),
            "month" => Ok(Self::Month),
            _ => Err(Error::invalid("bucket", "bucket must be hour, day, month or none")),
        }
    }

    /// Start of the bucket, in milliseconds since 1970.
    fn sql(self) -> &'static str {
        match self {
            Self::None => "0",
            Self::Hour => "create_ms / 3600000 * 3600000",
            Self::Day => "create_ms / 86400000 * 86400000",
            Self::Month => "unixepoch(create_ms / 1000, 'unixepoch', 'start of month') * 1000",
        }
    }
}

impl Report {
    pub(super) fn new(caller: &Caller, request: &v1::QueryUsageRequest) -> Result<Self, Error> {
        let names = request.group_by.clone();
        if names.len() > MOST_GROUPS {
            return Err(Error::invalid("group_by", format!("at most {MOST_GROUPS} words are allowed")));
        }
        if (1..names.len()).any(|at| names[..at].contains(&names[at])) {
            return Err(Error::invalid("group_by", "the same word stands there twice"));
        }
        for name in &names {
            expression(name).map_err(|message| Error::invalid("group_by", message))?;
        }
        let mut words: Vec<&str> = vec![&request.bucket];
        words.extend(names.iter().map(String::as_str));
        let fingerprint = page::fingerprint(caller, &request.filters, &words);
        let token = Token::read(&request.page_token, fingerprint, names.len())?;
        let span = Span::new(request.start_time.as_ref(), request.end_time.as_ref(), token.as_ref())?;
        let mut conditions = Conditions::visible_to(caller);
        conditions.filter(&request.filters)?;
        Ok(Self {
            conditions,
            bucket: Bucket::from_name(&request.bucket)?,
            span,
            fingerprint,
            token,
            size: page::size(request.page_size)?,
            names,
        })
    }

    pub(super) fn run(&self, connection: &Connection) -> Result<v1::QueryUsageResponse, Error> {
        let (sql, values) = self.sql();
        let mut statement = connection.prepare(&sql).map_err(|error| unreadable(&error))?;
        let rows = statement.query_map(params_from_iter(&values), |row| self.read(row));
        let mut rows =
            rows.and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(|error| unreadable(&error))?;
        let more = rows.len() > self.size;
        rows.truncate(self.size);
        let next_page_token = match rows.last() {
            Some((bucket, group, _)) if more => {
                let place = Token::of(self.span);
                let fingerprint = self.fingerprint;
                Token { fingerprint, bucket: *bucket, group: group.clone(), ..place }.write()
            }
            _ => String::new(),
        };
        let rows = rows.into_iter().map(|(.., row)| row).collect();
        Ok(v1::QueryUsageResponse { rows, next_page_token })
    }

    /// The inner select names bucket and groups, so that each expression, with its value, is written once.
    fn sql(&self) -> (String, Vec<Value>) {
        let mut inner = vec![format!("{} AS b", self.bucket.sql())];
        let mut names = vec!["b".to_owned()];
        let mut values = Vec::new();
        for (at, name) in self.names.iter().enumerate() {
            // They were checked when the report was made.
            let Ok((expression, value)) = expression(name) else { continue };
            inner.push(format!("{expression} AS g{at}"));
            names.push(format!("g{at}"));
            values.extend(value.map(Value::from));
        }
        let mut sources = Vec::new();
        for source in self.sources() {
            sources.push(source.sql);
            values.extend(source.range.into_iter().map(Value::from));
            values.extend_from_slice(self.conditions.values());
        }
        let mut after = String::new();
        let keys = names.join(", ");
        if let Some(token) = &self.token {
            after = format!("WHERE ({keys}) > (?{})", ", ?".repeat(names.len() - 1));
            values.push(token.bucket.into());
            values.extend(token.group.iter().cloned().map(Value::from));
        }
        let sql = format!(
            "SELECT sum(calls), sum(iif(status = 'OK', 0, calls)), sum(hits), sum(input_tokens), sum(output_tokens),
                sum(cache_read), sum(cache_write), sum(reasoning), min(source_min), max(source_max),
                sum(cost_nanos), sum(saved_nanos), min(version_min), max(version_max), max(estimated), {keys}
             FROM (SELECT {}, * FROM ({})) {after}
             GROUP BY {keys} ORDER BY {keys} LIMIT {}",
            inner.join(", "),
            sources.join(" UNION ALL "),
            self.size + 1
        );
        (sql, values)
    }

    /// Returns where the sums come from: whole hours from the rollups, and single records for what is not rolled up
    /// yet and for the hours that the span cuts.
    fn sources(&self) -> Vec<Source> {
        let Span { start_ms, end_ms } = self.span;
        let source = |select: &str, range: &str, from: i64, until: i64| Source {
            sql: format!("SELECT {select} WHERE {range} AND {}", self.conditions.sql()),
            range: [from, until],
        };
        let (first, until) = whole_hours(start_ms, end_ms);
        let tagged = self.names.iter().any(|name| name.starts_with("tag:")) || self.conditions.needs_tags();
        if tagged || first >= until {
            return vec![source(RECORDS, "create_ms >= ? AND create_ms < ?", start_ms, end_ms)];
        }
        let rolled = "+seq <= (SELECT seq FROM rolled)";
        let cut = format!("create_ms >= ? AND create_ms < ? AND {rolled}");
        let fresh = "create_ms >= ? AND create_ms < ? AND seq > (SELECT seq FROM rolled)";
        vec![
            source(ROLLUPS, "hour_ms >= ? AND hour_ms < ?", first, until),
            // By number alone: what is not rolled up is little, whatever else of it an index could find.
            source(&format!("{RECORDS} NOT INDEXED"), fresh, start_ms, end_ms),
            source(RECORDS, &cut, start_ms, first),
            source(RECORDS, &cut, until, end_ms),
        ]
    }

    fn read(&self, row: &Row<'_>) -> rusqlite::Result<(i64, Vec<String>, v1::UsageRow)> {
        let bucket: i64 = row.get(15)?;
        let group =
            (0..self.names.len()).map(|at| row.get(16 + at)).collect::<rusqlite::Result<Vec<String>>>()?;
        let named: HashMap<_, _> = self.names.iter().cloned().zip(group.iter().cloned()).collect();
        let (least, most): (Option<i32>, Option<i32>) = (row.get(8)?, row.get(9)?);
        let source = if least == most { least } else { None };
        let usage = v1::Usage {
            input_tokens: row.get(3)?,
            output_tokens: row.get(4)?,
            cache_read_input_tokens: row.get(5)?,
            cache_write_input_tokens: row.get(6)?,
            reasoning_output_tokens: row.get(7)?,
            source: source.unwrap_or(usage::Source::Unspecified.into()),
            r#final: true,
            cost: read_cost(row)?,
            ..v1::Usage::default()
        };
        let start = prost_types::Timestamp { seconds: bucket.div_euclid(1_000), nanos: 0 };
        let sums = v1::UsageRow {
            bucket_start_time: (self.bucket != Bucket::None).then_some(start),
            group: named,
            request_count: row.get(0)?,
            error_count: row.get(1)?,
            cache_hit_count: row.get(2)?,
            usage: Some(usage),
        };
        Ok((bucket, group, sums))
    }
}

fn read_cost(row: &Row<'_>) -> rusqlite::Result<Option<v1::Cost>> {
    let Some(amount_nanos) = row.get(10)? else { return Ok(None) };
    let (least, most): (Option<String>, Option<String>) = (row.get(12)?, row.get(13)?);
    Ok(Some(v1::Cost {
        currency_code: "USD".to_owned(),
        amount_nanos,
        saved_nanos: row.get::<_, Option<i64>>(11)?.unwrap_or(0),
        price_version: if least == most { least.unwrap_or_default() } else { String::new() },
        estimated: row.get::<_, Option<bool>>(14)?.unwrap_or(false),
    }))
}
