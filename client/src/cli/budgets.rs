//! `tollctl budgets`: raise a limit for the window that runs, set what was used to zero, list who did so.

use clap::Subcommand;
use tollgate_client::api::admin::{
    Adjustment, Limit, ListAdjustmentsResponse, ResetUsageRequest, TopUpRequest, adjustment::Kind,
};

use super::{
    Context, amount,
    failure::Failure,
    json,
    table::{Column, Table},
    time,
};

/// Full name of a change in the contract.
const ADJUSTMENT: &str = "tollgate.admin.v1.Adjustment";

/// The commands about running budgets and limits.
#[derive(Subcommand)]
pub(crate) enum BudgetsCommand {
    /// Raise a limit for the window that runs now
    TopUp {
        /// Whose limit: key:ID or team:ID
        subject: String,
        /// Which limit, and by how much: usd/month=20, tokens/day=1M
        #[arg(value_name = "LIMIT", value_parser = amount::parse_limit)]
        limit: Limit,
        /// Why, for the entry
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Set what was used in the window that runs now to zero
    Reset {
        /// Whose limit: key:ID or team:ID
        subject: String,
        /// Which limit: usd/month, tokens/day
        #[arg(value_name = "LIMIT", value_parser = amount::parse_limit_name)]
        limit: Limit,
        /// Why, for the entry
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// List top-ups and resets, newest first
    List {
        /// Only of this subject: key:ID or team:ID
        #[arg(long, default_value = "")]
        subject: String,
    },
}

/// Runs the command.
pub(crate) async fn run(context: &mut Context, command: BudgetsCommand) -> Result<(), Failure> {
    match command {
        BudgetsCommand::TopUp { subject, limit, reason } => {
            // An id of its own makes it safe to send the call again when the server asks for it.
            let request_id = uuid::Uuid::now_v7().to_string();
            let Limit { metric, window, amount, .. } = limit;
            let request = TopUpRequest { subject, metric, window, amount, reason, request_id };
            let done = context.client.budgets().top_up(request).await?;
            told(context, &done)
        }
        BudgetsCommand::Reset { subject, limit, reason } => {
            let request = ResetUsageRequest { subject, metric: limit.metric, window: limit.window, reason };
            let done = context.client.budgets().reset_usage(request).await?;
            told(context, &done)
        }
        BudgetsCommand::List { subject } => list(context, subject).await,
    }
}

fn told(context: &mut Context, done: &Adjustment) -> Result<(), Failure> {
    if context.json {
        return Ok(context.out.line(&json::encode(ADJUSTMENT, done)?)?);
    }
    Ok(context.out.note(&words(done))?)
}

fn words(done: &Adjustment) -> String {
    let amount = amount::of_metric(&done.metric, &done.window, done.amount);
    match done.kind() {
        Kind::Reset => format!("reset {}: {amount} had been used", done.subject),
        _ => format!("topped up {}: {amount} more until the window ends", done.subject),
    }
}

async fn list(context: &mut Context, subject: String) -> Result<(), Failure> {
    let adjustments = context.client.budgets().list_all(subject).await?;
    if context.json {
        let all = ListAdjustmentsResponse { adjustments, next_page_token: String::new() };
        let name = "tollgate.admin.v1.ListAdjustmentsResponse";
        return Ok(context.out.line(&json::encode(name, &all)?)?);
    }
    if adjustments.is_empty() {
        return Ok(context.out.note("no top-ups or resets")?);
    }
    let names = ["time (UTC)", "what", "subject", "amount", "by", "reason"];
    let mut table = Table::new(names.map(Column::left));
    for one in &adjustments {
        table.row([
            time::show(one.create_time.as_ref()),
            if one.kind() == Kind::Reset { "reset" } else { "top-up" }.to_owned(),
            one.subject.clone(),
            amount::of_metric(&one.metric, &one.window, one.amount),
            one.created_by.clone(),
            one.reason.clone(),
        ]);
    }
    for line in table.lines() {
        context.out.line(&line)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_is_said_in_words() {
        let mut done = Adjustment {
            subject: "team:search".into(),
            metric: "cost_nanos".into(),
            window: "month".into(),
            amount: 20_000_000_000,
            ..Default::default()
        };
        done.set_kind(Kind::TopUp);
        assert_eq!(words(&done), "topped up team:search: usd/month=20.00 more until the window ends");
        done.set_kind(Kind::Reset);
        assert_eq!(words(&done), "reset team:search: usd/month=20.00 had been used");
    }
}
