//! `tollctl usage`: sums over calls, with a line of totals.

use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use tollgate_client::api::v1::{Cost, QueryUsageRequest, QueryUsageResponse, Usage, UsageRow};

use super::{
    Context, amount,
    failure::Failure,
    json,
    pairs::{self, Pair},
    records::{self, ListArgs, WatchArgs},
    table::{Column, Table},
    time::{self, When},
};

/// The span that is summed unless `--since` says otherwise.
const SINCE: When = When::Span(Duration::from_secs(24 * 3600));

/// Arguments of the command.
#[derive(Args)]
pub(crate) struct UsageArgs {
    #[command(flatten)]
    query: QueryArgs,
    #[command(subcommand)]
    command: Option<UsageCommand>,
}

#[derive(Args)]
struct QueryArgs {
    /// From when on: 24h, 7d, 2026-11-01, all [default: 24h]
    #[arg(long, value_name = "TIME")]
    since: Option<When>,
    /// Until when: 1h, 2026-11-08 [default: now]
    #[arg(long, value_name = "TIME")]
    until: Option<When>,
    /// What to group by: key, team, model, provider, target, surface, tag:NAME [default: model]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', value_parser = pairs::parse_dimension)]
    by: Vec<String>,
    /// Length of a bucket of time, in UTC [default: none]
    #[arg(long, value_parser = ["hour", "day", "month", "none"])]
    bucket: Option<String>,
    /// Only calls with this value, e.g. model=gpt-5 or tag:feature=search; all must match
    #[arg(long, value_name = "NAME=VALUE", value_parser = pairs::parse_filter)]
    filter: Vec<Pair>,
}

#[derive(Subcommand)]
enum UsageCommand {
    /// List the records of calls, newest first
    Records(ListArgs),
    /// Show the record of one call
    Get {
        /// Id of the call
        id: String,
    },
    /// Print records as calls end, until Ctrl-C
    Watch(WatchArgs),
}

impl UsageArgs {
    /// Refuses options of the report before the name of another command: they would have no effect.
    fn check(&self) -> Result<(), Failure> {
        let QueryArgs { since, until, by, bucket, filter } = &self.query;
        let plain =
            since.is_none() && until.is_none() && by.is_empty() && bucket.is_none() && filter.is_empty();
        if plain || self.command.is_none() {
            return Ok(());
        }
        Err(Failure::Usage("options of records and watch stand behind these words".to_owned()))
    }
}

/// Runs the command.
pub(crate) async fn run(context: &mut Context, args: UsageArgs) -> Result<(), Failure> {
    args.check()?;
    match args.command {
        None => query(context, args.query).await,
        Some(UsageCommand::Records(list)) => records::list(context, list).await,
        Some(UsageCommand::Get { id }) => records::get(context, id).await,
        Some(UsageCommand::Watch(watch)) => records::watch(context, watch).await,
    }
}

async fn query(context: &mut Context, args: QueryArgs) -> Result<(), Failure> {
    let by = if args.by.is_empty() { vec!["model".to_owned()] } else { args.by };
    let now = Timestamp::now();
    let request = QueryUsageRequest {
        start_time: args.since.unwrap_or(SINCE).before(now).map(time::to_proto),
        end_time: args.until.and_then(|until| until.before(now)).map(time::to_proto),
        bucket: args.bucket.unwrap_or_default(),
        group_by: by.clone(),
        filters: pairs::to_map(args.filter),
        page_size: 1000,
        page_token: String::new(),
    };
    let bucketed = !matches!(request.bucket.as_str(), "" | "none");
    let rows = context.client.usage().query_all(request).await?;
    if context.json {
        let all = QueryUsageResponse { rows, next_page_token: String::new() };
        return Ok(context.out.line(&json::encode("tollgate.v1.QueryUsageResponse", &all)?)?);
    }
    if rows.is_empty() {
        return Ok(context.out.note("no calls in this span of time")?);
    }
    for line in table(&rows, &by, bucketed).lines() {
        context.out.line(&line)?;
    }
    Ok(())
}

fn table(rows: &[UsageRow], by: &[String], bucketed: bool) -> Table {
    let time = bucketed.then(|| Column::left("time (UTC)"));
    let groups = by.iter().map(Column::left);
    let sums = ["requests", "errors", "input", "output", "cached", "cost"].map(Column::right);
    let mut table = Table::new(time.into_iter().chain(groups).chain(sums));
    for row in rows {
        let time = bucketed.then(|| time::show(row.bucket_start_time.as_ref()));
        let group = by.iter().map(|name| row.group.get(name).cloned().unwrap_or_default());
        table.row(time.into_iter().chain(group).chain(sums_of(row)));
    }
    let heads = by.len() + usize::from(bucketed);
    let names = std::iter::once("total".to_owned()).chain(std::iter::repeat_n(" ".to_owned(), heads - 1));
    table.row(names.chain(sums_of(&total(rows))));
    table
}

fn sums_of(row: &UsageRow) -> [String; 6] {
    let usage = row.usage.as_ref();
    [
        amount::count(row.request_count),
        amount::count(row.error_count),
        amount::known(usage.and_then(|usage| usage.input_tokens)),
        amount::known(usage.and_then(|usage| usage.output_tokens)),
        amount::known(usage.and_then(|usage| usage.cache_read_input_tokens)),
        amount::cost(usage.and_then(|usage| usage.cost.as_ref())),
    ]
}

/// Adds rows up. A count that no row has stays unknown.
fn total(rows: &[UsageRow]) -> UsageRow {
    let mut total = UsageRow::default();
    let mut sum = Usage::default();
    for row in rows {
        total.request_count = total.request_count.saturating_add(row.request_count);
        total.error_count = total.error_count.saturating_add(row.error_count);
        let Some(usage) = &row.usage else { continue };
        add(&mut sum.input_tokens, usage.input_tokens);
        add(&mut sum.output_tokens, usage.output_tokens);
        add(&mut sum.cache_read_input_tokens, usage.cache_read_input_tokens);
        if let Some(cost) = &usage.cost {
            let all = sum.cost.get_or_insert_with(Cost::default);
            all.currency_code.clone_from(&cost.currency_code);
            all.amount_nanos = all.amount_nanos.saturating_add(cost.amount_nanos);
            all.estimated |= cost.estimated;
        }
    }
    total.usage = Some(sum);
    total
}

fn add(sum: &mut Option<i64>, more: Option<i64>) {
    if let Some(more) = more {
        *sum = Some(sum.unwrap_or(0).saturating_add(more));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(model: &str, requests: i64, input: Option<i64>, nanos: Option<i64>) -> UsageRow {
        let cost = nanos.map(|amount_nanos| Cost { amount_nanos, ..Cost::default() });
        UsageRow {
            group: [("model".to_owned(), model.to_owned())].into(),
            request_count: requests,
            usage: Some(Usage { input_tokens: input, cost, ..Usage::default() }),
            ..UsageRow::default()
        }
    }

    #[test]
    fn totals_add_what_is_known() {
        let rows = [row("a", 1200, Some(5), Some(20)), row("b", 1, None, None)];
        assert_eq!(
            table(&rows, &["model".to_owned()], false).lines(),
            [
                "MODEL  REQUESTS  ERRORS  INPUT  OUTPUT  CACHED         COST",
                "a         1,200       0      5       -       -  $0.00000002",
                "b             1       0      -       -       -            -",
                "total     1,201       0      5       -       -  $0.00000002",
            ]
        );
    }

    #[test]
    fn several_groups_and_buckets_keep_their_columns() {
        let by = ["model".to_owned(), "tag:feature".to_owned()];
        let lines = table(&[row("a", 1, None, None)], &by, true).lines();
        assert!(lines[0].starts_with("TIME (UTC)  MODEL  TAG:FEATURE  REQUESTS"));
        assert!(lines[2].starts_with("total"), "{}", lines[2]);
        assert!(lines[2].ends_with("1       0      -       -       -     -"), "{}", lines[2]);
    }
}
