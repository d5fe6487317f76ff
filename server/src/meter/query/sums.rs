//! Sums over records, by bucket of time and by group.

use std::collections::HashMap;

use rusqlite::{Connection, Row, params_from_iter, types::Value};
use tollgate_api::v1::{self, CacheStatus, usage::Source};

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
        conditions.within(span);
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
        values.extend_from_slice(self.conditions.values());
        let mut after = String::new();
        let keys = names.join(", ");
        if let Some(token) = &self.token {
            after = format!("WHERE ({keys}) > (?{})", ", ?".repeat(names.len() - 1));
            values.push(token.bucket.into());
            values.extend(token.group.iter().cloned().map(Value::from));
        }
        let hits = [CacheStatus::Hit, CacheStatus::SemanticHit, CacheStatus::Coalesced].map(|hit| hit as i32);
        let sql = format!(
            "SELECT count(*), sum(status <> 'OK'), sum(cache_status IN ({}, {}, {})), sum(input_tokens),
                sum(output_tokens), sum(cache_read), sum(cache_write), sum(reasoning), min(source), max(source),
                sum(cost_nanos), sum(saved_nanos), min(price_version), max(price_version), max(estimated), {keys}
             FROM (SELECT {}, * FROM records WHERE {}) {after}
             GROUP BY {keys} ORDER BY {keys} LIMIT {}",
            hits[0],
            hits[1],
            hits[2],
            inner.join(", "),
            self.conditions.sql(),
            self.size + 1
        );
        (sql, values)
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
            source: source.unwrap_or(Source::Unspecified.into()),
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
