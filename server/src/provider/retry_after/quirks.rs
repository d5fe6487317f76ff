//! Tests of vendors' own names for what is left of a limit, each named as in the list of quirks: what a 429 with them
//! says of the wait. Successes never get here, whatever they carry.

use super::*;

fn hint(pairs: &[(&'static str, &'static str)]) -> Option<Duration> {
    let headers = pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
    retry_after(&headers.collect(), UNIX_EPOCH + Duration::from_secs(1_700_000_000))
}

fn seconds(wait: f64) -> Option<Duration> {
    Some(Duration::from_secs_f64(wait))
}

#[test]
fn oa_ratelimit_headers_are_durations_with_units() {
    let left = |requests, tokens| {
        [
            ("x-ratelimit-limit-requests", "500"),
            ("x-ratelimit-limit-tokens", "200000"),
            ("x-ratelimit-remaining-requests", requests),
            ("x-ratelimit-remaining-tokens", tokens),
            ("x-ratelimit-reset-requests", "120ms"),
            ("x-ratelimit-reset-tokens", "16.399999999s"),
        ]
    };
    assert_eq!(hint(&left("0", "199739")), seconds(0.12));
    assert_eq!(hint(&left("499", "0")), seconds(16.399_999_999));
    assert_eq!(hint(&left("0", "0")), seconds(16.399_999_999), "both must be over");
    assert_eq!(hint(&[("x-ratelimit-reset-tokens", "15m50.4s")]), seconds(60.0));
    let images = [("x-ratelimit-reset-input-images", "6ms"), ("x-ratelimit-remaining-input-images", "0")];
    assert_eq!(hint(&images), seconds(0.006));
}

#[test]
fn az_headers_tell_the_wait_by_retry_after_and_their_extras_are_no_wait() {
    let limits = [
        ("x-ms-region", "East US"),
        ("x-ratelimit-limit-tokens", "250000"),
        ("x-ratelimit-remaining-tokens", "249989"),
        ("x-ratelimit-renewalperiod-requests", "60"),
        ("x-ratelimit-renewalperiod-tokens", "60"),
        ("x-ratelimit-abusepenalty-active", "False"),
    ];
    assert_eq!(hint(&limits), None);
    let told = [&limits[..], &[("retry-after", "7"), ("x-ratelimit-reset-tokens", "0")]].concat();
    assert_eq!(hint(&told), seconds(7.0));
    assert_eq!(hint(&[&told[..], &[("retry-after-ms", "6500")]].concat()), seconds(6.5));
}

#[test]
fn ce_headers_reset_by_minute_and_day_in_decimal_seconds() {
    let left = |day, minute| {
        [
            ("x-ratelimit-limit-requests-day", "1440000"),
            ("x-ratelimit-limit-tokens-minute", "9223372036854767616"),
            ("x-ratelimit-remaining-requests-day", day),
            ("x-ratelimit-remaining-tokens-minute", minute),
            ("x-ratelimit-reset-requests-day", "24479.62136220932"),
            ("x-ratelimit-reset-tokens-minute", "9.62"),
        ]
    };
    assert_eq!(hint(&left("1439993", "0")), seconds(9.62), "the day's limit has enough left");
    assert_eq!(hint(&left("0", "9223372036854767616")), seconds(60.0), "never longer than a caller waits");
}

#[test]
fn mi_headers_tell_what_is_left_and_no_time() {
    let left = [
        ("x-ratelimit-limit-tokens-minute", "200000"),
        ("x-ratelimit-remaining-tokens-minute", "0"),
        ("x-ratelimit-tokens-query-cost", "210"),
        ("x-ratelimit-remaining-req-10-second", "0"),
        ("x-ratelimit-limit-tokens-month", "200000000000"),
    ];
    assert_eq!(hint(&left), None, "counts are no times");
    assert_eq!(hint(&[&left[..], &[("retry-after", "2")]].concat()), seconds(2.0));
}

#[test]
fn to_headers_have_no_unit_and_mean_seconds() {
    let limit = [
        ("x-ratelimit", "false"),
        ("x-ratelimit-limit", "10"),
        ("x-ratelimit-remaining", "0"),
        ("x-ratelimit-limit-tokens", "3000"),
        ("x-ratelimit-reset", "2"),
    ];
    assert_eq!(hint(&limit), seconds(2.0));
    assert_eq!(hint(&[&limit[..], &[("retry-after", "3")]].concat()), seconds(3.0));
}

#[test]
fn the_drafts_names_are_the_same_without_their_prefix() {
    let limit = [("ratelimit-limit", "400"), ("ratelimit-remaining", "0"), ("ratelimit-reset", "18")];
    assert_eq!(hint(&limit), seconds(18.0));
    let two = [&limit[..], &[("x-ratelimit-reset", "5"), ("x-ratelimit-remaining", "1")]].concat();
    assert_eq!(hint(&two), seconds(18.0));
    assert_eq!(hint(&[("my-ratelimit-reset", "18")]), None);
}

#[test]
fn co_trial_headers_tell_no_time() {
    let left = [
        ("x-endpoint-monthly-call-limit", "1000"),
        ("x-trial-endpoint-call-limit", "20"),
        ("x-trial-endpoint-call-remaining", "0"),
        ("num_tokens", "1092"),
    ];
    assert_eq!(hint(&left), None);
}

#[test]
fn xa_metrics_headers_are_no_wait() {
    let took =
        [("x-metrics-ttft-ms", "386.1"), ("x-metrics-mean-itl-ms", "6.0"), ("x-metrics-e2e-ms", "1116.2")];
    assert_eq!(hint(&took), None);
    let limited = [
        &took[..],
        &[
            ("x-ratelimit-limit-requests", "1800"),
            ("x-ratelimit-remaining-requests", "0"),
            ("retry-after", "4"),
        ],
    ]
    .concat();
    assert_eq!(hint(&limited), seconds(4.0));
}
