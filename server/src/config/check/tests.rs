//! What is told of aliases, arms, fallbacks and ranges: each mistake at its place, with the nearest word.

mod teams;

use crate::config::{Surroundings, parse};

fn problems(yaml: &str) -> Vec<String> {
    let around = Surroundings {
        env: &|name| (name == "SHARED").then(|| "redis+x://:canary@host".to_owned()),
        dialects: vec!["openai", "echo"],
        keys_of: |_| &["api"],
        discovered: vec!["openai".to_owned()],
    };
    match parse("t.yaml", yaml, &around) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.list.iter().map(|problem| problem.to_string()).collect(),
    }
}

/// What is told of the alias `m` with these settings, which begin in column 8; `other` is an alias beside it.
fn of_model(settings: &str) -> Vec<String> {
    let other = "other: { targets: [{ provider: openai, model: y }] }";
    problems(&format!("models:\n  {other}\n  m: {{ {settings} }}\n"))
}

const TARGETS: &str = "targets: [{ provider: openai, model: x }]";

#[test]
fn targets_are_a_model_or_an_alias() {
    let table: &[(&str, &[&str])] = &[
        ("strategy: weighted, targets: [{ alias: other, weight: 3, when: { streamed: true } }]", &[]),
        (
            "targets: [{ when: {} }]",
            &["3:18: models.m.targets[0]: a target needs `provider` and `model`, or `alias`"],
        ),
        (
            "targets: [{ alias: othre }]",
            &["3:27: models.m.targets[0].alias: there is no alias `othre`; did you mean `other`?"],
        ),
        (
            "targets: [{ alias: other, provider: openai }]",
            &[
                "3:44: models.m.targets[0].provider: `provider` and `alias` exclude each other; write one of them",
            ],
        ),
        (
            "targets: [{ alias: other, concurrent: 3 }]",
            &[
                "3:46: models.m.targets[0].concurrent: `concurrent` belongs to the targets of the alias `other`",
            ],
        ),
        (
            "targets: [{ alias: \"other-*\" }]",
            &[
                "3:27: models.m.targets[0].alias: a `*` stands for what the alias's `*` matched, but the alias has none",
                "3:27: models.m.targets[0].alias: there is no alias `other-*`; did you mean `other`?",
            ],
        ),
        ("targets: [{ provider: openai }]", &["3:18: models.m.targets[0]: a model's name must not be empty"]),
        (
            "targets: [{ provider: openai, model: x, concurrent: 0, context_tokens: 0 }]",
            &[
                "3:60: models.m.targets[0].concurrent: must be at least 1",
                "3:79: models.m.targets[0].context_tokens: must be at least 1",
            ],
        ),
        (
            "targets: [{ provider: openai, model: x, can: [tool] }]",
            &["3:54: models.m.targets[0].can[0]: `tool` is not valid here; did you mean `tools`?"],
        ),
    ];
    for (settings, expected) in table {
        assert_eq!(of_model(settings), *expected, "{settings}");
    }
}

#[test]
fn strategies_weights_and_conditions_make_sense() {
    let table: &[(&str, &str)] = &[
        (
            &format!("strategy: weigthed, {TARGETS}"),
            "models.m.strategy: `weigthed` is not valid here; did you mean `weighted`?",
        ),
        (
            "targets: [{ provider: openai, model: x, weight: 95 }]",
            "models.m.targets[0].weight: counts only with `strategy: weighted`",
        ),
        (
            "strategy: weighted, targets: [{ provider: openai, model: x, weight: 0 }]",
            "models.m.targets: at least one target needs a `weight` above 0",
        ),
        (
            "targets: [{ provider: openai, model: x, when: { min_input_tokens: 8k, max_input_tokens: 4k } }]",
            "models.m.targets[0].when.max_input_tokens: must not be less than `min_input_tokens`, or no call fits",
        ),
        (
            "targets: [{ provider: openai, model: x, when: { needs: [tools], lacks: [tools] } }]",
            "models.m.targets[0].when.lacks: must not hold what `needs` holds, or no call fits",
        ),
        (
            "targets: [{ provider: openai, model: x, when: { tags: { Env: x } } }]",
            "models.m.targets[0].when.tags.Env: the tag `Env` must match [a-z][a-z0-9_.-]{0,63}",
        ),
        (
            "targets: [{ provider: openai, model: x, when: { needs: [pictures] } }]",
            "models.m.targets[0].when.needs[0]: `pictures` is not valid here; valid are tools, vision, audio, documents, json_schema, reasoning",
        ),
    ];
    for (settings, expected) in table {
        let told = of_model(settings);
        assert!(told.len() == 1 && told[0].ends_with(expected), "{settings}: {told:#?}");
    }
}

#[test]
fn experiments_have_a_name_and_two_arms() {
    let table: &[(&str, &[&str])] = &[
        (
            "experiment: { name: a, arms: { x: { targets: [{ alias: other }] }, y: { targets: [{ alias: other }] } } }",
            &[],
        ),
        (
            "experiment: { name: a, arms: { x: { targets: [{ alias: other }] }, y: {} } }",
            &["an alias needs at least one target"],
        ),
        (
            &format!("experiment: {{ name: A b, arms: {{ x: {{}}, y: {{}} }} }}, {TARGETS}"),
            &[
                "the name of an experiment is made of lower-case letters, digits, `_`, `.` and `-`, at most 53",
            ],
        ),
        (
            &format!("experiment: {{ name: a, arms: {{ x: {{}} }} }}, {TARGETS}"),
            &["an experiment needs at least two arms"],
        ),
        (
            &format!(
                "experiment: {{ name: a, arms: {{ x: {{ weight: 0 }}, y: {{ weight: 0 }} }} }}, {TARGETS}"
            ),
            &["at least one arm needs a `weight` above 0"],
        ),
        (
            "experiment: { name: a, arms: { x: { targets: [{ alias: oter }] }, y: { targets: [{ alias: other }] } } }",
            &["there is no alias `oter`; did you mean `other`?"],
        ),
    ];
    for (settings, expected) in table {
        let told = of_model(settings);
        assert_eq!(told.len(), expected.len(), "{settings}: {told:#?}");
        assert!(told.iter().zip(*expected).all(|(told, end)| told.ends_with(end)), "{told:#?}");
    }
}

#[test]
fn what_happens_after_a_failure_makes_sense() {
    let table: &[(&str, &str)] = &[
        ("fallbacks: [otter]", "models.m.fallbacks[0]: there is no alias `otter`; did you mean `other`?"),
        (
            "fallbacks_on: { context_length: [otter] }",
            "models.m.fallbacks_on.context_length[0]: there is no alias `otter`; did you mean `other`?",
        ),
        (
            "hedge: { after: 0s }",
            "models.m.hedge.after: must be longer than nothing, or every call is asked twice",
        ),
        (
            "first_token: 3s, hedge: { after: 3s }",
            "models.m.hedge.after: must be shorter than `first_token`, or no call is asked twice",
        ),
        (
            "hedge: { after: 1s, at_most: 0% }",
            "models.m.hedge.at_most: must be more than nothing; without `hedge` no call is asked twice",
        ),
        ("retry: { attempts: 11 }", "models.m.retry.attempts: must lie between 1 and 10"),
        ("retry: { backoff: 9s }", "models.m.retry: must not be shorter than `backoff`"),
        (
            "retry: { budget: 200% }",
            "models.m.retry.budget: expected a share like `10%`, `2.5%` or `0.1`, not above `100%`, found `200%`",
        ),
        ("degraded: \"\"", "models.m.degraded: must not be empty; without `degraded` the call fails"),
    ];
    for (settings, expected) in table {
        let told = of_model(&format!("{settings}, {TARGETS}"));
        assert!(told.len() == 1 && told[0].ends_with(expected), "{settings}: {told:#?}");
    }
}

#[test]
fn no_alias_leads_or_falls_back_to_itself_but_two_may_stand_in_for_each_other() {
    let yaml = "models:
  a: { targets: [{ provider: openai, model: x }, { alias: b }] }
  b: { targets: [{ alias: c }] }
  c: { targets: [{ alias: a }], fallbacks: [d] }
  d: { targets: [{ provider: openai, model: x }], fallbacks: [c, d] }
  p-*: { targets: [{ alias: p-1 }], fallbacks: [p-2] }
";
    assert_eq!(
        problems(yaml),
        [
            "2:59: models.a.targets[1].alias: the alias `a` leads to itself: a → b → c → a",
            "5:66: models.d.fallbacks[1]: the alias `d` falls back to itself",
            "6:29: models.\"p-*\".targets[0].alias: the alias `p-*` leads to itself: p-* → p-*",
        ]
    );
}

#[test]
fn an_alias_that_is_wrong_itself_and_the_built_in_one_are_not_missing() {
    let yaml = "models:\n  a: { targets: 1 }\n  m: { targets: [{ alias: a }, { alias: echo }], fallbacks: [echo-slow] }\n";
    let told = problems(yaml);
    assert!(told.iter().all(|line| !line.contains("there is no alias")), "{told:?}");
    assert!(
        problems("echo: false\nmodels:\n  m: { targets: [{ alias: echo }] }\n")[0]
            .contains("no alias `echo`")
    );
}

#[test]
fn several_credentials_take_the_place_of_one() {
    let provider = |keys: &str| problems(&format!("providers:\n  p: {{ dialect: openai, {keys} }}\n"));
    assert_eq!(provider("api_keys: { a: sk-1, b: sk-2 }"), [""; 0]);
    assert_eq!(
        provider("api_key: sk-0, api_keys: { a: sk-1 }"),
        ["2:40: providers.p.api_keys: `api_key` and `api_keys` exclude each other; write one of them"]
    );
    assert_eq!(
        provider("api_keys: { \"a/b\": sk-1, c: \"sk 2\" }"),
        [
            "2:44: providers.p.api_keys.\"a/b\": a credential's name is made of letters, digits, `_`, `.` and `-`",
            "2:53: providers.p.api_keys.c: must be visible ASCII characters without spaces or line breaks",
        ]
    );
}

#[test]
fn ranges_and_the_shared_address_are_checked_and_the_address_is_not_shown() {
    let ends = [
        ("breaker: { failures: 0 }", "breaker.failures: must be at least 1"),
        ("breaker: { failure_ratio: 0% }", "breaker.failure_ratio: must be more than nothing"),
        ("breaker: { window: 0s }", "breaker.window: must be more than nothing"),
        ("breaker: { open: 2m }", "breaker: must not be shorter than `open`"),
        ("probe: { every: 0s }", "probe.every: must be more than nothing"),
        ("load: { concurrent: 0 }", "load.concurrent: must be at least 1"),
    ];
    for (yaml, end) in ends {
        let told = problems(yaml);
        assert!(told.len() == 1 && told[0].ends_with(end), "{yaml}: {told:?}");
    }
    for good in [
        "redis://127.0.0.1:6379",
        "rediss://user:pw@host/0",
        "redis://[::1]:6379",
        "redis+unix:///run/redis.sock",
        "redis+sentinel://a:26379,b:26379/main",
        "rediss+cluster://a:7000,b:7001?sslrootcert=/ca.pem",
    ] {
        assert_eq!(problems(&format!("shared: \"{good}\"")), [""; 0], "{good}");
    }
    for bad in [
        "http://:canary@host",
        "redis://",
        "redis://:canary@",
        "redis://:6379",
        "redis://ca nary",
        "${SHARED}",
    ] {
        let told = problems(&format!("shared: \"{bad}\""));
        assert!(told.len() == 1 && told[0].starts_with("1:9: shared: not an address"), "{bad}: {told:?}");
        assert!(!told[0].contains("canary"), "{told:?}");
    }
}

#[test]
fn limits_say_which_calls_they_count_and_none_twice() {
    let table: &[(&str, &[&str])] = &[
        (
            "limits: { tokens_per_month: 1M, requests_total: 5 }, budget: { usd: 3, per: day }, \
             limits_by: [{ model: \"m*\", tag: a=b, soft: true, budget: { usd: 2, per: day } }]",
            &[],
        ),
        (
            "limits_by: [{ tag: feature, limits: { concurrent: 1 } }]",
            &["models.m.limits_by[0].tag: a tag is a name and a value, like `feature=batch`"],
        ),
        (
            "limits_by: [{ model: \"m?\", limits: { concurrent: 1 } }]",
            &[
                "models.m.limits_by[0].model: in a pattern only `*` is special; `?`, `[…]` and `{…}` are not known",
            ],
        ),
        ("limits_by: [{ tag: a=b }]", &["models.m.limits_by[0]: limits nothing; write `limits` or `budget`"]),
        (
            "limits_by: [{ limits: { concurrent: 1 } }]",
            &[
                "models.m.limits_by[0]: counts all calls; write `model`, `tag` or `soft: true`, or put it into `limits` and `budget` beside",
            ],
        ),
        (
            "limits_by: [{ tag: a=b, limits: { concurrent: 1 } }, { tag: a=b, limits: { concurrent: 2 } }]",
            &["models.m.limits_by[1]: `concurrent` is limited twice for the same calls"],
        ),
    ];
    for (settings, expected) in table {
        let told = of_model(&format!("{TARGETS}, {settings}"));
        let told: Vec<_> = told.iter().map(|line| line.split_once(": ").unwrap().1).collect();
        assert_eq!(told, *expected, "{settings}");
    }
    let nested = of_model("targets: [{ alias: other, limits: { concurrent: 3 } }]");
    assert!(nested[0].ends_with("`limits` belongs to the targets of the alias `other`"), "{nested:?}");
    let zone = problems("time_zone: Europe/Berlim\n");
    assert_eq!(zone, ["1:12: time_zone: there is no such time zone; write e.g. `UTC` or `Europe/Berlin`"]);
    assert_eq!(problems("time_zone: Europe/Berlin\nbudget_status: 402\nunpriced: refuse\n"), [""; 0]);
}
