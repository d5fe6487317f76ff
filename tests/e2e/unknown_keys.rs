//! Keys that a replica does not know: they are asked for in PostgreSQL before anybody is told that they are none, and
//! however many are made up, PostgreSQL is asked few questions.

use std::time::{Duration, Instant};

use tollgate_api::admin::{
    self, budget_service_client::BudgetServiceClient, key_service_client::KeyServiceClient,
    team_service_client::TeamServiceClient,
};

use crate::{
    metrics,
    shared_keys::{CHAT, PEPPER, UNKNOWN, create, replica, status, until, until_ready},
    support::{
        ADMIN_KEY, Gateway, KEY,
        http::Caller,
        postgres::{self, Postgres},
    },
};

/// Between two questions there is at least this.
const PAUSE: Duration = Duration::from_millis(50);

fn made_up(number: usize) -> String {
    format!("tg_madeup{number:06}_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG")
}

/// A key of a team that this database has and that nobody was told of, as if it had been made an instant ago. The team may
/// call once a day, and on this one twice.
async fn silently(url: &str) -> String {
    let elsewhere = postgres::database().await;
    let maker = replica(&elsewhere);
    until_ready(&maker, 200).await;
    let team = admin::Team {
        id: "silent".into(),
        limits: vec![admin::Limit {
            metric: "requests".into(),
            window: "day".into(),
            amount: 1,
            ..Default::default()
        }],
        ..Default::default()
    };
    let mut teams = TeamServiceClient::new(maker.channel(ADMIN_KEY).await);
    teams.create_team(admin::CreateTeamRequest { team: Some(team) }).await.unwrap();
    let top_up = admin::TopUpRequest {
        subject: "team:silent".into(),
        metric: "requests".into(),
        window: "day".into(),
        amount: 1,
        ..Default::default()
    };
    let mut budgets = BudgetServiceClient::new(maker.channel(ADMIN_KEY).await);
    budgets.top_up(top_up).await.unwrap();
    let (id, secret) = create(&maker, "silent", "silent").await;
    let rows = [("adjustments", "subject", "team:silent"), ("teams", "id", "silent"), ("keys", "id", &*id)];
    for (table, column, value) in rows {
        let row = format!("SELECT row_to_json(t) FROM tollgate.{table} t WHERE {column} = '{value}'");
        let row = postgres::sql(&elsewhere, &row).await.remove(0);
        let columns = "SELECT string_agg(quote_ident(attname), ',') FROM pg_attribute WHERE attname <> 'seq' \
             AND attnum > 0 AND NOT attisdropped AND attrelid = ";
        let columns = postgres::sql(url, &format!("{columns} 'tollgate.{table}'::regclass")).await.remove(0);
        let copy = format!(
            "INSERT INTO tollgate.{table} ({columns}) SELECT {columns} FROM \
             json_populate_record(NULL::tollgate.{table}, '{row}')"
        );
        postgres::sql(url, &copy).await;
    }
    secret
}

/// Calls until it is answered so, and on the way at most told to come again: never that the key is none.
async fn never_refused(gateway: &Gateway, secret: &str, wanted: u16) {
    let began = Instant::now();
    loop {
        let found = status(gateway, secret).await;
        if found == wanted {
            return;
        }
        assert_eq!(found, 503, "in place of {wanted}");
        assert!(began.elapsed() < Duration::from_secs(60), "only 503 for a minute");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_nobody_was_told_of_works_from_the_first_call_on_with_the_limits_of_its_team() {
    let url = postgres::database().await;
    let gateway = replica(&url);
    until_ready(&gateway, 200).await;
    let secret = silently(&url).await;
    never_refused(&gateway, &secret, 200).await;
    let found = [status(&gateway, &secret).await, status(&gateway, &secret).await];
    assert_eq!(found, [200, 429], "its team, which was not known either, may call once a day, and once more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_used_on_the_other_replica_as_soon_as_it_is_made_or_rotated() {
    let url = postgres::database().await;
    let (one, other) = (replica(&url), replica(&url));
    until_ready(&other, 200).await;
    for number in 0..5 {
        let (id, secret) = create(&one, &format!("key {number}"), "").await;
        never_refused(&other, &secret, 200).await;
        let rotate = admin::RotateKeyRequest { id, ..Default::default() };
        let mut keys = KeyServiceClient::new(one.channel(ADMIN_KEY).await);
        let rotated = keys.rotate_key(rotate).await.unwrap().into_inner().secret;
        never_refused(&other, &rotated, 200).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_postgresql_hangs_an_unknown_key_may_be_one_from_the_first_moment_on() {
    let mut server = tokio::task::spawn_blocking(|| Postgres::start(&[])).await.unwrap();
    let gateway = replica(&server.database().await);
    until_ready(&gateway, 200).await;
    until(&gateway, UNKNOWN, 401).await;
    server.signal("STOP");
    for key in [UNKNOWN, &made_up(1), UNKNOWN, &made_up(2)] {
        let answer = Caller::new(gateway.addr, key).post("/v1/chat/completions", CHAT).await;
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert_eq!(answer.json()["error"]["code"], "store_unavailable");
        assert!(answer.headers.contains_key("retry-after"), "says when to come again");
        assert_eq!(status(&gateway, KEY).await, 200, "who is known waits for nothing");
    }
    let mut keys = KeyServiceClient::new(gateway.channel(&made_up(3)).await);
    let refused = keys.list_keys(admin::ListKeysRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unavailable, "{refused:?}");
    server.signal("CONT");
    until(&gateway, UNKNOWN, 401).await;
    server.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_no_connection_left_a_new_key_is_not_called_invalid() {
    let full = ["max_connections=8", "superuser_reserved_connections=0"];
    let server = tokio::task::spawn_blocking(move || Postgres::start(&full)).await.unwrap();
    let url = server.database().await;
    let gateway = replica(&url);
    until_ready(&gateway, 200).await;
    let secret = silently(&url).await;
    let (killer, line) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(line);
    let ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() \
        AND backend_type = 'client backend'";
    killer.simple_query(ended).await.unwrap();
    // The gateway may win one back, and then it answers truly.
    let mut held = vec![killer];
    while let Ok((client, connection)) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await {
        held.push(client);
        tokio::spawn(connection);
    }
    for _ in 0..20 {
        let found = status(&gateway, &secret).await;
        assert!(matches!(found, 200 | 429 | 503), "{found}");
        assert_eq!(status(&gateway, KEY).await, 200);
    }
    drop(held);
    until(&gateway, UNKNOWN, 401).await;
}

/// How many questions for keys the gateway has asked.
async fn questions(gateway: &Gateway) -> u64 {
    let metrics = metrics(gateway).await;
    let counts = metrics.lines().filter(|line| line.starts_with("tollgate_auth_lookups_total{"));
    counts.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_made_up_keys_costs_postgresql_few_questions_and_harms_nobody() {
    let url = postgres::database().await;
    let gateway = Gateway::start(&format!("{PEPPER}store: \"{url}\"\n"));
    until_ready(&gateway, 200).await;
    let before = questions(&gateway).await;
    let began = Instant::now();
    let addr = gateway.addr;
    let callers = (0..40).map(|caller| {
        tokio::spawn(async move {
            let mut refused = 0;
            for number in 0..50 {
                // Half of them are asked for again and again.
                let key = if number % 2 == 0 { made_up(caller) } else { made_up(caller * 1_000 + number) };
                let answer = Caller::new(addr, &key).post("/v1/chat/completions", CHAT).await;
                assert!(matches!(answer.status.as_u16(), 401 | 503), "{}", answer.text());
                refused += usize::from(answer.status == 401);
            }
            refused
        })
    });
    let flood = futures_util::future::join_all(callers.collect::<Vec<_>>());
    let known = async {
        for _ in 0..50 {
            assert_eq!(status(&gateway, KEY).await, 200, "who is known notices nothing");
        }
    };
    let (refused, ()) = tokio::join!(flood, known);
    let refused: usize = refused.into_iter().map(Result::unwrap).sum();
    let (took, asked) = (began.elapsed(), questions(&gateway).await - before);
    // What is no key is told so.
    until(&gateway, &made_up(1), 401).await;
    let most = took.as_millis() / PAUSE.as_millis() + 2;
    assert!(u128::from(asked) <= most, "{asked} questions in {took:?}");
    eprintln!("2,000 calls with made-up keys: {refused} told 401, {asked} questions in {took:?}");
}
