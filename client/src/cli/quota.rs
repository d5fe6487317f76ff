//! `tollctl quota`: the limits that hold for the key, and what is left of them; with `--watch`, each time that one
//! passes a threshold.

use clap::Args;
use tollgate_client::api::v1::{GetQuotaResponse, Quota, WatchQuotaRequest, WatchQuotaResponse};

use super::{
    Context, amount,
    failure::Failure,
    json,
    table::{Column, Table},
    time,
};

/// Arguments of the command.
#[derive(Args)]
pub(crate) struct QuotaArgs {
    /// Print a line each time that a limit's use passes a threshold, until Ctrl-C
    #[arg(long)]
    watch: bool,
    /// Thresholds of the watch, as parts of a limit [default: 0.5,0.8,1]
    #[arg(long, value_name = "RATIO,…", value_delimiter = ',', requires = "watch", value_parser = parse_ratio)]
    at: Vec<f64>,
}

fn parse_ratio(text: &str) -> Result<f64, String> {
    let ratio = match text.strip_suffix('%') {
        Some(percent) => percent.parse::<f64>().map(|percent| percent / 100.0),
        None => text.parse(),
    };
    let ratio = ratio.ok().filter(|ratio| ratio.is_finite() && *ratio > 0.0);
    ratio.ok_or_else(|| "write a part of the limit, like 0.8 or 80%".to_owned())
}

/// Runs the command.
pub(crate) async fn run(context: &mut Context, args: QuotaArgs) -> Result<(), Failure> {
    if args.watch {
        return watch(context, WatchQuotaRequest { thresholds: args.at }).await;
    }
    let quotas = context.client.usage().quotas().await?;
    if context.json {
        let all = GetQuotaResponse { quotas };
        return Ok(context.out.line(&json::encode("tollgate.v1.GetQuotaResponse", &all)?)?);
    }
    if quotas.is_empty() {
        return Ok(context.out.note("no limit holds for this key")?);
    }
    for line in table(&quotas).lines() {
        context.out.line(&line)?;
    }
    Ok(())
}

async fn watch(context: &mut Context, request: WatchQuotaRequest) -> Result<(), Failure> {
    let interrupt = tokio::signal::ctrl_c();
    tokio::pin!(interrupt);
    let usage = context.unhurried().usage();
    let mut quotas = tokio::select! {
        quotas = usage.watch_quotas(request) => quotas?,
        _ = &mut interrupt => return Ok(()),
    };
    loop {
        let passed = tokio::select! {
            passed = quotas.next() => passed,
            _ = &mut interrupt => return Ok(()),
        };
        let Some(passed) = passed.transpose()? else {
            return Ok(context.out.note("the gateway ended the watch")?);
        };
        let line = if context.json {
            json::encode("tollgate.v1.WatchQuotaResponse", &passed)?
        } else {
            watch_line(&passed)
        };
        context.out.line(&line)?;
    }
}

/// Shows how limits stand.
pub(super) fn table(quotas: &[Quota]) -> Table {
    let words = ["whose", "limit", "of calls"].map(Column::left);
    let numbers = ["most", "used", "reserved", "left"].map(Column::right);
    let mut table = Table::new(words.into_iter().chain(numbers).chain([Column::left("anew (UTC)")]));
    for quota in quotas {
        let left = quota.limit.saturating_sub(quota.used).saturating_sub(quota.reserved_amount).max(0);
        let amounts = [quota.limit, quota.used, quota.reserved_amount, left];
        let reset = quota.reset_time.as_ref().map(|at| time::show(Some(at))).unwrap_or_default();
        let words = [quota.subject.clone(), name(quota), which(quota)];
        table.row(words.into_iter().chain(amounts.map(|amount| shown(quota, amount))).chain([reset]));
    }
    table
}

/// Names what is limited, like `tokens/minute`.
fn name(quota: &Quota) -> String {
    let metric = if quota.metric == "cost_nanos" { "usd" } else { quota.metric.as_str() };
    let window = if quota.window.is_empty() { String::new() } else { format!("/{}", quota.window) };
    let soft = if quota.soft { " (warns only)" } else { "" };
    format!("{metric}{window}{soft}")
}

/// Tells which calls count, if not all.
fn which(quota: &Quota) -> String {
    let model = (!quota.model.is_empty()).then(|| format!("model {}", quota.model));
    let tag = (!quota.tag.is_empty()).then(|| format!("tag {}", quota.tag));
    model.into_iter().chain(tag).collect::<Vec<_>>().join(", ")
}

fn shown(quota: &Quota, number: i64) -> String {
    if quota.metric == "cost_nanos" { amount::usd(number) } else { amount::count(number) }
}

fn watch_line(passed: &WatchQuotaResponse) -> String {
    let quota = passed.quota.clone().unwrap_or_default();
    let (used, limit) = (shown(&quota, quota.used), shown(&quota, quota.limit));
    let which = Some(which(&quota)).filter(|which| !which.is_empty()).map(|which| format!(" ({which})"));
    let line = format!(
        "{}  {}{}  {used} of {limit}, past {}%",
        quota.subject,
        name(&quota),
        which.unwrap_or_default(),
        (passed.threshold * 1_000.0).round() / 10.0,
    );
    line.replace(char::is_control, "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota() -> Quota {
        Quota {
            subject: "team:search".into(),
            metric: "cost_nanos".into(),
            window: "month".into(),
            limit: 500_000_000_000,
            used: 400_000_000_000,
            reserved_amount: 1_500_000_000,
            model: "gpt-*".into(),
            ..Quota::default()
        }
    }

    #[test]
    fn a_budget_is_shown_in_dollars_with_what_is_left() {
        let line = table(&[quota()]).lines()[1].clone();
        let words: Vec<_> = line.split_whitespace().collect();
        assert_eq!(
            words,
            ["team:search", "usd/month", "model", "gpt-*", "$500.00", "$400.00", "$1.50", "$98.50", "-"]
        );
    }

    #[test]
    fn a_watched_limit_is_one_line() {
        let limit = Quota { soft: true, subject: "model:a\nb".into(), ..quota() };
        let line = watch_line(&WatchQuotaResponse { quota: Some(limit), threshold: 0.8 });
        assert_eq!(
            line,
            "model:a\u{fffd}b  usd/month (warns only) (model gpt-*)  $400.00 of $500.00, past 80%"
        );
    }

    #[test]
    fn thresholds_are_ratios_or_percent() {
        assert_eq!((parse_ratio("0.8"), parse_ratio("80%")), (Ok(0.8), Ok(0.8)));
        assert!(["0", "-1", "x", "inf", "%"].iter().all(|text| parse_ratio(text).is_err()));
    }
}
