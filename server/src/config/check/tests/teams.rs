//! What is told of teams: ids, parents, circles, limits, and keys of a team that is almost one of them.

use super::{parse, problems};
use crate::config::Surroundings;

#[test]
fn a_parent_is_a_declared_team_and_no_team_is_above_itself() {
    let table: &[(&str, &[&str])] = &[
        ("{ acme: {}, search: { parent: acme, models: [\"chat-*\"], budget: { usd: 5 } } }", &[]),
        (
            "{ acme: {}, search: { parent: acne } }",
            &["teams.search.parent: there is no team `acne`; did you mean `acme`?"],
        ),
        ("{ a: { parent: a } }", &["teams.a.parent: a team cannot belong to itself: `a` → `a`"]),
        (
            "{ a: { parent: b }, b: { parent: a } }",
            &[
                "teams.a.parent: a team cannot belong to itself: `a` → `b` → `a`",
                "teams.b.parent: a team cannot belong to itself: `b` → `a` → `b`",
            ],
        ),
        (
            "{ Search: {} }",
            &["teams.Search: the id of a team is 1 to 64 lower-case letters, digits, `.`, `_` and `-`"],
        ),
        ("{ a: { models: [\"x y\"] } }", &["teams.a.models[0]: a model's name has no spaces"]),
        (
            "{ a: { limits_by: [{ tag: x, limits: { concurrent: 1 } }] } }",
            &["teams.a.limits_by[0].tag: a tag is a name and a value, like `feature=batch`"],
        ),
    ];
    for (teams, expected) in table {
        let found = problems(&format!("teams: {teams}\n"));
        let told: Vec<_> = found.iter().map(|line| line.split_once(": ").unwrap().1).collect();
        assert_eq!(told, *expected, "{teams}");
    }
}

#[test]
fn teams_are_sixteen_deep_at_most() {
    let chain = |deep: usize| {
        let below: String = (1..deep).map(|n| format!("  t{n}: {{ parent: t{} }}\n", n - 1)).collect();
        problems(&format!("teams:\n  t0: {{}}\n{below}"))
    };
    assert_eq!(chain(16), Vec::<String>::new());
    assert!(chain(17)[0].ends_with("teams.t16.parent: teams may belong to teams 16 deep"), "{:?}", chain(17));
}

#[test]
fn a_key_of_a_team_that_is_almost_declared_is_warned_about() {
    let around =
        Surroundings { env: &|_| None, dialects: Vec::new(), keys_of: |_| &[], discovered: Vec::new() };
    let warnings = |team: &str| {
        let key = "0123456789abcdef0123456789abcdef";
        let yaml = format!("teams: {{ search: {{}} }}\nkeys: [{{ name: k, key: {key}, team: {team} }}]\n");
        parse("t.yaml", &yaml, &around).unwrap().warnings()
    };
    assert!(warnings("saerch")[0].contains("did you mean `search`?"));
    assert!(warnings("search").is_empty() && warnings("marketing").is_empty() && warnings("\"\"").is_empty());
}

#[test]
fn a_pepper_is_long() {
    assert!(problems("pepper: short\n")[0].contains("pepper: must have at least 32 characters"));
    assert!(problems("pepper: 0123456789abcdef0123456789abcdef\n").is_empty());
}
