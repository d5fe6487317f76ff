//! What `KeyService` does: rules, pages, repeats, and what may be handed on.

use super::*;

#[test]
fn an_overlap_of_more_than_ninety_days_is_refused() {
    let house = House::new();
    let id = house.create(named("k")).key.unwrap().id;
    let days = |days: u64| Some(now() + Duration::from_hours(days * 24));
    assert!(house.rotate(&id, days(90)).is_ok());
    let error = house.rotate(&id, days(91)).unwrap_err();
    assert_eq!((error.reason(), field(&error)), (Reason::InvalidRequest, "old_expire_time"));
}

#[test]
fn an_update_changes_what_the_mask_names_and_nothing_else() {
    let house = House::new();
    let made = house.create(Key { allowed_models: vec!["a".to_owned()], ..named("before") });
    let id = made.key.unwrap().id;
    let wanted = Key { id, scopes: vec!["chat".to_owned()], team_id: "ignored".to_owned(), ..named("after") };
    let key = house.update(wanted.clone(), &["name"]).unwrap();
    assert_eq!((key.name.as_str(), key.allowed_models.as_slice()), ("after", ["a".to_owned()].as_slice()));
    assert_eq!(key.scopes.len(), 4);
    let key = house.update(wanted.clone(), &["allowed_models"]).unwrap();
    assert!(key.allowed_models.is_empty());
    let key = house.update(wanted, &[]).unwrap();
    assert_eq!(key.scopes, ["chat"]);
    let caller = house.enter(&made.secret, now()).unwrap();
    assert_eq!((caller.key_name.as_str(), caller.team_id.as_str()), ("after", ""));
    assert_eq!(house.get(&key.id).unwrap(), Key { last_use_time: Some(now().into()), ..key });
}

#[test]
fn an_update_with_an_old_etag_is_refused() {
    let house = House::new();
    let read = house.create(named("contested")).key.unwrap();
    let first = house.update(Key { name: "mine".to_owned(), ..read.clone() }, &["name"]).unwrap();
    assert_ne!(first.etag, read.etag);
    let error = house.update(Key { name: "theirs".to_owned(), ..read.clone() }, &["name"]).unwrap_err();
    assert_eq!(error.reason(), Reason::EtagMismatch);
    let unchecked = Key { name: "theirs".to_owned(), etag: String::new(), ..read };
    assert_eq!(house.update(unchecked, &["name"]).unwrap().name, "theirs");
}

#[test]
fn a_star_replaces_all_that_can_change_and_bad_paths_are_named() {
    let house = House::new();
    let made = house.create(Key { allowed_models: vec!["a".to_owned()], ..named("k") }).key.unwrap();
    let key = house.update(Key { id: made.id.clone(), ..named("k2") }, &["*"]).unwrap();
    assert!(key.scopes.is_empty() && key.allowed_models.is_empty() && key.name == "k2");
    for path in ["team_id", "nmae", "limits.amount", "etag", "*"] {
        let error = house.update(Key { id: made.id.clone(), ..named("x") }, &["name", path]).unwrap_err();
        assert_eq!((error.reason(), field(&error)), (Reason::InvalidRequest, "update_mask"), "{path}");
    }
    let error = house.update(Key { id: made.id, ..Key::default() }, &[]).unwrap_err();
    assert_eq!(field(&error), "update_mask");
}

#[test]
fn every_rule_is_broken_with_the_path_of_the_field() {
    let house = House::new();
    let past = Some(at(1_899_999_999).into());
    house.create(named("taken"));
    let many: Vec<Key> = vec![
        named(""),
        named(&"n".repeat(129)),
        named("taken"),
        with_scopes("k", &["chat", "chatt"]),
        Key { allowed_models: vec![String::new()], ..named("k") },
        Key { limits: vec![limit("requests", "minute", 1), limit("request", "minute", 1)], ..named("k") },
        Key { limits: vec![limit("requests", "", 1)], ..named("k") },
        Key { limits: vec![limit("concurrent", "day", 1)], ..named("k") },
        Key { limits: vec![limit("tokens", "day", -1)], ..named("k") },
        Key { limits: vec![limit("tokens", "day", 1), limit("tokens", "day", 2)], ..named("k") },
        Key { default_tags: [("Bad".to_owned(), String::new())].into(), ..named("k") },
        Key { expire_time: past, ..named("k") },
        Key { expire_time: Some(prost_types::Timestamp { seconds: i64::MAX, nanos: -1 }), ..named("k") },
        Key { team_id: "a\nb".to_owned(), ..named("k") },
    ];
    let fields = [
        "key.name",
        "key.name",
        "key.name",
        "key.scopes[1]",
        "key.allowed_models[0]",
        "key.limits[1].metric",
        "key.limits[0].window",
        "key.limits[0].window",
        "key.limits[0].amount",
        "key.limits[1]",
        "key.default_tags",
        "key.expire_time",
        "key.expire_time",
        "key.team_id",
    ];
    for (key, path) in many.into_iter().zip(fields) {
        let error = house.try_create(&house.root(), key, "").unwrap_err();
        assert_eq!((error.reason(), field(&error)), (Reason::InvalidRequest, path), "{error}");
    }
    let near = house.try_create(&house.root(), with_scopes("k", &["chatt"]), "").unwrap_err();
    assert!(near.to_string().contains("did you mean `chat`?"), "{near}");
    let none = CreateKeyRequest::default();
    assert_eq!(field(&house.room().create(&house.root(), &none, now()).unwrap_err()), "key");
}

#[test]
fn pages_are_complete_and_stable_while_keys_come_and_go() {
    let house = House::with(vec![declared("first", CANARY)]);
    let ids: Vec<String> = (0..9).map(|n| house.create(named(&format!("k{n}"))).key.unwrap().id).collect();
    let (mut keys, mut token) = house.list(4, "", "").unwrap();
    house.revoke(&ids[0]).unwrap();
    house.create(named("late"));
    while !token.is_empty() {
        let (more, next) = house.list(4, &token, "").unwrap();
        keys.extend(more);
        token = next;
    }
    let names: Vec<&str> = keys.iter().map(|key| key.name.as_str()).collect();
    assert_eq!(names, ["first", "k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7", "k8", "late"]);
    assert!(keys[0].declared && keys[0].created_by == "config");
}

#[test]
fn lists_are_filtered_by_team_and_tokens_hold_for_their_filter() {
    let house = House::new();
    for n in 0..4 {
        let team_id = if n % 2 == 0 { "even" } else { "odd" }.to_owned();
        house.create(Key { team_id, ..named(&format!("k{n}")) });
    }
    let (keys, token) = house.list(1, "", "even").unwrap();
    assert_eq!(keys[0].name, "k0");
    let (keys, end) = house.list(1000, &token, "even").unwrap();
    assert_eq!((keys.len(), keys[0].name.as_str(), end.as_str()), (1, "k2", ""));
    for bad in [house.list(1, &token, "odd"), house.list(1, "nonsense", ""), house.list(1, "AAAA", "")] {
        assert_eq!(field(&bad.unwrap_err()), "page_token");
    }
    assert_eq!(field(&house.list(-1, "", "").unwrap_err()), "page_size");
    assert_eq!(house.list(i32::MAX, "", "").unwrap().0.len(), 4);
}

#[test]
fn a_repeated_request_gets_the_same_answer_even_after_a_restart() {
    let house = House::new();
    let key =
        Key { default_tags: (0..8).map(|n| (format!("t{n}"), n.to_string())).collect(), ..named("once") };
    let first = house.try_create(&house.root(), key.clone(), "r-1").unwrap();
    let house = house.restart();
    assert_eq!(house.try_create(&house.root(), key.clone(), "r-1").unwrap(), first);
    assert_eq!(house.list(0, "", "").unwrap().0.len(), 1);
    let other = house.try_create(&house.root(), named("other"), "r-1").unwrap_err();
    assert_eq!(other.reason(), Reason::RequestIdReused);
    let id = first.key.unwrap().id;
    let rotated = house.rotate_as(&house.root(), &id, None, "r-2").unwrap();
    assert_eq!(house.rotate_as(&house.root(), &id, None, "r-2").unwrap(), rotated);
    assert!(house.enter(&rotated.secret, now()).is_ok());
    let reused = house.rotate_as(&house.root(), &id, None, "r-1").unwrap_err();
    assert_eq!(reused.reason(), Reason::RequestIdReused);
    let late = CreateKeyRequest { key: Some(named("late")), request_id: "r-1".to_owned() };
    assert!(house.room().create(&house.root(), &late, now() + Duration::from_mins(10)).is_ok());
}

#[test]
fn nobody_gives_what_they_do_not_have() {
    let house = House::new();
    let narrow = Key {
        allowed_models: vec!["chat-*".to_owned()],
        limits: vec![limit("requests", "minute", 10)],
        team_id: "search".to_owned(),
        ..with_scopes("narrow", &["chat", "admin"])
    };
    let narrow = house.authority(&house.create(narrow).secret);
    let child = Key {
        allowed_models: vec!["chat-fast".to_owned()],
        limits: vec![limit("requests", "minute", 5)],
        team_id: "search".to_owned(),
        ..with_scopes("child", &["chat", "usage"])
    };
    let id = house.try_create(&narrow, child.clone(), "").unwrap().key.unwrap().id;
    let wider = [
        (Key { scopes: vec!["embed".to_owned()], ..child.clone() }, Reason::ScopeDenied),
        (Key { allowed_models: vec!["*".to_owned()], ..child.clone() }, Reason::ModelNotAllowed),
        (Key { allowed_models: Vec::new(), ..child.clone() }, Reason::ModelNotAllowed),
        (Key { limits: Vec::new(), ..child.clone() }, Reason::ScopeDenied),
        (Key { limits: vec![limit("requests", "minute", 11)], ..child.clone() }, Reason::ScopeDenied),
    ];
    for (key, reason) in wider {
        let updated = house.update_as(&narrow, Key { id: id.clone(), ..key.clone() }, &["*"]).unwrap_err();
        assert_eq!(updated.reason(), reason, "{updated}");
        let created = house.try_create(&narrow, Key { name: "new".to_owned(), ..key }, "").unwrap_err();
        assert_eq!(created.reason(), reason, "{created}");
    }
    let other_team = Key { name: "new".to_owned(), team_id: "ads".to_owned(), ..child };
    assert_eq!(house.try_create(&narrow, other_team, "").unwrap_err().reason(), Reason::ScopeDenied);
    let wide = house.create(named("wide")).key.unwrap().id;
    let stolen = house.rotate_as(&narrow, &wide, None, "").unwrap_err();
    assert_eq!(stolen.reason(), Reason::ScopeDenied);
}

#[tokio::test]
async fn only_admins_may_administrate() {
    let house = House::new();
    let caller = house.enter(&house.create(named("plain")).secret, now()).unwrap();
    let error = house.auth.list_keys(&caller, ListKeysRequest::default()).await.unwrap_err();
    assert_eq!(error.reason(), Reason::ScopeDenied);
    let admin = house.enter(ADMIN_SECRET, now()).unwrap();
    assert_eq!((admin.key_id.as_str(), admin.scopes.names()), ("admin_key", vec!["admin".to_owned()]));
    let page = house.auth.list_keys(&admin, ListKeysRequest::default()).await.unwrap();
    assert_eq!(page.keys.len(), 1);
}

#[test]
fn unknown_keys_are_not_found() {
    let house = House::new();
    let id = "AAAAAAAAAAAA";
    assert_eq!(house.get(id).unwrap_err().reason(), Reason::NotFound);
    assert_eq!(house.rotate(id, None).unwrap_err().reason(), Reason::NotFound);
    assert_eq!(house.revoke(id).unwrap_err().reason(), Reason::NotFound);
    let update = house.update(Key { id: id.to_owned(), ..named("x") }, &["name"]).unwrap_err();
    assert_eq!(update.reason(), Reason::NotFound);
}
