//! Top-ups and resets: what they change, for whom, for how long, and who may do them.

use super::*;
use crate::{auth::store::Trouble, call::Rule};

const DAY: u64 = 86_400;

fn measured(used: i64, counter: &str) -> Measured {
    let counted = [(counter.to_owned(), used)].into();
    Measured { used, counted, end: Some(now() + Duration::from_secs(DAY)) }
}

fn top_up(subject: &str, amount: i64) -> proto::TopUpRequest {
    proto::TopUpRequest {
        subject: subject.to_owned(),
        metric: "requests".to_owned(),
        window: "day".to_owned(),
        amount,
        ..Default::default()
    }
}

fn reset(subject: &str) -> proto::ResetUsageRequest {
    proto::ResetUsageRequest {
        subject: subject.to_owned(),
        metric: "requests".to_owned(),
        window: "day".to_owned(),
        reason: "a mistake".to_owned(),
    }
}

impl House {
    fn top_up(&self, who: &Authority, request: &proto::TopUpRequest) -> Result<proto::Adjustment, Error> {
        let done = self.room().top_up(who, request, &measured(0, "c"), now());
        done.map(|done| done.adjustment.unwrap())
    }

    fn limit_of(&self, secret: &str, at: SystemTime) -> i64 {
        self.rules_of(secret, at).iter().map(|rule| rule.amount(at)).max().unwrap()
    }

    fn forgiven(&self, secret: &str, at: SystemTime) -> i64 {
        self.rules_of(secret, at).iter().map(|rule| rule.forgiven(at)).max().unwrap()
    }

    fn rules_of(&self, secret: &str, at: SystemTime) -> Vec<Arc<Rule>> {
        let caller = self.enter(secret, at).unwrap();
        let teams = caller.teams.iter().flat_map(|team| team.limits.iter());
        caller.limits.iter().chain(teams).cloned().collect()
    }
}

fn limited(house: &House) -> CreateKeyResponse {
    house.create(Key { limits: vec![limit("requests", "day", 10)], ..named("k") })
}

#[test]
fn a_top_up_holds_until_its_window_ends_over_restarts_too() {
    let house = House::new();
    let made = limited(&house);
    let subject = format!("key:{}", made.key.unwrap().id);
    let entry = house.top_up(&house.root(), &top_up(&subject, 5)).unwrap();
    assert_eq!(
        (entry.amount, entry.kind(), entry.created_by.as_str()),
        (5, proto::adjustment::Kind::TopUp, "admin_key")
    );
    assert_eq!(house.limit_of(&made.secret, now()), 15);
    let house = house.restart();
    // The index read the clock of the machine, by which that window has not begun.
    assert_eq!(house.limit_of(&made.secret, now()), 15);
    assert_eq!(house.limit_of(&made.secret, now() + Duration::from_secs(DAY - 1)), 15);
    assert_eq!(house.limit_of(&made.secret, now() + Duration::from_secs(DAY)), 10);
}

#[test]
fn a_team_is_topped_up_for_all_its_keys() {
    let house = House::new();
    house.team(proto::Team { limits: vec![limit("requests", "day", 10)], ..team("t", "") });
    let made = house.create(of_team("k", "t"));
    assert_eq!(house.limit_of(&made.secret, now()), 10);
    house.top_up(&house.root(), &top_up("team:t", 7)).unwrap();
    assert_eq!(house.limit_of(&made.secret, now()), 17);
}

#[test]
fn a_top_up_with_a_request_id_is_done_once() {
    let house = House::new();
    let made = limited(&house);
    let subject = format!("key:{}", made.key.unwrap().id);
    let request = proto::TopUpRequest { request_id: "r-1".to_owned(), ..top_up(&subject, 5) };
    let first = house.top_up(&house.root(), &request).unwrap();
    let house = house.restart();
    assert_eq!(house.top_up(&house.root(), &request).unwrap(), first);
    assert_eq!(house.limit_of(&made.secret, now()), 15);
    let other = proto::TopUpRequest { amount: 6, ..request };
    assert_eq!(house.top_up(&house.root(), &other).unwrap_err().reason(), Reason::RequestIdReused);
}

#[test]
fn a_reset_forgives_what_was_counted_until_then_and_holds_as_long_as_its_window_runs() {
    let house = House::new();
    let made = limited(&house);
    let subject = format!("key:{}", made.key.unwrap().id);
    let counter = format!("{subject}/requests/day");
    let reset_at = |counted: i64, used: i64| {
        let measured = Measured { used, ..measured(counted, &counter) };
        let done = house.room().reset(&house.root(), &reset(&subject), &measured, now());
        done.unwrap().adjustment.unwrap()
    };
    let entry = reset_at(8, 8);
    assert_eq!((entry.amount, entry.reason.as_str()), (8, "a mistake"));
    assert_eq!((house.forgiven(&made.secret, now()), house.limit_of(&made.secret, now())), (8, 10));
    // Two at a time, on two replicas, found the same: it is forgiven once.
    assert_eq!(reset_at(8, 8).amount, 8);
    assert_eq!(house.forgiven(&made.secret, now()), 8);
    // And three more were used until the third.
    assert_eq!(reset_at(11, 3).amount, 3);
    assert_eq!(house.forgiven(&made.secret, now()), 11);
    let house = house.restart();
    assert_eq!(house.forgiven(&made.secret, now()), 11);
    assert_eq!(house.forgiven(&made.secret, now() + Duration::from_secs(DAY)), 0);
}

#[test]
fn who_watches_a_key_sees_what_was_changed_of_its_limits_before_it_calls_again() {
    let house = House::new();
    let made = limited(&house);
    let id = made.key.unwrap().id;
    house.limit_of(&made.secret, now());
    house.top_up(&house.root(), &top_up(&format!("key:{id}"), 5)).unwrap();
    assert_eq!(house.auth.caller(&id).unwrap().limits[0].amount(now()), 15);
}

#[test]
fn entries_are_listed_the_newest_first_to_those_who_may_see_them() {
    let house = House::new();
    for (id, parent) in [("acme", ""), ("search", "acme"), ("ranking", "search")] {
        house.team(proto::Team { limits: vec![limit("requests", "day", 10)], ..team(id, parent) });
    }
    for id in ["acme", "search", "ranking"] {
        house.top_up(&house.root(), &top_up(&format!("team:{id}"), 1)).unwrap();
    }
    let list = |who: &Authority, subject: &str, page_size, page_token: &str| {
        let (subject, page_token) = (subject.to_owned(), page_token.to_owned());
        let request = proto::ListAdjustmentsRequest { subject, page_size, page_token };
        let page = house.room().list_adjustments(who, &request).unwrap();
        let subjects: Vec<_> = page.adjustments.into_iter().map(|one| one.subject).collect();
        (subjects, page.next_page_token)
    };
    let (first, token) = list(&house.root(), "", 2, "");
    assert_eq!(first, ["team:ranking", "team:search"]);
    assert_eq!(list(&house.root(), "", 2, &token).0, ["team:acme"]);
    assert_eq!(list(&house.root(), "team:search", 0, "").0, ["team:search"]);
    assert_eq!(list(&house.admin_of("search"), "", 0, "").0, ["team:ranking"]);
}

#[test]
fn who_belongs_to_a_team_changes_only_what_is_below_it_and_never_itself() {
    let house = House::new();
    for (id, parent) in [("acme", ""), ("search", "acme"), ("ranking", "search"), ("ads", "acme")] {
        house.team(proto::Team { limits: vec![limit("requests", "day", 10)], ..team(id, parent) });
    }
    let own = Key {
        limits: vec![limit("requests", "day", 10)],
        team_id: "search".to_owned(),
        ..with_scopes("own", &["chat", "admin"])
    };
    let own = house.create(own);
    let who = house.authority(&own.secret);
    let key = |team: &str| {
        let key = Key { limits: vec![limit("requests", "day", 4)], ..of_team(&format!("of {team}"), team) };
        format!("key:{}", house.create(key).key.unwrap().id)
    };
    let itself = format!("key:{}", own.key.unwrap().id);
    for (subject, amount, expected) in [
        ("team:acme".to_owned(), 1, Err(Reason::NotFound)),
        ("team:ads".to_owned(), 1, Err(Reason::NotFound)),
        ("team:search".to_owned(), 1, Err(Reason::ScopeDenied)),
        ("team:ranking".to_owned(), 1, Err(Reason::ScopeDenied)),
        (itself, 1, Err(Reason::ScopeDenied)),
        (key("acme"), 1, Err(Reason::NotFound)),
        (key("search"), 6, Ok(())),
        (key("ranking"), 7, Err(Reason::ScopeDenied)),
        ("team:nobody".to_owned(), 1, Err(Reason::NotFound)),
        ("key:AAAAAAAAAAAA".to_owned(), 1, Err(Reason::NotFound)),
    ] {
        let done = house.top_up(&who, &top_up(&subject, amount)).map(drop).map_err(|error| error.reason());
        assert_eq!(done, expected, "{subject}");
    }
}

#[test]
fn what_cannot_be_changed_is_named() {
    let house = House::new();
    let made = limited(&house);
    let subject = format!("key:{}", made.key.unwrap().id);
    let whole = top_up(&subject, 1);
    for (request, path) in [
        (proto::TopUpRequest { amount: 0, ..whole.clone() }, "amount"),
        (proto::TopUpRequest { amount: i64::MAX, ..whole.clone() }, "amount"),
        (proto::TopUpRequest { window: "minute".into(), ..whole.clone() }, "window"),
        (proto::TopUpRequest { metric: "coffee".into(), ..whole.clone() }, "metric"),
        (proto::TopUpRequest { metric: "concurrent".into(), ..whole.clone() }, "metric"),
        (proto::TopUpRequest { subject: "model:m".into(), ..whole.clone() }, "subject"),
        (proto::TopUpRequest { reason: "r".repeat(257), ..whole.clone() }, "reason"),
    ] {
        let error = house.top_up(&house.root(), &request).unwrap_err();
        assert_eq!((error.reason(), field(&error)), (Reason::InvalidRequest, path), "{error}");
    }
    let other = proto::TopUpRequest { window: "month".into(), ..whole };
    assert_eq!(house.top_up(&house.root(), &other).unwrap_err().reason(), Reason::NotFound);
    let none = house.room().store.read(|store| store::adjustments::page(store, i64::MAX, "", 9));
    assert!(none.map_err(Trouble::into_error).unwrap().is_empty());
}

#[test]
fn who_does_not_exist_is_told_so_with_the_nearest_that_the_caller_may_see() {
    let house = House::new();
    for (id, parent) in [("acme", ""), ("search", "acme"), ("serach2", "")] {
        house.team(team(id, parent));
    }
    let told =
        |who: &Authority, subject: &str| house.top_up(who, &top_up(subject, 1)).unwrap_err().to_string();
    let unknown = told(&house.root(), "team:searhc");
    assert!(unknown.contains("no team `searhc`") && unknown.contains("did you mean `search`?"), "{unknown}");
    let foreign = told(&house.admin_of("acme"), "team:serach2");
    assert!(foreign.contains("no team `serach2`") && foreign.contains("`search`?"), "{foreign}");
    let far = told(&house.root(), "team:nothing-like-it");
    assert!(far.contains("no team") && !far.contains("did you mean"), "{far}");
    let key = told(&house.root(), &format!("key:{CANARY}"));
    assert!(key.contains("no key") && !key.contains(CANARY), "{key}");
    let limitless = told(&house.root(), "team:search");
    assert!(limitless.contains("has no limit"), "{limitless}");
}
