//! What is heard of an upstream before its first content. It is held back: failures up to there can still be a real
//! status, and another target may be tried unseen.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use futures_util::StreamExt as _;
use tokio::sync::watch;
use tollgate_api::v1;

use crate::{
    call::{Event, Item, Items},
    provider::{self, Kind, http::Reach},
};

/// Most bytes that are held back for the first content: role frames and pings are small, whatever comes else is none.
const MOST_HELD: usize = 1 << 20;
/// What holding an item costs beside its bytes.
const ITEM: usize = 256;

/// What is known of an attempt that has not brought any content yet, for those who give it up.
#[derive(Debug, Default)]
pub(super) struct Heard {
    head: OnceLock<(u16, String)>,
    usage: Mutex<Option<Box<v1::Usage>>>,
    /// Whether the request can have reached it.
    pub(super) reach: Arc<Reach>,
    /// Whether another target was asked beside it, and still is.
    has_company: watch::Sender<bool>,
}

impl Heard {
    /// Returns the upstream's HTTP status and its id of the request, if it has answered.
    pub(super) fn head(&self) -> Option<&(u16, String)> {
        self.head.get()
    }

    /// Takes the usage that the upstream told before any content.
    pub(super) fn take_usage(&self) -> Option<Box<v1::Usage>> {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Another target is asked beside it, or is no more.
    pub(super) fn set_company(&self, has_company: bool) {
        self.has_company.send_replace(has_company);
    }

    /// Waits until no other target is asked beside it, so that the next may wait for its end.
    pub(super) async fn is_alone(&self) {
        // It cannot end otherwise: the sender is here.
        let _ = self.has_company.subscribe().wait_for(|has_company| !has_company).await;
    }

    /// The upstream has answered.
    pub(super) fn answered(&self, http_status: u16, upstream_request_id: &str) {
        let _ = self.head.set((http_status, upstream_request_id.to_owned()));
    }

    fn note(&self, item: &Item) {
        let told = match item {
            Item::Event(Event::Usage(usage)) => usage,
            Item::Raw(_, seen) => match &seen.usage {
                Some(usage) => usage,
                None => return,
            },
            _ => return,
        };
        *self.usage.lock().unwrap_or_else(PoisonError::into_inner) = Some(told.clone());
    }

    /// Reads up to and including the first item that a caller may see as an answer. Failures up to here can still be
    /// a real status, and another target may be tried unseen.
    pub(super) async fn until_content(
        &self,
        items: &mut Items<provider::Error>,
    ) -> Result<Vec<Item>, provider::Error> {
        let mut held = Vec::with_capacity(2);
        let mut bytes = 0_usize;
        while let Some(item) = items.next().await {
            let item = item?;
            let commits = is_content(&item);
            let size = if let Item::Raw(piece, _) = &item { piece.len() } else { 0 };
            if !commits {
                self.note(&item);
            }
            held.push(item);
            if commits {
                return Ok(held);
            }
            bytes = bytes.saturating_add(size).saturating_add(ITEM);
            if bytes > MOST_HELD {
                return Err(provider::Error::new(
                    Kind::BadResponse,
                    format!("no content within the first {MOST_HELD} bytes of the stream"),
                ));
            }
        }
        if held.is_empty() {
            return Err(provider::Error::new(Kind::BadResponse, "the answer is empty"));
        }
        Ok(held)
    }
}

fn is_content(item: &Item) -> bool {
    match item {
        Item::Embeddings(_) | Item::Counted(_) => true,
        Item::Raw(_, seen) => seen.content_events > 0 || seen.last,
        Item::Event(event) => !matches!(event, Event::Start(_) | Event::PartStart(_) | Event::Usage(_)),
    }
}
