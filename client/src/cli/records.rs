//! `tollctl usage records`, `get` and `watch`: the records of single calls.

use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use tollgate_client::api::v1::{
    ListUsageRecordsRequest, ListUsageRecordsResponse, UsageRecord, WatchUsageRequest,
};

use super::{
    Context, amount,
    failure::Failure,
    json,
    pairs::{self, Pair},
    table::{Column, Table},
    time::{self, When},
};

const RECORD: &str = "tollgate.v1.UsageRecord";
/// Most records of one page.
const PAGE: usize = 1000;

/// Arguments of `usage records`.
#[derive(Args)]
pub(crate) struct ListArgs {
    /// Most records to list
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// From when on: 24h, 7d, 2026-11-01 [default: the first one]
    #[arg(long, value_name = "TIME")]
    since: Option<When>,
    /// Until when: 1h, 2026-11-08 [default: now]
    #[arg(long, value_name = "TIME")]
    until: Option<When>,
    /// Only calls with this value, e.g. model=gpt-5; all must match
    #[arg(long, value_name = "NAME=VALUE", value_parser = pairs::parse_filter)]
    filter: Vec<Pair>,
}

/// Arguments of `usage watch`.
#[derive(Args)]
pub(crate) struct WatchArgs {
    /// Only calls with this value, e.g. model=gpt-5; all must match
    #[arg(long, value_name = "NAME=VALUE", value_parser = pairs::parse_filter)]
    filter: Vec<Pair>,
    /// Begin with the records since then: 10m, 2026-11-01 [default: new ones only]
    #[arg(long, value_name = "TIME")]
    from: Option<When>,
}

/// Lists records, newest first.
pub(crate) async fn list(context: &mut Context, args: ListArgs) -> Result<(), Failure> {
    let now = Timestamp::now();
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let mut request = ListUsageRecordsRequest {
        start_time: args.since.and_then(|since| since.before(now)).map(time::to_proto),
        end_time: args.until.and_then(|until| until.before(now)).map(time::to_proto),
        filters: pairs::to_map(args.filter),
        // The same on every page: a page token holds only with all other fields as they were.
        page_size: i32::try_from(limit.min(PAGE)).unwrap_or(0),
        page_token: String::new(),
    };
    let mut records = Vec::new();
    while records.len() < limit {
        let page = context.client.usage().list(request.clone()).await?;
        records.extend(page.records);
        if page.next_page_token.is_empty() || page.next_page_token == request.page_token {
            break;
        }
        request.page_token = page.next_page_token;
    }
    records.truncate(limit);
    if context.json {
        let all = ListUsageRecordsResponse { records, next_page_token: String::new() };
        return Ok(context.out.line(&json::encode("tollgate.v1.ListUsageRecordsResponse", &all)?)?);
    }
    if records.is_empty() {
        return Ok(context.out.note("no records")?);
    }
    for line in table(&records).lines() {
        context.out.line(&line)?;
    }
    Ok(())
}

fn table(records: &[UsageRecord]) -> Table {
    let left = ["time (UTC)", "id", "key", "model", "status"].map(Column::left);
    let right = ["input", "output", "cost", "ms"].map(Column::right);
    let mut table = Table::new(left.into_iter().chain(right));
    for record in records {
        let usage = record.usage.as_ref();
        table.row([
            time::show(record.create_time.as_ref()),
            record.id.clone(),
            record.key_id.clone(),
            record.requested_model.clone(),
            record.status.clone(),
            amount::known(usage.and_then(|usage| usage.input_tokens)),
            amount::known(usage.and_then(|usage| usage.output_tokens)),
            amount::cost(usage.and_then(|usage| usage.cost.as_ref())),
            milliseconds(record),
        ]);
    }
    table
}

fn milliseconds(record: &UsageRecord) -> String {
    let span = time::span(record.duration.as_ref()).unwrap_or(Duration::ZERO);
    span.as_millis().to_string()
}

/// Shows one record.
pub(crate) async fn get(context: &mut Context, id: String) -> Result<(), Failure> {
    let record = context.client.usage().get(id).await?;
    if context.json {
        return Ok(context.out.line(&json::encode(RECORD, &record)?)?);
    }
    for (name, value) in facts(&record) {
        if !value.is_empty() {
            context.out.line(&format!("{name:<12} {}", value.replace(char::is_control, "\u{fffd}")))?;
        }
    }
    Ok(())
}

fn facts(record: &UsageRecord) -> Vec<(String, String)> {
    let usage = record.usage.clone().unwrap_or_default();
    let fact = |name: &str, value: String| (name.to_owned(), value);
    let span = |span: Option<&prost_types::Duration>| time::span(span).map(time::short).unwrap_or_default();
    let cost = match &usage.cost {
        Some(_) => amount::cost(usage.cost.as_ref()),
        None if record.unpriced => "unknown: the model has no known price".to_owned(),
        None => String::new(),
    };
    let mut facts = vec![
        fact("id", record.id.clone()),
        fact("time (UTC)", time::show(record.create_time.as_ref())),
        fact("status", record.status.clone()),
        fact("reason", record.error_reason.clone()),
        fact("key", record.key_id.clone()),
        fact("team", record.team_id.clone()),
        fact("operation", record.operation.clone()),
        fact("surface", record.surface.clone()),
        fact("asked for", record.requested_model.clone()),
        fact("model", record.model.clone()),
        fact("provider", record.provider.clone()),
        fact("target", record.target.clone()),
        fact("input", amount::known(usage.input_tokens)),
        fact("  cached", amount::known(usage.cache_read_input_tokens)),
        fact("output", amount::known(usage.output_tokens)),
        fact("  reasoning", amount::known(usage.reasoning_output_tokens)),
        fact("cost", cost),
        fact("ended", record.finish_reason.clone()),
        fact("first token", span(record.first_token_duration.as_ref())),
        fact("duration", span(record.duration.as_ref())),
        fact("in gateway", span(record.gateway_duration.as_ref())),
        fact("tags", pairs::show(&record.tags)),
        fact("recovered", if record.recovered { "yes, after a crash".into() } else { String::new() }),
    ];
    for (number, attempt) in record.attempts.iter().enumerate() {
        let took = span(attempt.duration.as_ref());
        let line = format!("{} {} {took}", attempt.target, attempt.outcome);
        facts.push((format!("attempt {}", number + 1), line.trim_end().to_owned()));
    }
    facts
}

/// Prints records as they come, until Ctrl-C or the end of the stream.
pub(crate) async fn watch(context: &mut Context, args: WatchArgs) -> Result<(), Failure> {
    let from_time = args.from.and_then(|from| from.before(Timestamp::now())).map(time::to_proto);
    let request = WatchUsageRequest { filters: pairs::to_map(args.filter), from_time };
    let interrupt = tokio::signal::ctrl_c();
    tokio::pin!(interrupt);
    let usage = context.unhurried().usage();
    let mut records = tokio::select! {
        records = usage.watch(request) => records?,
        _ = &mut interrupt => return Ok(()),
    };
    loop {
        let record = tokio::select! {
            record = records.next() => record,
            _ = &mut interrupt => return Ok(()),
        };
        let Some(record) = record.transpose()? else {
            return Ok(context.out.note("the gateway ended the watch")?);
        };
        let line = if context.json { json::encode(RECORD, &record)? } else { watch_line(&record) };
        context.out.line(&line)?;
    }
}

/// Returns a record on one line; columns are wide enough for most values, since the next ones are unknown.
fn watch_line(record: &UsageRecord) -> String {
    let usage = record.usage.as_ref();
    let tokens = |count: Option<i64>| count.map_or_else(|| "-".to_owned(), amount::count);
    let tokens = format!(
        "{} in {} out",
        tokens(usage.and_then(|usage| usage.input_tokens)),
        tokens(usage.and_then(|usage| usage.output_tokens)),
    );
    let cost = amount::cost(usage.and_then(|usage| usage.cost.as_ref()));
    let line = format!(
        "{}  {:<12}  {:<20}  {:<10}  {tokens:>16}  {cost:>12}  {:>6} ms",
        time::show(record.create_time.as_ref()),
        record.key_id,
        record.requested_model,
        record.status,
        milliseconds(record),
    );
    line.replace(char::is_control, "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use tollgate_client::api::v1::{Cost, Usage};

    use super::*;

    fn record() -> UsageRecord {
        let cost = Cost { amount_nanos: 1_000_000, estimated: true, ..Cost::default() };
        UsageRecord {
            id: "01890a5d".into(),
            key_id: "AAAAAAAAAAAA".into(),
            requested_model: "echo".into(),
            status: "OK".into(),
            create_time: Some(prost_types::Timestamp { seconds: 0, nanos: 0 }),
            duration: Some(prost_types::Duration { seconds: 1, nanos: 5_000_000 }),
            usage: Some(Usage { input_tokens: Some(3), cost: Some(cost), ..Usage::default() }),
            ..UsageRecord::default()
        }
    }

    #[test]
    fn a_watched_record_is_one_line() {
        let mut record = record();
        record.requested_model = "ec\nho".into();
        let line = watch_line(&record);
        assert!(line.starts_with("1970-01-01 00:00:00  AAAAAAAAAAAA  ec\u{fffd}ho"), "{line}");
        assert!(line.ends_with("3 in - out       ~$0.001    1005 ms"), "{line}");
    }

    #[test]
    fn an_unpriced_record_says_so_and_shows_no_zero() {
        let record = UsageRecord { unpriced: true, usage: Some(Usage::default()), ..record() };
        let facts = facts(&record);
        let fact = |name: &str| facts.iter().find(|(fact, _)| fact == name).unwrap().1.clone();
        assert_eq!(fact("cost"), "unknown: the model has no known price");
        assert_eq!(fact("input"), "");
    }

    #[test]
    fn a_listed_record_shows_its_id() {
        assert!(table(&[record()]).lines()[1].contains("01890a5d"));
    }
}
