//! What `tollctl status` shows to operators: targets and their limits, load, stores.

use tollgate_client::api::admin::{
    GetStatusResponse, LoadStatus, StoreStatus, TargetStatus, target_status::State,
};

use super::{
    amount, quota,
    table::{Column, Table},
    time,
};

/// Returns the lines about a gateway.
pub(crate) fn lines(status: &GetStatusResponse) -> Vec<String> {
    let mut lines = vec![about(status)];
    lines.extend(status.load.as_ref().map(load));
    lines.extend(status.stores.iter().map(store));
    if !status.targets.is_empty() {
        lines.push(String::new());
        lines.extend(targets(&status.targets).lines());
    }
    if !status.quotas.is_empty() {
        lines.push(String::new());
        lines.extend(quota::table(&status.quotas).lines());
    }
    lines
}

fn about(status: &GetStatusResponse) -> String {
    let commit = if status.commit.is_empty() { String::new() } else { format!(" ({})", status.commit) };
    let draining = if status.draining { ", draining" } else { "" };
    let since = time::show(status.start_time.as_ref());
    format!(
        "version {}{commit}, configuration {}, since {since} UTC{draining}",
        status.version, status.config_hash
    )
}

fn load(load: &LoadStatus) -> String {
    let mut words = format!("{} calls run{}", amount::count(load.running_count), of(load.running_limit));
    if load.waiting_count > 0 {
        words.push_str(&format!(", {} wait", amount::count(load.waiting_count)));
    }
    if load.shed_ratio > 0.0 {
        words.push_str(&format!(", {:.0} % of new ones are refused", load.shed_ratio * 100.0));
    }
    if let Some(lag) = time::span(load.lag.as_ref()) {
        words.push_str(&format!(", work begins {} late", time::short(lag)));
    }
    words
}

fn store(store: &StoreStatus) -> String {
    let state = if store.reachable { "reachable" } else { "not reachable" };
    let detail = if store.detail.is_empty() { String::new() } else { format!(": {}", store.detail) };
    format!("{} is {state}{detail}", store.name)
}

fn targets(targets: &[TargetStatus]) -> Table {
    let mut table = Table::new([
        Column::left("target"),
        Column::left("state"),
        Column::left("again at (UTC)"),
        Column::right("failures"),
        Column::left("last"),
        Column::right("first token"),
        Column::right("running"),
        Column::right("waiting"),
        Column::left("models"),
    ]);
    for target in targets {
        let ratio =
            target.failure_ratio.map_or_else(String::new, |ratio| format!(" ({:.0} %)", ratio * 100.0));
        table.row([
            target.target.clone(),
            state(target),
            time::show(target.retry_time.as_ref()),
            format!("{}{ratio}", amount::count(target.consecutive_failure_count)),
            target.last_failure.clone(),
            time::span(target.first_token_duration.as_ref()).map(time::short).unwrap_or_default(),
            format!("{}{}", amount::count(target.running_count), of(target.running_limit)),
            amount::count(target.waiting_count),
            target.models.join(","),
        ]);
    }
    table
}

fn state(target: &TargetStatus) -> String {
    let state = match target.state() {
        State::Unspecified => "?",
        State::Closed => "closed",
        State::Open => "open",
        State::HalfOpen => "half open",
        State::CoolingDown => "cooling down",
        State::Ejected => "ejected",
    };
    let told = if target.told_by == "replica" { " (told by a replica)" } else { "" };
    format!("{state}{told}")
}

/// Says a limit behind what it limits.
fn of(limit: i64) -> String {
    if limit > 0 { format!("/{}", amount::count(limit)) } else { String::new() }
}

#[cfg(test)]
mod tests {
    use tollgate_client::api::v1::Quota;

    use super::*;

    #[test]
    fn limits_of_targets_stand_below_them() {
        let quota = Quota {
            subject: "target:a/m".into(),
            metric: "requests".into(),
            window: "day".into(),
            limit: 5,
            used: 2,
            ..Default::default()
        };
        let status = GetStatusResponse { quotas: vec![quota], ..Default::default() };
        let text = lines(&status);
        let row: Vec<_> = text.last().unwrap().split_whitespace().collect();
        assert_eq!(row, ["target:a/m", "requests/day", "-", "5", "2", "0", "3", "-"], "{text:?}");
    }

    #[test]
    fn what_is_not_well_is_seen_at_a_glance() {
        let target = TargetStatus {
            target: "a/m".into(),
            state: State::CoolingDown.into(),
            consecutive_failure_count: 3,
            failure_ratio: Some(0.5),
            running_count: 2,
            running_limit: 8,
            models: vec!["chat".into(), "fast".into()],
            ..Default::default()
        };
        let store = StoreStatus { name: "sqlite".into(), reachable: false, detail: "disk full".into() };
        let load =
            LoadStatus { running_count: 7, running_limit: 500, shed_ratio: 0.25, ..Default::default() };
        let status = GetStatusResponse {
            version: "1".into(),
            targets: vec![target],
            load: Some(load),
            stores: vec![store],
            draining: true,
            ..Default::default()
        };
        let text = lines(&status).join("\n");
        for words in [
            "draining",
            "7 calls run/500, 25 % of new ones are refused",
            "sqlite is not reachable: disk full",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        let row: Vec<_> = text.lines().last().unwrap().split_whitespace().collect();
        assert_eq!(row, ["a/m", "cooling", "down", "-", "3", "(50", "%)", "-", "-", "2/8", "0", "chat,fast"]);
    }
}
