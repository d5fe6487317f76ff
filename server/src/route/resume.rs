//! A stream that goes on at another target when the one that answered breaks off, for models that are configured so:
//! one id, one grammar, a notice between the parts. What cannot go on ends in the honest error it had.

mod delivered;
mod prompt;
mod splice;

use std::{collections::VecDeque, sync::Arc};

use futures_util::{StreamExt as _, stream};
use tollgate_api::v1::{self, ChatInput, ChoiceEnd, FinishReason, Notice, notice};

use self::{delivered::Delivered, prompt::Rest, splice::Splice};
use super::{
    Candidate, OnInterrupt, Policy, Way,
    attempt::{Brief, Failed, Held, Outcome, Upcall},
    failure,
    heard::Heard,
};
use crate::{
    call::{Asked, Call, Dialect, Event, Item, Payload, Request, Step, Steps, Target, now},
    error::{Error, Reason},
    provider::Kind,
};

/// Readies a request whose answer may have to go on elsewhere: it is sent as what it says, not as the bytes it came in,
/// since only events can be gone on with in one grammar and under one id. Bytes of dialects that say more than that, or
/// that do not fit the contract, stay what they are, and so do answers to them.
pub fn ready(request: &mut Request, policy: &Policy, asked: &Asked) {
    let Request::Chat(payload) = request else { return };
    let ours = [Dialect::OpenAiChat, Dialect::AnthropicMessages];
    if policy.on_interrupt == OnInterrupt::Continue
        && asked.streamed
        && ours.iter().any(|dialect| payload.as_raw(*dialect).is_some())
        && payload.view().is_ok_and(prompt::may_be_continued)
    {
        // It has a view, as we have just seen.
        let _ = payload.change();
    }
}

/// Lets an answer go on at another target if it breaks off and its model is configured so.
pub fn resume(way: Arc<Way>, call: &Call, steps: Steps) -> Steps {
    let wanted = way.plan.policy.on_interrupt == OnInterrupt::Continue && call.asked.streamed;
    if !wanted || !asked(&way).is_some_and(prompt::may_be_continued) {
        return steps;
    }
    let resume = Resume {
        brief: Brief::of(call),
        tried: call.attempts.iter().map(|attempt| attempt.target.name.clone()).collect(),
        way,
        steps: Some(steps),
        splice: None,
        delivered: Delivered::default(),
        serving: call.attempts.last().map(|attempt| attempt.target.clone()),
        next: None,
        ready: VecDeque::new(),
    };
    Box::pin(stream::unfold(resume, async |mut resume| Some((resume.next().await?, resume))))
}

fn asked(way: &Way) -> Option<&ChatInput> {
    match &way.request {
        Request::Chat(payload) => payload.view().ok(),
        _ => None,
    }
}

/// An answer that goes on where it can.
struct Resume {
    way: Arc<Way>,
    brief: Brief,
    /// The targets of the attempts so far.
    tried: Vec<Arc<str>>,
    /// What the running attempt says; nothing between two of them and after the last.
    steps: Option<Steps>,
    /// How that fits what was before; absent in the first part.
    splice: Option<Splice>,
    delivered: Delivered,
    /// Who delivered last.
    serving: Option<Arc<Target>>,
    /// The next attempt. It is made when the one before it is written down, which is when the next step is asked for.
    next: Option<(usize, Held)>,
    ready: VecDeque<Result<Step, Error>>,
}

impl Resume {
    async fn next(&mut self) -> Option<Result<Step, Error>> {
        loop {
            if let Some(step) = self.ready.pop_front() {
                return Some(step);
            }
            if let Some((candidate, held)) = self.next.take() {
                self.go_on(candidate, held).await;
                continue;
            }
            match self.steps.as_mut()?.next().await {
                Some(Ok(step)) => self.pass(step),
                Some(Err(error)) => self.broken_off(error).await,
                None => self.steps = None,
            }
        }
    }

    fn pass(&mut self, step: Step) {
        match (step, &mut self.splice) {
            (Step::Item(Item::Event(event)), Some(splice)) => {
                let mut events = Vec::with_capacity(1);
                splice.take(event, &mut events);
                self.hand_on(events);
            }
            (Step::Item(Item::Event(event)), None) => self.hand_on([event]),
            (step, _) => {
                self.delivered.bind();
                self.ready.push_back(Ok(step));
            }
        }
    }

    fn hand_on(&mut self, events: impl IntoIterator<Item = Event>) {
        for event in events {
            self.delivered.see(&event);
            self.ready.push_back(Ok(Step::Item(Item::Event(event))));
        }
    }

    /// The running attempt ended in an error, which is told if nothing better can be done.
    async fn broken_off(&mut self, error: Error) {
        self.steps = None;
        let kind = error.facts().upstream.as_ref().map(|upstream| upstream.kind);
        match kind {
            Some(kind) if self.delivered.may_go_on() && failure::may_go_on(kind) => {
                self.reroute(kind, error).await;
            }
            _ => self.ready.push_back(Err(error)),
        }
    }

    /// Has the next attempt written down, if there is one. Without one, the error is told.
    async fn reroute(&mut self, outcome: &'static str, error: Error) {
        let left = asked(&self.way).and_then(|input| prompt::tokens_left(input, &self.delivered));
        if left == Some(0) {
            return self.end_at_length(outcome);
        }
        let Some((index, mut held)) = self.admitted(outcome) else {
            return self.ready.push_back(Err(error));
        };
        if let Some(spending) = &self.way.spending {
            // What was delivered before is billed, and so is what comes.
            match spending.enter(&self.way.plan.candidates[index].target.name, self.tried.len()).await {
                Ok(turn) => held.turn = turn,
                Err(_) => return self.ready.push_back(Err(error)),
            }
        }
        let target = self.way.plan.candidates[index].target.clone();
        self.tried.push(target.name.clone());
        self.ready.push_back(Ok(Step::Reroute { outcome, next: target }));
        self.next = Some((index, held));
    }

    /// Finds the next target: one that was not tried yet, or the only one once more if its connection was cut.
    fn admitted(&self, outcome: &str) -> Option<(usize, Held)> {
        let Way { plan, deadline, health, gates, .. } = &*self.way;
        let now = now();
        if self.tried.len() >= plan.policy.attempts || now >= deadline.at {
            return None;
        }
        let alone = plan.candidates.len() == 1 && outcome == Kind::Unavailable.as_str();
        plan.candidates.iter().enumerate().find_map(|(index, Candidate { target, concurrent, .. })| {
            if self.tried.contains(&target.name)
                && !(alone && health.may_retry(target, plan.policy.retry_share, now))
            {
                return None;
            }
            let ticket = health.of(target).admit(false, now).ok()?;
            let place = gates.of(&target.name, *concurrent).try_enter()?;
            Some((index, Held { ticket, place, turn: None }))
        })
    }

    /// Makes the next attempt, up to its first content.
    async fn go_on(&mut self, index: usize, held: Held) {
        let way = self.way.clone();
        let (candidate, Some(input)) = (&way.plan.candidates[index], asked(&way)) else { return };
        let target = &candidate.target;
        let continues = candidate.provider.adapter.continues(&target.model);
        let Rest { input, left_out } = prompt::rest(input, &self.delivered, continues);
        let request = Request::Chat(Payload::typed(input));
        let (timeouts, deadline) = (way.timeouts, way.deadline);
        let (brief, patience) = (&self.brief, None);
        let upcall = Upcall { candidate, request: &request, brief, timeouts, deadline, patience };
        let heard = Heard::default();
        let outcome = upcall.run(held, &heard).await;
        self.tell_heard(&heard, &outcome);
        match outcome {
            Ok(dispatched) => {
                self.splice = Some(Splice::after(&self.delivered, &left_out));
                self.steps = Some(dispatched.items);
                let from = self.serving.replace(target.clone());
                self.hand_on([rerouted(from.as_deref(), target)]);
            }
            Err(Failed::Deadline(error)) => self.ready.push_back(Err(error)),
            Err(Failed::Upstream(failed)) => {
                let outcome = failed.kind.as_str();
                let error = match &failed.caller {
                    // It is our way of asking that does not fit, and the caller is to know what became of its answer.
                    Some(_) => Error::new(Reason::StreamInterrupted, "the answer cannot go on elsewhere"),
                    None => failure::to_caller(failed, target, true),
                };
                self.reroute(outcome, error).await;
            }
        }
    }

    /// Has written down what the upstream said, before whatever follows from it.
    fn tell_heard(&mut self, heard: &Heard, outcome: &Outcome) {
        let head = heard.head().cloned().or_else(|| match outcome {
            Err(Failed::Upstream(failed)) if failed.http_status != 0 => {
                Some((failed.http_status, failed.request_id.clone()))
            }
            _ => None,
        });
        self.ready.extend(head.map(|(http_status, upstream_request_id)| {
            let drains = outcome.as_ref().is_ok_and(|dispatched| dispatched.drains);
            Ok(Step::Answered { http_status, upstream_request_id, drains })
        }));
        if outcome.is_err() {
            let usage = heard.take_usage().map(|told| Box::new(v1::Usage { r#final: false, ..*told }));
            self.ready.extend(usage.map(|usage| Ok(Step::Item(Item::Event(Event::Usage(usage))))));
        }
    }

    /// Ends an answer that has all the tokens that the caller wants.
    fn end_at_length(&mut self, outcome: &'static str) {
        self.ready.push_back(Ok(Step::Cut { outcome }));
        let mut events = Vec::with_capacity(3);
        Splice::after(&self.delivered, "").close(&mut events);
        let reason = FinishReason::Length.into();
        events.push(Event::ChoiceEnd(Box::new(ChoiceEnd { finish_reason: reason, ..ChoiceEnd::default() })));
        events.push(Event::End(Box::default()));
        self.hand_on(events);
    }
}

fn rerouted(from: Option<&Target>, to: &Target) -> Event {
    let from = from.map_or("", |target| &target.name);
    Event::Notice(Box::new(Notice {
        code: notice::Code::Rerouted.into(),
        message: format!("target {from} broke off, and the answer goes on at {}", to.name),
        details: [("from_target", from), ("to_target", &to.name)]
            .map(|(name, target)| (name.to_owned(), target.to_owned()))
            .into(),
    }))
}

#[cfg(test)]
mod tests;
