//! Who may do what to whom: an admin's key that belongs to a team stays below it.

use super::*;

/// What somebody asks for, by its outcome.
type Ask<'h> = (&'static str, Box<dyn Fn(&Authority) -> Result<(), Error> + 'h>);

struct Firm {
    house: House,
    keys: BTreeMap<&'static str, String>,
}

/// acme → search → ranking, and acme → ads; a key in each, and one without a team.
fn firm() -> Firm {
    let house = House::new();
    let acme = vec!["chat-*".to_owned()];
    house.team(proto::Team {
        allowed_models: acme,
        limits: vec![limit("requests", "day", 100)],
        ..team("acme", "")
    });
    house.team(proto::Team { limits: vec![limit("requests", "day", 50)], ..team("search", "acme") });
    house.team(proto::Team { limits: vec![limit("requests", "day", 10)], ..team("ranking", "search") });
    house.team(proto::Team { limits: vec![limit("requests", "day", 10)], ..team("ads", "acme") });
    let mut keys = BTreeMap::new();
    for of in ["", "acme", "search", "ranking", "ads"] {
        let key = Key { limits: vec![limit("requests", "day", 5)], ..of_team(&format!("of {of}"), of) };
        let key = Key { scopes: vec!["chat".to_owned()], ..key };
        keys.insert(of, house.create(key).key.unwrap().id);
    }
    Firm { house, keys }
}

impl Firm {
    fn key_asks<'h>(&'h self, of: &'static str) -> Vec<Ask<'h>> {
        let (house, id) = (&self.house, self.keys[of].clone());
        let (get, update, rotate, revoke) = (id.clone(), id.clone(), id.clone(), id);
        let named = move || of_team(&format!("new of {of}"), of);
        vec![
            (
                "create",
                Box::new(move |who| {
                    house.try_create(who, Key { scopes: vec!["chat".into()], ..named() }, "").map(drop)
                }),
            ),
            ("get", Box::new(move |who| house.room().get(who, &get).map(drop))),
            (
                "update",
                Box::new(move |who| {
                    house
                        .update_as(
                            who,
                            Key { id: update.clone(), disabled: false, ..Key::default() },
                            &["disabled"],
                        )
                        .map(drop)
                }),
            ),
            ("rotate", Box::new(move |who| house.rotate_as(who, &rotate, None, "").map(drop))),
            ("revoke", Box::new(move |who| house.room().revoke(who, &revoke, now()).map(drop))),
        ]
    }

    fn team_asks<'h>(&'h self, id: &'static str) -> Vec<Ask<'h>> {
        let house = &self.house;
        let child = format!("child-of-{id}");
        vec![
            ("create below", Box::new(move |who| house.team_as(who, team(&child, id)).map(drop))),
            ("get", Box::new(move |who| house.room().get_team(who, id).map(drop))),
            ("update", Box::new(move |who| house.update_team_as(who, team(id, ""), &["name"]).map(drop))),
        ]
    }
}

fn outcome(result: Result<(), Error>) -> &'static str {
    match result.map_err(|error| error.reason()) {
        Ok(()) => "ok",
        Err(Reason::NotFound) => "unseen",
        Err(Reason::ScopeDenied) => "denied",
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn keys_are_seen_and_changed_within_the_own_team_and_below() {
    for (of, expected) in [
        ("", ["denied", "unseen", "denied", "denied", "denied"]),
        ("acme", ["denied", "unseen", "denied", "denied", "denied"]),
        ("search", ["ok"; 5]),
        ("ranking", ["ok"; 5]),
        ("ads", ["denied", "unseen", "denied", "denied", "denied"]),
    ] {
        let firm = firm();
        let who = firm.house.admin_of("search");
        let outcomes: Vec<_> = firm.key_asks(of).iter().map(|(_, ask)| outcome(ask(&who))).collect();
        assert_eq!(outcomes, expected, "keys of `{of}`: create, get, update, rotate, revoke");
        let all: Vec<_> =
            firm.key_asks("acme").iter().map(|(_, ask)| outcome(ask(&firm.house.root()))).collect();
        assert_eq!(all, ["ok"; 5], "the operator may do everything");
    }
}

#[test]
fn teams_are_seen_and_changed_only_below_the_own() {
    let firm = firm();
    let who = firm.house.admin_of("search");
    for (id, expected) in [
        ("acme", ["denied", "unseen", "unseen"]),
        ("search", ["ok", "denied", "denied"]),
        ("ranking", ["ok", "ok", "ok"]),
        ("ads", ["denied", "unseen", "unseen"]),
    ] {
        let outcomes: Vec<_> = firm.team_asks(id).iter().map(|(_, ask)| outcome(ask(&who))).collect();
        assert_eq!(outcomes, expected, "`{id}`: create below, get, update");
    }
    assert_eq!(outcome(firm.house.team_as(&who, team("top", "")).map(drop)), "denied");
    for (id, expected) in [("acme", "unseen"), ("ads", "unseen"), ("search", "denied")] {
        assert_eq!(outcome(firm.house.room().delete_team(&who, id).map(drop)), expected, "delete {id}");
    }
    firm.house.room().delete_team(&who, "child-of-ranking").unwrap();
    let listed = firm.house.room().list_teams(&who, &proto::ListTeamsRequest::default()).unwrap().teams;
    assert_eq!(
        listed.iter().map(|team| team.id.as_str()).collect::<Vec<_>>(),
        ["child-of-search", "ranking"]
    );
    let keys = firm.house.room().list(&who, &ListKeysRequest::default()).unwrap().keys;
    let names: Vec<_> = keys.iter().map(|key| key.name.as_str()).collect();
    assert_eq!(names, ["of search", "of ranking", "admin of search"]);
    let foreign = ListKeysRequest { team_id: "ads".to_owned(), ..Default::default() };
    assert!(firm.house.room().list(&who, &foreign).unwrap().keys.is_empty());
}

#[test]
fn a_team_below_gets_no_more_than_the_own_team_has() {
    let firm = firm();
    let who = firm.house.admin_of("search");
    let below =
        |change: proto::Team| proto::Team { id: "below".into(), parent_id: "ranking".into(), ..change };
    let more = vec![limit("requests", "day", 51)];
    let models = |list: &[&str]| list.iter().map(|glob| (*glob).to_owned()).collect::<Vec<_>>();
    for (wanted, expected) in [
        (proto::Team { limits: more.clone(), ..Default::default() }, Reason::ScopeDenied),
        (proto::Team { default_key_limits: more.clone(), ..Default::default() }, Reason::ScopeDenied),
        (proto::Team { allowed_models: models(&["*"]), ..Default::default() }, Reason::ModelNotAllowed),
        (
            proto::Team { allowed_models: models(&["chat-a", "embed"]), ..Default::default() },
            Reason::ModelNotAllowed,
        ),
    ] {
        let error = firm.house.team_as(&who, below(wanted.clone())).unwrap_err();
        assert_eq!(error.reason(), expected, "{error}");
        let changed = proto::Team { id: "ranking".to_owned(), ..wanted };
        assert_eq!(firm.house.update_team_as(&who, changed, &["*"]).unwrap_err().reason(), expected);
    }
    let fits = proto::Team {
        limits: vec![limit("requests", "day", 50), limit("tokens", "day", 1_000)],
        allowed_models: models(&["chat-a"]),
        ..Default::default()
    };
    firm.house.team_as(&who, below(fits)).unwrap();
}

#[test]
fn a_soft_limit_or_one_of_some_calls_does_not_stand_in_for_a_hard_one() {
    let house = House::new();
    let own = Key { limits: vec![limit("requests", "day", 10)], ..with_scopes("own", &["chat", "admin"]) };
    let who = house.authority(&house.create(own).secret);
    let chat = |limits: Vec<Limit>| Key { limits, ..with_scopes("child", &["chat"]) };
    for wrong in [
        Limit { soft: true, ..limit("requests", "day", 5) },
        Limit { model: "gpt-*".to_owned(), ..limit("requests", "day", 5) },
        Limit { tag: "a=b".to_owned(), ..limit("requests", "day", 5) },
    ] {
        let refused = house.try_create(&who, chat(vec![wrong]), "").unwrap_err();
        assert_eq!((refused.reason(), field(&refused)), (Reason::ScopeDenied, "key.limits"));
    }
    let soft = Limit { soft: true, ..limit("requests", "day", 3) };
    house.try_create(&who, chat(vec![soft, limit("requests", "day", 5)]), "").unwrap();
}
