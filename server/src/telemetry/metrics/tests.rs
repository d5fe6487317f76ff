//! Tests of what is counted, each with a recorder of its own.

use std::time::Instant;

use tollgate_api::v1::usage::Source;

use super::*;

fn record(model: &str, target: &str) -> v1::UsageRecord {
    let seconds = |seconds, nanos| Some(prost_types::Duration { seconds, nanos });
    v1::UsageRecord {
        requested_model: model.to_owned(),
        target: target.to_owned(),
        provider: "openai".to_owned(),
        surface: "openai-chat".to_owned(),
        operation: "chat".to_owned(),
        team_id: "search".to_owned(),
        streamed: true,
        duration: seconds(1, 500_000_000),
        first_token_duration: seconds(0, 30_000_000),
        gateway_duration: seconds(0, 40_000),
        attempts: vec![v1::Attempt {
            target: target.to_owned(),
            outcome: "ok".to_owned(),
            duration: seconds(1, 0),
            ..v1::Attempt::default()
        }],
        usage: Some(v1::Usage {
            input_tokens: Some(10),
            output_tokens: Some(5),
            reasoning_output_tokens: Some(2),
            source: Source::Provider.into(),
            cost: Some(v1::Cost { amount_nanos: 1_500_000_001, ..v1::Cost::default() }),
            ..v1::Usage::default()
        }),
        ..v1::UsageRecord::default()
    }
}

/// Returns the Prometheus text after `run`.
fn text(run: impl FnOnce(&Calls)) -> String {
    let recorder = builder().unwrap().build_recorder();
    let calls = Calls::default();
    metrics::with_local_recorder(&recorder, || {
        describe();
        run(&calls);
    });
    let mut text = recorder.handle().render();
    calls.render_costs(&mut text);
    text
}

/// Finds the value of the one series that has this name and all these labels.
fn value(text: &str, name: &str, labels: &[&str]) -> Option<String> {
    let mut found = text.lines().filter(|line| {
        line.split(['{', ' ']).next() == Some(name) && labels.iter().all(|label| line.contains(label))
    });
    let line = found.next()?;
    assert_eq!(found.next(), None, "more than one series");
    line.rsplit_once(' ').map(|(_, value)| value.to_owned())
}

#[test]
fn a_call_is_counted_with_its_times_tokens_and_cost() {
    let text = text(|calls| {
        calls.settled(&record("chat-fast", "openai/gpt-4o-mini"));
        calls.settled(&record("chat-fast", "openai/gpt-4o-mini"));
    });
    let get = |name, labels: &[&str]| value(&text, name, labels).unwrap_or_default();
    let all = [
        "surface=\"openai-chat\"",
        "operation=\"chat\"",
        "model=\"chat-fast\"",
        "target=\"openai/gpt-4o-mini\"",
        "provider=\"openai\"",
        "outcome=\"ok\"",
    ];
    assert_eq!(get(REQUESTS, &all), "2");
    assert_eq!(get("tollgate_request_duration_seconds_bucket", &["le=\"1.28\"", all[2]]), "0");
    assert_eq!(get("tollgate_request_duration_seconds_bucket", &["le=\"2.56\"", all[2]]), "2");
    assert_eq!(get("tollgate_time_to_first_token_seconds_bucket", &["le=\"0.04\"", all[3]]), "2");
    assert_eq!(get("tollgate_gateway_overhead_seconds_count", &all[1..4]), "2");
    assert_eq!(get(UPSTREAM_ATTEMPTS, &[all[3], "outcome=\"ok\""]), "2");
    assert_eq!(get(TOKENS, &["kind=\"output\"", "team=\"search\""]), "10");
    assert_eq!(get(TOKENS, &["kind=\"reasoning\""]), "4");
    assert_eq!(get(COST, &["model=\"chat-fast\"", "team=\"search\""]), "3.000000002");
    assert!(text.contains("# TYPE tollgate_cost_usd_total counter"));
    assert!(text.contains("# HELP tollgate_requests_total Calls that ended"));
}

#[test]
fn a_model_that_got_no_target_is_no_label() {
    let text = text(|calls| {
        for number in 0..50 {
            let mut refused = record(&format!("made-up-{number}"), "");
            refused.attempts.clear();
            refused.usage = None;
            refused.error_reason = "MODEL_NOT_FOUND".to_owned();
            calls.settled(&refused);
        }
    });
    let labels = ["model=\"_unknown\"", "outcome=\"model_not_found\""];
    assert_eq!(value(&text, REQUESTS, &labels).unwrap(), "50");
    assert!(!text.contains("made-up"));
}

#[test]
fn beyond_a_thousand_models_all_others_are_one() {
    let text = text(|calls| {
        for number in 0..1_200 {
            calls.settled(&record(&format!("wild/{number}"), &format!("openai/{number}")));
        }
        calls.settled(&record("wild/7", "openai/7"));
    });
    let series = text.lines().filter(|line| line.starts_with("tollgate_requests_total{")).count();
    assert_eq!(series, 1_001);
    assert_eq!(value(&text, REQUESTS, &["model=\"_other\"", "target=\"_other\""]).unwrap(), "200");
    assert_eq!(value(&text, REQUESTS, &["model=\"wild/7\""]).unwrap(), "2", "the first ones stay");
    let attempts = text.lines().filter(|line| line.starts_with("tollgate_upstream_attempts_total{")).count();
    assert_eq!(attempts, 1_001);
}

#[test]
fn a_label_cannot_break_out_of_its_line() {
    let text = text(|calls| calls.settled(&record("a\"} 1\nevil_total 1\\", "openai/x")));
    assert!(!text.lines().any(|line| line.starts_with("evil")), "{text}");
    assert!(text.contains(r#"tollgate_cost_usd_total{model="a\"} 1\nevil_total 1\\","#), "{text}");
}

#[test]
fn who_ended_a_stream_is_told_apart() {
    let ended = |reason: &str, delivered| {
        let mut record = record("m", "t");
        record.error_reason = reason.to_owned();
        record.delivered_event_count = delivered;
        record.attempts[0].outcome = "unavailable".to_owned();
        record
    };
    let text = text(|calls| {
        calls.settled(&ended("CANCELLED", 0));
        calls.settled(&ended("CALLER_DEADLINE_EXCEEDED", 3));
        calls.settled(&ended("STREAM_INTERRUPTED", 3));
        calls.settled(&ended("UPSTREAM_UNAVAILABLE", 0));
    });
    for by in ["client", "deadline", "upstream"] {
        assert_eq!(value(&text, STREAM_ABORTS, &[by]).unwrap(), "1", "{by}");
    }
    assert_eq!(value(&text, UPSTREAM_ATTEMPTS, &["outcome=\"retryable\""]).unwrap(), "4");
}

#[test]
fn running_calls_and_strangers_are_counted() {
    let text = text(|calls| {
        calls.opened();
        calls.opened();
        calls.closed();
        calls.auth_failed("API_KEY_INVALID");
    });
    assert_eq!(value(&text, INFLIGHT, &[]).unwrap(), "1");
    assert_eq!(value(&text, AUTH_FAILURES, &["reason=\"API_KEY_INVALID\""]).unwrap(), "1");
}

#[test]
fn tokens_of_the_cache_are_savings_and_a_missing_price_is_counted() {
    let text = text(|calls| {
        let mut cached = record("m", "t");
        let usage = cached.usage.as_mut().unwrap();
        usage.set_source(Source::Cache);
        usage.cost = Some(v1::Cost { saved_nanos: 7, ..v1::Cost::default() });
        calls.settled(&cached);
        let mut unknown = record("m", "t");
        (unknown.unpriced, unknown.usage.as_mut().unwrap().cost) = (true, None);
        calls.settled(&unknown);
    });
    assert_eq!(value(&text, COST_SAVED, &["model=\"m\""]).unwrap(), "0.000000007");
    assert_eq!(value(&text, COST, &[]), None, "nothing was spent");
    assert_eq!(value(&text, TOKENS, &["kind=\"input\""]).unwrap(), "10");
    assert_eq!(value(&text, UNPRICED, &[]).unwrap(), "1");
}

#[test]
fn the_process_measures_once_it_is_told_to() {
    assert_eq!(render(), "");
    call_settled(&record("before", "t"));
    install().unwrap();
    install().unwrap();
    call_settled(&record("after", "t"));
    let text = render();
    assert_eq!(text.matches("tollgate_build_info{version=").count(), 1);
    assert!(text.contains("model=\"after\"") && !text.contains("model=\"before\""));
}

/// Not a benchmark: a look at what a call costs here, printed for who asks with `--nocapture`.
#[test]
fn settling_a_call_again_makes_no_new_series() {
    let text = text(|calls| {
        let record = record("m", "t");
        let start = Instant::now();
        for _ in 0..10_000 {
            calls.settled(&record);
        }
        println!("call_settled: {:?}", start.elapsed() / 10_000);
    });
    assert_eq!(value(&text, REQUESTS, &[]).unwrap(), "10000");
}
