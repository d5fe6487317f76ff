//! Sums over records, by bucket of time and by group.

mod central;
mod plan;
mod source;

use std::collections::HashMap;

use rusqlite::{Connection, params_from_iter};
use tollgate_api::v1::{self, usage};

use self::source::{Facts, Kind};
use super::{
    filter::{Conditions, Span, Visible},
    page::{self, Token},
    sql::{Columns, Dialect, SQLITE, Sql},
    words::Word,
};
use crate::{
    call::{Caller, is_tag_name},
    error::Error,
    meter::ledger::{Level, reader::unreadable},
};

/// Most words of `group_by`.
const MOST_GROUPS: usize = 5;
/// Columns of an answer before its bucket and its groups.
const BUCKET_AT: usize = 15;

/// A question that was checked.
pub(super) struct Report {
    conditions: Conditions,
    names: Vec<String>,
    words: Vec<Word>,
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

    /// Writes its start, in milliseconds since 1970, from the column that holds a time.
    fn write(self, time: &str, sql: &mut Sql) {
        let (before, after) = sql.dialect.month;
        match self {
            Self::None => sql.push("0"),
            Self::Hour => sql.push(time).push(" / 3600000 * 3600000"),
            Self::Day => sql.push(time).push(" / 86400000 * 86400000"),
            Self::Month => sql.push(before).push(time).push(after),
        };
    }

    /// Lists the sums that fit into it, the coarsest first.
    fn levels(self) -> &'static [Level] {
        match self {
            Self::None | Self::Month => &[Level::Month, Level::Day, Level::Hour],
            Self::Day => &[Level::Day, Level::Hour],
            Self::Hour => &[Level::Hour],
        }
    }
}

impl Report {
    pub(super) fn new(
        conditions: Conditions,
        caller: &Caller,
        request: &v1::QueryUsageRequest,
    ) -> Result<Self, Error> {
        let names = request.group_by.clone();
        if names.len() > MOST_GROUPS {
            return Err(Error::invalid("group_by", format!("at most {MOST_GROUPS} words are allowed")));
        }
        if (1..names.len()).any(|at| names[..at].contains(&names[at])) {
            return Err(Error::invalid("group_by", "the same word stands there twice"));
        }
        let words = names.iter().map(|name| Word::parse(name)).collect::<Result<Vec<_>, _>>();
        let words = words.map_err(|message| Error::invalid("group_by", message))?;
        let mut asked: Vec<&str> = vec![&request.bucket];
        asked.extend(names.iter().map(String::as_str));
        let fingerprint = page::fingerprint(caller, &request.filters, &asked);
        let token = Token::read(&request.page_token, fingerprint, names.len())?;
        let span = Span::new(request.start_time.as_ref(), request.end_time.as_ref(), token.as_ref())?;
        Ok(Self {
            conditions,
            bucket: Bucket::from_name(&request.bucket)?,
            span,
            fingerprint,
            token,
            size: page::size(request.page_size)?,
            names,
            words,
        })
    }

    /// Answers it, in one snapshot.
    pub(super) fn run(&self, connection: &Connection) -> Result<v1::QueryUsageResponse, Error> {
        let read = || {
            let snapshot = connection.unchecked_transaction()?;
            let facts = Facts::read(&snapshot, &self.kind())?;
            let sql = self.sql(&SQLITE, &facts);
            let mut statement = snapshot.prepare(&sql.text)?;
            let rows = statement.query_map(params_from_iter(&sql.values), |row| self.read(row))?;
            rows.collect::<Result<Vec<_>, _>>()
        };
        Ok(self.page(read().map_err(|error| unreadable(&error))?))
    }

    fn page(&self, mut rows: Vec<(i64, Vec<String>, v1::UsageRow)>) -> v1::QueryUsageResponse {
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
        v1::QueryUsageResponse { rows, next_page_token }
    }

    /// Returns what can answer: sums by tag know one tag, team, model and provider, and nothing else.
    fn kind(&self) -> Kind {
        let mut words = self.words.iter().chain(self.conditions.words());
        let mut tag: Option<&str> = None;
        let mut plain = true;
        let known = words.all(|word| match word {
            Word::Column(column) => {
                plain &= matches!(*column, "team_id" | "requested_model" | "provider");
                true
            }
            Word::Tag(name) => *tag.get_or_insert(name) == name.as_str(),
        });
        match tag {
            None => Kind::Plain,
            Some(tag) if known && plain && is_tag_name(tag) => match self.conditions.visible() {
                Visible::Key(_) => Kind::Records,
                _ => Kind::Tag(tag.to_owned()),
            },
            Some(_) => Kind::Records,
        }
    }

    /// Each source names bucket and groups, so that each expression, with its value, is written once.
    fn sql(&self, dialect: &'static Dialect, facts: &Facts) -> Sql {
        let mut sql = Sql::new(dialect);
        let sum = sql.dialect.sum;
        let mut keys = vec!["b".to_owned()];
        keys.extend((0..self.words.len()).map(|at| format!("g{at}")));
        let keys = keys.join(", ");
        let summed = |name: &&str| format!("sum({name}){sum}");
        let sums: Vec<_> = source::SUMS.iter().map(summed).collect();
        let others = "min(source_min), max(source_max), min(version_min), max(version_max), max(estimated)";
        sql.push(&format!("SELECT {}, {others}, {keys} FROM (", sums.join(", ")));
        source::write(self, facts, &mut sql);
        sql.push(") AS sources");
        if let Some(token) = &self.token {
            sql.push(&format!(" WHERE ({keys}) > (")).bind(token.bucket);
            for value in &token.group {
                sql.push(", ").bind(&**value);
            }
            sql.push(")");
        }
        sql.push(&format!(" GROUP BY {keys} ORDER BY {keys} LIMIT {}", self.size + 1));
        sql
    }

    fn read<C: Columns>(&self, row: &C) -> Result<(i64, Vec<String>, v1::UsageRow), C::Error> {
        let count = |at| Ok(row.int(at)?.unwrap_or(0));
        let bucket = count(BUCKET_AT)?;
        let group = (1..=self.names.len()).map(|at| Ok(row.text(BUCKET_AT + at)?.unwrap_or_default()));
        let group = group.collect::<Result<Vec<_>, _>>()?;
        let named: HashMap<_, _> = self.names.iter().cloned().zip(group.iter().cloned()).collect();
        let (least, most) = (row.int(10)?, row.int(11)?);
        let source = least.filter(|_| least == most).and_then(|source| i32::try_from(source).ok());
        let usage = v1::Usage {
            input_tokens: row.int(3)?,
            output_tokens: row.int(4)?,
            cache_read_input_tokens: row.int(5)?,
            cache_write_input_tokens: row.int(6)?,
            reasoning_output_tokens: row.int(7)?,
            source: source.unwrap_or(usage::Source::Unspecified.into()),
            r#final: true,
            cost: read_cost(row)?,
            ..v1::Usage::default()
        };
        let start = prost_types::Timestamp { seconds: bucket.div_euclid(1_000), nanos: 0 };
        let sums = v1::UsageRow {
            bucket_start_time: (self.bucket != Bucket::None).then_some(start),
            group: named,
            request_count: count(0)?,
            error_count: count(1)?,
            cache_hit_count: count(2)?,
            usage: Some(usage),
        };
        Ok((bucket, group, sums))
    }
}

fn read_cost<C: Columns>(row: &C) -> Result<Option<v1::Cost>, C::Error> {
    let Some(amount_nanos) = row.int(8)? else { return Ok(None) };
    let (least, most) = (row.text(12)?, row.text(13)?);
    Ok(Some(v1::Cost {
        currency_code: "USD".to_owned(),
        amount_nanos,
        saved_nanos: row.int(9)?.unwrap_or(0),
        price_version: if least == most { least.unwrap_or_default() } else { String::new() },
        estimated: row.int(14)? == Some(1),
    }))
}
