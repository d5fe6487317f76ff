//! What the alerts room asks the others: how limits stand, and what is spent; and how it sends.

mod shared_ledger;

use std::{
    collections::HashSet,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use http::{HeaderValue, Method, Request, Uri, header::CONTENT_TYPE};
use secrecy::ExposeSecret as _;
use tollgate_api::v1;

use self::shared_ledger::{Look, SharedLedger};
use super::spent::{self, Reach};
use crate::{
    alerts::{self, Deviation, Message, Post, Settings, Source, Spent},
    config::{self, Config},
    error::Error,
    pipeline::Pipeline,
    postgres::Postgres,
    provider::http::{Http, Pieces, drain},
    quota::{Calendar, Standing},
};

/// How long one try to reach a webhook takes at most, and its connection.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(3));
/// Pages of a report that are looked at: further values of a tag are not watched.
const MOST_PAGES: usize = 10;
/// Looks of which one reads the ledger that replicas share.
const LOOKS_OF_SHARED_LEDGER: u64 = 3;

/// Starts the watch, if anybody is to be told of anything.
///
/// # Errors
/// A message for the operator.
pub(super) fn start(
    config: &Config,
    data_dir: &Path,
    pipeline: &Arc<Pipeline>,
    postgres: Option<Postgres>,
) -> Result<(), String> {
    let settings = settings(&config.alerts);
    if settings.is_empty() {
        return Ok(());
    }
    let post = post(&settings)?;
    // With a Redis all replicas know how limits stand.
    let alone = config.shared.as_ref().and_then(config::Secret::filled).is_none();
    let shared_ledger = (alone && postgres.is_some()).then(|| {
        let calendar = Calendar::new(config.time_zone.0.clone());
        SharedLedger::new(pipeline.meter.clone(), pipeline.auth.clone(), calendar)
    });
    let books = Books {
        pipeline: pipeline.clone(),
        shared_ledger,
        seen: AtomicI64::new(-1),
        looks: AtomicU64::new(0),
    };
    alerts::start(settings, (&config.store_path(data_dir)?, postgres), Arc::new(books), &post)
}

/// The gateway, as the alerts room sees it.
struct Books {
    pipeline: Arc<Pipeline>,
    /// Knows what other replicas used, if counters do not.
    shared_ledger: Option<SharedLedger>,
    looks: AtomicU64,
    /// Number of the last record whose caller's limits were looked at; negative before the first look.
    seen: AtomicI64,
}

impl Source for Books {
    fn standings(&self) -> BoxFuture<'_, Result<Vec<v1::Quota>, Error>> {
        Box::pin(async move {
            let is_due = self.looks.fetch_add(1, Relaxed).is_multiple_of(LOOKS_OF_SHARED_LEDGER);
            if self.shared_ledger.is_some() && !is_due {
                return Ok(Vec::new());
            }
            let Pipeline { auth, meter, quota, routes, .. } = &*self.pipeline;
            let (keys, last) = meter.keys_since(self.seen.load(Relaxed)).await?;
            let mut standings: Vec<v1::Quota> = Vec::new();
            let (mut looked_at, mut look) = (HashSet::new(), Look::default());
            for key in keys {
                let Some(caller) = auth.caller(&key) else { continue };
                let models = routes.limits().flat_map(|(_, limits)| limits.iter().cloned());
                let mut rules = quota.all_of(&caller, models.chain(routes.limits_of_targets()));
                rules.retain(|rule| looked_at.insert((rule.counter.clone(), rule.limit.amount)));
                let mut of = quota.standing_of(&rules).await?;
                if let Some(shared_ledger) = &self.shared_ledger {
                    for standing in &mut of {
                        shared_ledger.correct(standing, &mut look).await?;
                    }
                }
                standings.extend(of.iter().map(Standing::to_proto));
            }
            self.seen.store(last, Relaxed);
            Ok(standings)
        })
    }

    fn spend<'a>(&'a self, word: &'a str, from: i64, until: i64) -> BoxFuture<'a, Result<Vec<Spent>, Error>> {
        Box::pin(async move {
            let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
            let request = v1::QueryUsageRequest {
                start_time: at(from),
                end_time: at(until),
                bucket: "hour".to_owned(),
                group_by: vec![word.to_owned()],
                ..Default::default()
            };
            let mut spent = Vec::new();
            let take = |row: &v1::UsageRow| spent.extend(spent_of(row, word));
            spent::report(&self.pipeline.meter, Reach::Everywhere, request, MOST_PAGES, take).await?;
            Ok(spent)
        })
    }

    fn oldest(&self) -> BoxFuture<'_, Result<Option<i64>, Error>> {
        Box::pin(self.pipeline.meter.oldest())
    }
}

fn spent_of(row: &v1::UsageRow, word: &str) -> Option<Spent> {
    let nanos = row.usage.as_ref()?.cost.as_ref()?.amount_nanos;
    let value = row.group.get(word)?;
    // What has no team, or not that tag, is nobody's trend.
    (!value.is_empty()).then(|| Spent {
        hour: row.bucket_start_time.as_ref().map_or(0, |time| time.seconds),
        value: value.clone(),
        nanos,
    })
}

/// Returns what is configured. Webhooks that are empty are left out, as `${NAME:-}` may leave them.
fn settings(alerts: &[config::Alert]) -> Vec<Settings> {
    let settings = |alert: &config::Alert| {
        Some(Settings {
            budget: alert.budget.map(|share| share.0),
            forecast: alert.forecast,
            soft_limits: alert.soft_limits,
            deviation: alert.deviation.as_ref().map(|deviation| Deviation {
                by: deviation.by.clone(),
                factor: deviation.factor,
                at_least: deviation.at_least.0,
                weeks: deviation.weeks,
            }),
            webhook: alert.webhook.filled()?.clone(),
            secret: alert.secret.as_ref().and_then(config::Secret::filled).cloned(),
        })
    };
    alerts.iter().filter_map(settings).collect()
}

/// Returns how messages are sent: by the client that speaks to providers, which follows no redirect.
///
/// # Errors
/// A message for the operator if the platform has no usable root certificates.
fn post(settings: &[Settings]) -> Result<Post, String> {
    let https = settings.iter().any(|settings| settings.webhook.expose_secret().starts_with("https://"));
    let http = Http::new(PATIENCE.1, https)?;
    Ok(Arc::new(move |message| {
        let http = http.clone();
        Box::pin(async move {
            let request = request(message)?;
            match tokio::time::timeout(PATIENCE.0, http.send(request)).await {
                Ok(Ok(response)) => {
                    let status = response.status().as_u16();
                    drain(response.into_body());
                    Ok(status)
                }
                Ok(Err(error)) => Err(error.message),
                Err(_) => Err("it did not answer in time".to_owned()),
            }
        })
    }))
}

fn request(message: Message) -> Result<Request<Pieces>, String> {
    // Neither the address nor a header's value is told: both may be secret.
    let uri: Uri = message.url.expose_secret().parse().map_err(|_| "its address is none".to_owned())?;
    let mut request = Request::new(Pieces::new(vec![message.body.into()]));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let value = |text: &str| HeaderValue::from_str(text).map_err(|_| "a header cannot be written".to_owned());
    headers.insert("x-tollgate-alert-id", value(&message.id)?);
    if let Some(signature) = &message.signature {
        headers.insert("x-tollgate-signature", value(signature)?);
    }
    Ok(request)
}
