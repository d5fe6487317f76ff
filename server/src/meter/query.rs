//! Answers to who used what: sums, lists, one record, and a stream of new ones. A key sees what it may, no more.

mod central;
mod filter;
mod page;
mod recent;
mod sql;
mod sums;
mod watch;
mod words;

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream::BoxStream};
use prost::Message as _;
use rusqlite::{Connection, OptionalExtension as _, Row, params_from_iter};
use tollgate_api::v1;
use uuid::Uuid;

use self::{
    central::POSTGRES,
    filter::{Conditions, Span},
    page::Token,
    sql::{Dialect, SQLITE, Sql, Value},
    words::Rows,
};
use super::{
    Meter,
    ledger::{Reads, reader::unreadable},
};
use crate::{
    call::Caller,
    error::{Error, Reason},
};

/// When another stream of records may be asked for, if there are too many.
const WATCH_AGAIN: Duration = Duration::from_secs(5);

impl Meter {
    /// Sums usage over a span of time, by bucket and group.
    ///
    /// # Errors
    /// `INVALID_REQUEST` with the field, `STORE_UNAVAILABLE`.
    pub async fn query_usage(
        &self,
        caller: &Caller,
        request: v1::QueryUsageRequest,
    ) -> Result<v1::QueryUsageResponse, Error> {
        let conditions = self.conditions(caller, &request.filters)?;
        let report = sums::Report::new(conditions, caller, &request)?;
        if let Some(central) = self.ledger.central_up_to_date().await? {
            return central.read(move |session| report.run_central(session)).await;
        }
        self.ledger.up_to_date().await?.run(move |connection| report.run(connection)).await
    }

    /// Sums usage as `query_usage` does, of the calls that this replica served.
    ///
    /// # Errors
    /// As `query_usage`.
    pub async fn query_own_usage(
        &self,
        caller: &Caller,
        request: v1::QueryUsageRequest,
    ) -> Result<v1::QueryUsageResponse, Error> {
        let report = sums::Report::new(self.conditions(caller, &request.filters)?, caller, &request)?;
        self.ledger.up_to_date().await?.run(move |connection| report.run(connection)).await
    }

    /// Lists records, newest first.
    ///
    /// # Errors
    /// `INVALID_REQUEST` with the field, `STORE_UNAVAILABLE`.
    pub async fn list_usage_records(
        &self,
        caller: &Caller,
        request: v1::ListUsageRecordsRequest,
    ) -> Result<v1::ListUsageRecordsResponse, Error> {
        let fingerprint = page::fingerprint(caller, &request.filters, &[]);
        let token = Token::read(&request.page_token, fingerprint, 0)?;
        let span = Span::new(request.start_time.as_ref(), request.end_time.as_ref(), token.as_ref())?;
        let mut conditions = self.conditions(caller, &request.filters)?;
        conditions.within(span);
        let size = page::size(request.page_size)?;
        let sql = |dialect| list_sql(dialect, &conditions, token.as_ref(), size);
        let mut found = match self.ledger.central_up_to_date().await? {
            Some(central) => central::list(&central, sql(&POSTGRES)).await?,
            None => list(self.ledger.up_to_date().await?, sql(&SQLITE)).await?,
        };
        let more = found.len() > size;
        found.truncate(size);
        let next_page_token = match found.last() {
            Some((_, bucket, seq)) if more => {
                Token { fingerprint, bucket: *bucket, seq: *seq, ..Token::of(span) }.write()
            }
            _ => String::new(),
        };
        let records = found.into_iter().map(|(record, ..)| record).collect();
        Ok(v1::ListUsageRecordsResponse { records, next_page_token })
    }

    /// Returns the record of one call.
    ///
    /// # Errors
    /// `NOT_FOUND` if there is none or the caller may not see it, `INVALID_REQUEST`, `STORE_UNAVAILABLE`.
    pub async fn get_usage_record(
        &self,
        caller: &Caller,
        request: v1::GetUsageRecordRequest,
    ) -> Result<v1::GetUsageRecordResponse, Error> {
        if request.id.is_empty() {
            return Err(Error::invalid("id", "the id of the call is missing"));
        }
        let unknown = || Error::new(Reason::NotFound, "there is no record with this id");
        let id = Uuid::parse_str(&request.id).map_err(|_| unknown())?;
        let mut conditions = self.conditions(caller, &HashMap::new())?;
        conditions.add("id = ", Value::Bytes(id.as_bytes().to_vec()));
        let sql = |dialect| {
            let mut sql = Sql::new(dialect);
            sql.push("SELECT record FROM records WHERE ");
            conditions.write(Rows::Plain, &mut sql);
            sql
        };
        let record = match self.ledger.central_up_to_date().await? {
            Some(central) => central::one(&central, sql(&POSTGRES)).await?,
            None => one(self.ledger.up_to_date().await?, sql(&SQLITE)).await?,
        };
        record.map(|record| v1::GetUsageRecordResponse { record: Some(record) }).ok_or_else(unknown)
    }

    /// Sends each record as it is committed, after those since `from_time` if that is given. Ends when the stream is
    /// dropped or the ledger closes. It reads from the store at the reader's own pace: nothing is lost, nothing comes
    /// twice, and a slow reader costs nobody memory.
    ///
    /// # Errors
    /// `INVALID_REQUEST` with the field, `GATEWAY_OVERLOADED` if there are too many streams, `STORE_UNAVAILABLE`; the latter
    /// in the stream too.
    pub async fn watch_usage(
        &self,
        caller: &Caller,
        request: v1::WatchUsageRequest,
    ) -> Result<BoxStream<'static, Result<v1::WatchUsageResponse, Error>>, Error> {
        let from_ms = filter::millis("from_time", request.from_time.as_ref())?;
        let conditions = Arc::new(self.conditions(caller, &request.filters)?);
        let Ok(place) = self.watchers.clone().try_acquire_owned() else {
            let message = "too many streams of usage are open at this replica; end some, or try another";
            return Err(Error::new(Reason::GatewayOverloaded, message).retry_after(Some(WATCH_AGAIN)));
        };
        let records = match self.ledger.central_up_to_date().await? {
            Some(central) => central::watch(central, conditions, from_ms).await?,
            None => watch::start(self.ledger.up_to_date().await?, conditions, from_ms).await?,
        };
        // The place is given back with the stream.
        Ok(records.inspect(move |_| _ = &place).boxed())
    }

    /// Returns which records a caller may see and asks for.
    fn conditions(&self, caller: &Caller, filters: &HashMap<String, String>) -> Result<Conditions, Error> {
        let mut conditions = Conditions::visible_to(caller, |id| self.teams_below(id))?;
        conditions.filter(filters, |id| self.teams_below(id))?;
        Ok(conditions)
    }
}

/// A record, with its place in the list.
type Listed = (v1::UsageRecord, i64, i64);

/// Reads the records, with their places in the list, that a statement finds.
async fn list(reads: Reads, sql: Sql) -> Result<Vec<Listed>, Error> {
    let read = move |connection: &Connection| {
        let mut statement = connection.prepare(&sql.text).map_err(|error| unreadable(&error))?;
        let rows = statement.query_map(params_from_iter(&sql.values), |row| {
            Ok((read_record(row)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
        });
        rows.and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(|error| unreadable(&error))
    };
    reads.run(read).await
}

/// Reads the record that a statement finds.
async fn one(reads: Reads, sql: Sql) -> Result<Option<v1::UsageRecord>, Error> {
    let read = move |connection: &Connection| {
        let found = connection.query_row(&sql.text, params_from_iter(&sql.values), read_record);
        found.optional().map_err(|error| unreadable(&error))
    };
    reads.run(read).await
}

/// Writes the question for a page of records, newest first, and one more that tells whether there is another page.
fn list_sql(dialect: &'static Dialect, conditions: &Conditions, after: Option<&Token>, size: usize) -> Sql {
    let mut sql = Sql::new(dialect);
    sql.push("SELECT record, create_ms, seq FROM records WHERE ");
    conditions.write(Rows::Plain, &mut sql);
    if let Some(token) = after {
        sql.push(" AND (create_ms, seq) < (").bind(token.bucket).push(", ").bind(token.seq).push(")");
    }
    sql.push(&format!(" ORDER BY create_ms DESC, seq DESC LIMIT {}", size + 1));
    sql
}

/// Reads the record from the first column.
fn read_record(row: &Row<'_>) -> rusqlite::Result<v1::UsageRecord> {
    let bytes = row.get_ref(0)?.as_blob()?;
    v1::UsageRecord::decode(bytes).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Blob, Box::new(error))
    })
}

#[cfg(test)]
mod exact_tests;
#[cfg(test)]
mod tests;
