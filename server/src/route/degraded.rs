//! The answer of last resort: a text of the configuration, when nothing else can answer.

use std::collections::VecDeque;

use futures_util::{StreamExt as _, stream};
use http::HeaderMap;
use tollgate_api::v1::{self, FinishReason};

use super::attempt::Dispatched;
use crate::{
    call::{Item, Request, Step},
    error::{Error, Reason},
    provider::{self, compose::Composer},
};

/// Answers a call to the model that failed so with the text, if that is no mistake of the caller and a text can answer it.
pub(super) fn answer(
    text: Option<&str>,
    model: &str,
    request: &Request,
    error: &Error,
) -> Option<Dispatched> {
    let text = text.filter(|_| matches!(request, Request::Chat(_)) && may_replace(error.reason()))?;
    let items = events(text, model).ok()?;
    let warning = v1::Warning {
        code: "degraded_answer".to_owned(),
        message: format!("no target could answer, so this is the configured text instead ({error})"),
        field: String::new(),
    };
    Some(Dispatched {
        target: None,
        warnings: vec![warning],
        headers: HeaderMap::new(),
        upstream_request_id: String::new(),
        items: stream::iter(items.into_iter().map(|item| Ok(Step::Item(item)))).boxed(),
    })
}

fn may_replace(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::UpstreamRateLimited
            | Reason::UpstreamTimeout
            | Reason::UpstreamUnavailable
            | Reason::UpstreamAuthFailed
            | Reason::UpstreamBadResponse
            | Reason::NoTargetAvailable
            | Reason::GatewayOverloaded
    )
}

fn events(text: &str, model: &str) -> Result<VecDeque<Item>, provider::Error> {
    let mut composer = Composer::new("");
    // No vendor's model answers; clients expect a name all the same.
    model.clone_into(&mut composer.start.model);
    composer.usage = Some(v1::Usage { input_tokens: Some(0), output_tokens: Some(0), ..Default::default() });
    let mut out = VecDeque::with_capacity(8);
    composer.begin(&mut out);
    composer.text(0, text, &mut out)?;
    composer.end_choice(0, FinishReason::Other, "", "", &mut out)?;
    composer.finish(&mut out);
    Ok(out)
}
