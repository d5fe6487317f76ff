//! The room as a whole: doors, administration, restarts, and that no secret gets out.

use std::{
    collections::BTreeMap,
    time::{Duration, UNIX_EPOCH},
};

use prost_types::FieldMask;
use tempfile::TempDir;
use tollgate_api::admin::{
    CreateKeyRequest, CreateKeyResponse, Key, Limit, ListKeysRequest, RotateKeyRequest, RotateKeyResponse,
    UpdateKeyRequest,
};

use super::{authority::Authority, *};
use crate::error::Reason;

const ADMIN_SECRET: &str = "operator-secret-operator-secret-0001";
const CANARY: &str = "canary-canary-canary-canary-canary-42";

struct House {
    dir: TempDir,
    auth: Arc<Auth>,
}

fn try_start(dir: &TempDir, declared: Vec<DeclaredKey>, admin: Option<&str>) -> Result<Arc<Auth>, String> {
    Auth::start(dir.path(), &dir.path().join("tollgate.db"), declared, admin.map(SecretString::from))
}

fn declared(name: &str, key: &str) -> DeclaredKey {
    DeclaredKey {
        name: name.to_owned(),
        key: key.into(),
        team: String::new(),
        scopes: None,
        models: Vec::new(),
        tags: BTreeMap::new(),
        limits: Vec::new(),
        expires: None,
    }
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

/// A moment that all tests without a clock of their own share.
fn now() -> SystemTime {
    at(1_900_000_000)
}

fn bearer(key: &str) -> HeaderMap {
    let name = http::header::AUTHORIZATION;
    HeaderMap::from_iter([(name, format!("Bearer {key}").parse().unwrap())])
}

impl House {
    fn new() -> Self {
        Self::with(Vec::new())
    }

    fn with(declared: Vec<DeclaredKey>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let auth = try_start(&dir, declared, Some(ADMIN_SECRET)).unwrap();
        Self { dir, auth }
    }

    fn restart(self) -> Self {
        self.restart_with(Vec::new())
    }

    fn restart_with(self, declared: Vec<DeclaredKey>) -> Self {
        let Self { dir, auth } = self;
        drop(auth);
        let auth = try_start(&dir, declared, Some(ADMIN_SECRET)).unwrap();
        Self { dir, auth }
    }

    fn room(&self) -> &Room {
        &self.auth.room
    }

    fn enter(&self, key: &str, now: SystemTime) -> Result<Arc<Caller>, Error> {
        self.room().authenticate(&bearer(key), None, now)
    }

    fn refusal(&self, key: &str, now: SystemTime) -> Reason {
        self.enter(key, now).unwrap_err().reason()
    }

    fn root(&self) -> Authority {
        self.authority(ADMIN_SECRET)
    }

    fn authority(&self, key: &str) -> Authority {
        Authority::of(&*self.enter(key, now()).unwrap(), &self.room().index).unwrap()
    }

    fn create(&self, key: Key) -> CreateKeyResponse {
        self.try_create(&self.root(), key, "").unwrap()
    }

    fn try_create(&self, who: &Authority, key: Key, request_id: &str) -> Result<CreateKeyResponse, Error> {
        let request = CreateKeyRequest { key: Some(key), request_id: request_id.to_owned() };
        self.room().create(who, &request, now())
    }

    fn update(&self, key: Key, paths: &[&str]) -> Result<Key, Error> {
        self.update_as(&self.root(), key, paths)
    }

    fn update_as(&self, who: &Authority, key: Key, paths: &[&str]) -> Result<Key, Error> {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        let request = UpdateKeyRequest { key: Some(key), update_mask: Some(FieldMask { paths }) };
        self.room().update(who, &request, now()).map(|response| response.key.unwrap())
    }

    fn rotate(&self, id: &str, until: Option<SystemTime>) -> Result<RotateKeyResponse, Error> {
        self.rotate_as(&self.root(), id, until, "")
    }

    fn rotate_as(
        &self,
        who: &Authority,
        id: &str,
        until: Option<SystemTime>,
        request_id: &str,
    ) -> Result<RotateKeyResponse, Error> {
        let request = RotateKeyRequest {
            id: id.to_owned(),
            old_expire_time: until.map(Into::into),
            request_id: request_id.to_owned(),
        };
        self.room().rotate(who, &request, now())
    }

    fn list(&self, page_size: i32, page_token: &str, team_id: &str) -> Result<(Vec<Key>, String), Error> {
        let request =
            ListKeysRequest { page_size, page_token: page_token.to_owned(), team_id: team_id.to_owned() };
        self.room().list(&request).map(|page| (page.keys, page.next_page_token))
    }

    /// Everything that is on the disk, in one piece.
    fn disk(&self) -> Vec<u8> {
        let files = std::fs::read_dir(self.dir.path()).unwrap();
        files.flat_map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
    }
}

fn named(name: &str) -> Key {
    Key { name: name.to_owned(), ..Key::default() }
}

fn with_scopes(name: &str, scopes: &[&str]) -> Key {
    Key { scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(), ..named(name) }
}

fn limit(metric: &str, window: &str, amount: i64) -> Limit {
    Limit { metric: metric.to_owned(), window: window.to_owned(), amount }
}

fn field(error: &Error) -> &str {
    error.facts().field.as_deref().unwrap_or_default()
}

fn contains(haystack: &[u8], needle: &str) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle.as_bytes())
}

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
    let missing = house.room().authenticate(&HeaderMap::new(), None, now()).unwrap_err();
    assert_eq!(missing.reason(), Reason::ApiKeyMissing);
    let mut wrong_end = made.secret.clone();
    let end = if wrong_end.pop() == Some('a') { 'b' } else { 'a' };
    wrong_end.push(end);
    let unknown = house.enter(&wrong_end, now()).unwrap_err();
    let malformed = house.enter("nonsense", now()).unwrap_err();
    assert_eq!(unknown.reason(), Reason::ApiKeyInvalid);
    assert_eq!(unknown.to_string(), malformed.to_string());
    let in_url = house.room().authenticate(&bearer(&made.secret), Some("key=x"), now()).unwrap_err();
    assert_eq!(in_url.reason(), Reason::ApiKeyInvalid);
    let mut twice = bearer(&made.secret);
    twice.append(http::header::AUTHORIZATION, format!("Bearer {}", made.secret).parse().unwrap());
    let twice = house.room().authenticate(&twice, None, now()).unwrap_err();
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
    house.room().revoke(&id, now()).unwrap();
    house.room().revoke(&id, now()).unwrap();
    let error = house.enter(&made.secret, now()).unwrap_err();
    assert_eq!(error.reason(), Reason::ApiKeyInvalid);
    assert!(error.to_string().contains("revoked"));
    let house = house.restart();
    assert_eq!(house.refusal(&made.secret, now()), Reason::ApiKeyInvalid);
    assert!(house.room().get(&id).unwrap().key.unwrap().disabled);
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
    assert_eq!(
        house.room().get(&key.id).unwrap().key.unwrap(),
        Key { last_use_time: Some(now().into()), ..key }
    );
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
    house.room().revoke(&ids[0], now()).unwrap();
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

#[tokio::test]
async fn the_last_use_is_shown_at_once_and_survives_a_restart() {
    let house = House::new();
    let made = house.create(named("used"));
    let id = made.key.unwrap().id;
    assert_eq!(house.room().get(&id).unwrap().key.unwrap().last_use_time, None);
    house.enter(&made.secret, now()).unwrap();
    house.update(Key { id: id.clone(), ..named("renamed") }, &["name"]).unwrap();
    let shown = |house: &House| house.room().get(&id).unwrap().key.unwrap().last_use_time;
    assert_eq!(shown(&house), Some(now().into()));
    house.auth.flush().await;
    assert_eq!(shown(&house.restart()), Some(now().into()));
}

#[test]
fn unknown_keys_are_not_found() {
    let house = House::new();
    let id = "AAAAAAAAAAAA";
    assert_eq!(house.room().get(id).unwrap_err().reason(), Reason::NotFound);
    assert_eq!(house.rotate(id, None).unwrap_err().reason(), Reason::NotFound);
    assert_eq!(house.room().revoke(id, now()).unwrap_err().reason(), Reason::NotFound);
    let update = house.update(Key { id: id.to_owned(), ..named("x") }, &["name"]).unwrap_err();
    assert_eq!(update.reason(), Reason::NotFound);
}

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
    assert_eq!(house.room().revoke(&id, now()).unwrap_err().reason(), Reason::DeclaredInConfig);
    let renamed = house.update(Key { id: id.clone(), ..named("x") }, &["name"]).unwrap_err();
    assert_eq!(renamed.reason(), Reason::DeclaredInConfig);
    let house = house.restart_with(vec![declared("renamed", CANARY)]);
    let caller = house.enter(CANARY, now()).unwrap();
    assert_eq!((&caller.key_id, caller.key_name.as_str()), (&id, "renamed"));
    house.auth.reload(&[], None).unwrap();
    assert_eq!(house.refusal(CANARY, now()), Reason::ApiKeyInvalid);
    assert_eq!(house.refusal(ADMIN_SECRET, now()), Reason::ApiKeyInvalid);
    house.auth.reload(&[declared("back", CANARY)], None).unwrap();
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
    house.room().revoke(&gone.key.as_ref().unwrap().id, now()).unwrap();
    let house = house.restart_with(vec![declared("kept", &kept.secret)]);
    assert!(house.room().get(&kept.key.unwrap().id).unwrap().key.unwrap().declared);
    let message = house.auth.reload(&[declared("again", &gone.secret)], None).unwrap_err();
    assert!(message.contains("revoked") && !message.contains(&gone.secret), "{message}");
    assert!(house.enter(&kept.secret, now()).is_ok(), "a reload that fails must change nothing");
}

#[test]
fn the_first_start_mints_one_key_and_no_later_start_does() {
    let dir = tempfile::tempdir().unwrap();
    let auth = try_start(&dir, Vec::new(), Some("")).unwrap();
    let secret = auth.mint_first().unwrap().unwrap();
    let caller = auth.authenticate(&bearer(secret.expose_secret()), None).unwrap();
    assert_eq!((caller.key_name.as_str(), caller.scopes.has(Scope::Admin)), ("first-start", true));
    assert!(auth.mint_first().unwrap().is_none());
    auth.room.revoke(&caller.key_id, now()).unwrap();
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
    auth.room
        .store
        .read(|store| Ok(store::set_meta(store, "schema_keys", &9_i64.to_be_bytes())?))
        .ok()
        .unwrap();
    drop(auth);
    let message = try_start(&dir, Vec::new(), None).err().unwrap();
    assert!(message.contains("version 9"), "{message}");
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
            house.room().authenticate(&twice, None, now()),
            house.room().authenticate(&HeaderMap::new(), Some(&format!("key={key}")), now()),
            house.room().authenticate(&bearer(key), Some(&format!("q={key}&api-key=1")), now()),
        ];
        for error in errors.into_iter().map(Result::unwrap_err) {
            printed.push_str(&format!("{error} {error:?}"));
        }
        let error = house.room().get(key).unwrap_err();
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
