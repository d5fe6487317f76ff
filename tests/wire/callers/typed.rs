//! A caller of another dialect: gets what the recording says, as its own dialect says it.

use super::{Bench, brief, compare::compare, ledger, surfaces::Surface};
use crate::{exchange::Exchange, family::Family, framing::Framing, read, replay::Cut};

/// Replays the exchange for a caller on a surface that is not its own.
pub async fn check(bench: &Bench, exchange: &Exchange, surface: &Surface, cut: Cut) -> Result<(), String> {
    let ask = bench.ask(exchange, surface.name, cut);
    let streamed = exchange.is_streamed();
    let request = (surface.request)(&ask.alias(), streamed);
    let answer = bench.caller.try_post(surface.path, request.to_string(), &[]).await;
    let sent = bench.replay.take(&ask.ticket);
    let answer = answer.ok_or("the answer broke off")?;
    if sent.len() != 1 {
        return Err(format!("asked {} times: {}", sent.len(), brief(&answer)));
    }
    if surface.family == Family::Completions
        && !sent[0].path.contains("/chat")
        && exchange.family == Some(Family::Chat)
    {
        // The vendor has an endpoint for legacy completions, so that no chat answers it: its bytes pass.
        let changed = !exchange.expected().failed && answer.body != exchange.body;
        return if changed {
            Err("the bytes of the vendor's completions were changed".to_owned())
        } else {
            Ok(())
        };
    }
    if exchange.family == Some(Family::Converse) && sent[0].path.contains("/invoke") {
        // Claude on Bedrock takes a caller of Anthropic's at its word, by another operation than the recorded one.
        return Ok(());
    }
    let expected = exchange.expected();
    let framing = Framing::of_content_type(answer.header("content-type"));
    if answer.status.is_success() {
        let got = read::answer(surface.family, framing, &answer.body);
        compare(surface.family, &expected, &got)
            .map_err(|why| format!("{why}; {}", last_of(&answer.text())))?;
        if !expected.failed {
            if streamed != (framing == Framing::Events) {
                return Err(format!("a {framing:?} answer"));
            }
            (surface.rules)(framing, &answer.body)?;
        }
    } else if !expected.failed {
        return Err(brief(&answer));
    }
    ledger::same(bench, exchange, &expected, answer.header("x-request-id")).await
}

/// The end of a body, where it says what went wrong.
fn last_of(text: &str) -> String {
    let all: Vec<char> = text.trim_end().chars().collect();
    format!("… {}", all[all.len().saturating_sub(160)..].iter().collect::<String>())
}
