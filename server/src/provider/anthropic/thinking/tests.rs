//! Tests of the rule by which models think.

use super::*;

/// Model, effort, budget, what is sent, what is warned of.
type Case = (&'static str, &'static str, Option<i64>, &'static str, &'static [&'static str]);

fn wish(effort: &str, budget: Option<i64>) -> ReasoningOptions {
    ReasoningOptions { effort: effort.into(), budget_tokens: budget, summary: String::new() }
}

fn around(model: &str, max_tokens: i64) -> Around {
    let generation = Generation::of(model);
    Around { generation, max_tokens, forced_tool: false, in_foreign_round: false }
}

fn told(wish: &ReasoningOptions, around: Around) -> (String, Vec<String>) {
    let mut lost = Lost::new(false);
    let plan = Plan::of(Some(wish), around, &mut lost).unwrap();
    let mut json = String::new();
    let mut body = Object::begin(&mut json);
    plan.write(&mut body);
    body.text("effort", plan.effort.as_deref().unwrap_or_default());
    body.end();
    (json, lost.warnings.into_iter().map(|warning| format!("{} {}", warning.code, warning.field)).collect())
}

#[test]
fn effort_and_budget_follow_the_generation() {
    const EFFORT: &str = "parameter_changed input.reasoning.effort";
    const BUDGET: &str = "parameter_changed input.reasoning.budget_tokens";
    let cases: &[Case] = &[
        ("claude-opus-4-7", "high", None, r#"{"thinking":{"type":"adaptive"},"effort":"high"}"#, &[]),
        ("claude-opus-4-7", "minimal", None, r#"{"thinking":{"type":"adaptive"},"effort":"low"}"#, &[EFFORT]),
        ("claude-opus-5", "", Some(5000), r#"{"thinking":{"type":"adaptive"}}"#, &[BUDGET]),
        ("claude-opus-5", "none", None, r#"{"thinking":{"type":"disabled"}}"#, &[]),
        ("claude-opus-4-6", "xhigh", None, r#"{"thinking":{"type":"adaptive"},"effort":"high"}"#, &[EFFORT]),
        ("claude-sonnet-4-6", "", Some(3000), r#"{"thinking":{"type":"enabled","budget_tokens":3000}}"#, &[]),
        ("claude-haiku-4-5", "", Some(3000), r#"{"thinking":{"type":"enabled","budget_tokens":3000}}"#, &[]),
        (
            "claude-haiku-4-5",
            "",
            Some(9000),
            r#"{"thinking":{"type":"enabled","budget_tokens":3999}}"#,
            &[BUDGET],
        ),
        (
            "claude-haiku-4-5",
            "low",
            None,
            r#"{"thinking":{"type":"enabled","budget_tokens":2048}}"#,
            &[EFFORT],
        ),
        ("claude-haiku-4-5", "", Some(0), r#"{"thinking":{"type":"disabled"}}"#, &[]),
        ("claude-3-opus-latest", "high", None, "{}", &["parameter_dropped input.reasoning"]),
        ("claude-3-opus-latest", "none", None, "{}", &[]),
        ("claude-fable-5", "none", None, "{}", &["parameter_dropped input.reasoning"]),
    ];
    for (model, effort, budget, json, warnings) in cases {
        let (sent, warned) = told(&wish(effort, *budget), around(model, 4000));
        assert_eq!(sent, *json, "{model} {effort} {budget:?}");
        assert_eq!(warned, *warnings, "{model} {effort} {budget:?}");
    }
}

#[test]
fn a_short_answer_a_forced_call_and_a_foreign_round_leave_no_room_to_think() {
    let dropped = |around| told(&wish("high", None), around);
    assert_eq!(dropped(around("claude-haiku-4-5", 1000)).0, "{}");
    let forced = Around { forced_tool: true, ..around("claude-opus-4-7", 4000) };
    assert_eq!(dropped(forced).0, r#"{"effort":"high"}"#);
    let foreign = Around { in_foreign_round: true, ..around("claude-haiku-4-5", 4000) };
    assert_eq!(dropped(foreign), ("{}".to_owned(), vec!["parameter_dropped input.reasoning".to_owned()]));
}

#[test]
fn a_strict_caller_is_refused_what_cannot_be() {
    let around = around("claude-3-opus-latest", 4000);
    let error = Plan::of(Some(&wish("high", None)), around, &mut Lost::new(true)).unwrap_err();
    assert_eq!(error.field.as_deref(), Some("input.reasoning"));
}

#[test]
fn summaries_are_a_matter_of_display() {
    let wish = ReasoningOptions { summary: "auto".into(), ..wish("", Some(2000)) };
    let (sent, _) = told(&wish, around("claude-haiku-4-5", 4000));
    assert_eq!(sent, r#"{"thinking":{"type":"enabled","budget_tokens":2000,"display":"summarized"}}"#);
}
