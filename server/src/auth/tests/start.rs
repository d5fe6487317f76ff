//! Starts and reloads: declared keys, the first key, the pepper.

use futures_util::FutureExt as _;

use super::*;

#[test]
fn declared_keys_work_and_change_only_in_the_configuration() {
    let house = House::with(vec![DeclaredKey {
        scopes: Some(vec!["chat".to_owned()]),
        expires: Some(at(1_900_000_010)),
        ..declared("conf", CANARY)
    }]);
    let caller = house.enter(CANARY, now()).unwrap();
    assert_eq!((caller.key_name.as_str(), caller.scopes.names().len()), ("conf", 1));
    assert_eq!(house.refusal(CANARY, at(1_900_000_010)), Reason::ApiKeyExpired);
    let id = caller.key_id.clone();
    assert_eq!(house.rotate(&id, None).unwrap_err().reason(), Reason::DeclaredInConfig);
    assert_eq!(house.revoke(&id).unwrap_err().reason(), Reason::DeclaredInConfig);
    let renamed = house.update(Key { id: id.clone(), ..named("x") }, &["name"]).unwrap_err();
    assert_eq!(renamed.reason(), Reason::DeclaredInConfig);
    let house = house.restart_with(vec![declared("renamed", CANARY)]);
    let caller = house.enter(CANARY, now()).unwrap();
    assert_eq!((&caller.key_id, caller.key_name.as_str()), (&id, "renamed"));
    house.auth.reload(&Declared::default()).unwrap();
    assert_eq!(house.refusal(CANARY, now()), Reason::ApiKeyInvalid);
    assert_eq!(house.refusal(ADMIN_SECRET, now()), Reason::ApiKeyInvalid);
    house.auth.reload(&only(declared("back", CANARY))).unwrap();
    assert_eq!(house.enter(CANARY, now()).unwrap().key_name, "back");
}

#[test]
fn a_declaration_that_cannot_be_says_what_is_wrong_without_the_key() {
    let own = |end: char| format!("tg_abcdefghijkl_{}", end.to_string().repeat(32));
    let unknown = DeclaredKey { scopes: Some(vec!["usag".to_owned()]), ..declared("s", CANARY) };
    let cases = [
        (vec![declared("a", CANARY), declared("a", &own('x'))], "the name `a` is declared twice"),
        (vec![declared("a", CANARY), declared("b", CANARY)], "`a` and `b` have the same key"),
        (vec![declared("a", &own('x')), declared("b", &own('y'))], "`a` and `b` have the same public id"),
        (vec![declared("a", &CANARY[..31])], "a key must have 32 to 512 characters, and this one has 31"),
        (vec![declared("a", &format!("{CANARY} x"))], "visible ASCII"),
        (vec![unknown], "did you mean `usage`?"),
        (vec![declared("a", ADMIN_SECRET)], "admin_key: it is the same as the key `a`"),
    ];
    for (keys, expected) in cases {
        let dir = tempfile::tempdir().unwrap();
        let message = try_start(&dir, keys, Some(ADMIN_SECRET)).err().unwrap();
        assert!(message.contains(expected), "{message}");
        assert!(!message.contains(&CANARY[..31]) && !message.contains(ADMIN_SECRET), "{message}");
    }
    let message = try_start(&tempfile::tempdir().unwrap(), Vec::new(), Some("short")).err().unwrap();
    assert!(message.starts_with("admin_key: a key must have 8"), "{message}");
}

#[test]
fn a_key_of_run_time_can_move_into_the_configuration_unless_it_was_revoked() {
    let house = House::new();
    let (kept, gone) = (house.create(named("kept")), house.create(named("gone")));
    house.revoke(&gone.key.as_ref().unwrap().id).unwrap();
    let house = house.restart_with(vec![declared("kept", &kept.secret)]);
    assert!(house.get(&kept.key.unwrap().id).unwrap().declared);
    let message = house.auth.reload(&only(declared("again", &gone.secret))).unwrap_err();
    assert!(message.contains("revoked") && !message.contains(&gone.secret), "{message}");
    assert!(house.enter(&kept.secret, now()).is_ok(), "a reload that fails must change nothing");
}

#[test]
fn the_first_start_mints_one_key_and_no_later_start_does() {
    let dir = tempfile::tempdir().unwrap();
    let auth = try_start(&dir, Vec::new(), Some("")).unwrap();
    let secret = auth.mint_first().unwrap().unwrap();
    let caller = auth.authenticate(&bearer(secret.expose_secret()), None).now_or_never().unwrap().unwrap();
    assert_eq!((caller.key_name.as_str(), caller.scopes.has(Scope::Admin)), ("first-start", true));
    assert!(auth.mint_first().unwrap().is_none());
    auth.room.revoke(&Authority::of(&caller, &auth.room.index).unwrap(), &caller.key_id, now()).unwrap();
    drop(auth);
    assert!(try_start(&dir, Vec::new(), None).unwrap().mint_first().unwrap().is_none());
    assert!(House::new().auth.mint_first().unwrap().is_none(), "an admin_key is enough to begin with");
    let dir = tempfile::tempdir().unwrap();
    let auth = try_start(&dir, vec![declared("a", CANARY)], None).unwrap();
    assert!(auth.mint_first().unwrap().is_none());
}

#[test]
fn a_missing_or_foreign_pepper_stops_the_start_once_there_are_keys() {
    let house = House::new();
    house.create(named("k"));
    let House { dir, auth } = house;
    drop(auth);
    std::fs::write(dir.path().join("pepper"), [7; 32]).unwrap();
    let foreign = try_start(&dir, Vec::new(), None).err().unwrap();
    assert!(foreign.contains("is not the pepper"), "{foreign}");
    std::fs::remove_file(dir.path().join("pepper")).unwrap();
    let missing = try_start(&dir, Vec::new(), None).err().unwrap();
    assert!(missing.contains("is missing"), "{missing}");
}

#[test]
fn a_store_of_a_newer_version_is_left_alone() {
    let House { dir, auth } = House::new();
    auth.room.store.read(|store| store::set_meta(store, "schema_keys", &9_i64.to_be_bytes())).ok().unwrap();
    drop(auth);
    let message = try_start(&dir, Vec::new(), None).err().unwrap();
    assert!(message.contains("version 9"), "{message}");
}

#[test]
fn a_store_from_before_priorities_goes_on() {
    let house = House::new();
    let high = Key { priority: v1::Priority::High.into(), ..named("k") };
    let made = house.create(high);
    assert_eq!(made.key.as_ref().unwrap().priority(), v1::Priority::High);
    let drop_column = "ALTER TABLE keys DROP COLUMN priority";
    house.room().store.read(|store| store.execute(drop_column, &[])).ok().unwrap();
    let house = house.restart();
    assert_eq!(house.enter(&made.secret, now()).unwrap().priority, Priority::Normal);
    let id = made.key.unwrap().id;
    let low = Key { id: id.clone(), priority: v1::Priority::Low.into(), ..Key::default() };
    assert_eq!(house.update(low, &["priority"]).unwrap().priority(), v1::Priority::Low);
    let house = house.restart();
    assert_eq!(house.enter(&made.secret, now()).unwrap().priority, Priority::Low);
    let wrong = Key { id, priority: 9, ..Key::default() };
    assert_eq!(field(&house.update(wrong, &["priority"]).unwrap_err()), "key.priority");
}
