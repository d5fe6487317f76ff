//! What a provider's rows mean: OpenAI's usage and cost exports, and Anthropic's, as JSON of their APIs or as CSV of their
//! consoles. Columns are found by name, so that further ones do no harm.

use jiff::{Timestamp, civil::Date, tz::TimeZone};

use super::{
    amounts::{Amounts, COST, FIELDS, count, decimal},
    table::{self, Row},
};

const DAY: i64 = 86_400;

/// Whose export it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// OpenAI's.
    OpenAi,
    /// Anthropic's.
    Anthropic,
}

impl Family {
    /// Returns the name of its dialect.
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
        }
    }

    /// Finds the family of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::OpenAi, Self::Anthropic].into_iter().find(|family| family.name() == name)
    }

    /// Returns the vendor's own address.
    pub(super) fn host(self) -> &'static str {
        match self {
            Self::OpenAi => "api.openai.com",
            Self::Anthropic => "api.anthropic.com",
        }
    }
}

/// One line of an export.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    /// From when, in seconds since 1970.
    pub(super) start: i64,
    /// Until when.
    pub(super) end: i64,
    /// The model; absent if the export is not by model.
    pub(super) model: Option<String>,
    pub(super) amounts: Amounts,
}

/// A file that was read.
#[derive(Debug)]
pub(super) struct Export {
    pub(super) family: Family,
    pub(super) lines: Vec<Line>,
    /// What it says beside lines that can be compared, in words.
    pub(super) notes: Vec<String>,
}

/// Reads a provider's file.
pub(super) fn read(text: &str, family: Option<Family>) -> Result<Export, String> {
    let table = table::read(text)?;
    let looks = table.rows.first().map(looks_like);
    let family = match (family, looks) {
        (Some(family), Some(looks)) if family != looks => {
            return Err(format!("looks like an export of {}, not of {}", looks.name(), family.name()));
        }
        (Some(family), _) | (None, Some(family)) => family,
        (None, None) => {
            return Err(format!("holds no usage ({}); tell whose it is with --provider", table::EXPECTED));
        }
    };
    let mut export = Export { family, lines: Vec::new(), notes: Vec::new() };
    if table.goes_on {
        export
            .notes
            .push("the last page says that there are more (`has_more`): the export is not whole".to_owned());
    }
    for (number, row) in table.rows.iter().enumerate() {
        let line = match family {
            Family::OpenAi => openai(row),
            Family::Anthropic => anthropic(row),
        };
        match line {
            Some(line) if line.amounts.iter().any(Option::is_some) => export.lines.push(line),
            _ => export.notes.push(format!("row {} cannot be compared: {}", number + 1, in_words(row))),
        }
    }
    if export.lines.is_empty() && !table.rows.is_empty() {
        let has: Vec<_> = table.rows.iter().take(1).flat_map(|row| row.keys().take(8).cloned()).collect();
        return Err(format!(
            "has no column that is known of an export of {}, only {}; {}",
            family.name(),
            has.join(", "),
            table::EXPECTED
        ));
    }
    Ok(export)
}

fn looks_like(row: &Row) -> Family {
    let known = ["usage_date_utc", "starting_at", "uncached_input_tokens", "model_version"];
    if known.iter().any(|name| row.contains_key(*name)) { Family::Anthropic } else { Family::OpenAi }
}

fn in_words(row: &Row) -> String {
    let words: Vec<String> = row.iter().map(|(name, value)| format!("{name}={value}")).collect();
    words.join(" ")
}

/// Returns the first of these columns that is there.
fn first<'r>(row: &'r Row, names: &[&str]) -> Option<&'r str> {
    names.iter().find_map(|name| row.get(*name)).map(String::as_str)
}

fn number(row: &Row, names: &[&str]) -> Option<i128> {
    first(row, names).and_then(count)
}

/// Reads a line of `/v1/organization/usage/*`, `/v1/organization/costs`, their CSV, or of the older activity export.
fn openai(row: &Row) -> Option<Line> {
    let start = first(row, &["start_time", "start_time_iso", "aggregation_timestamp", "usage_date", "date"])?;
    let start = seconds(start)?;
    let end = first(row, &["end_time", "end_time_iso"])
        .and_then(seconds)
        .unwrap_or(start - start.rem_euclid(DAY) + DAY);
    let start = if row.contains_key("aggregation_timestamp") { end - DAY } else { start };
    let mut amounts: Amounts = [None; FIELDS.len()];
    amounts[0] = number(row, &["num_model_requests", "n_requests", "num_requests"]);
    amounts[1] = number(row, &["input_tokens", "n_context_tokens_total"]);
    amounts[2] = number(row, &["input_cached_tokens", "n_cached_context_tokens_total"]);
    amounts[4] = number(row, &["output_tokens", "n_generated_tokens_total"]);
    let cost = first(row, &["amount.value", "amount_value", "amount", "cost_usd", "cost"]);
    amounts[COST] = cost.and_then(|cost| decimal(cost, 0));
    // A line of costs is `gpt-4o-mini-2024-07-18, input`.
    let item = first(row, &["line_item"]).map(|item| item.split(", ").next().unwrap_or(item));
    let model = first(row, &["model", "snapshot_id"]).or(item).map(str::to_owned);
    Some(Line { start, end, model, amounts })
}

/// Reads a line of `/v1/organizations/usage_report/messages`, of `/v1/organizations/cost_report`, or of the console's CSV.
fn anthropic(row: &Row) -> Option<Line> {
    let start = seconds(first(row, &["starting_at", "usage_date_utc", "date"])?)?;
    let end = first(row, &["ending_at"]).and_then(seconds).unwrap_or(start + DAY);
    let uncached = number(row, &["uncached_input_tokens", "usage_input_tokens_no_cache"]);
    let read = number(row, &["cache_read_input_tokens", "usage_input_tokens_cache_read"]);
    let short =
        number(row, &["cache_creation.ephemeral_5m_input_tokens", "usage_input_tokens_cache_write_5m"]);
    let long =
        number(row, &["cache_creation.ephemeral_1h_input_tokens", "usage_input_tokens_cache_write_1h"]);
    let sum = |parts: &[Option<i128>]| {
        parts.iter().any(Option::is_some).then(|| parts.iter().flatten().sum::<i128>())
    };
    let mut amounts: Amounts = [None; FIELDS.len()];
    amounts[0] = number(row, &["request_count", "num_requests", "requests"]);
    amounts[1] = sum(&[uncached, read, short, long]);
    amounts[2] = read;
    amounts[3] = sum(&[short, long]);
    amounts[4] = number(row, &["output_tokens", "usage_output_tokens"]);
    // The API tells cents, the console dollars.
    let cents = first(row, &["amount"]).and_then(|cents| decimal(cents, -2));
    amounts[COST] = cents.or_else(|| first(row, &["cost_usd", "cost"]).and_then(|usd| decimal(usd, 0)));
    let model = first(row, &["model", "model_version"]).map(str::to_owned);
    Some(Line { start, end, model, amounts })
}

/// Reads a time: seconds since 1970, RFC 3339, or a date in UTC.
pub(super) fn seconds(text: &str) -> Option<i64> {
    if let Some(number) = count(text) {
        return i64::try_from(number).ok();
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time.as_second());
    }
    let date: Date = text.get(..10)?.parse().ok()?;
    let plain = text.len() == 10 || text.ends_with("00:00:00");
    let start = date.to_zoned(TimeZone::UTC).ok().filter(|_| plain)?;
    Some(start.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2025-08-01, in seconds since 1970.
    const AUGUST: i64 = 1_754_006_400;

    fn one(text: &str) -> (Family, Line) {
        let mut export = read(text, None).unwrap();
        assert_eq!((export.lines.len(), export.notes.len()), (1, 0), "{:?}", export.notes);
        (export.family, export.lines.remove(0))
    }

    #[test]
    fn every_export_is_read() {
        let usd = |nanos: i64| Some(super::super::amounts::cost_of_nanos(nanos));
        let usage = r#"{"object":"page","data":[{"object":"bucket","start_time":1754006400,"end_time":1754092800,
            "results":[{"object":"organization.usage.completions.result","input_tokens":1000,"output_tokens":500,
            "input_cached_tokens":800,"num_model_requests":5,"project_id":null,"model":"gpt-4o-mini-2024-07-18"}]}],
            "has_more":false,"next_page":null}"#;
        let costs = r#"{"data":[{"start_time":1754006400,"end_time":1754092800,"results":[{"amount":{"value":0.06,
            "currency":"usd"},"line_item":"gpt-4o-mini-2024-07-18, input","project_id":null}]}]}"#;
        let usage_csv = "start_time,end_time,start_time_iso,model,input_tokens,output_tokens,input_cached_tokens,num_model_requests\n\
            1754006400,1754092800,2025-08-01T00:00:00+00:00,gpt-4o-mini-2024-07-18,1000,500,800,5\n";
        let activity = r#"{"data":[{"aggregation_timestamp":1754010000,"n_requests":5,"snapshot_id":"gpt-4o-mini-2024-07-18",
            "n_context_tokens_total":1000,"n_generated_tokens_total":500,"n_cached_context_tokens_total":800}]}"#;
        let messages = r#"{"data":[{"starting_at":"2025-08-01T00:00:00Z","ending_at":"2025-08-02T00:00:00Z","results":[{
            "uncached_input_tokens":1500,"cache_creation":{"ephemeral_1h_input_tokens":1000,"ephemeral_5m_input_tokens":500},
            "cache_read_input_tokens":200,"output_tokens":500,"model":"claude-sonnet-4-20250514","api_key_id":null}]}]}"#;
        let report = r#"{"data":[{"starting_at":"2025-08-01T00:00:00Z","ending_at":"2025-08-02T00:00:00Z","results":[{
            "currency":"USD","amount":"123.78912","model":"claude-sonnet-4-20250514","token_type":"output_tokens"}]}]}"#;
        let console = "usage_date_utc,model_version,api_key,workspace,usage_type,context_window,usage_input_tokens_no_cache,\
            usage_input_tokens_cache_write_5m,usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,usage_output_tokens,web_search_count\n\
            2025-08-01,claude-sonnet-4-20250514,k,Default,standard,≤ 200k,1500,500,1000,200,500,0\n";
        let tokens = [Some(5), Some(1_000), Some(800), None, Some(500), None];
        let claude = [None, Some(3_200), Some(200), Some(1_500), Some(500), None];
        let only = |cost| [None, None, None, None, None, cost];
        for (text, family, amounts) in [
            (usage, Family::OpenAi, tokens),
            (usage_csv, Family::OpenAi, tokens),
            (activity, Family::OpenAi, tokens),
            (costs, Family::OpenAi, only(usd(60_000_000))),
            (messages, Family::Anthropic, claude),
            (console, Family::Anthropic, claude),
            (report, Family::Anthropic, only(usd(1_237_891_200))),
        ] {
            let model =
                if family == Family::OpenAi { "gpt-4o-mini-2024-07-18" } else { "claude-sonnet-4-20250514" };
            let line = Line { start: AUGUST, end: AUGUST + DAY, model: Some(model.to_owned()), amounts };
            assert_eq!(one(text), (family, line), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_compared_is_noted_and_a_wrong_family_is_refused() {
        let text = r#"{"data":[{"start_time":1754006400,"end_time":1754092800,"results":[
            {"object":"organization.usage.images.result","images":3,"model":"gpt-image-1"},
            {"input_tokens":1,"model":"m"}]}],"has_more":true}"#;
        let export = read(text, None).unwrap();
        assert_eq!(export.lines.len(), 1);
        assert!(
            export.notes[0].contains("has_more") && export.notes[1].contains("images=3"),
            "{:?}",
            export.notes
        );
        assert!(read(text, Some(Family::Anthropic)).unwrap_err().contains("looks like an export of openai"));
        assert!(read("a,b\n1,2\n", None).unwrap_err().contains("no column"));
        assert!(read("", None).is_err());
    }
}
