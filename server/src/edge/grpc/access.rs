//! The door of all gRPC services: one table says who may call what, and what is not in it is refused.

use std::sync::{Arc, Mutex, PoisonError};

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::{Extensions, HeaderMap, StatusCode, header::CONTENT_TYPE};
use tonic::Status;

use super::status::{of_tonic, to_call_status, to_status};
use crate::{
    auth::{self, Knock},
    call::{Caller, Operation, Scope, Surface},
    edge::{Edge, PANICKED, arrival},
    error::{Error, Reason},
    meter::Open,
    telemetry,
};

/// Who may call an RPC.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rule {
    /// Everybody, without a key.
    Public,
    /// A key with one of these scopes; leaves no record.
    Read(&'static [Scope]),
    /// A key with this scope; leaves one record whatever happens.
    Call(Scope, Operation),
}

const CHAT: Rule = Rule::Call(Scope::Chat, Operation::Chat);
const CHAT_READ: Rule = Rule::Read(&[Scope::Chat]);
const MODELS: Rule = Rule::Read(&[Scope::Models]);
/// Who may read usage; what they see of it is the meter's to decide.
pub(in crate::edge) const USAGE_SCOPES: &[Scope] = &[Scope::Usage, Scope::UsageTeam, Scope::Admin];
const USAGE: Rule = Rule::Read(USAGE_SCOPES);
const ADMIN: Rule = Rule::Read(&[Scope::Admin]);

/// Every RPC of every service. A test compares it with the descriptors, both ways.
pub(super) const TABLE: &[(&str, Rule)] = &[
    ("/tollgate.v1.ChatService/StreamComplete", CHAT),
    ("/tollgate.v1.ChatService/Complete", CHAT),
    ("/tollgate.v1.EmbedService/Embed", Rule::Call(Scope::Embed, Operation::Embeddings)),
    ("/tollgate.v1.ChatService/CountTokens", Rule::Call(Scope::Chat, Operation::CountTokens)),
    ("/tollgate.v1.ChatService/ExplainRoute", CHAT_READ),
    ("/tollgate.v1.ModelService/ListModels", MODELS),
    ("/tollgate.v1.ModelService/GetModel", MODELS),
    ("/tollgate.v1.UsageService/QueryUsage", USAGE),
    ("/tollgate.v1.UsageService/ListUsageRecords", USAGE),
    ("/tollgate.v1.UsageService/GetUsageRecord", USAGE),
    ("/tollgate.v1.UsageService/GetQuota", USAGE),
    ("/tollgate.v1.UsageService/WatchUsage", USAGE),
    ("/tollgate.v1.UsageService/WatchQuota", USAGE),
    ("/tollgate.admin.v1.KeyService/CreateKey", ADMIN),
    ("/tollgate.admin.v1.KeyService/GetKey", ADMIN),
    ("/tollgate.admin.v1.KeyService/ListKeys", ADMIN),
    ("/tollgate.admin.v1.KeyService/UpdateKey", ADMIN),
    ("/tollgate.admin.v1.KeyService/RotateKey", ADMIN),
    ("/tollgate.admin.v1.KeyService/RevokeKey", ADMIN),
    ("/tollgate.admin.v1.TeamService/CreateTeam", ADMIN),
    ("/tollgate.admin.v1.TeamService/GetTeam", ADMIN),
    ("/tollgate.admin.v1.TeamService/ListTeams", ADMIN),
    ("/tollgate.admin.v1.TeamService/UpdateTeam", ADMIN),
    ("/tollgate.admin.v1.TeamService/DeleteTeam", ADMIN),
    ("/tollgate.admin.v1.BudgetService/TopUp", ADMIN),
    ("/tollgate.admin.v1.BudgetService/ResetUsage", ADMIN),
    ("/tollgate.admin.v1.BudgetService/ListAdjustments", ADMIN),
    ("/tollgate.admin.v1.ConfigService/GetStatus", ADMIN),
    ("/grpc.health.v1.Health/Check", Rule::Public),
    ("/grpc.health.v1.Health/Watch", Rule::Public),
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Rule::Public),
    ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Rule::Public),
];

fn rule_of(path: &str) -> Option<Rule> {
    TABLE.iter().find(|(rpc, _)| *rpc == path).map(|(_, rule)| *rule)
}

/// Finds out who calls, from headers alone.
pub(super) type Authenticate = Arc<dyn Fn(&HeaderMap) -> Knock + Send + Sync>;

/// What the door needs.
#[derive(Clone)]
pub(super) struct Door {
    /// The rooms, for records.
    pub(super) edge: Edge,
    /// Who calls.
    pub(super) authenticate: Authenticate,
}

/// The record of a call on its way through tonic to the handler. What is left here when the handler has answered
/// was never taken: tonic could not read the message.
#[derive(Clone)]
struct Arrived(Arc<Mutex<Option<Open>>>);

impl Arrived {
    fn take(&self) -> Option<Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Takes over the open record of the call that a request belongs to.
///
/// # Errors
/// `INTERNAL` if the RPC's rule opens none.
pub(super) fn opened(extensions: &Extensions) -> Result<Open, Status> {
    let open = extensions.get::<Arrived>().and_then(Arrived::take);
    open.ok_or_else(|| to_status(&Error::internal("the rule of this RPC opens no record")))
}

/// Returns who sent the request.
///
/// # Errors
/// `INTERNAL` if the RPC's rule asks for no key.
pub(super) fn caller(extensions: &Extensions) -> Result<Arc<Caller>, Status> {
    let caller = extensions.get::<Arc<Caller>>().cloned();
    caller.ok_or_else(|| to_status(&Error::internal("the rule of this RPC asks for no key")))
}

/// Lets a request in if the table allows it, with its caller or its open record in the extensions.
pub(super) async fn admit(State(door): State<Door>, mut request: Request, next: Next) -> Response {
    if !is_grpc(request.headers()) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return response;
    }
    let limit = door.edge.limits.message;
    let Some(rule) = rule_of(request.uri().path()) else { return unknown_rpc() };
    if matches!(rule, Rule::Public) {
        return polish(next.run(request).await, limit);
    }
    let knock = (door.authenticate)(request.headers());
    let caller = match knock.await {
        Ok(caller) => caller,
        Err(error) => {
            telemetry::metrics::auth_failed(error.reason_name());
            tracing::debug!(rpc = request.uri().path(), reason = error.reason_name(), "a caller is refused");
            return to_status(&error).into_http();
        }
    };
    match rule {
        Rule::Call(scope, operation) => recorded(&door, caller, scope, operation, request, next).await,
        Rule::Read(scopes) => {
            if let Err(error) = permit_one(&caller, scopes) {
                return to_status(&error).into_http();
            }
            request.extensions_mut().insert(caller);
            polish(next.run(request).await, limit)
        }
        Rule::Public => unknown_rpc(),
    }
}

/// Checks that the key has one of the scopes.
///
/// # Errors
/// `SCOPE_DENIED` with the first scope's name.
pub(in crate::edge) fn permit_one(caller: &Caller, scopes: &[Scope]) -> Result<(), Error> {
    if scopes.iter().any(|scope| caller.scopes.has(*scope)) {
        return Ok(());
    }
    scopes
        .first()
        .map_or_else(|| Err(Error::internal("a rule without scopes")), |scope| auth::permit(caller, *scope))
}

/// Opens the record of a call before its message is read, so that a broken message is recorded too.
async fn recorded(
    door: &Door,
    caller: Arc<Caller>,
    scope: Scope,
    operation: Operation,
    mut request: Request,
    next: Next,
) -> Response {
    let permitted = auth::permit(&caller, scope);
    let (call, read) = arrival::call(request.headers(), caller, Surface::Grpc, operation);
    let id = call.id.to_string();
    let mut open = match door.edge.pipeline.admit(call).await {
        Ok(open) => open,
        Err(error) => return to_call_status(&error, &id).into_http(),
    };
    open.call.asked.streamed = request.uri().path().ends_with("/StreamComplete");
    if let Err(error) = permitted.and(read) {
        return to_call_status(&open.refuse(error), &id).into_http();
    }
    let arrived = Arrived(Arc::new(Mutex::new(Some(open))));
    request.extensions_mut().insert(arrived.clone());
    let response = next.run(request).await;
    let Some(open) = arrived.take() else { return response };
    let error =
        response.extensions().get::<Status>().and_then(|status| of_tonic(status, door.edge.limits.message));
    let error = error.unwrap_or_else(|| Error::internal("the request did not reach its handler"));
    to_call_status(&open.refuse(error), &id).into_http()
}

/// Gives a refusal that tonic made by itself our reason and details.
fn polish(response: Response, limit: usize) -> Response {
    let error = response.extensions().get::<Status>().and_then(|status| of_tonic(status, limit));
    error.map_or(response, |error| to_status(&error).into_http())
}

/// Answers a request in whose handler the gateway panicked.
pub(in crate::edge) fn broken() -> Response {
    to_status(&Error::internal(PANICKED)).into_http()
}

/// Answers an RPC that does not exist here.
pub(in crate::edge) fn unknown_rpc() -> Response {
    to_status(&Error::new(
        Reason::Unimplemented,
        "this server has no such service or RPC; reflection lists all",
    ))
    .into_http()
}

/// Tells whether a request speaks gRPC.
pub(in crate::edge) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    use super::*;

    fn rpcs(descriptors: &[u8]) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for file in FileDescriptorSet::decode(descriptors).unwrap().file {
            for service in &file.service {
                for method in &service.method {
                    found.insert(format!("/{}.{}/{}", file.package(), service.name(), method.name()));
                }
            }
        }
        found
    }

    #[test]
    fn every_rpc_has_a_rule_and_every_rule_an_rpc() {
        let mut expected = rpcs(tollgate_api::DESCRIPTORS);
        assert!(expected.len() >= 19, "the descriptors are not empty");
        expected.extend(rpcs(tonic_health::pb::FILE_DESCRIPTOR_SET));
        expected.extend(rpcs(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET));
        expected.extend(rpcs(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET));
        let ruled: BTreeSet<String> = TABLE.iter().map(|(rpc, _)| (*rpc).to_owned()).collect();
        assert_eq!(ruled, expected);
        assert_eq!(ruled.len(), TABLE.len(), "an RPC has two rules");
    }

    #[test]
    fn only_health_and_reflection_are_public_and_admin_needs_admin() {
        for (rpc, rule) in TABLE {
            match rule {
                Rule::Public => assert!(rpc.starts_with("/grpc."), "{rpc}"),
                Rule::Read(scopes) => {
                    assert!(!scopes.is_empty(), "{rpc}");
                    let admin_only = scopes.iter().all(|scope| *scope == Scope::Admin);
                    assert_eq!(admin_only, rpc.starts_with("/tollgate.admin."), "{rpc}");
                }
                Rule::Call(..) => assert!(rpc.starts_with("/tollgate.v1."), "{rpc}"),
            }
        }
    }
}
