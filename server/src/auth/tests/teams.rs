//! What `TeamService` does: rules, pages, what callers see of teams, defaults for keys.

use super::*;
use crate::auth::{permit_model, store::teams::DEEPEST};

/// An organisation, two teams below it, and one below the first of them.
fn organisation(house: &House) {
    for (id, parent) in [("acme", ""), ("search", "acme"), ("ads", "acme"), ("ranking", "search")] {
        house.team(team(id, parent));
    }
}

fn list(house: &House, who: &Authority, parent: &str, size: i32, token: &str) -> (Vec<String>, String) {
    let request = proto::ListTeamsRequest {
        page_size: size,
        page_token: token.to_owned(),
        parent_id: parent.to_owned(),
    };
    let page = house.room().list_teams(who, &request).unwrap();
    (page.teams.into_iter().map(|team| team.id).collect(), page.next_page_token)
}

#[test]
fn a_caller_has_the_limits_and_models_of_its_team_and_of_all_above() {
    let house = House::new();
    organisation(&house);
    let made = house.create(of_team("k", "ranking"));
    let caller = house.enter(&made.secret, now()).unwrap();
    let ids: Vec<_> = caller.teams.iter().map(|team| team.id.as_str()).collect();
    assert_eq!(ids, ["ranking", "search", "acme"]);
    let limited = proto::Team {
        limits: vec![limit("requests", "minute", 7)],
        allowed_models: vec!["chat-*".to_owned()],
        ..team("acme", "")
    };
    house.update_team_as(&house.root(), limited, &["limits", "allowed_models"]).unwrap();
    let caller = house.enter(&made.secret, now()).unwrap();
    let rules: Vec<_> = caller.teams.iter().flat_map(|team| team.limits.iter()).collect();
    assert_eq!((rules[0].counter.as_ref(), rules[0].limit.amount), ("team:acme/requests/minute", 7));
    assert!(caller.may_call("chat-fast") && !caller.may_call("embed"));
    let refused = permit_model(&caller, "embed").unwrap_err();
    assert!(refused.to_string().contains("the team `acme` may not call the model `embed`"), "{refused}");
    let house = house.restart();
    assert_eq!(house.enter(&made.secret, now()).unwrap().teams[2].limits.len(), 1, "it survives a restart");
}

#[test]
fn the_keys_of_a_disabled_team_and_of_those_below_call_nothing() {
    let house = House::new();
    organisation(&house);
    let below = house.create(of_team("below", "ranking"));
    let beside = house.create(of_team("beside", "ads"));
    let off = proto::Team { disabled: true, ..team("search", "") };
    house.update_team_as(&house.root(), off.clone(), &["disabled"]).unwrap();
    let refused = permit_model(&house.enter(&below.secret, now()).unwrap(), "m").unwrap_err();
    assert_eq!(refused.reason(), Reason::ModelNotAllowed);
    assert!(refused.to_string().contains("the team `search` is disabled"), "{refused}");
    assert!(permit_model(&house.enter(&beside.secret, now()).unwrap(), "m").is_ok());
    house.update_team_as(&house.root(), proto::Team { disabled: false, ..off }, &["disabled"]).unwrap();
    assert!(permit_model(&house.enter(&below.secret, now()).unwrap(), "m").is_ok());
}

#[test]
fn a_team_that_nobody_made_limits_nothing_until_it_is_made() {
    let house = House::new();
    let made = house.create(of_team("k", "later"));
    assert!(house.enter(&made.secret, now()).unwrap().teams.is_empty());
    house.team(proto::Team { allowed_models: vec!["a".to_owned()], ..team("later", "") });
    assert!(!house.enter(&made.secret, now()).unwrap().may_call("b"));
}

#[test]
fn a_key_without_limits_gets_those_of_its_team_or_of_the_nearest_above() {
    let house = House::new();
    let defaults = vec![limit("requests", "minute", 9)];
    house.team(proto::Team { default_key_limits: defaults.clone(), ..team("acme", "") });
    house.team(team("search", "acme"));
    assert_eq!(house.create(of_team("near", "acme")).key.unwrap().limits, defaults);
    assert_eq!(house.create(of_team("far", "search")).key.unwrap().limits, defaults);
    let own = Key { limits: vec![limit("tokens", "day", 5)], ..of_team("own", "acme") };
    assert_eq!(house.create(own.clone()).key.unwrap().limits, own.limits);
    assert!(house.create(named("without")).key.unwrap().limits.is_empty());
}

#[test]
fn every_rule_is_broken_with_the_path_of_the_field() {
    let house = House::new();
    for (wanted, path) in [
        (team("", ""), "team.id"),
        (team("Search", ""), "team.id"),
        (team(&"t".repeat(65), ""), "team.id"),
        (team("a", "nobody"), "team.parent_id"),
        (team("a", "a b"), "team.parent_id"),
        (proto::Team { name: "a\nb".to_owned(), ..team("a", "") }, "team.name"),
        (proto::Team { allowed_models: vec![String::new()], ..team("a", "") }, "team.allowed_models[0]"),
        (proto::Team { limits: vec![limit("coffee", "day", 1)], ..team("a", "") }, "team.limits[0].metric"),
        (
            proto::Team { default_key_limits: vec![limit("tokens", "", 1)], ..team("a", "") },
            "team.default_key_limits[0].window",
        ),
    ] {
        let error = house.team_as(&house.root(), wanted).unwrap_err();
        assert_eq!((error.reason(), field(&error)), (Reason::InvalidRequest, path), "{error}");
    }
    house.team(team("t0", ""));
    for depth in 1..DEEPEST {
        house.team(team(&format!("t{depth}"), &format!("t{}", depth - 1)));
    }
    let deep = house.team_as(&house.root(), team("deep", &format!("t{}", DEEPEST - 1))).unwrap_err();
    assert_eq!(field(&deep), "team.parent_id");
}

#[test]
fn a_team_is_made_once_changed_under_its_etag_and_deleted_when_it_is_empty() {
    let house = House::new();
    organisation(&house);
    let root = house.root();
    let twice = house.team_as(&root, team("acme", "")).unwrap_err();
    assert_eq!(twice.reason(), Reason::AlreadyExists);
    let read = house.room().get_team(&root, "search").unwrap().team.unwrap();
    assert_eq!((read.created_by.as_str(), read.parent_id.as_str()), ("admin_key", "acme"));
    let renamed = proto::Team { name: "Search".to_owned(), ..read.clone() };
    let changed = house.update_team_as(&root, renamed.clone(), &["name"]).unwrap();
    assert!(changed.etag != read.etag && changed.name == "Search");
    let stale = house.update_team_as(&root, renamed, &["name"]).unwrap_err();
    assert_eq!(stale.reason(), Reason::EtagMismatch);
    let path = house.update_team_as(&root, team("search", "ads"), &["parent_id"]).unwrap_err();
    assert_eq!(field(&path), "update_mask");
    let key = house.create(of_team("k", "search")).key.unwrap();
    let refused = house.room().delete_team(&root, "search").unwrap_err();
    assert_eq!(refused.reason(), Reason::TeamNotEmpty);
    assert!(refused.to_string().contains("the keys k and the teams ranking"), "{refused}");
    house.revoke(&key.id).unwrap();
    house.room().delete_team(&root, "ranking").unwrap();
    house.room().delete_team(&root, "search").unwrap();
    assert_eq!(house.room().get_team(&root, "search").unwrap_err().reason(), Reason::NotFound);
    assert_eq!(list(&house, &root, "", 0, "").0, ["acme", "ads"]);
}

#[test]
fn lists_are_paged_by_id_and_filtered_by_parent() {
    let house = House::new();
    organisation(&house);
    let root = house.root();
    let (first, token) = list(&house, &root, "", 2, "");
    let (second, end) = list(&house, &root, "", 2, &token);
    assert_eq!(
        (first.concat(), second.concat(), end),
        ("acmeads".into(), "rankingsearch".into(), String::new())
    );
    assert_eq!(list(&house, &root, "acme", 0, "").0, ["ads", "search"]);
    let foreign =
        proto::ListTeamsRequest { page_token: token, parent_id: "acme".to_owned(), ..Default::default() };
    assert_eq!(field(&house.room().list_teams(&root, &foreign).unwrap_err()), "page_token");
}

#[test]
fn declared_teams_follow_the_configuration_and_change_only_there() {
    let acme = DeclaredTeam {
        id: "acme".to_owned(),
        limits: vec![limit("requests", "day", 3)],
        ..DeclaredTeam::default()
    };
    let search =
        DeclaredTeam { id: "search".to_owned(), parent: "acme".to_owned(), ..DeclaredTeam::default() };
    let house = House::new();
    let with = |teams: &[&DeclaredTeam]| Declared {
        teams: teams.iter().map(|team| (*team).clone()).collect(),
        admin_key: Some(ADMIN_SECRET.into()),
        ..Declared::default()
    };
    house.auth.reload(&with(&[&acme, &search])).unwrap();
    let root = house.root();
    let read = |id: &str| house.room().get_team(&root, id).map(|found| found.team.unwrap());
    let first = read("acme").unwrap();
    assert!(first.declared && first.created_by == "config");
    for refused in [
        house.update_team_as(&root, team("acme", ""), &["name"]).map(drop),
        house.room().delete_team(&root, "search").map(drop),
    ] {
        assert_eq!(refused.unwrap_err().reason(), Reason::DeclaredInConfig);
    }
    house.auth.reload(&with(&[&acme, &search])).unwrap();
    assert_eq!(read("acme").unwrap(), first, "the same configuration changes nothing");
    let raised = DeclaredTeam { limits: vec![limit("requests", "day", 4)], ..acme.clone() };
    house.auth.reload(&with(&[&raised])).unwrap();
    let changed = read("acme").unwrap();
    assert!(changed.limits[0].amount == 4 && changed.etag != first.etag);
    assert_eq!(read("search").unwrap_err().reason(), Reason::NotFound);
}
