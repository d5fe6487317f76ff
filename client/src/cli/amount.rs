//! Numbers as people write and read them: money, counts, `200k`, limits.

use tollgate_client::api::{admin::Limit, v1::Cost};

/// Nano-USD in one USD.
const NANOS: u64 = 1_000_000_000;
/// What a limit may be set on.
const METRICS: [&str; 6] =
    ["requests", "input_tokens", "output_tokens", "tokens", "concurrent", "cost_nanos"];
/// The spans of time of limits.
const WINDOWS: [&str; 6] = ["second", "minute", "hour", "day", "month", "total"];

/// Returns nano-USD as USD, exact, with at least two decimals: `$0.000123`.
pub(crate) fn usd(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    format!("{sign}${}", decimal(nanos.unsigned_abs()))
}

fn decimal(nanos: u64) -> String {
    let (whole, fraction) = (nanos / NANOS, format!("{:09}", nanos % NANOS));
    let digits = fraction.trim_end_matches('0').len().max(2);
    format!("{whole}.{}", &fraction[..digits])
}

/// Returns what something cost, `~` before an estimate, `-` if the price is unknown.
pub(crate) fn cost(cost: Option<&Cost>) -> String {
    let Some(cost) = cost else { return "-".to_owned() };
    let mark = if cost.estimated { "~" } else { "" };
    let amount = usd(cost.amount_nanos);
    if matches!(cost.currency_code.as_str(), "" | "USD") {
        return format!("{mark}{amount}");
    }
    format!("{mark}{} {}", amount.replacen('$', "", 1), cost.currency_code)
}

/// Returns a count with its thousands apart: `1,234,567`.
pub(crate) fn count(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    if number < 0 {
        grouped.push('-');
    }
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Returns a count, or nothing if it is not known: absent is not zero.
pub(crate) fn known(number: Option<i64>) -> String {
    number.map(count).unwrap_or_default()
}

/// Reads a decimal number times `unit`, with `k`, `M` or `G` behind it; exact, or an error.
fn scaled(text: &str, unit: u64) -> Result<i64, String> {
    let wrong = || format!("{text:?} is no amount: write 60, 200k or 1.5M");
    let (digits, suffix) = match text.char_indices().next_back() {
        Some((at, 'k' | 'K')) => (&text[..at], 1_000),
        Some((at, 'M' | 'm')) => (&text[..at], 1_000_000),
        Some((at, 'G' | 'g')) => (&text[..at], 1_000_000_000),
        _ => (text, 1),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !plain(whole) || !plain(fraction) || digits.ends_with('.') {
        return Err(wrong());
    }
    let fraction = fraction.trim_end_matches('0');
    let places = u32::try_from(fraction.len()).map_err(|_| wrong())?;
    let divisor = 10_u128.checked_pow(places).ok_or_else(wrong)?;
    let number: u128 = format!("{whole}{fraction}").parse().map_err(|_| wrong())?;
    let scale = u128::from(unit) * suffix;
    let product = number.checked_mul(scale).ok_or_else(|| format!("{text} is too large"))?;
    if product % divisor != 0 {
        return Err(format!("{text} has more decimals than can be kept"));
    }
    i64::try_from(product / divisor).map_err(|_| format!("{text} is too large"))
}

/// Reads a limit: `requests/minute=60`, `concurrent=5`, `tokens/day=2M,model=gpt-*`, `usd_per_month=20.50,soft`.
pub(crate) fn parse_limit(text: &str) -> Result<Limit, String> {
    let example = "write METRIC/WINDOW=AMOUNT, e.g. requests/minute=60, tokens/day=2M, usd/month=20.50";
    let (limit, which) = text.split_once(',').unwrap_or((text, ""));
    let (name, amount) = limit.split_once('=').ok_or_else(|| format!("{text:?} has no `=`: {example}"))?;
    let (metric, window) = parse_metric(name)?;
    let (metric, unit) = if metric == "usd" { ("cost_nanos", NANOS) } else { (metric, 1) };
    narrowed(metric, window, scaled(amount, unit)?, which)
}

/// Reads which limit is meant, as a limit without its amount: `requests/minute`, `concurrent`, `tokens/day,soft`.
pub(crate) fn parse_limit_name(text: &str) -> Result<Limit, String> {
    let (name, which) = text.split_once(',').unwrap_or((text, ""));
    let (metric, window) = parse_metric(name)?;
    narrowed(if metric == "usd" { "cost_nanos" } else { metric }, window, 0, which)
}

/// Reads which calls a limit counts, and whether it only warns.
fn narrowed(metric: &str, window: &str, amount: i64, which: &str) -> Result<Limit, String> {
    let mut limit =
        Limit { metric: metric.to_owned(), window: window.to_owned(), amount, ..Limit::default() };
    for word in which.split(',').filter(|word| !word.is_empty()) {
        match word.split_once('=') {
            None if word == "soft" => limit.soft = true,
            Some(("model", glob)) if !glob.is_empty() => limit.model = glob.to_owned(),
            Some(("tag", tag)) if tag.contains('=') => limit.tag = tag.to_owned(),
            _ => return Err(format!("{word:?} is none of soft, model=GLOB, tag=NAME=VALUE")),
        }
    }
    Ok(limit)
}

/// Reads what is limited, in which window: `requests/minute`, `requests_per_minute`, `concurrent`.
fn parse_metric(name: &str) -> Result<(&str, &str), String> {
    let parts = name.split_once('/').or_else(|| name.split_once("_per_"));
    let total = || name.strip_suffix("_total").map(|metric| (metric, "total"));
    let (metric, window) = parts.or_else(total).unwrap_or((name, ""));
    if metric != "usd" && !METRICS.contains(&metric) {
        return Err(format!("{metric:?} cannot be limited: use usd, {}", METRICS.join(", ")));
    }
    match (metric, window) {
        ("concurrent", "") => {}
        ("concurrent", _) => return Err("concurrent has no window: write concurrent=5".to_owned()),
        _ if WINDOWS.contains(&window) => {}
        _ => return Err(format!("{name:?} needs a window: {metric}/ and one of {}", WINDOWS.join(", "))),
    }
    Ok((metric, window))
}

/// Returns a limit as [`parse_limit`] reads it.
pub(crate) fn limit(limit: &Limit) -> String {
    let mut text = of_metric(&limit.metric, &limit.window, limit.amount);
    for (name, value) in [("model", &limit.model), ("tag", &limit.tag)] {
        if !value.is_empty() {
            text.push_str(&format!(",{name}={value}"));
        }
    }
    if limit.soft {
        text.push_str(",soft");
    }
    text
}

/// Returns limits as [`parse_limit`] reads each of them.
pub(crate) fn limits(limits: &[Limit]) -> String {
    limits.iter().map(limit).collect::<Vec<_>>().join(" ")
}

/// Returns an amount of a metric in a window: `usd/month=20.50`.
pub(crate) fn of_metric(metric: &str, window: &str, amount: i64) -> String {
    let window = if window.is_empty() { String::new() } else { format!("/{window}") };
    if metric == "cost_nanos" {
        return format!("usd{window}={}", decimal(amount.unsigned_abs()));
    }
    format!("{metric}{window}={amount}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_exact_to_the_nano() {
        assert_eq!(usd(0), "$0.00");
        assert_eq!(usd(20), "$0.00000002");
        assert_eq!(usd(1_500_000_000), "$1.50");
        assert_eq!(usd(123_456), "$0.000123456");
        assert_eq!(usd(-1), "-$0.000000001");
        assert_eq!(usd(i64::MAX), "$9223372036.854775807");
    }

    #[test]
    fn a_cost_says_if_it_is_an_estimate_or_unknown() {
        let estimate = Cost { amount_nanos: 1_000_000, estimated: true, ..Cost::default() };
        assert_eq!(cost(Some(&estimate)), "~$0.001");
        assert_eq!(cost(None), "-");
        let other = Cost { amount_nanos: 1_000_000_000, currency_code: "EUR".into(), ..Cost::default() };
        assert_eq!(cost(Some(&other)), "1.00 EUR");
    }

    #[test]
    fn counts_are_grouped() {
        assert_eq!([count(7), count(1234), count(-1_234_567)], ["7", "1,234", "-1,234,567"]);
        assert_eq!(known(None), "");
    }

    #[test]
    fn limits_are_read_and_written_alike() {
        for text in [
            "requests/minute=60",
            "concurrent=5",
            "usd/month=20.50",
            "tokens/total=0",
            "tokens/day=1000000,model=gpt-*,tag=feature=batch,soft",
        ] {
            assert_eq!(limit(&parse_limit(text).unwrap()), text);
        }
        assert_eq!(limit(&parse_limit("requests_per_minute=60,soft").unwrap()), "requests/minute=60,soft");
        assert_eq!(limit(&parse_limit("output_tokens_total=9").unwrap()), "output_tokens/total=9");
        assert_eq!(parse_limit_name("usd/month,soft").unwrap().metric, "cost_nanos");
        assert_eq!(parse_limit("usd/day=0.000000001").unwrap().amount, 1);
        assert_eq!(parse_limit("tokens/day=1.5M").unwrap().amount, 1_500_000);
        assert_eq!(parse_limit("usd/day=2k").unwrap().amount, 2_000_000_000_000);
    }

    #[test]
    fn wrong_limits_say_what_is_wrong() {
        for (text, part) in [
            ("requests/minute", "no `=`"),
            ("requests=60", "needs a window"),
            ("requests/year=60", "needs a window"),
            ("coffee/day=1", "cannot be limited"),
            ("concurrent/day=1", "has no window"),
            ("requests/day=-1", "no amount"),
            ("requests/day=1.5", "more decimals"),
            ("requests/day=99999999999999999999", "too large"),
            ("requests/day=", "no amount"),
            ("requests/day=1,hard", "none of soft"),
            ("requests/day=1,tag=x", "none of soft"),
        ] {
            let error = parse_limit(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
