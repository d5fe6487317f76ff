//! Tests that sums by day, month and tag give what adding up every record gives, whatever is folded and whatever not.

use std::collections::{BTreeMap, HashMap};

use tempfile::tempdir;

use super::*;
use crate::{
    call::Scope,
    meter::{
        ledger::rollup,
        testing::{NOON, admin, caller, meter, record},
    },
};

const DAY: i64 = 86_400;
const MIDNIGHT: i64 = NOON - 12 * 3_600;

/// Records over some sixty days, not in order, of teams, keys and models, some without a tag or a price.
fn records() -> Vec<v1::UsageRecord> {
    let record = |number: i64| {
        let mut record = record(u128::try_from(number).unwrap());
        let seconds = MIDNIGHT - 20 * DAY + number * 7_919 * 641 % (60 * DAY);
        record.create_time = Some(prost_types::Timestamp { seconds, nanos: 5_000_000 });
        record.key_id = format!("key-{}", number % 5);
        // The last key was in another team once.
        record.team_id = if number % 35 == 4 { "old".to_owned() } else { format!("team-{}", number % 5 / 2) };
        record.requested_model = format!("model-{}", number % 3);
        record.provider = if number % 13 == 0 { String::new() } else { "openai".to_owned() };
        record.status = if number % 7 == 0 { "CANCELLED".to_owned() } else { "OK".to_owned() };
        if number % 4 != 0 {
            record.tags.insert(
                "env".to_owned(),
                ["prod", "test", ""][usize::try_from(number % 3).unwrap()].to_owned(),
            );
        }
        if number % 6 == 0 {
            record.tags.insert("en".to_owned(), "x".to_owned());
        }
        if number % 11 == 0 {
            record.usage = None;
        } else if let Some(usage) = &mut record.usage {
            usage.input_tokens = Some(number);
            usage.cache_read_input_tokens = (number % 17 == 0).then_some(3);
            let cost = usage.cost.as_mut().unwrap();
            (cost.amount_nanos, cost.estimated) = (number * 1_000_003, number % 40 == 0);
        }
        record
    };
    (0..3_000).map(record).collect()
}

/// What a row says: calls, errors, input tokens, tokens read from the cache, cost, whether that is estimated.
type Sums = (i64, i64, Option<i64>, Option<i64>, Option<i64>, bool);

fn told(row: &v1::UsageRow) -> Sums {
    let usage = row.usage.as_ref().unwrap();
    let cost = usage.cost.as_ref();
    (
        row.request_count,
        row.error_count,
        usage.input_tokens,
        usage.cache_read_input_tokens,
        cost.map(|cost| cost.amount_nanos),
        cost.is_some_and(|cost| cost.estimated),
    )
}

/// Adds up records one by one.
fn added<'r>(
    records: impl Iterator<Item = &'r v1::UsageRecord>,
    words: &[&str],
    bucket: &str,
) -> BTreeMap<(i64, Vec<String>), Sums> {
    let plus = |a: Option<i64>, b: Option<i64>| a.map(|a| a + b.unwrap_or(0)).or(b);
    let mut sums: BTreeMap<_, Sums> = BTreeMap::new();
    for record in records {
        let time = jiff::Timestamp::from_second(record.create_time.unwrap().seconds).unwrap();
        let start = time.to_zoned(jiff::tz::TimeZone::UTC).start_of_day().unwrap();
        let start = match bucket {
            "day" => start.timestamp().as_second(),
            "month" => start.first_of_month().unwrap().timestamp().as_second(),
            "hour" => time.as_second() / 3_600 * 3_600,
            _ => 0,
        };
        let value = |word: &&str| match *word {
            "team" => record.team_id.clone(),
            "model" => record.requested_model.clone(),
            "provider" => record.provider.clone(),
            "key" => record.key_id.clone(),
            tag => record.tags.get(tag.strip_prefix("tag:").unwrap()).cloned().unwrap_or_default(),
        };
        let sum = sums.entry((start, words.iter().map(value).collect::<Vec<_>>())).or_default();
        let usage = record.usage.as_ref();
        let cost = usage.and_then(|usage| usage.cost.as_ref());
        sum.0 += 1;
        sum.1 += i64::from(record.status != "OK");
        sum.2 = plus(sum.2, usage.and_then(|usage| usage.input_tokens));
        sum.3 = plus(sum.3, usage.and_then(|usage| usage.cache_read_input_tokens));
        sum.4 = plus(sum.4, cost.map(|cost| cost.amount_nanos));
        sum.5 |= cost.is_some_and(|cost| cost.estimated);
    }
    sums
}

fn request(words: &[&str], bucket: &str, from: i64, until: i64) -> v1::QueryUsageRequest {
    let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    v1::QueryUsageRequest {
        start_time: at(from),
        end_time: at(until),
        bucket: bucket.to_owned(),
        group_by: words.iter().map(|word| (*word).to_owned()).collect(),
        page_size: 1_000,
        ..Default::default()
    }
}

async fn asked(
    meter: &Meter,
    who: &Caller,
    mut request: v1::QueryUsageRequest,
) -> BTreeMap<(i64, Vec<String>), Sums> {
    let mut found = BTreeMap::new();
    loop {
        let page = meter.query_usage(who, request.clone()).await.unwrap();
        for row in &page.rows {
            let start = row.bucket_start_time.as_ref().map_or(0, |time| time.seconds);
            let group = request.group_by.iter().map(|word| row.group[word].clone()).collect();
            assert!(found.insert((start, group), told(row)).is_none(), "each group once");
        }
        if page.next_page_token.is_empty() {
            return found;
        }
        request.page_token = page.next_page_token;
    }
}

#[tokio::test]
async fn sums_are_those_of_the_records_at_every_state_of_the_folding() {
    let dir = tempdir().unwrap();
    let (meter, records) = (meter(dir.path()), records());
    records.iter().for_each(|record| meter.ledger.append(record.clone()));
    meter.flush().await;
    let mut connection = rusqlite::Connection::open(dir.path().join("tollgate.db")).unwrap();
    let lead = caller("key-4", "team-2", &[Scope::Usage, Scope::UsageTeam]);
    let own = caller("key-1", "team-0", &[Scope::Usage]);
    let sees = |who: &Caller, record: &v1::UsageRecord| match &*who.key_id {
        "key-4" => record.team_id == "team-2" || record.key_id == "key-4",
        "key-1" => record.key_id == "key-1",
        _ => true,
    };
    let spans = [
        (MIDNIGHT - 100 * DAY, MIDNIGHT + 100 * DAY),
        (MIDNIGHT, MIDNIGHT + 31 * DAY),
        (MIDNIGHT - 9 * DAY - 4_321, MIDNIGHT + 33 * DAY + 7_777),
        (MIDNIGHT + 5, MIDNIGHT + 3 * DAY),
    ];
    let groups: [&[&str]; 6] = [
        &[],
        &["team", "model", "tag:env"],
        &["tag:en", "provider"],
        &["key", "model"],
        &["tag:env", "tag:en"],
        &["tag:env", "key"],
    ];
    let gap = format!(
        "INSERT INTO tag_gaps VALUES ('env', {}, {})",
        MIDNIGHT * 1_000,
        (MIDNIGHT + 9 * DAY) * 1_000
    );
    for (state, until) in [("nothing", 0), ("a part", 1_700), ("all", 3_000), ("with a gap", 3_000)] {
        rollup::total(&mut connection, until, 100);
        if state == "with a gap" {
            connection.execute_batch(&gap).unwrap();
            let wrong =
                "UPDATE tag_totals SET calls = 1000 WHERE tag = 'env' AND (level = 2 AND start_ms = ?1 OR
                level = 1 AND start_ms >= ?2 AND start_ms < ?3)";
            let [month, since, end] =
                [MIDNIGHT, MIDNIGHT + 9 * DAY, MIDNIGHT + 31 * DAY].map(|time| time * 1_000);
            assert!(connection.execute(wrong, [month, since, end]).unwrap() > 0);
        }
        for (from, to) in spans {
            for words in groups {
                for (bucket, who) in [
                    ("none", &admin()),
                    ("day", &lead),
                    ("month", &admin()),
                    ("none", &lead),
                    ("month", &own),
                ] {
                    let found = asked(&meter, who, request(words, bucket, from, to)).await;
                    let wanted = records.iter().filter(|record| {
                        (from..to).contains(&record.create_time.unwrap().seconds) && sees(who, record)
                    });
                    let wanted = added(wanted, words, bucket);
                    assert_eq!(found, wanted, "{state} {from}..{to} {words:?} {bucket} {}", who.key_id);
                }
            }
        }
        let filters = HashMap::from([
            ("tag:env".to_owned(), "prod".to_owned()),
            ("team".to_owned(), "team-1".to_owned()),
        ]);
        let (from, to) = spans[0];
        let request = v1::QueryUsageRequest { filters, ..request(&["model"], "none", from, to) };
        let found = asked(&meter, &admin(), request).await;
        let wanted = records.iter().filter(|record| {
            record.tags.get("env").is_some_and(|value| value == "prod") && record.team_id == "team-1"
        });
        assert_eq!(found, added(wanted, &["model"], "none"), "{state}");
    }
}
