//! Who gets in, until when, and that no secret gets out.

use super::*;

#[test]
fn a_created_key_opens_the_door_as_it_was_asked_for() {
    let house = House::new();
    let key = Key {
        team_id: "search".to_owned(),
        allowed_models: vec!["chat-*".to_owned()],
        default_tags: [("service".to_owned(), "search".to_owned())].into(),
        ..with_scopes("search-prod", &["chat", "usage:team"])
    };
    let made = house.create(key);
    let caller = house.enter(&made.secret, now()).unwrap();
    let shown = made.key.unwrap();
    assert_eq!(caller.key_id, shown.id);
    assert_eq!(caller.key_name, "search-prod");
    assert_eq!(caller.team_id, "search");
    assert_eq!(caller.scopes.names(), ["chat", "usage:team"]);
    assert!(caller.allowed_models.allow("chat-fast") && !caller.allowed_models.allow("x"));
    assert_eq!(caller.default_tags["service"], "search");
    assert_eq!(shown.created_by, "admin_key");
    assert!(shown.hint.contains(&shown.id) && shown.hint.ends_with(&made.secret[made.secret.len() - 4..]));
    assert_eq!(house.auth.key_name(&shown.id).as_deref(), Some("search-prod"));
}

#[test]
fn a_key_without_scopes_gets_the_default_ones() {
    let made = House::new().create(named("plain"));
    assert_eq!(made.key.unwrap().scopes, ["chat", "embed", "models", "usage"]);
}

#[test]
fn missing_wrong_and_malformed_keys_are_told_apart_only_where_it_tells_nothing() {
    let house = House::new();
    let made = house.create(named("a"));
    let missing = house.knock(&HeaderMap::new(), None, now()).unwrap_err();
    assert_eq!(missing.reason(), Reason::ApiKeyMissing);
    let mut wrong_end = made.secret.clone();
    let end = if wrong_end.pop() == Some('a') { 'b' } else { 'a' };
    wrong_end.push(end);
    let unknown = house.enter(&wrong_end, now()).unwrap_err();
    let malformed = house.enter("nonsense", now()).unwrap_err();
    assert_eq!(unknown.reason(), Reason::ApiKeyInvalid);
    assert_eq!(unknown.to_string(), malformed.to_string());
    let in_url = house.knock(&bearer(&made.secret), Some("key=x"), now()).unwrap_err();
    assert_eq!(in_url.reason(), Reason::ApiKeyInvalid);
    let mut twice = bearer(&made.secret);
    twice.append(http::header::AUTHORIZATION, format!("Bearer {}", made.secret).parse().unwrap());
    let twice = house.knock(&twice, None, now()).unwrap_err();
    assert_eq!(twice.reason(), Reason::ApiKeyInvalid);
}

#[test]
fn a_key_expires_at_its_time_and_says_so() {
    let house = House::new();
    let made = house.create(Key { expire_time: Some(at(1_900_000_060).into()), ..named("short") });
    assert!(house.enter(&made.secret, at(1_900_000_059)).is_ok());
    let error = house.enter(&made.secret, at(1_900_000_060)).unwrap_err();
    assert_eq!(error.reason(), Reason::ApiKeyExpired);
    assert!(error.to_string().contains("2030-03-17T17:47:40Z"), "{error}");
}

#[test]
fn a_revoked_key_is_refused_from_the_next_call_on_and_after_a_restart() {
    let house = House::new();
    let made = house.create(named("gone"));
    let id = made.key.unwrap().id;
    house.revoke(&id).unwrap();
    house.revoke(&id).unwrap();
    let error = house.enter(&made.secret, now()).unwrap_err();
    assert_eq!(error.reason(), Reason::ApiKeyInvalid);
    assert!(error.to_string().contains("revoked"));
    let house = house.restart();
    assert_eq!(house.refusal(&made.secret, now()), Reason::ApiKeyInvalid);
    assert!(house.get(&id).unwrap().disabled);
    assert!(house.list(0, "", "").unwrap().0.is_empty());
    let back = house.update(Key { id: id.clone(), ..Key::default() }, &["disabled"]).unwrap_err();
    assert_eq!(back.reason(), Reason::InvalidRequest);
    assert_eq!(house.rotate(&id, None).unwrap_err().reason(), Reason::InvalidRequest);
    house.create(named("gone"));
}

#[test]
fn a_disabled_key_works_again_once_it_is_enabled() {
    let house = House::new();
    let made = house.create(named("blocked"));
    let key = made.key.unwrap();
    let blocked = house.update(Key { disabled: true, ..key }, &["disabled"]).unwrap();
    let error = house.enter(&made.secret, now()).unwrap_err();
    assert_eq!(error.reason(), Reason::ApiKeyInvalid);
    assert!(error.to_string().contains("disabled"), "{error}");
    house.update(Key { disabled: false, ..blocked }, &["disabled"]).unwrap();
    assert!(house.enter(&made.secret, now()).is_ok());
}

#[test]
fn an_old_secret_works_until_its_time_and_no_older_one_does() {
    let house = House::new();
    let first = house.create(named("rotated"));
    let id = first.key.unwrap().id;
    let second = house.rotate(&id, Some(at(1_900_000_100))).unwrap();
    for key in [&first.secret, &second.secret] {
        assert_eq!(house.enter(key, at(1_900_000_099)).unwrap().key_id, id);
    }
    let house = house.restart();
    let error = house.enter(&first.secret, at(1_900_000_100)).unwrap_err();
    assert_eq!(error.reason(), Reason::ApiKeyExpired);
    assert!(error.to_string().contains("rotated"), "{error}");
    assert!(house.enter(&second.secret, at(1_900_000_100)).is_ok());
    let third = house.rotate(&id, Some(at(1_900_000_200))).unwrap();
    assert_eq!(house.refusal(&first.secret, now()), Reason::ApiKeyInvalid);
    assert!(house.enter(&second.secret, now()).is_ok() && house.enter(&third.secret, now()).is_ok());
}

#[test]
fn a_rotation_without_overlap_stops_the_old_secret_at_once() {
    let house = House::new();
    for until in [None, Some(at(1_899_999_999)), Some(now())] {
        let first = house.create(named(&format!("k{until:?}")));
        let second = house.rotate(&first.key.unwrap().id, until).unwrap();
        assert_eq!(house.refusal(&first.secret, now()), Reason::ApiKeyInvalid);
        assert!(house.enter(&second.secret, now()).is_ok());
    }
}

#[tokio::test]
async fn the_last_use_is_shown_at_once_and_survives_a_restart() {
    let house = House::new();
    let made = house.create(named("used"));
    let id = made.key.unwrap().id;
    assert_eq!(house.get(&id).unwrap().last_use_time, None);
    house.enter(&made.secret, now()).unwrap();
    house.update(Key { id: id.clone(), ..named("renamed") }, &["name"]).unwrap();
    let shown = |house: &House| house.get(&id).unwrap().last_use_time;
    assert_eq!(shown(&house), Some(now().into()));
    house.auth.flush().await;
    assert_eq!(shown(&house.restart()), Some(now().into()));
}

#[test]
fn no_secret_is_on_the_disk_or_in_anything_that_can_be_printed() {
    let house = House::with(vec![declared("conf", CANARY)]);
    let made = house.try_create(&house.root(), named("made"), "request-1").unwrap();
    let key = made.key.clone().unwrap();
    let rotated = house.rotate(&key.id, Some(at(1_900_000_500))).unwrap();
    let mut printed = format!("{key:?} {:?}", declared("conf", CANARY));
    for key in [&made.secret, &rotated.secret, &CANARY.to_owned(), &ADMIN_SECRET.to_owned()] {
        printed.push_str(&format!("{:?}", house.enter(key, now()).unwrap()));
        let mut twice = bearer(key);
        twice.append("x-api-key", "other".parse().unwrap());
        let errors = [
            house.enter(&format!("{key}x"), now()),
            house.knock(&twice, None, now()),
            house.knock(&HeaderMap::new(), Some(&format!("key={key}")), now()),
            house.knock(&bearer(key), Some(&format!("q={key}&api-key=1")), now()),
        ];
        for error in errors.into_iter().map(Result::unwrap_err) {
            printed.push_str(&format!("{error} {error:?}"));
        }
        let error = house.get(key).unwrap_err();
        printed.push_str(&format!("{error} {error:?}"));
    }
    let pasted = house.try_create(&house.root(), named(&made.secret), "").unwrap_err();
    printed.push_str(&format!("{pasted} {pasted:?} {made:?} {rotated:?}"));
    let disk = house.disk();
    for secret in [&made.secret, &rotated.secret] {
        assert!(!printed.contains(&secret[16..]) && !contains(&disk, &secret[16..]));
    }
    assert!(!printed.contains(ADMIN_SECRET) && !contains(&disk, ADMIN_SECRET));
    assert!(!printed.contains(&CANARY[..12]) && !contains(&disk, &CANARY[..12]));
}
