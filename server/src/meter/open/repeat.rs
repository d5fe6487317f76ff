//! An answer that is said once more: its items as they were, its usage as that of an answer that cost nothing.

use std::{
    pin::Pin,
    task::{Context, Poll},
    vec,
};

use futures_util::Stream;
use tollgate_api::v1::{self, usage::Source};

use super::Open;
use crate::{
    call::{Event, Item},
    error::Error,
    meter::{record::Ending, sum::Sum},
};

/// The items of a repeat. The record is durable before the last one is handed on.
pub(super) struct Repeat {
    open: Open,
    items: vec::IntoIter<Item>,
}

impl Repeat {
    pub(super) fn new(open: Open, items: Vec<Item>) -> Self {
        Self { open, items: items.into_iter() }
    }

    /// Says in an item that it is repeated. The ids in it stay, so that the answer is the same to the byte.
    fn renew(&self, item: &mut Item) {
        let usage = self.open.repeats.as_deref();
        let retell = |told: &mut Option<v1::Usage>| {
            if told.is_some() {
                *told = usage.cloned();
            }
        };
        match item {
            Item::Event(Event::Start(start)) => self.reroute(&mut start.route),
            Item::Event(Event::End(end)) => self.reroute(&mut end.route),
            Item::Event(Event::Usage(told)) if told.r#final => {
                if let Some(usage) = usage {
                    told.clone_from(&Box::new(usage.clone()));
                }
            }
            Item::Embeddings(answer) => {
                self.reroute(&mut answer.route);
                retell(&mut answer.usage);
            }
            Item::Event(_) | Item::Counted(_) | Item::Raw(..) => {}
        }
    }

    /// Tells how this call went, and who had made the answer.
    fn reroute(&self, route: &mut Option<v1::RouteInfo>) {
        let v1::RouteInfo { target, provider, model, .. } = route.take().unwrap_or_default();
        let cache_status = v1::CacheStatus::Coalesced.into();
        *route = Some(v1::RouteInfo { target, provider, model, cache_status, ..self.open.route_info() });
    }
}

impl Stream for Repeat {
    type Item = Result<Item, Error>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(mut item) = self.items.next() else { return Poll::Ready(None) };
        self.open.observe(&item);
        if self.items.len() == 0
            && let Err(error) = self.open.settle(&Ending::Complete)
        {
            return Poll::Ready(Some(Err(error)));
        }
        self.renew(&mut item);
        Poll::Ready(Some(Ok(item)))
    }
}

/// Returns the usage of a repeat: the counts of the first call, whose cost is what was saved.
pub(super) fn usage(settled: Option<&v1::Usage>) -> v1::Usage {
    let first = settled.and_then(|usage| usage.cost.as_ref());
    let cost = v1::Cost {
        currency_code: "USD".to_owned(),
        amount_nanos: 0,
        saved_nanos: first.map_or(0, |cost| cost.amount_nanos),
        price_version: first.map_or_else(String::new, |cost| cost.price_version.clone()),
        estimated: first.is_some_and(|cost| cost.estimated),
    };
    let counts = settled.cloned().unwrap_or_default();
    v1::Usage { source: Source::Cache.into(), r#final: true, cost: Some(cost), ..counts }
}

/// Returns what a repeat is billed for.
pub(super) fn bill(usage: &v1::Usage) -> Sum {
    Sum::of(usage.clone())
}

/// Says in a record that the call was a repeat. The upstream's id of the answer stays with the first one's record.
pub(super) fn mark(record: &mut v1::UsageRecord) {
    record.cache_status = v1::CacheStatus::Coalesced.into();
    record.upstream_response_id.clear();
}
