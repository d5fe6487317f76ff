//! Teams: what their keys share, what operators change of it, and that it survives a crash.

use serde_json::json;
use tollgate_api::admin::{
    self, budget_service_client::BudgetServiceClient, key_service_client::KeyServiceClient,
    team_service_client::TeamServiceClient,
};
use tonic::Code;

use crate::support::{
    ADMIN_KEY, Gateway,
    gateway::Client,
    http::{Answer, Caller},
    upstream::{Upstream, completion, whole},
};

/// A call costs 100 * 1 + 50 * 2 = 200 micro-USD.
const CHAT: &str = r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"max_tokens":50}"#;
const CALL_NANOS: i64 = 200_000;

struct Firm {
    gateway: Gateway,
    _upstream: Upstream,
}

async fn firm(teams: &str) -> Firm {
    let upstream = Upstream::start(|_| whole(200, "application/json", completion("hi", 100, 50))).await;
    let gateway = Gateway::start(&format!(
        "teams:\n{teams}providers:\n{}models:\n  m:\n    targets: [{{ provider: up, model: m-1 }}]\n    \
         price: {{ input_per_million: 1, output_per_million: 2 }}\n  n: {{ targets: [{{ provider: up, model: n-1 }}] }}\n",
        upstream.provider("up")
    ));
    Firm { gateway, _upstream: upstream }
}

impl Firm {
    async fn keys(&self) -> KeyServiceClient<Client> {
        KeyServiceClient::new(self.gateway.channel(ADMIN_KEY).await)
    }

    async fn teams(&self) -> TeamServiceClient<Client> {
        TeamServiceClient::new(self.gateway.channel(ADMIN_KEY).await)
    }

    async fn budgets(&self) -> BudgetServiceClient<Client> {
        BudgetServiceClient::new(self.gateway.channel(ADMIN_KEY).await)
    }

    /// Makes a key of a team, and returns it with its secret.
    async fn key(&self, name: &str, team: &str, limits: Vec<admin::Limit>) -> (admin::Key, String) {
        let key = admin::Key { name: name.into(), team_id: team.into(), limits, ..Default::default() };
        let request = admin::CreateKeyRequest { key: Some(key), ..Default::default() };
        let made = self.keys().await.create_key(request).await.unwrap().into_inner();
        (made.key.unwrap(), made.secret)
    }

    async fn call(&self, secret: &str) -> Answer {
        Caller::new(self.gateway.addr, secret).post("/v1/chat/completions", CHAT).await
    }

    /// Calls until it is refused, and returns how many calls were served and what the refusal says.
    async fn exhaust(&self, secret: &str) -> (usize, String) {
        for served in 0..100 {
            let answer = self.call(secret).await;
            if answer.status != 200 {
                assert_eq!(answer.status, 429, "{}", answer.text());
                return (served, answer.text());
            }
        }
        panic!("nothing is refused");
    }
}

fn limit(metric: &str, window: &str, amount: i64) -> admin::Limit {
    admin::Limit { metric: metric.into(), window: window.into(), amount, ..Default::default() }
}

#[tokio::test]
async fn limits_of_organisation_team_and_key_hold_at_once_and_over_a_crash() {
    let mut firm = firm(
        "  acme: { limits: { requests_per_day: 5 } }\n  search: { parent: acme, limits: { requests_per_day: 4 } }\n  \
         ads: { parent: acme }\n",
    )
    .await;
    let (_, tight) = firm.key("tight", "search", vec![limit("requests", "day", 3)]).await;
    let (_, beside) = firm.key("beside", "search", Vec::new()).await;
    let (_, cousin) = firm.key("cousin", "ads", Vec::new()).await;
    let (served, refusal) = firm.exhaust(&tight).await;
    assert!(served == 3 && refusal.contains("the key `tight`"), "{served}: {refusal}");
    let (served, refusal) = firm.exhaust(&beside).await;
    assert!(served == 1 && refusal.contains("the team `search`"), "{served}: {refusal}");
    let (served, refusal) = firm.exhaust(&cousin).await;
    assert!(served == 1 && refusal.contains("the team `acme`"), "{served}: {refusal}");
    let quotas = Caller::new(firm.gateway.addr, &tight).get("/v1/quota").await.json();
    let of = |subject: &str| {
        let quotas = quotas["quotas"].as_array().unwrap();
        let one = quotas.iter().find(|one| one["subject"].as_str().unwrap().starts_with(subject)).unwrap();
        (one["limit"].clone(), one["used"].clone())
    };
    assert_eq!(of("key:"), (json!("3"), json!("3")));
    assert_eq!(of("team:search"), (json!("4"), json!("4")));
    assert_eq!(of("team:acme"), (json!("5"), json!("5")));
    firm.gateway.kill();
    firm.gateway.restart();
    let (served, refusal) = firm.exhaust(&cousin).await;
    assert!(
        served == 0 && refusal.contains("the team `acme`"),
        "what its teams used counts: {served}, {refusal}"
    );
}

#[tokio::test]
async fn two_keys_of_a_team_share_one_budget_over_a_crash() {
    let mut firm = firm("  search: { budget: { usd: 0.0009, per: month } }\n").await;
    let (_, one) = firm.key("one", "search", Vec::new()).await;
    let (_, other) = firm.key("other", "search", Vec::new()).await;
    assert_eq!(firm.call(&one).await.status, 200);
    assert_eq!(firm.call(&other).await.status, 200);
    firm.gateway.kill();
    firm.gateway.restart();
    let (served, refusal) = firm.exhaust(&one).await;
    assert!(served == 2 && refusal.contains("the team `search`"), "{served}: {refusal}");
    assert_eq!(firm.exhaust(&other).await.0, 0);
}

#[tokio::test]
async fn models_and_the_switch_of_a_team_made_at_run_time_hold_from_the_next_call_on() {
    let firm = firm("  acme: { models: [m, n] }\n").await;
    let mut teams = firm.teams().await;
    let team = admin::Team { id: "search".into(), parent_id: "acme".into(), ..Default::default() };
    let made = teams.create_team(admin::CreateTeamRequest { team: Some(team.clone()) }).await.unwrap();
    let made = made.into_inner().team.unwrap();
    let again = teams.create_team(admin::CreateTeamRequest { team: Some(team) }).await.unwrap_err();
    assert_eq!(again.code(), Code::AlreadyExists);
    let (_, secret) = firm.key("k", "search", Vec::new()).await;
    let caller = Caller::new(firm.gateway.addr, &secret);
    let names = |list: serde_json::Value| {
        let list = list["data"].as_array().unwrap().clone();
        let mut names: Vec<_> = list.iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    };
    assert_eq!(names(caller.get("/v1/models").await.json()), ["m", "n"]);
    let mut change = async |team: admin::Team| {
        let request = admin::UpdateTeamRequest { team: Some(team), update_mask: None };
        teams.update_team(request).await.unwrap().into_inner().team.unwrap()
    };
    let only_n = admin::Team { allowed_models: vec!["n".into()], ..made };
    let changed = change(only_n).await;
    let refused = firm.call(&secret).await;
    assert_eq!(refused.status, 403);
    assert!(refused.text().contains("the team `search` may not call the model `m`"), "{}", refused.text());
    assert_eq!(names(caller.get("/v1/models").await.json()), ["n"]);
    change(admin::Team { disabled: true, ..changed }).await;
    let off = caller.post("/v1/chat/completions", CHAT.replace("\"m\"", "\"n\"")).await;
    assert!(off.status == 403 && off.text().contains("the team `search` is disabled"), "{}", off.text());
    let kept = firm.teams().await.delete_team(admin::DeleteTeamRequest { id: "search".into() }).await;
    let kept = kept.unwrap_err();
    assert!(kept.code() == Code::FailedPrecondition && kept.message().contains("the keys k"), "{kept:?}");
}

#[tokio::test]
async fn a_new_key_gets_the_limits_that_the_configuration_has_for_its_team() {
    let firm =
        firm("  search: { key_limits: { requests_per_minute: 2 }, key_budget: { usd: 1, per: day } }\n")
            .await;
    let (key, secret) = firm.key("k", "search", Vec::new()).await;
    assert_eq!(key.limits, [limit("requests", "minute", 2), limit("cost_nanos", "day", 1_000_000_000)]);
    assert_eq!(firm.exhaust(&secret).await.0, 2);
}

#[tokio::test]
async fn a_top_up_makes_room_at_once_and_a_reset_starts_anew_and_both_survive_a_crash() {
    let mut firm = firm("  search: { budget: { usd: 0.0005, per: month } }\n").await;
    let (_, secret) = firm.key("k", "search", Vec::new()).await;
    assert_eq!(firm.exhaust(&secret).await.0, 2);
    let top_up = admin::TopUpRequest {
        subject: "team:search".into(),
        window: "month".into(),
        amount: 2 * CALL_NANOS,
        reason: "launch".into(),
        request_id: "once".into(),
        ..Default::default()
    };
    let first = firm.budgets().await.top_up(top_up.clone()).await.unwrap().into_inner();
    let second = firm.budgets().await.top_up(top_up).await.unwrap().into_inner();
    assert_eq!(first, second);
    assert_eq!(firm.exhaust(&secret).await.0, 2);
    firm.gateway.kill();
    firm.gateway.restart();
    assert_eq!(firm.exhaust(&secret).await.0, 0, "what was used and the top-up both count on");
    let reset = admin::ResetUsageRequest {
        subject: "team:search".into(),
        window: "month".into(),
        ..Default::default()
    };
    let done = firm.budgets().await.reset_usage(reset).await.unwrap().into_inner().adjustment.unwrap();
    assert_eq!((done.amount, done.created_by.is_empty()), (4 * CALL_NANOS, false));
    assert_eq!(firm.call(&secret).await.status, 200);
    firm.gateway.kill();
    firm.gateway.restart();
    let quota = Caller::new(firm.gateway.addr, &secret).get("/v1/quota").await.json()["quotas"][0].clone();
    assert_eq!((&quota["limit"], &quota["used"]), (&json!("900000"), &json!("200000")), "{quota}");
    assert_eq!(firm.exhaust(&secret).await.0, 3);
    let all = firm.budgets().await.list_adjustments(admin::ListAdjustmentsRequest::default()).await;
    let all = all.unwrap().into_inner().adjustments;
    let kinds: Vec<_> = all.iter().map(|one| (one.kind(), one.reason.as_str())).collect();
    assert_eq!(kinds, [(admin::adjustment::Kind::Reset, ""), (admin::adjustment::Kind::TopUp, "launch")]);
}

#[tokio::test]
async fn an_admin_of_a_team_stays_below_it() {
    let firm = firm("  acme: { limits: { requests_per_day: 9 } }\n  search: { parent: acme }\n").await;
    let key = admin::Key {
        name: "lead".into(),
        team_id: "acme".into(),
        scopes: vec!["chat".into(), "admin".into()],
        ..Default::default()
    };
    let request = admin::CreateKeyRequest { key: Some(key), ..Default::default() };
    let lead = firm.keys().await.create_key(request).await.unwrap().into_inner().secret;
    let mut teams = TeamServiceClient::new(firm.gateway.channel(&lead).await);
    let mut make = async |parent: &str, amount| {
        let limits = vec![limit("requests", "day", amount)];
        let team =
            admin::Team { id: format!("t{amount}"), parent_id: parent.into(), limits, ..Default::default() };
        let made = teams.create_team(admin::CreateTeamRequest { team: Some(team) }).await;
        made.map(drop).map_err(|status| status.code())
    };
    assert_eq!(make("", 1).await, Err(Code::PermissionDenied));
    assert_eq!(make("search", 10).await, Err(Code::PermissionDenied));
    assert_eq!(make("search", 8).await, Ok(()));
    let seen = teams.list_teams(admin::ListTeamsRequest::default()).await.unwrap().into_inner().teams;
    assert_eq!(seen.iter().map(|team| team.id.as_str()).collect::<Vec<_>>(), ["search", "t8"]);
    let mut budgets = BudgetServiceClient::new(firm.gateway.channel(&lead).await);
    let own = admin::TopUpRequest {
        subject: "team:acme".into(),
        metric: "requests".into(),
        window: "day".into(),
        amount: 1,
        ..Default::default()
    };
    assert_eq!(budgets.top_up(own).await.unwrap_err().code(), Code::PermissionDenied);
}
