use std::time::Duration;

use tollgate_api::v1::Usage;

use super::*;
use crate::{
    call::{Limit, Period, Rule, Subject, now},
    quota::{Calendar, History, Local, Quota, Settings, Wanted, charge},
};

/// Nothing was used before.
struct Nothing;

impl History for Nothing {
    fn used<'a>(
        &'a self,
        _: &'a Rule,
        _: std::time::SystemTime,
    ) -> futures_util::future::BoxFuture<'a, Result<i64, Error>> {
        Box::pin(std::future::ready(Ok(0)))
    }
}

struct House {
    quota: Quota,
    engine: Arc<Local>,
    call: Arc<Rule>,
    target: Arc<Rule>,
    places: Arc<Rule>,
}

impl House {
    fn new() -> Self {
        let engine = Arc::new(Local::new(Arc::new(Nothing), Calendar::utc()));
        let target = || Subject::Target("up/m".into());
        Self {
            quota: Quota::new(engine.clone(), Settings::default()),
            engine,
            call: Rule::new(Subject::Key("k".into()), Limit::new(Metric::Tokens, Period::Day, 250)),
            target: Rule::new(target(), Limit::new(Metric::Tokens, Period::Day, 1_000)),
            places: Rule::new(target(), Limit::new(Metric::Concurrent, Period::Total, 1)),
        }
    }

    /// Lets a call in that may use a hundred tokens.
    async fn admit(&self) -> Result<Arc<Spending>, Error> {
        self.admit_under(&[&self.call]).await
    }

    /// Lets such a call in under these limits.
    async fn admit_under(&self, limits: &[&Arc<Rule>]) -> Result<Arc<Spending>, Error> {
        let most = Amounts { input_tokens: 100, ..Amounts::default() };
        let caller = Arc::new(Caller::for_test());
        let wanted = Wanted {
            call: Uuid::nil(),
            caller: &caller,
            charges: limits.iter().map(|rule| charge(rule, most)).collect(),
            offers: vec![Offer {
                target: "up/m".into(),
                charges: vec![charge(&self.target, most), charge(&self.places, most)],
            }],
            deadline: now() + Duration::from_secs(60),
        };
        Ok(self.quota.admit(wanted).await?.spending.unwrap())
    }

    /// What is used and reserved: tokens of the call's limit, of the target's, and places at the target.
    async fn stands(&self) -> [(i64, i64); 3] {
        let rules = [self.call.clone(), self.target.clone(), self.places.clone()];
        let standing = self.engine.standing(&rules).await.unwrap();
        std::array::from_fn(|at| (standing[at].used, standing[at].reserved))
    }
}

fn settled(input: i64, attempts: Vec<v1::Attempt>) -> Settled {
    Settled { usage: Usage { input_tokens: Some(input), ..Usage::default() }, attempts }
}

fn attempt(target: &str, outcome: &str, input: Option<i64>) -> v1::Attempt {
    let (target, outcome) = (target.to_owned(), outcome.to_owned());
    v1::Attempt { target, outcome, input_tokens: input, ..v1::Attempt::default() }
}

#[tokio::test]
async fn call_and_target_are_settled_and_the_place_ends_with_the_attempt() {
    let house = House::new();
    let spending = house.admit().await.unwrap();
    assert!(spending.enter("up/other", 0).await.unwrap().is_none());
    let turn = spending.enter("up/m", 0).await.unwrap().unwrap();
    assert_eq!(house.stands().await, [(0, 100), (0, 100), (1, 0)]);
    let refused = spending.enter("up/m", 0).await.unwrap_err();
    assert!(refused.to_string().starts_with("the target `up/m` is limited to at most 1 calls at a time"));
    drop(turn);
    assert_eq!(house.stands().await, [(0, 100), (0, 100), (0, 0)]);
    spending.settle(&settled(30, vec![attempt("up/m", "ok", None)]));
    assert_eq!(house.stands().await, [(30, 0), (30, 0), (0, 0)]);
}

#[tokio::test]
async fn who_leaves_gives_back_the_calls_place_and_neither_the_targets_nor_what_it_may_use() {
    let house = House::new();
    let place = Rule::new(Subject::Key("k".into()), Limit::new(Metric::Concurrent, Period::Total, 1));
    let used = async || house.engine.standing(std::slice::from_ref(&place)).await.unwrap()[0].used;
    let spending = house.admit_under(&[&house.call, &place]).await.unwrap();
    let _turn = spending.enter("up/m", 0).await.unwrap().unwrap();
    assert_eq!((used().await, house.stands().await), (1, [(0, 100), (0, 100), (1, 0)]));
    spending.leave();
    assert_eq!((used().await, house.stands().await), (0, [(0, 100), (0, 100), (1, 0)]));
    spending.settle(&settled(30, vec![attempt("up/m", "ok", None)]));
    assert_eq!((used().await, house.stands().await[0]), (0, (30, 0)));
}

#[tokio::test]
async fn an_attempt_that_cost_nothing_gives_back_what_it_held_at_once() {
    let house = House::new();
    let spending = house.admit().await.unwrap();
    spending.enter("up/m", 0).await.unwrap().unwrap().cost_nothing();
    assert_eq!(house.stands().await, [(0, 100), (0, 0), (0, 0)]);
    drop(spending);
    assert_eq!(house.stands().await, [(0, 0), (0, 0), (0, 0)], "nobody settled it");
}

#[tokio::test]
async fn an_answer_beside_one_that_may_be_billed_is_held_too_or_not_asked_for() {
    let house = House::new();
    let spending = house.admit().await.unwrap();
    for billed in [1, 1, 0] {
        spending.enter("up/other", billed).await.unwrap();
        assert_eq!(house.stands().await[0], (0, 200));
    }
    let refused = spending.enter("up/other", 2).await.unwrap_err();
    assert!(refused.to_string().contains("the key `test` is limited to 250 tokens per day"), "{refused}");
    // One was given up when the prompt was read, and another one answered.
    let attempts = vec![attempt("up/m", "timeout", Some(90)), attempt("up/other", "ok", Some(95))];
    spending.settle(&settled(185, attempts));
    assert_eq!(house.stands().await[0], (185, 0));
}

#[tokio::test]
async fn a_target_is_settled_by_its_own_part() {
    let house = House::new();
    let spending = house.admit().await.unwrap();
    let _first = spending.enter("up/m", 0).await.unwrap().unwrap();
    let attempts = vec![attempt("up/m", "timeout", Some(40)), attempt("up/other", "ok", Some(50))];
    spending.settle(&settled(90, attempts));
    assert_eq!(house.stands().await[..2], [(90, 0), (40, 0)]);
}
