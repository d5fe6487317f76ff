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
        drains: false,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{Event, Payload};

    fn chat() -> Request {
        Request::Chat(Payload::typed(v1::ChatInput::default()))
    }

    fn failed(reason: Reason) -> Error {
        Error::new(reason, "it failed")
    }

    #[test]
    fn only_failures_that_are_not_the_callers_are_answered() {
        let every = (0..200).filter_map(|number| Reason::try_from(number).ok());
        let answered: Vec<&str> = every
            .filter(|reason| answer(Some("sorry"), "m", &chat(), &failed(*reason)).is_some())
            .map(|reason| reason.as_str_name().trim_start_matches("ERROR_REASON_"))
            .collect();
        assert_eq!(
            answered,
            [
                "GATEWAY_OVERLOADED",
                "NO_TARGET_AVAILABLE",
                "UPSTREAM_RATE_LIMITED",
                "UPSTREAM_TIMEOUT",
                "UPSTREAM_UNAVAILABLE",
                "UPSTREAM_AUTH_FAILED",
                "UPSTREAM_BAD_RESPONSE",
            ]
        );
    }

    #[test]
    fn without_a_text_and_for_what_a_text_cannot_answer_the_error_stays() {
        let error = failed(Reason::UpstreamUnavailable);
        let embed = Request::Embed(Payload::typed(v1::EmbedRequest::default()));
        assert!(answer(None, "m", &chat(), &error).is_none());
        assert!(answer(Some("sorry"), "m", &embed, &error).is_none());
    }

    #[tokio::test]
    async fn the_answer_is_whole_and_says_what_it_is() {
        let dispatched = answer(Some("sorry"), "m", &chat(), &failed(Reason::NoTargetAvailable)).unwrap();
        assert!(dispatched.target.is_none());
        assert_eq!(dispatched.warnings[0].code, "degraded_answer");
        let steps: Vec<_> = dispatched.items.collect().await;
        let events: Vec<_> = steps
            .into_iter()
            .map(|step| match step {
                Ok(Step::Item(Item::Event(event))) => event,
                other => panic!("{other:?}"),
            })
            .collect();
        assert!(matches!(&events[0], Event::Start(start) if start.model == "m"), "{events:?}");
        let text = events.iter().find_map(|event| match event {
            Event::Text(delta) => Some(delta.text.as_str()),
            _ => None,
        });
        assert_eq!(text, Some("sorry"));
        let finish = |event: &Event| matches!(event, Event::ChoiceEnd(end) if end.finish_reason() == FinishReason::Other);
        assert!(events.iter().any(finish), "{events:?}");
        assert!(matches!(events.last(), Some(Event::End(_))), "{events:?}");
    }
}
