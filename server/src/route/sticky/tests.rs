//! Draws by hash: who stays, who moves, and in what shares.

use std::collections::BTreeMap;

use tollgate_api::v1;

use super::*;

/// Returns who wins the race for a key.
fn winner<'n>(key: &str, runners: &[(&'n str, u32)]) -> &'n str {
    let lot = Lot::seeded(1);
    let score = |(name, weight): &(&'n str, u32)| race(Some(key), &[*name], *weight, &lot);
    let mut best = runners[0];
    for runner in runners {
        if score(runner) > score(&best) {
            best = *runner;
        }
    }
    best.0
}

fn keys() -> impl Iterator<Item = String> {
    (0..10_000).map(|number| format!("user-{number}"))
}

#[test]
fn when_a_target_goes_only_its_own_keys_move() {
    let all = [("a", 1), ("b", 1), ("c", 2)];
    for gone in 0..all.len() {
        let mut rest = all.to_vec();
        rest.remove(gone);
        let moved = keys().filter(|key| winner(key, &all) != winner(key, &rest));
        assert!(moved.map(|key| winner(&key, &all).to_owned()).all(|name| name == all[gone].0));
    }
}

#[test]
fn keys_are_spread_by_weight() {
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    keys()
        .for_each(|key| *counts.entry(winner(&key, &[("a", 80), ("b", 20), ("none", 0)])).or_default() += 1);
    assert!((7_800..=8_200).contains(&counts["a"]), "{counts:?}");
    assert!(!counts.contains_key("none"), "{counts:?}");
}

#[test]
fn the_draw_is_the_same_in_every_version() {
    // A changed hash would move every session at once when replicas are replaced one by one.
    assert_eq!(hash([&b"key"[..], b"name"]), hash([&b"key"[..], b"name"]));
    assert_ne!(hash([&b"ke"[..], b"yname"]), hash([&b"key"[..], b"name"]));
    assert_eq!(mixed(0x9e37_79b9_7f4a_7c15), 0xe220_a839_7b1d_cdaf);
}

#[test]
fn what_keeps_calls_together_is_what_the_alias_says() {
    let mut call = Call::for_test("m");
    call.options.session_id = "session".to_owned();
    call.asked.end_user_id = "user".to_owned();
    assert_eq!(key_of(None, &call), Some("session"));
    call.options.route = Some(v1::RouteHints { affinity_key: "affinity".to_owned(), ..Default::default() });
    let table = [
        (None, Some("affinity")),
        (Some(Sticky::Affinity), Some("affinity")),
        (Some(Sticky::Session), Some("session")),
        (Some(Sticky::User), Some("user")),
        (Some(Sticky::Key), Some("test")),
        (Some(Sticky::None), None),
    ];
    for (sticky, expected) in table {
        assert_eq!(key_of(sticky, &call), expected, "{sticky:?}");
    }
    assert_eq!(key_of(Some(Sticky::Session), &Call::for_test("m")), None);
}
