//! THE LIST: the rooms a call walks through, in order.
//!
//! 1. `edge` turns bytes into a `Call` (before this file).
//! 2. `auth::authenticate` — who calls? First, and at header time: strangers cost nothing.
//! 3. `meter::open` — from here on every outcome ends in one record, refusals too.
//! 4. `auth::permit` — may this key do this, with this model?
//! 5. `route` — alias to plan to attempts; nothing reaches the caller before the first content.
//! 6. `provider` — the vendor's wire, called by `route`.
//! 7. `meter` again — counts what passes and settles before the caller sees the end.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt as _, future::BoxFuture, stream};
use http::HeaderMap;
use tokio::time::timeout;

use crate::{
    auth::{self, Auth},
    call::{Call, Caller, Deadline, Operation, Reply, Request, Scope},
    error::Error,
    meter::{Meter, Open},
    route::{Routes, Timeouts, dispatch},
};

/// The rooms of one configuration.
pub struct Pipeline {
    /// Who calls.
    pub auth: Arc<Auth>,
    /// What it cost.
    pub meter: Arc<Meter>,
    /// Where to.
    pub routes: Routes,
    /// How long the phases of an upstream call may take.
    pub timeouts: Timeouts,
    /// How long a whole call may take.
    pub total: Duration,
    /// How long headers are held back for the first content.
    pub commit_after: Duration,
}

impl Pipeline {
    /// Finds out who calls, from the request's headers and query alone.
    ///
    /// # Errors
    /// `API_KEY_MISSING`, `API_KEY_INVALID` or `API_KEY_EXPIRED`.
    pub fn authenticate(&self, headers: &HeaderMap, query: Option<&str>) -> Result<Arc<Caller>, Error> {
        self.auth.authenticate(headers, query)
    }

    /// Starts the record of a call.
    pub fn open(&self, call: Call) -> Open {
        self.meter.open(call)
    }

    /// Walks a call through the rooms and returns at the commit point: first content, failure, or `commit_after`.
    ///
    /// # Errors
    /// Every refusal and failure before the commit point. Later ones come as an item.
    pub async fn run(self: &Arc<Self>, mut open: Open, request: Request) -> Result<Reply, Error> {
        let scope = match open.call.operation {
            Operation::Chat => Scope::Chat,
            Operation::Embeddings => Scope::Embed,
        };
        let permitted = auth::permit(&open.call.caller, scope)
            .and_then(|()| auth::permit_model(&open.call.caller, &open.call.asked.model));
        if let Err(error) = permitted {
            return Err(open.refuse(error));
        }
        let streamed = open.call.asked.streamed;
        let (id, outcome) = (open.call.id, open.outcome());
        open.call.deadline = Some(self.deadline(&open.call));
        let mut answer: BoxFuture<'static, Result<Reply, Error>> =
            Box::pin(self.clone().answer(open, request));
        if !streamed {
            return answer.await;
        }
        match timeout(self.commit_after, &mut answer).await {
            Ok(reply) => reply,
            Err(_) => Ok(Reply {
                id,
                target: None,
                attempt_count: 0,
                warnings: Vec::new(),
                headers: HeaderMap::new(),
                upstream_request_id: String::new(),
                settled: outcome,
                items: Box::pin(stream::once(answer).flat_map(|reply| match reply {
                    Ok(reply) => reply.items,
                    Err(error) => Box::pin(stream::iter([Err(error)])),
                })),
            }),
        }
    }

    async fn answer(self: Arc<Self>, mut open: Open, request: Request) -> Result<Reply, Error> {
        let plan = match self.routes.plan(&open.call.asked.model) {
            Ok(plan) => plan,
            Err(error) => return Err(open.refuse(error)),
        };
        let timeouts =
            Timeouts { first_token: plan.first_token.unwrap_or(self.timeouts.first_token), ..self.timeouts };
        let timeouts = timeouts.narrowed_by(&open.call.options);
        let deadline = self.deadline(&open.call);
        let meter = &self.meter;
        let journal = |call: &Call| meter.dispatching(call);
        match dispatch(&plan, &mut open.call, &request, timeouts, deadline, journal).await {
            Err(error) => Err(open.refuse(error)),
            Ok(dispatched) => Ok(Reply {
                id: open.call.id,
                target: Some(dispatched.target),
                attempt_count: open.call.attempts.len(),
                warnings: dispatched.warnings.clone(),
                headers: dispatched.headers,
                upstream_request_id: dispatched.upstream_request_id,
                settled: open.outcome(),
                items: open.follow(dispatched.items, dispatched.warnings),
            }),
        }
    }

    fn deadline(&self, call: &Call) -> Deadline {
        let ours = Deadline { at: call.started + self.total, by_caller: false };
        ours.earlier(call.deadline)
    }
}
