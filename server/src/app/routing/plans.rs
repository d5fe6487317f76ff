//! Every key of `models`, from the file to the plan of a call.

use std::{collections::BTreeMap, time::Duration};

use tollgate_api::v1::{self, route_hints::Objective};

use super::{tests::routes, *};
use crate::{
    call::{Call, Caller, ModelGlobs, Need, Needs, Scope, Scopes, Target, now},
    error::{Error, Reason},
    route::{Asking, Health, Known, Models, OnInterrupt, PassedOver, Plan, Routes, health},
};

/// Three providers that are never reached, one of them with two credentials.
const PROVIDERS: &str = r#"
providers:
  a: { dialect: openai, base_url: "http://127.0.0.1:9/v1" }
  b: { dialect: openai, base_url: "http://127.0.0.1:9/v1" }
  two: { dialect: openai, base_url: "http://127.0.0.1:9/v1", api_keys: { x: sk-x, y: sk-y, none: "${UNSET:-}" } }
echo: false
models:
"#;

/// What the catalog says in these tests: the price is the configured one, the facts are by the model's name.
struct Facts;

impl Models for Facts {
    fn known(&self, target: &Target) -> Known {
        match &*target.model {
            "blind" => Known { context_tokens: None, can: Some(Needs::default()) },
            "short" => Known { context_tokens: Some(2_000), can: None },
            _ => Known::default(),
        }
    }
    fn at_most(&self, _: &Call, target: &Target) -> Option<i64> {
        target.rates.map(|rates| rates.input)
    }
}

fn plan_of(routes: &Routes, call: &Call) -> Result<Plan, Error> {
    let health = Health::new(health::Settings::default());
    routes.plan(&Asking { call, models: &Facts, health: &health, now: now() })
}

/// Makes the plan of a call to `m`, which `change` makes what the test needs.
fn plan(models: &str, change: impl FnOnce(&mut Call)) -> Result<Plan, Error> {
    let mut call = Call::for_test("m");
    change(&mut call);
    plan_of(&routes(&format!("{PROVIDERS}{models}"), &[]), &call)
}

fn names(plan: &Plan) -> Vec<&str> {
    plan.candidates.iter().map(|candidate| &*candidate.target.name).collect()
}

fn tried(models: &str, change: impl FnOnce(&mut Call)) -> Vec<String> {
    match plan(models, change) {
        Ok(plan) => names(&plan).into_iter().map(str::to_owned).collect(),
        Err(error) => vec![error.reason_name().to_owned()],
    }
}

/// Why a target is passed over.
fn why(plan: &Plan, target: &str) -> String {
    let passed = plan.passed_over.iter().find(|PassedOver { target: one, .. }| &*one.name == target);
    passed.expect("it is passed over").reason.to_string()
}

fn hints(change: impl FnOnce(&mut v1::RouteHints)) -> impl FnOnce(&mut Call) {
    move |call| {
        let mut hints = v1::RouteHints::default();
        change(&mut hints);
        call.options.route = Some(hints);
        let scopes = [Scope::Chat, Scope::RoutePin].into_iter().collect::<Scopes>();
        call.caller = Arc::new(Caller { scopes, ..Caller::for_test() });
    }
}

fn may_use(models: &[&str]) -> impl FnOnce(&mut Call) {
    let allowed_models = ModelGlobs::new(models.iter().map(|model| (*model).to_owned()).collect());
    move |call| call.caller = Arc::new(Caller { allowed_models, ..Caller::for_test() })
}

/// Makes a call what a condition asks for.
type Change = fn(&mut Call);

const BOTH: &str = "targets: [{ provider: a, model: x }, { provider: b, model: x }]";

#[tokio::test]
async fn each_strategy_has_its_order() {
    assert_eq!(tried(&format!("  m: {{ {BOTH} }}"), |_| {}), ["a/x", "b/x"]);
    let weighted = "  m: { strategy: weighted, targets: [{ provider: a, model: x, weight: 0 }, { provider: b, model: x }] }";
    assert_eq!(tried(weighted, |_| {}), ["b/x", "a/x"]);
    let cheapest =
        "  m: { strategy: cheapest, targets: [{ provider: b, model: x }, { alias: dear }, { alias: cheap }] }
  dear: { targets: [{ provider: a, model: dear }], price: { input_per_million: 9 } }
  cheap: { targets: [{ provider: a, model: cheap }], price: { input_per_million: 1 } }";
    assert_eq!(tried(cheapest, |_| {}), ["a/cheap", "a/dear", "b/x"]);
    for strategy in ["fastest", "least_busy"] {
        let mut tried = tried(&format!("  m: {{ strategy: {strategy}, {BOTH} }}"), |_| {});
        tried.sort_unstable();
        assert_eq!(tried, ["a/x", "b/x"], "{strategy}");
    }
}

#[tokio::test]
async fn canaries_get_their_share_and_sticky_calls_stay() {
    let canary = "  m: { strategy: weighted, sticky: user, targets: [{ provider: a, model: x, weight: 95 }, { provider: b, model: x, weight: 5 }] }";
    let routes = routes(&format!("{PROVIDERS}{canary}"), &[]);
    let first = |user: String| {
        let mut call = Call::for_test("m");
        call.asked.end_user_id = user;
        names(&plan_of(&routes, &call).unwrap())[0].to_owned()
    };
    let canaries = (0..4_000).filter(|_| first(String::new()) == "b/x").count();
    assert!((130..=270).contains(&canaries), "{canaries}");
    for user in ["ann", "bob", "cem"] {
        let one = first(user.to_owned());
        assert!((0..50).all(|_| first(user.to_owned()) == one));
    }
}

#[tokio::test]
async fn conditions_leave_out_what_does_not_meet_them() {
    let conditions: &[(&str, Change)] = &[
        ("tags: { env: \"pr*\" }", |call| _ = call.tags.insert("env".into(), "prod".into())),
        ("teams: [search]", |call| {
            call.caller = Arc::new(Caller { team_id: "search".to_owned(), ..Caller::for_test() });
        }),
        ("min_input_tokens: 100", |call| call.asked.input_bytes = 400),
        ("max_input_tokens: 100, min_input_tokens: 1", |call| call.asked.input_bytes = 4),
        ("needs: [tools]", |call| call.asked.needs.add(Need::Tools)),
        ("streamed: false", |call| call.asked.streamed = false),
    ];
    for (when, met) in conditions {
        let models = format!(
            "  m: {{ targets: [{{ provider: a, model: x, when: {{ {when} }} }}, {{ provider: b, model: x }}] }}"
        );
        assert_eq!(tried(&models, |_| {}), ["b/x"], "{when}");
        assert_eq!(tried(&models, met), ["a/x", "b/x"], "{when}");
    }
    let lacks = "  m: { targets: [{ provider: a, model: x, when: { lacks: [vision] } }] }";
    assert_eq!(tried(lacks, |_| {}), ["a/x"]);
    let error = plan(lacks, |call| call.asked.needs.add(Need::Vision)).err().unwrap();
    assert_eq!(error.reason(), Reason::NoTargetAvailable);
    assert!(error.to_string().contains("do not need `vision`"), "{error}");
}

#[tokio::test]
async fn an_alias_takes_the_place_of_a_target_with_its_own_order() {
    let models = "  m: { first_token: 2s, targets: [{ provider: b, model: last, when: { tags: { x: y } } }, { alias: inner, when: { streamed: true } }, { provider: a, model: x }, { provider: b, model: z }] }
  inner: { strategy: weighted, first_token: 9s, targets: [{ provider: b, model: y, weight: 0 }, { provider: a, model: x, weight: 1 }] }";
    let made = plan(models, |_| {}).unwrap();
    // The same target stands there once.
    assert_eq!(names(&made), ["a/x", "b/y", "b/z"]);
    assert!(made.candidates.iter().all(|one| one.first_token == Some(Duration::from_secs(2))));
    let made = plan(models, |call| call.asked.streamed = false).unwrap();
    assert_eq!(names(&made), ["a/x", "b/z"]);
    assert!(why(&made, "b/y").contains("only streamed"));
}

#[tokio::test]
async fn a_star_is_handed_through_to_other_aliases() {
    let models = "  m-*: { targets: [{ alias: \"inner-*\" }], fallbacks: [\"other-*\"] }
  inner-*: { targets: [{ provider: a, model: \"vendor/*\" }] }
  other-*: { targets: [{ provider: b, model: \"*\" }] }";
    let routes = routes(&format!("{PROVIDERS}{models}"), &[]);
    let made = plan_of(&routes, &Call::for_test("m-seven")).unwrap();
    assert_eq!(names(&made), ["a/vendor/seven", "b/seven"]);
    assert_eq!(routes.targets("m-seven").unwrap().len(), 1);
}

#[tokio::test]
async fn patterns_that_lead_in_a_circle_come_to_an_end() {
    let models = "  m: { targets: [{ alias: p-1 }, { provider: a, model: x }] }
  p-*: { targets: [{ alias: \"p-x*\" }] }";
    let config = config_without_check(&format!("{PROVIDERS}{models}"));
    let routes = Routes::new(resolve(&config, Vec::new()).unwrap());
    assert_eq!(names(&plan_of(&routes, &Call::for_test("m")).unwrap()), ["a/x"]);
}

/// Reads a file that `check` would refuse.
fn config_without_check(yaml: &str) -> Config {
    let sound = yaml.replace("alias: \"p-x*\"", "provider: a, model: x");
    let around = tests::surroundings(&[]);
    let mut config = config::parse("t.yaml", &sound, &around).unwrap();
    let models = config.models.as_mut().unwrap();
    let target = config::Target { alias: Some("p-x*".to_owned()), ..Default::default() };
    models.get_mut("p-*").unwrap().targets = vec![target];
    config
}

const FALLBACKS: &str = "  m: { targets: [{ provider: a, model: x }], fallbacks: [second], fallbacks_on: { context_length: [long], content_policy: [second] } }
  second: { targets: [{ provider: b, model: y }], fallbacks: [third], first_token: 1s, price: { input_per_million: 2 } }
  third: { targets: [{ provider: b, model: z }] }
  long: { targets: [{ provider: b, model: long }] }";

#[tokio::test]
async fn fallbacks_follow_with_what_is_theirs_and_then_their_own() {
    let made = plan(FALLBACKS, |_| {}).unwrap();
    assert_eq!(names(&made), ["a/x", "b/y", "b/z"]);
    let [own, second, _] = &made.candidates[..] else { panic!("three") };
    assert!(!own.fallback && second.fallback);
    assert_eq!((own.first_token, second.first_token), (None, Some(Duration::from_secs(1))));
    assert!(own.target.rates.is_none() && second.target.rates.is_some());
    let of = |list: &[crate::route::Candidate]| list[0].target.name.to_string();
    assert_eq!((of(&made.on_context_length), of(&made.on_content_policy)), ("b/long".into(), "b/y".into()));
}

#[tokio::test]
async fn limits_hold_for_the_model_that_is_asked_for_and_for_those_that_serve() {
    let models = "  m: { targets: [{ provider: a, model: x, limits: { concurrent: 3 } }, { alias: inner-1 }], fallbacks: [second], limits: { requests_per_day: 1 } }
  inner-*: { targets: [{ provider: two, model: \"*\", budget: { usd: 1 } }], limits: { requests_per_day: 2 } }
  second: { targets: [{ provider: b, model: y }], limits_by: [{ tag: a=b, limits: { requests_per_day: 3 } }] }";
    let made = plan(models, |_| {}).unwrap();
    let shown = |limits: &[Arc<crate::call::Rule>]| -> Vec<String> {
        limits.iter().map(|rule| rule.counter.to_string()).collect()
    };
    assert_eq!(shown(&made.limits), ["model:m/requests/day"]);
    let of = |target: &str| {
        let found = made.candidates.iter().find(|one| &*one.target.name == target);
        shown(&found.unwrap().limits)
    };
    assert_eq!(of("a/x"), ["target:a/x/concurrent/"]);
    // What callers may fill in for a `*` shares one limit, or they could make up as many as they like.
    assert_eq!(of("two:x/1"), ["target:two:x/*/cost_nanos/month", "model:inner-*/requests/day"]);
    assert_eq!(of("b/y"), ["model:second/requests/day//a=b"]);
}

#[tokio::test]
async fn a_call_without_fallback_has_none_at_all() {
    let made = plan(
        FALLBACKS,
        hints(|hints| {
            hints.allow_fallback = Some(false);
            hints.fallback_models = vec!["third".to_owned()];
        }),
    );
    let made = made.unwrap();
    assert_eq!(names(&made), ["a/x"]);
    assert_eq!(made.all().count(), 1);
}

#[tokio::test]
async fn a_key_falls_back_only_to_what_it_may_use() {
    let made = plan(FALLBACKS, may_use(&["m", "long"])).unwrap();
    assert_eq!(names(&made), ["a/x"]);
    assert!(why(&made, "b/y").contains("may not use the model `second`"));
    assert_eq!((made.on_context_length.len(), made.on_content_policy.len()), (1, 0));
}

#[tokio::test]
async fn hinted_fallbacks_take_the_place_of_the_configured_ones() {
    let third = |hints: &mut v1::RouteHints| hints.fallback_models = vec!["third".to_owned()];
    assert_eq!(tried(FALLBACKS, hints(third)), ["a/x", "b/z"]);
    let error =
        plan(FALLBACKS, hints(|hints| hints.fallback_models = vec!["thrid".to_owned()])).err().unwrap();
    assert_eq!(error.reason(), Reason::ModelNotFound);
    assert!(error.to_string().contains("`third`"), "{error}");
    let error = plan(FALLBACKS, |call| {
        hints(third)(call);
        may_use(&["m", "second"])(call);
    });
    let error = error.err().unwrap();
    assert_eq!(error.reason(), Reason::ModelNotAllowed);
    assert_eq!(error.facts().field.as_deref(), Some("options.route.fallback_models[0]"));
}

const PLACES: &str = "  m: { targets: [{ provider: a, model: x, region: eu, labels: { tier: gold } }, { provider: b, model: x, region: us, labels: { tier: gold, gpu: h100 } }], fallbacks: [other] }
  other: { targets: [{ provider: a, model: y }] }";

#[tokio::test]
async fn hints_only_narrow() {
    let list = |name: &str| vec![name.to_owned()];
    assert_eq!(tried(PLACES, hints(|hints| hints.allowed_providers = list("b"))), ["b/x"]);
    assert_eq!(tried(PLACES, hints(|hints| hints.denied_providers = list("a"))), ["b/x"]);
    assert_eq!(tried(PLACES, hints(|hints| hints.regions = list("us"))), ["b/x"]);
    assert_eq!(tried(PLACES, hints(|hints| hints.target = "b/x".to_owned())), ["b/x"]);
    assert_eq!(tried(PLACES, hints(|hints| hints.target = "a/y".to_owned())), ["a/y"]);
    let labels = |of: &[(&str, &str)]| of.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    assert_eq!(tried(PLACES, hints(|hints| hints.labels = labels(&[("tier", "gold")]))), ["a/x", "b/x"]);
    assert_eq!(
        tried(PLACES, hints(|hints| hints.labels = labels(&[("tier", "gold"), ("gpu", "h100")]))),
        ["b/x"]
    );
    let error =
        plan(PLACES, hints(|hints| (hints.allowed_providers, hints.regions) = (list("b"), list("eu"))));
    let error = error.err().unwrap();
    assert_eq!(error.reason(), Reason::NoTargetAvailable);
    assert!(error.to_string().contains("`regions`"), "{error}");
}

#[tokio::test]
async fn a_hint_that_names_what_there_is_not_is_told_the_nearest_word() {
    fn one(word: &str) -> Vec<String> {
        vec![word.to_owned()]
    }
    type Slip = fn(&mut v1::RouteHints);
    let slips: [(Slip, &str, &str); 9] = [
        (|hints| hints.denied_providers = one("twoo"), "denied_providers[0]", "did you mean `two`?"),
        (
            |hints| hints.allowed_providers = vec!["a".into(), "A/x".into()],
            "allowed_providers[1]",
            "valid are a, b, two",
        ),
        (|hints| hints.regions = one("euu"), "regions[0]", "did you mean `eu`?"),
        (|hints| hints.target = "two:y/mm".into(), "target", "did you mean `two:y/m`?"),
        (|hints| hints.target = "two:z/m".into(), "target", "did you mean `two"),
        (|hints| hints.target = "twoo/m".into(), "target", "did you mean `two/m`?"),
        (|hints| _ = hints.labels.insert("teir".into(), "gold".into()), "labels", "did you mean `tier`?"),
        (|hints| _ = hints.labels.insert("tier".into(), "glod".into()), "labels", "did you mean `gold`?"),
        (|hints| hints.fallback_models = one("othre"), "fallback_models[0]", "did you mean `other`?"),
    ];
    let models = "  m: { targets: [{ provider: a, model: x, region: eu, labels: { tier: gold } }, { provider: two, model: m }] }
  other: { targets: [{ provider: b, model: y }] }";
    for (slip, field, told) in slips {
        let error = plan(models, hints(slip)).err().unwrap();
        let reason =
            if field.starts_with("fallback") { Reason::ModelNotFound } else { Reason::InvalidRequest };
        assert_eq!(error.reason(), reason, "{error}");
        assert_eq!(error.facts().field.as_deref(), Some(&*format!("options.route.{field}")));
        assert!(error.to_string().contains(told), "{error}");
    }
    // What there is may be named, though no target of this call has it.
    for fine in [(|hints| hints.denied_providers = one("b")) as Slip, |hints| hints.target = "two:x/m".into()]
    {
        plan(models, hints(fine)).unwrap();
    }
    let any = "  m: { targets: [{ provider: a, model: x }, { alias: any/z }] }\n  any/*: { targets: [{ provider: b, model: \"*\" }] }";
    plan(any, hints(|hints| hints.target = "b/z".into())).unwrap();
}

#[tokio::test]
async fn pins_and_labels_need_their_scope() {
    let pins: [fn(&mut v1::RouteHints); 2] =
        [|hints| hints.target = "a/x".to_owned(), |hints| _ = hints.labels.insert("x".into(), "y".into())];
    for pin in pins {
        let without = |call: &mut Call| {
            hints(pin)(call);
            call.caller = Arc::new(Caller::for_test());
        };
        assert_eq!(tried(PLACES, without), ["SCOPE_DENIED"]);
    }
}

#[tokio::test]
async fn an_objective_wins_over_the_strategy() {
    let models = "  m: { targets: [{ alias: dear }, { alias: cheap }] }
  dear: { targets: [{ provider: a, model: dear }], price: { input_per_million: 9 } }
  cheap: { targets: [{ provider: a, model: cheap }], price: { input_per_million: 1 } }";
    let cost = plan(models, hints(|hints| hints.objective = Objective::Cost.into())).unwrap();
    assert_eq!(names(&cost), ["a/cheap", "a/dear"]);
    assert_eq!(cost.strategy, config::Strategy::Cheapest);
    for objective in [Objective::Latency, Objective::Throughput] {
        let made = plan(models, hints(|hints| hints.objective = objective.into())).unwrap();
        assert_eq!((made.candidates.len(), made.strategy), (2, config::Strategy::Fastest));
    }
}

#[tokio::test]
async fn an_experiment_splits_tags_and_says_so() {
    let models = "  m: { sticky: session, experiment: { name: prompt, arms: { old: { weight: 3 }, new: { targets: [{ provider: b, model: y }] } } }, targets: [{ provider: a, model: x }] }";
    let routes = routes(&format!("{PROVIDERS}{models}"), &[]);
    let mut calls: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..2_000 {
        let made = plan_of(&routes, &Call::for_test("m")).unwrap();
        let [(tag, arm)] = &made.tags[..] else { panic!("one tag") };
        assert_eq!(tag, "experiment.prompt");
        assert_eq!(made.rule, format!("experiment:prompt/{arm}"));
        assert_eq!(names(&made), [if arm == "new" { "b/y" } else { "a/x" }]);
        *calls.entry(arm.clone()).or_default() += 1;
    }
    assert!((400..=600).contains(&calls["new"]), "{calls:?}");
    let mut call = Call::for_test("m");
    call.options.session_id = "s".to_owned();
    let arm = plan_of(&routes, &call).unwrap().rule;
    for _ in 0..20 {
        call.id = crate::call::new_id();
        assert_eq!(plan_of(&routes, &call).unwrap().rule, arm);
    }
    call.tags = (0..16).map(|number| (format!("t{number}"), String::new())).collect();
    let made = plan_of(&routes, &call).unwrap();
    assert!(made.tags.is_empty() && !made.rule.is_empty());
}

#[tokio::test]
async fn every_credential_is_a_target_of_its_own() {
    let models = "  m: { targets: [{ provider: two, model: x, concurrent: 4 }, { provider: a, model: x }] }";
    let mut firsts = BTreeMap::new();
    for _ in 0..200 {
        let made = plan(models, |_| {}).unwrap();
        let mut tried = names(&made);
        *firsts.entry(tried[0].to_owned()).or_insert(0) += 1;
        tried[..2].sort_unstable();
        assert_eq!(tried, ["two:x/x", "two:y/x", "a/x"]);
        assert!(made.candidates[..2].iter().all(|one| &*one.target.provider == "two"));
        assert_eq!((made.candidates[0].concurrent, made.candidates[2].concurrent), (Some(4), None));
    }
    assert!(firsts.values().all(|count| *count > 50), "{firsts:?}");
    let kept = |call: &mut Call| call.options.session_id = "s".to_owned();
    let first = tried(models, kept)[0].clone();
    assert!((0..20).all(|_| tried(models, kept)[0] == first));
    let pinned = hints(|hints| hints.target = "two:y/x".to_owned());
    assert_eq!(tried(models, pinned), ["two:y/x"]);
    let mut any = tried(models, hints(|hints| hints.target = "two/x".to_owned()));
    any.sort_unstable();
    assert_eq!(any, ["two:x/x", "two:y/x"]);
}

#[tokio::test]
async fn what_surely_cannot_serve_is_passed_over_while_something_else_can() {
    let tools = |call: &mut Call| call.asked.needs.add(Need::Tools);
    let long = |call: &mut Call| call.asked.input_bytes = 40_000;
    let models = |of: &str| format!("  m: {{ targets: [{of}, {{ provider: b, model: any }}] }}");
    assert_eq!(tried(&models("{ provider: a, model: blind }"), |_| {}), ["a/blind", "b/any"]);
    let made = plan(&models("{ provider: a, model: blind }"), tools).unwrap();
    assert_eq!(names(&made), ["b/any"]);
    assert!(why(&made, "a/blind").contains("no `tools`"));
    // The configuration knows better than the catalog.
    assert_eq!(tried(&models("{ provider: a, model: blind, can: [tools] }"), tools), ["a/blind", "b/any"]);
    assert_eq!(tried(&models("{ provider: a, model: x, can: [vision] }"), tools), ["b/any"]);
    assert_eq!(tried(&models("{ provider: a, model: short }"), long), ["b/any"]);
    assert_eq!(
        tried(&models("{ provider: a, model: short, context_tokens: 8k }"), long),
        ["a/short", "b/any"]
    );
    assert_eq!(tried(&models("{ provider: a, model: x, context_tokens: 4k }"), long), ["b/any"]);
    // The catalog may be behind the times: if it knows none, all are tried.
    assert_eq!(
        tried("  m: { targets: [{ provider: a, model: blind }, { provider: b, model: blind }] }", tools),
        ["a/blind", "b/blind"]
    );
}

#[tokio::test]
async fn a_prompt_that_is_too_long_for_all_begins_where_such_prompts_go() {
    let models = "  m: { targets: [{ provider: a, model: short }], fallbacks_on: { context_length: [long] } }
  long: { targets: [{ provider: b, model: long }] }";
    assert_eq!(tried(models, |_| {}), ["a/short"]);
    let made = plan(models, |call| call.asked.input_bytes = 40_000).unwrap();
    assert_eq!(names(&made), ["b/long"]);
    assert!(made.candidates[0].fallback && made.on_context_length.is_empty());
    assert!(why(&made, "a/short").contains("2000 tokens"));
}

#[tokio::test]
async fn what_happens_to_a_failing_call_is_read() {
    let models = "  m: { targets: [{ provider: a, model: x }], retry: { attempts: 5, backoff: 1s, max_backoff: 2s, budget: 50% }, hedge: { after: 800ms, at_most: 4% }, on_interrupt: continue, degraded: Sorry. }";
    let policy = plan(models, |_| {}).unwrap().policy;
    assert_eq!(
        (policy.attempts, policy.backoff, policy.max_backoff),
        (5, Duration::from_secs(1), Duration::from_secs(2))
    );
    assert!((policy.retry_share - 0.5).abs() < 1e-9);
    assert_eq!(policy.hedge, Some(Hedge { after: Duration::from_millis(800), at_most: 0.04 }));
    assert_eq!((policy.on_interrupt, policy.degraded.as_deref()), (OnInterrupt::Continue, Some("Sorry.")));
}
