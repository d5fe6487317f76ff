//! Tests of reports: every grouping and bucket, pages without gaps, and nobody sees what is not theirs.

use std::collections::HashMap;

use futures_util::StreamExt as _;
use tempfile::{TempDir, tempdir};
use tollgate_api::v1::{CacheStatus, usage::Source};

use super::*;
use crate::{
    call::Scope,
    meter::testing::{NOON, admin, caller, id, meter, record},
};

/// Which teams belong to a team.
type TeamsOf = fn(&str) -> Vec<String>;

/// A room with records in it.
struct Room {
    meter: Arc<Meter>,
    _dir: TempDir,
}

fn room(records: impl IntoIterator<Item = v1::UsageRecord>) -> Room {
    let dir = tempdir().unwrap();
    let meter = meter(dir.path());
    records.into_iter().for_each(|record| meter.settle(record).unwrap());
    Room { meter, _dir: dir }
}

fn made(number: u128, change: impl FnOnce(&mut v1::UsageRecord)) -> v1::UsageRecord {
    let mut record = record(number);
    change(&mut record);
    record
}

fn at(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds, nanos: 0 })
}

fn map(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn by(words: &[&str]) -> v1::QueryUsageRequest {
    v1::QueryUsageRequest {
        group_by: words.iter().map(|word| (*word).to_owned()).collect(),
        end_time: at(NOON + 400 * 86_400),
        ..v1::QueryUsageRequest::default()
    }
}

/// Lists everything up to a time after all records of these tests.
fn list() -> v1::ListUsageRecordsRequest {
    v1::ListUsageRecordsRequest { end_time: at(NOON + 400 * 86_400), ..Default::default() }
}

async fn sums(room: &Room, caller: &Caller, request: v1::QueryUsageRequest) -> Vec<v1::UsageRow> {
    room.meter.query_usage(caller, request).await.unwrap().rows
}

fn field(error: &Error) -> String {
    error.facts().field.clone().unwrap_or_default()
}

#[tokio::test]
async fn every_word_groups_and_filters() {
    let tagged = |number, change: fn(&mut v1::UsageRecord)| {
        made(number, |record| {
            record.tags = map(&[("env", "prod"), ("it's \"a.b\"[0]%_", "x")]);
            change(record);
        })
    };
    let room = room([tagged(1, |_| {}), tagged(2, |_| {}), {
        tagged(3, |record| {
            record.key_id = "other".to_owned();
            record.team_id = "other".to_owned();
            record.requested_model = "other".to_owned();
            record.provider = "other".to_owned();
            record.target = "other".to_owned();
            record.surface = "other".to_owned();
            record.tags = map(&[("env", "other"), ("it's \"a.b\"[0]%_", "other")]);
        })
    }]);
    let words = ["key", "team", "model", "provider", "target", "surface", "tag:env", "tag:it's \"a.b\"[0]%_"];
    for word in words {
        let rows = sums(&room, &admin(), by(&[word])).await;
        let mut counts: Vec<_> =
            rows.iter().map(|row| (row.group[word] == "other", row.request_count)).collect();
        counts.sort_unstable();
        assert_eq!(counts, [(false, 2), (true, 1)], "{word}");
        let request = v1::QueryUsageRequest { filters: map(&[(word, "other")]), ..by(&[]) };
        let rows = sums(&room, &admin(), request).await;
        assert_eq!(rows.iter().map(|row| row.request_count).collect::<Vec<_>>(), [1], "{word}");
        let request = v1::ListUsageRecordsRequest { filters: map(&[(word, "other")]), ..list() };
        let listed = room.meter.list_usage_records(&admin(), request).await.unwrap();
        assert_eq!(listed.records.len(), 1, "{word}");
    }
    let rows = sums(&room, &admin(), by(&["tag:none", "tag:env", "key"])).await;
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0].group, map(&[("tag:none", ""), ("tag:env", "other"), ("key", "other")]));
}

#[tokio::test]
async fn sums_add_up_and_what_nobody_told_is_absent() {
    let room = room([
        made(1, |record| record.usage.as_mut().unwrap().cache_read_input_tokens = Some(4)),
        made(2, |record| {
            record.status = "UNAVAILABLE".to_owned();
            let usage = record.usage.as_mut().unwrap();
            usage.set_source(Source::Estimated);
            let cost = usage.cost.as_mut().unwrap();
            (cost.estimated, cost.price_version) = (true, "v2".to_owned());
        }),
        made(3, |record| {
            record.cache_status = CacheStatus::Hit.into();
            let cost = record.usage.as_mut().unwrap().cost.as_mut().unwrap();
            (cost.amount_nanos, cost.saved_nanos) = (0, 4_500);
        }),
        made(4, |record| record.usage = None),
    ]);
    let rows = sums(&room, &admin(), by(&[])).await;
    let [row] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!((row.request_count, row.error_count, row.cache_hit_count), (4, 1, 1));
    let usage = row.usage.as_ref().unwrap();
    assert_eq!((usage.input_tokens, usage.output_tokens), (Some(30), Some(15)));
    assert_eq!((usage.cache_read_input_tokens, usage.reasoning_output_tokens), (Some(4), None));
    assert_eq!(usage.source(), Source::Unspecified, "they differ");
    let cost = usage.cost.as_ref().unwrap();
    assert_eq!((cost.amount_nanos, cost.saved_nanos, cost.estimated), (9_000, 4_500, true));
    assert_eq!(cost.price_version, "", "of several versions");
    assert!(row.bucket_start_time.is_none());

    let failed = v1::QueryUsageRequest { filters: map(&[("status", "UNAVAILABLE")]), ..by(&[]) };
    let usage = sums(&room, &admin(), failed).await.remove(0).usage.unwrap();
    assert_eq!((usage.source(), usage.cost.unwrap().price_version.as_str()), (Source::Estimated, "v2"));
}

#[tokio::test]
async fn buckets_are_those_of_the_calendar_in_utc() {
    // 2026-07-01T12:00, 12:59:59, 13:00, the next day, the next month.
    let offsets = [0, 3_599, 3_600, 86_400, 31 * 86_400];
    let room = room(
        (0..)
            .zip(offsets)
            .map(|(number, offset)| made(number, |record| record.create_time = at(NOON + offset))),
    );
    let midnight = NOON - 12 * 3_600;
    let cases = [
        ("hour", vec![NOON, NOON + 3_600, NOON + 86_400, NOON + 31 * 86_400]),
        ("day", vec![midnight, midnight + 86_400, midnight + 31 * 86_400]),
        ("month", vec![midnight, midnight + 31 * 86_400]),
    ];
    for (bucket, starts) in cases {
        let request = v1::QueryUsageRequest { bucket: bucket.to_owned(), ..by(&[]) };
        let rows = sums(&room, &admin(), request).await;
        let found: Vec<_> = rows.iter().map(|row| row.bucket_start_time.unwrap().seconds).collect();
        assert_eq!(found, starts, "{bucket}");
        assert_eq!(rows.iter().map(|row| row.request_count).sum::<i64>(), 5);
    }
    let request =
        v1::QueryUsageRequest { start_time: at(NOON + 3_600), end_time: at(NOON + 86_400), ..by(&[]) };
    assert_eq!(sums(&room, &admin(), request).await[0].request_count, 1, "start counts, end does not");
}

#[tokio::test]
async fn pages_have_neither_gaps_nor_doubles() {
    let room = room((0..25).map(|number| {
        made(number, |record| {
            record.create_time = at(NOON + i64::try_from(number / 4).unwrap());
            record.requested_model = format!("model-{}", number % 7);
            record.tags = map(&[("n", &(number % 3).to_string())]);
        })
    }));
    let mut request = v1::ListUsageRecordsRequest { page_size: 4, ..list() };
    let mut listed = Vec::new();
    loop {
        let page = room.meter.list_usage_records(&admin(), request.clone()).await.unwrap();
        // What is made meanwhile is newer than what is still to come, or beyond the end.
        room.meter
            .settle(made(1_000 + listed.len() as u128, |record| record.create_time = at(NOON + 99)))
            .unwrap();
        assert!(page.records.len() <= 4);
        listed.extend(page.records.into_iter().map(|record| record.id));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    let mut expected: Vec<_> = (0..25).map(|number| id(number).to_string()).collect();
    expected.reverse();
    assert_eq!(listed, expected, "newest first");

    let whole = sums(&room, &admin(), by(&["model", "tag:n"])).await;
    let mut request = v1::QueryUsageRequest { page_size: 2, ..by(&["model", "tag:n"]) };
    let mut paged = Vec::new();
    loop {
        let page = room.meter.query_usage(&admin(), request.clone()).await.unwrap();
        paged.extend(page.rows);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert!(whole.len() > 20);
    assert_eq!(paged, whole);
}

#[tokio::test]
async fn a_token_of_another_question_or_of_nobody_is_refused() {
    let room = room((0..5).map(record));
    let request = v1::ListUsageRecordsRequest { page_size: 2, ..list() };
    let page = room.meter.list_usage_records(&admin(), request.clone()).await.unwrap();
    let filters = map(&[("key", "key-a")]);
    let forged = ["x".repeat(20_000), "!".to_owned(), "AAAA".to_owned(), page.next_page_token.clone()];
    for page_token in forged {
        let other = v1::ListUsageRecordsRequest { page_token, filters: filters.clone(), ..request.clone() };
        let error = room.meter.list_usage_records(&admin(), other).await.unwrap_err();
        assert_eq!(field(&error), "page_token");
    }
    let request = v1::QueryUsageRequest { page_token: page.next_page_token, ..by(&["key"]) };
    assert_eq!(field(&room.meter.query_usage(&admin(), request).await.unwrap_err()), "page_token");
}

#[tokio::test]
async fn a_key_sees_its_own_a_team_lead_the_teams_an_admin_all() {
    let owned = |number, key: &str, team: &str| {
        made(number, |record| (record.key_id, record.team_id) = (key.to_owned(), team.to_owned()))
    };
    let room = room([owned(1, "a", "red"), owned(2, "b", "red"), owned(3, "c", "blue"), owned(4, "d", "")]);
    let cases = [
        (caller("a", "red", &[Scope::Usage]), vec![1]),
        (caller("a", "red", &[Scope::Usage, Scope::UsageTeam]), vec![1, 2]),
        (caller("d", "", &[Scope::Usage, Scope::UsageTeam]), vec![4]),
        (caller("x", "", &[Scope::Usage]), vec![]),
        (admin(), vec![1, 2, 3, 4]),
    ];
    for (caller, expected) in cases {
        let count = i64::try_from(expected.len()).unwrap();
        let listed = room.meter.list_usage_records(&caller, list()).await.unwrap();
        assert_eq!(listed.records.len(), expected.len(), "{caller:?}");
        let rows = sums(&room, &caller, by(&[])).await;
        assert_eq!(rows.iter().map(|row| row.request_count).sum::<i64>(), count, "{caller:?}");
        for number in 1..=4_u128 {
            let request = v1::GetUsageRecordRequest { id: id(number).to_string() };
            let found = room.meter.get_usage_record(&caller, request).await;
            match found {
                Ok(found) => assert!(expected.contains(&number), "{found:?}"),
                Err(error) => assert!(
                    error.reason() == Reason::NotFound && !expected.contains(&number),
                    "{caller:?} {number}"
                ),
            }
        }
        // A filter narrows, and never widens.
        let filters = map(&[("key", "c"), ("team", "blue")]);
        let rows = sums(&room, &caller, v1::QueryUsageRequest { filters, ..by(&[]) }).await;
        assert_eq!(!rows.is_empty(), expected.contains(&3), "{caller:?}");
    }
}

#[tokio::test]
async fn a_team_includes_those_below_it_for_who_leads_it_and_for_who_asks_for_its_tree() {
    let owned = |number, key: &str, team: &str| {
        made(number, |record| {
            (record.key_id, record.team_id) = (key.to_owned(), team.to_owned());
            record.tags = map(&[("env", "prod")]);
        })
    };
    let room = room([
        owned(1, "a", "acme"),
        owned(2, "b", "search"),
        owned(3, "c", "ranking"),
        owned(4, "d", "other"),
        owned(5, "lead", "other"),
    ]);
    room.meter.know_teams(Box::new(|id| {
        let below: &[&str] = match id {
            "acme" => &["search", "ranking"],
            "search" => &["ranking"],
            _ => &[],
        };
        below.iter().chain([&id]).map(|team| (*team).to_owned()).collect()
    }));
    let lead = caller("lead", "acme", &[Scope::Usage, Scope::UsageTeam]);
    for words in [&["team"][..], &["team", "tag:env"], &["team", "tag:env", "tag:none"]] {
        for (caller, filters, expected) in [
            // Its own records from another team are its, too.
            (&lead, &[][..], vec!["acme", "other", "ranking", "search"]),
            (&lead, &[("team", "search")], vec!["search"]),
            (&lead, &[("team_tree", "search")], vec!["ranking", "search"]),
            (&lead, &[("team_tree", "other")], vec!["other"]),
            (&admin(), &[("team_tree", "acme")], vec!["acme", "ranking", "search"]),
            (&admin(), &[("team_tree", "acme"), ("key", "c")], vec!["ranking"]),
            (&admin(), &[("team_tree", "nobody")], vec![]),
        ] {
            let request = v1::QueryUsageRequest { filters: map(filters), ..by(words) };
            let rows = sums(&room, caller, request).await;
            assert!(rows.iter().all(|row| row.request_count == 1), "{rows:?}");
            let teams: Vec<_> = rows.iter().map(|row| row.group["team"].as_str()).collect();
            assert_eq!(teams, expected, "{filters:?} {words:?}");
        }
    }
    let many: TeamsOf = |_| (0..20_000).map(|number| format!("t{number}")).collect();
    let request = map(&[("team_tree", "acme")]);
    let mut conditions = filter::Conditions::visible_to(&admin(), many).unwrap();
    assert_eq!(field(&conditions.filter(&request, many).unwrap_err()), "filters");
}

#[tokio::test]
async fn nothing_in_a_string_is_taken_for_sql() {
    let evil =
        ["' OR 1=1 --", "%_%", "\"; DROP TABLE records; --", "x' UNION SELECT", "\0", "%", "?1", "tag:"];
    let room = room([record(1)]);
    for text in evil {
        for word in ["key", "team", "model", "provider", "target", "surface", "status", "tag:env"] {
            let request = v1::QueryUsageRequest { filters: map(&[(word, text)]), ..by(&[]) };
            assert!(sums(&room, &admin(), request).await.is_empty(), "{word} {text}");
        }
        let tag = format!("tag:{text}");
        let rows = sums(&room, &admin(), by(&[&tag])).await;
        assert_eq!(rows[0].group[&tag], "");
        assert!(sums(&room, &caller(text, text, &[Scope::UsageTeam]), by(&[])).await.is_empty());
        let request = v1::GetUsageRecordRequest { id: text.to_owned() };
        let error = room.meter.get_usage_record(&admin(), request).await.unwrap_err();
        assert_eq!(error.reason(), Reason::NotFound);
        assert!(room.meter.query_usage(&admin(), by(&[text])).await.is_err());
    }
    assert_eq!(sums(&room, &admin(), by(&[])).await[0].request_count, 1, "all is still there");
}

#[tokio::test]
async fn a_wrong_field_is_named() {
    let room = room([record(1)]);
    let base = by(&[]);
    let cases = [
        ("bucket", v1::QueryUsageRequest { bucket: "week".to_owned(), ..base.clone() }),
        ("group_by", by(&["user"])),
        ("group_by", by(&["tag:"])),
        ("group_by", by(&["key", "key"])),
        ("group_by", by(&["key", "team", "model", "provider", "target", "surface"])),
        ("filters", v1::QueryUsageRequest { filters: map(&[("user", "x")]), ..base.clone() }),
        ("page_size", v1::QueryUsageRequest { page_size: -1, ..base.clone() }),
        ("end_time", v1::QueryUsageRequest { start_time: at(5), end_time: at(5), ..base.clone() }),
        ("start_time", v1::QueryUsageRequest { start_time: at(i64::MAX), ..base.clone() }),
        ("page_token", v1::QueryUsageRequest { page_token: "?".to_owned(), ..base.clone() }),
    ];
    for (name, request) in cases {
        let error = room.meter.query_usage(&admin(), request).await.unwrap_err();
        assert_eq!((error.reason(), &*field(&error)), (Reason::InvalidRequest, name));
    }
    let error =
        room.meter.get_usage_record(&admin(), v1::GetUsageRecordRequest::default()).await.unwrap_err();
    assert_eq!(field(&error), "id");
}

#[tokio::test]
async fn ten_years_and_huge_pages_are_answered_within_bounds() {
    let room = room(
        (0..1_500).map(|number| made(number, |record| record.tags = map(&[("n", &number.to_string())]))),
    );
    let request = v1::QueryUsageRequest {
        start_time: at(NOON - 3_650 * 86_400),
        end_time: at(NOON + 86_400),
        bucket: "hour".to_owned(),
        page_size: i32::MAX,
        ..by(&["tag:n", "model"])
    };
    let page = room.meter.query_usage(&admin(), request).await.unwrap();
    assert_eq!(page.rows.len(), 1_000);
    assert!(!page.next_page_token.is_empty());
    let request = v1::ListUsageRecordsRequest { page_size: i32::MAX, ..list() };
    assert_eq!(room.meter.list_usage_records(&admin(), request).await.unwrap().records.len(), 1_000);
    assert_eq!(room.meter.list_usage_records(&admin(), list()).await.unwrap().records.len(), 100);
}

#[tokio::test]
async fn a_watch_replays_from_a_time_and_goes_on_without_a_seam() {
    let room = room((0..5_000).map(|number| {
        made(number, |record| record.create_time = at(NOON + i64::from(number >= 10) * 3_600))
    }));
    let request = v1::WatchUsageRequest { from_time: at(NOON + 3_600), filters: map(&[("key", "key-a")]) };
    let mut watch = room.meter.watch_usage(&admin(), request).await.unwrap();
    let live = room.meter.clone();
    let writer = tokio::task::spawn_blocking(move || {
        for number in 5_000..6_000 {
            live.settle(made(number, |record| record.create_time = at(NOON + 7_200))).unwrap();
            let foreign = made(10_000 + number, |record| record.key_id = "key-b".to_owned());
            live.settle(foreign).unwrap();
        }
    });
    for number in 10..6_000 {
        let record = watch.next().await.unwrap().unwrap().record.unwrap();
        assert_eq!(record.id, id(number).to_string());
    }
    writer.await.unwrap();
}

#[tokio::test]
async fn a_watch_of_new_records_shows_only_those_and_only_to_whom_they_belong() {
    let room = room([record(1)]);
    let own = caller("key-b", "", &[Scope::Usage]);
    let mut all = room.meter.watch_usage(&admin(), v1::WatchUsageRequest::default()).await.unwrap();
    let mut mine = room.meter.watch_usage(&own, v1::WatchUsageRequest::default()).await.unwrap();
    room.meter.settle(record(2)).unwrap();
    room.meter.settle(made(3, |record| record.key_id = "key-b".to_owned())).unwrap();
    let next = async |watch: &mut BoxStream<'static, Result<v1::WatchUsageResponse, Error>>| {
        watch.next().await.unwrap().unwrap().record.unwrap().id
    };
    assert_eq!(next(&mut mine).await, id(3).to_string());
    assert_eq!(next(&mut all).await, id(2).to_string());
    assert_eq!(next(&mut all).await, id(3).to_string());
}

#[tokio::test]
async fn there_are_so_many_watches_at_a_time_and_no_more() {
    let room = room([]);
    let watch = async || room.meter.watch_usage(&admin(), v1::WatchUsageRequest::default()).await;
    let mut open = Vec::new();
    for _ in 0..crate::meter::WATCHERS {
        open.push(watch().await.unwrap());
    }
    let refused = watch().await.err().unwrap();
    assert_eq!(refused.reason(), Reason::GatewayOverloaded);
    assert!(refused.facts().retry_after.is_some());
    open.pop();
    open.push(watch().await.unwrap());
    assert!(watch().await.is_err());
}

#[tokio::test]
async fn sums_by_the_hour_and_record_by_record_are_the_same() {
    let start = NOON - 7 * 60;
    let records = (0..25_000_u128).map(|number| {
        made(number, |record| {
            // Four hours, not in order; the last few thousand are not rolled up.
            record.create_time = at(start + i64::try_from(number * 7_919 % 14_400).unwrap());
            record.key_id = format!("key-{}", number % 3);
            if number % 10 == 0 {
                record.status = "CANCELLED".to_owned();
                record.usage.as_mut().unwrap().set_source(Source::Estimated);
            }
            if number % 11 == 0 {
                record.usage.as_mut().unwrap().cost = None;
                record.cache_status = CacheStatus::Coalesced.into();
            }
        })
    });
    let dir = tempdir().unwrap();
    let meter = meter(dir.path());
    records.for_each(|record| meter.ledger.append(record));
    let room = Room { meter, _dir: dir };
    room.meter.flush().await;
    let connection = rusqlite::Connection::open(room._dir.path().join("tollgate.db")).unwrap();
    let count = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count("SELECT seq FROM rolled"), 20_000);
    assert_eq!(count("SELECT sum(calls) FROM rollups"), 20_000);
    assert!(count("SELECT count(*) FROM rollups") < 200);
    let spans = [
        (None, None),
        (at(start), at(start + 14_400)),
        (at(start + 4_000), at(start + 11_111)),
        (at(start + 100), at(start + 200)),
        (at(NOON), at(NOON + 7_200)),
        (None, at(NOON + 61)),
    ];
    for (start_time, end_time) in spans {
        for bucket in ["none", "hour", "day"] {
            for filters in [map(&[]), map(&[("key", "key-1")]), map(&[("status", "CANCELLED")])] {
                let request = |words| v1::QueryUsageRequest {
                    start_time,
                    end_time: end_time.or(by(&[]).end_time),
                    bucket: bucket.to_owned(),
                    filters: filters.clone(),
                    ..by(words)
                };
                let fast = sums(&room, &admin(), request(&["key", "model"])).await;
                let mut slow = sums(&room, &admin(), request(&["key", "model", "tag:none"])).await;
                slow.iter_mut().for_each(|row| _ = row.group.remove("tag:none"));
                assert!(!fast.is_empty());
                assert_eq!(fast, slow, "{start_time:?} {end_time:?} {bucket} {filters:?}");
            }
        }
    }
}
