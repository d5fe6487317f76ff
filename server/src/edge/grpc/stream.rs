//! The items of a call as the messages of `StreamComplete`, as the caller's `StreamOptions` want them.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::Stream;
use prost::Message as _;
use tokio::time::{Sleep, sleep};
use tollgate_api::v1;
use tonic::Status;

use super::status::to_call_status;
use crate::{
    call::{Event, Item, Items},
    error::Error,
};

/// A message of a stream.
pub(super) type Message = Result<v1::StreamCompleteResponse, Status>;

/// Most text that merged deltas hold, so that one frame stays small.
const MAX_MERGED: usize = 16 * 1024;
/// Padded events have a multiple of this length, in bytes.
const BUCKET: usize = 64;
/// Longest delay that `max_coalesce_ms` may ask for, in milliseconds.
const MAX_COALESCE_MS: i32 = 1000;

/// How a caller wants its stream.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shape {
    interim_usage: bool,
    upstream_events: bool,
    pad_events: bool,
    coalesce: Duration,
}

impl Shape {
    /// Reads the options of a request.
    ///
    /// # Errors
    /// `INVALID_REQUEST` if the delay is out of range.
    pub(super) fn new(options: Option<v1::StreamOptions>) -> Result<Self, Error> {
        let options = options.unwrap_or_default();
        let wait = options.max_coalesce_ms.unwrap_or(0);
        if !(0..=MAX_COALESCE_MS).contains(&wait) {
            let field = "stream.max_coalesce_ms";
            return Err(Error::invalid(field, format!("{field} must lie between 0 and {MAX_COALESCE_MS}")));
        }
        Ok(Self {
            interim_usage: options.interim_usage,
            upstream_events: options.upstream_events,
            pad_events: options.pad_events,
            coalesce: Duration::from_millis(u64::try_from(wait).unwrap_or(0)),
        })
    }

    fn wants(self, event: &Event) -> bool {
        match event {
            Event::Usage(usage) => usage.r#final || self.interim_usage,
            Event::Extension(_) => self.upstream_events,
            _ => true,
        }
    }
}

/// The messages of one `StreamComplete`. Neighbouring deltas that are ready at once leave as one message, so that
/// a slow reader gets few large messages; nothing waits unless the caller asked for it.
pub(super) struct Messages {
    items: Option<Items>,
    id: String,
    shape: Shape,
    /// A delta that may still grow.
    held: Option<Event>,
    /// What came after it.
    next: Option<Result<Event, Error>>,
    timer: Option<Pin<Box<Sleep>>>,
    delivered: bool,
}

impl Messages {
    /// Shapes the items of the call with that id.
    pub(super) fn new(items: Items, id: String, shape: Shape) -> Self {
        Self { items: Some(items), id, shape, held: None, next: None, timer: None, delivered: false }
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Event, Error>>> {
        if let Some(next) = self.next.take() {
            return Poll::Ready(Some(next));
        }
        let Some(items) = self.items.as_mut() else { return Poll::Ready(None) };
        match std::task::ready!(items.as_mut().poll_next(cx)) {
            Some(Ok(Item::Event(event))) => Poll::Ready(Some(Ok(event))),
            Some(Ok(Item::Raw(..) | Item::Embeddings(_) | Item::Counted(_))) => {
                self.items = None;
                Poll::Ready(Some(Err(Error::internal("a typed call was answered with raw bytes"))))
            }
            Some(Err(error)) => {
                self.items = None;
                Poll::Ready(Some(Err(error)))
            }
            None => {
                self.items = None;
                Poll::Ready(None)
            }
        }
    }

    /// Tells whether the held delta must go on waiting for more.
    fn may_wait(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.delivered || self.shape.coalesce.is_zero() {
            return false;
        }
        let coalesce = self.shape.coalesce;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(coalesce)));
        timer.as_mut().poll(cx).is_pending()
    }

    fn message(&mut self, event: Event) -> Poll<Option<Result<v1::StreamCompleteResponse, Status>>> {
        self.delivered |= is_delta(&event);
        let mut message = v1::StreamCompleteResponse { event: Some(event), padding: Bytes::new() };
        if self.shape.pad_events {
            message.padding = padding(message.encoded_len());
        }
        Poll::Ready(Some(Ok(message)))
    }

    fn release(&mut self, held: Event) -> Poll<Option<Result<v1::StreamCompleteResponse, Status>>> {
        self.timer = None;
        self.message(held)
    }
}

impl Stream for Messages {
    type Item = Message;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let event = match self.poll_event(cx) {
                Poll::Ready(Some(Ok(event))) => event,
                Poll::Ready(Some(Err(error))) => {
                    let Some(held) = self.held.take() else {
                        return Poll::Ready(Some(Err(to_call_status(&error, &self.id))));
                    };
                    self.next = Some(Err(error));
                    return self.release(held);
                }
                Poll::Ready(None) => {
                    let Some(held) = self.held.take() else { return Poll::Ready(None) };
                    return self.release(held);
                }
                Poll::Pending => {
                    let Some(held) = self.held.take() else { return Poll::Pending };
                    if self.may_wait(cx) {
                        self.held = Some(held);
                        return Poll::Pending;
                    }
                    return self.release(held);
                }
            };
            if !self.shape.wants(&event) {
                continue;
            }
            match self.held.take() {
                None if is_delta(&event) => self.held = Some(event),
                None => return self.message(event),
                Some(mut held) => match merge(&mut held, event) {
                    None => self.held = Some(held),
                    Some(other) => {
                        self.next = Some(Ok(other));
                        return self.release(held);
                    }
                },
            }
        }
    }
}

fn is_delta(event: &Event) -> bool {
    matches!(
        event,
        Event::Text(_) | Event::Thought(_) | Event::ToolCall(_) | Event::Refusal(_) | Event::Media(_)
    )
}

/// Appends a delta to the one before if they belong together; otherwise gives it back.
fn merge(held: &mut Event, event: Event) -> Option<Event> {
    macro_rules! append {
        ($held:ident, $delta:ident, $field:ident, $variant:path) => {{
            let same = $held.choice == $delta.choice && $held.part == $delta.part;
            if !same || $held.$field.len() + $delta.$field.len() > MAX_MERGED {
                return Some($variant($delta));
            }
            $held.$field.push_str(&$delta.$field);
            None
        }};
    }
    match (held, event) {
        (Event::Text(held), Event::Text(delta)) => append!(held, delta, text, Event::Text),
        (Event::Thought(held), Event::Thought(delta)) => append!(held, delta, text, Event::Thought),
        (Event::ToolCall(held), Event::ToolCall(delta)) => append!(held, delta, input, Event::ToolCall),
        (Event::Refusal(held), Event::Refusal(delta)) => append!(held, delta, text, Event::Refusal),
        (_, event) => Some(event),
    }
}

/// Returns bytes that fill a message of this length up to the next bucket: a two-byte key, a one-byte length, and
/// at least one byte.
fn padding(len: usize) -> Bytes {
    let mut bytes = vec![0; BUCKET - (len + 3) % BUCKET];
    // Zeroes pad as well: over TLS nobody can tell.
    let _ = getrandom::fill(&mut bytes);
    bytes.into()
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt as _, stream};

    use super::*;
    use crate::error::Reason;

    fn text(part: i32, text: &str) -> Event {
        Event::Text(v1::TextDelta { text: text.to_owned(), choice: 0, part })
    }

    fn usage(r#final: bool) -> Event {
        Event::Usage(Box::new(v1::Usage { r#final, ..Default::default() }))
    }

    fn messages(events: Vec<Event>, shape: Shape) -> Messages {
        let items = stream::iter(events.into_iter().map(|event| Ok(Item::Event(event))));
        Messages::new(Box::pin(items), "id".to_owned(), shape)
    }

    async fn events(events: Vec<Event>, shape: Shape) -> Vec<Event> {
        messages(events, shape).map(|message| message.unwrap().event.unwrap()).collect().await
    }

    #[tokio::test]
    async fn ready_deltas_of_one_part_leave_as_one_message_in_order() {
        let given = vec![text(0, "a"), text(0, "b"), text(1, "c"), usage(true), text(1, "d")];
        let got = events(given, Shape::default()).await;
        assert_eq!(got, [text(0, "ab"), text(1, "c"), usage(true), text(1, "d")]);
    }

    #[tokio::test]
    async fn interim_usage_and_upstream_events_come_only_if_asked_for() {
        let extension = || Event::Extension(Box::default());
        let given = || vec![usage(false), extension(), usage(true)];
        assert_eq!(events(given(), Shape::default()).await, [usage(true)]);
        let shape = Shape { interim_usage: true, upstream_events: true, ..Default::default() };
        assert_eq!(events(given(), shape).await, given());
    }

    #[tokio::test]
    async fn padded_messages_fill_whole_buckets() {
        let shape = Shape { pad_events: true, ..Default::default() };
        for len in 0..200 {
            let message = messages(vec![text(0, &"x".repeat(len))], shape).next().await.unwrap().unwrap();
            assert_eq!(message.encoded_len() % BUCKET, 0, "{len}");
        }
    }

    #[tokio::test]
    async fn an_error_comes_after_what_was_delivered_and_ends_the_stream() {
        let items: Vec<Result<Item, Error>> =
            vec![Ok(Item::Event(text(0, "a"))), Err(Error::new(Reason::StreamInterrupted, "broke off"))];
        let mut messages = Messages::new(Box::pin(stream::iter(items)), "id".to_owned(), Shape::default());
        assert_eq!(messages.next().await.unwrap().unwrap().event, Some(text(0, "a")));
        assert_eq!(messages.next().await.unwrap().unwrap_err().code(), tonic::Code::Unavailable);
        assert!(messages.next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn deltas_wait_to_be_merged_only_if_asked_and_the_first_never_does() {
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
        let items = tokio_stream::wrappers::UnboundedReceiverStream::new(receiver);
        let shape = Shape { coalesce: Duration::from_millis(50), ..Default::default() };
        let mut messages = Messages::new(Box::pin(items), "id".to_owned(), shape);
        let started = tokio::time::Instant::now();
        sender.send(Ok(Item::Event(text(0, "a")))).unwrap();
        assert_eq!(messages.next().await.unwrap().unwrap().event, Some(text(0, "a")));
        assert!(started.elapsed().is_zero(), "the first delta is not held");
        let feed = async {
            for piece in ["b", "c"] {
                sender.send(Ok(Item::Event(text(0, piece)))).unwrap();
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let ((), merged) = tokio::join!(feed, messages.next());
        assert_eq!(merged.unwrap().unwrap().event, Some(text(0, "bc")));
        assert_eq!(started.elapsed(), Duration::from_millis(50));
    }
}
