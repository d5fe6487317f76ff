//! What the tests of this room share.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use tollgate_api::v1;
use uuid::Uuid;

use super::{Catalog, Ledger, Meter};
use crate::call::{Caller, ModelGlobs, Scope, Target};

/// Noon of a day in 2026, in seconds since 1970.
pub(super) const NOON: i64 = 1_782_907_200;

pub(super) fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

/// Returns a settled record of a priced call.
pub(super) fn record(number: u128) -> v1::UsageRecord {
    v1::UsageRecord {
        id: id(number).to_string(),
        create_time: Some(prost_types::Timestamp { seconds: NOON, nanos: 0 }),
        key_id: "key-a".to_owned(),
        team_id: "search".to_owned(),
        requested_model: "chat-fast".to_owned(),
        model: "gpt-4o-mini".to_owned(),
        provider: "openai".to_owned(),
        target: "openai/gpt-4o-mini".to_owned(),
        operation: "chat".to_owned(),
        surface: "openai-chat".to_owned(),
        status: "OK".to_owned(),
        cache_status: v1::CacheStatus::Bypass.into(),
        usage: Some(v1::Usage {
            input_tokens: Some(10),
            output_tokens: Some(5),
            source: v1::usage::Source::Provider.into(),
            r#final: true,
            cost: Some(v1::Cost {
                currency_code: "USD".to_owned(),
                amount_nanos: 4_500,
                price_version: "v1".to_owned(),
                ..v1::Cost::default()
            }),
            ..v1::Usage::default()
        }),
        ..v1::UsageRecord::default()
    }
}

pub(super) fn target() -> Target {
    Target {
        name: "openai/gpt-4o-mini".into(),
        provider: "openai".into(),
        model: "gpt-4o-mini".into(),
        vendor: "openai".into(),
        rates: None,
    }
}

pub(super) fn caller(key: &str, team: &str, scopes: &[Scope]) -> Caller {
    Caller {
        key_id: key.to_owned(),
        key_name: key.to_owned(),
        team_id: team.to_owned(),
        scopes: scopes.iter().copied().collect(),
        allowed_models: ModelGlobs::default(),
        default_tags: BTreeMap::new(),
        priority: crate::call::Priority::default(),
        limits: Arc::default(),
        teams: Arc::default(),
    }
}

pub(super) fn admin() -> Caller {
    caller("root", "", &[Scope::Admin])
}

pub(super) fn meter(dir: &Path) -> Arc<Meter> {
    Meter::start(dir, &dir.join("tollgate.db"), Arc::new(Catalog::embedded())).unwrap()
}

/// Reads every record of a store, in the order of commits.
pub(super) fn rows(ledger: &Ledger, store: &Path) -> Vec<v1::UsageRecord> {
    use prost::Message as _;
    assert!(ledger.flush_within(std::time::Duration::from_secs(30)));
    let connection = rusqlite::Connection::open(store).unwrap();
    let mut statement = connection.prepare("SELECT record FROM records ORDER BY seq").unwrap();
    let rows = statement.query_map([], |row| row.get::<_, Vec<u8>>(0)).unwrap();
    rows.map(|row| v1::UsageRecord::decode(&*row.unwrap()).unwrap()).collect()
}
