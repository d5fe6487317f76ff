//! The line after an answer: who served it, tokens, cost, times, id.

use std::{io, time::Duration};

use tollgate_client::{
    Event,
    api::v1::{CacheStatus, CompleteResponse, FinishReason, RouteInfo, Usage, Warning, usage::Source},
};

use crate::cli::{amount, out::Out, time};

/// What is known of an answer beside its content.
#[derive(Default)]
pub(super) struct Summary {
    id: String,
    model: String,
    route: RouteInfo,
    usage: Option<Usage>,
    finish: Option<FinishReason>,
    warnings: Vec<Warning>,
    first_token: Option<Duration>,
    /// From sending the call to its end.
    pub(super) total: Duration,
}

impl Summary {
    /// Takes everything from an answer that came at once.
    pub(super) fn of_response(response: &CompleteResponse, total: Duration) -> Self {
        let route = response.route.clone().unwrap_or_default();
        Self {
            id: response.id.clone(),
            model: response.model.clone(),
            first_token: time::span(route.first_token_duration.as_ref()),
            route,
            usage: response.usage.clone(),
            finish: response.choices.first().map(|choice| choice.finish_reason()),
            warnings: response.warnings.clone(),
            total,
        }
    }

    /// Takes what an event of a stream tells, `elapsed` after the call was sent.
    pub(super) fn note(&mut self, event: &Event, elapsed: Duration) {
        match event {
            Event::Start(start) => {
                self.id.clone_from(&start.id);
                self.model.clone_from(&start.model);
                self.warnings.clone_from(&start.warnings);
                self.route = start.route.clone().unwrap_or_default();
            }
            Event::End(end) => self.route = end.route.clone().unwrap_or(std::mem::take(&mut self.route)),
            Event::Usage(usage) => self.usage = Some(Usage::clone(usage)),
            Event::ChoiceEnd(end) => self.finish = Some(end.finish_reason()),
            Event::Notice(_) | Event::Extension(_) => {}
            _ => self.first_token = self.first_token.or(Some(elapsed)),
        }
    }

    /// Returns true if it is known what the answer used.
    pub(super) fn has_usage(&self) -> bool {
        self.usage.is_some()
    }

    /// Prints the line, and a line for each warning.
    pub(super) fn print(&self, out: &mut Out) -> io::Result<()> {
        out.dim_note(&self.line())?;
        for warning in &self.warnings {
            let field =
                if warning.field.is_empty() { String::new() } else { format!(" ({})", warning.field) };
            out.note(&format!("warning: {}{field}", warning.message))?;
        }
        Ok(())
    }

    fn line(&self) -> String {
        let served = if self.route.target.is_empty() { &self.model } else { &self.route.target };
        let asked = &self.route.requested_model;
        let mut words = vec![if asked.is_empty() || asked == served {
            served.clone()
        } else {
            format!("{asked} → {served}")
        }];
        words.extend(self.end());
        words.extend(self.cache());
        if let Some(usage) = &self.usage {
            words.push(tokens(usage));
            words.push(match &usage.cost {
                Some(cost) => amount::cost(Some(cost)),
                None => "no known price".to_owned(),
            });
        }
        if let Some(first_token) = self.first_token {
            words.push(format!("first token {}", time::short(first_token)));
        }
        words.push(format!("total {}", time::short(self.total)));
        words.push(format!("id {}", self.id));
        words.retain(|word| !word.is_empty());
        words.join(" · ")
    }

    /// An ordinary end needs no word; the others do.
    fn end(&self) -> Option<String> {
        let finish = self.finish?;
        if matches!(finish, FinishReason::Unspecified | FinishReason::Stop) {
            return None;
        }
        let name = finish.as_str_name().trim_start_matches("FINISH_REASON_").to_lowercase();
        Some(format!("ended by {}", name.replace('_', " ")))
    }

    fn cache(&self) -> Option<String> {
        match self.route.cache_status() {
            CacheStatus::Hit => Some("from cache".to_owned()),
            CacheStatus::SemanticHit => Some("from cache (similar)".to_owned()),
            CacheStatus::Coalesced => Some("shared answer".to_owned()),
            _ => None,
        }
    }
}

fn tokens(usage: &Usage) -> String {
    let mark = if usage.source() == Source::Estimated { "~" } else { "" };
    let count = |count: Option<i64>| {
        count.map_or_else(|| "?".to_owned(), |count| format!("{mark}{}", amount::count(count)))
    };
    let part = |count: Option<i64>, name: &str| match count {
        Some(count) if count > 0 => format!(" ({} {name})", amount::count(count)),
        _ => String::new(),
    };
    format!(
        "{} in{}, {} out{}",
        count(usage.input_tokens),
        part(usage.cache_read_input_tokens, "cached"),
        count(usage.output_tokens),
        part(usage.reasoning_output_tokens, "reasoning"),
    )
}

#[cfg(test)]
mod tests {
    use tollgate_client::api::v1::Cost;

    use super::*;

    #[test]
    fn the_line_says_who_what_how_much_and_how_long() {
        let cost = Cost { amount_nanos: 1_230_000, ..Cost::default() };
        let usage = Usage {
            input_tokens: Some(1200),
            cache_read_input_tokens: Some(1000),
            output_tokens: Some(40),
            reasoning_output_tokens: Some(5),
            cost: Some(cost),
            ..Usage::default()
        };
        let route =
            RouteInfo { requested_model: "fast".into(), target: "openai/gpt".into(), ..Default::default() };
        let summary = Summary {
            id: "01890a5d".into(),
            route,
            usage: Some(usage),
            first_token: Some(Duration::from_millis(120)),
            total: Duration::from_millis(1200),
            ..Summary::default()
        };
        assert_eq!(
            summary.line(),
            "fast → openai/gpt · 1,200 in (1,000 cached), 40 out (5 reasoning) · $0.00123 · \
             first token 120 ms · total 1.20 s · id 01890a5d"
        );
    }

    #[test]
    fn estimates_unknown_counts_and_cuts_are_marked() {
        let mut usage = Usage { output_tokens: Some(7), ..Usage::default() };
        usage.set_source(Source::Estimated);
        let finish = Some(FinishReason::Length);
        let summary = Summary { model: "m".into(), usage: Some(usage), finish, ..Summary::default() };
        let line = summary.line();
        assert!(line.starts_with("m · ended by length · ? in, ~7 out · no known price"), "{line}");
    }
}
