//! Counting one attempt: what its items say of tokens, progress and ending. Plain state, no clock, no I/O.

use tollgate_api::v1::{self, usage::Source};

use super::bill;
use crate::call::{Asked, Attempt, Call, Event, Item, content_bytes, estimate_delta_tokens};

/// What has been seen of an attempt's answer so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Estimated tokens of what earlier attempts delivered, which this one was sent beside the caller's prompt.
    pub(super) carried_tokens: i64,
    /// Whether the answer ended with what was delivered though the provider broke off.
    pub(super) cut: bool,
    /// Content events handed on.
    pub(super) content_events: i64,
    /// Estimated tokens of the content handed on.
    pub(super) output_tokens: i64,
    /// The provider's last word on usage; cumulative, so the last one holds.
    pub(super) usage: Option<v1::Usage>,
    /// How much content there was when the provider told it.
    told_at: Option<i64>,
    /// The service tier, as it was last told; the usage that comes after may not repeat it.
    service_tier: String,
    /// How choice 0 ended.
    pub(super) finish_reason: Option<v1::FinishReason>,
    /// The upstream's response id.
    pub(super) response_id: String,
    /// The model the upstream says it used.
    pub(super) model: String,
}

impl Tally {
    /// Starts to count an attempt that is sent along with so many estimated tokens of what others delivered.
    pub(super) fn after(carried_tokens: i64) -> Self {
        Self { carried_tokens, ..Self::default() }
    }

    /// Returns the attempt that serves the call, though its answer may be cut.
    pub(super) fn served_by<'c>(&self, call: &'c Call) -> Option<&'c Attempt> {
        call.served_by().or_else(|| call.attempts.last().filter(|_| self.cut))
    }

    /// Counts one item. Returns true if it is content.
    pub(super) fn count(&mut self, item: &Item) -> bool {
        let before = self.content_events;
        match item {
            Item::Raw(_, seen) => {
                self.content_events += i64::from(seen.content_events);
                self.output_tokens += i64::from(seen.output_tokens);
                if let Some(usage) = &seen.usage {
                    self.tell(usage);
                }
                self.finish_reason = seen.finish_reason.or(self.finish_reason);
                keep_first(&mut self.response_id, seen.response_id.as_deref());
                keep_first(&mut self.model, seen.model.as_deref());
            }
            Item::Embeddings(answer) => {
                self.content_events += 1;
                self.usage.clone_from(&answer.usage);
                keep_first(&mut self.model, Some(&answer.model));
            }
            Item::Counted(_) => self.content_events += 1,
            Item::Event(event) => self.count_event(event),
        }
        self.content_events > before
    }

    fn count_event(&mut self, event: &Event) {
        if let Some(bytes) = content_bytes(event) {
            self.content_events += 1;
            self.output_tokens += i64::from(estimate_delta_tokens(bytes));
            return;
        }
        match event {
            Event::Usage(usage) => self.tell(usage),
            Event::ChoiceEnd(end) if end.choice == 0 => self.finish_reason = Some(end.finish_reason()),
            Event::Start(start) => keep_first(&mut self.model, Some(&start.model)),
            Event::End(end) => {
                self.tier(&end.service_tier);
                keep_first(&mut self.response_id, Some(&end.upstream_response_id));
            }
            _ => {}
        }
    }

    fn tell(&mut self, usage: &v1::Usage) {
        self.tier(&usage.service_tier);
        self.usage = Some(usage.clone());
        self.told_at = Some(self.content_events);
    }

    fn tier(&mut self, word: &str) {
        if !word.is_empty() {
            word.clone_into(&mut self.service_tier);
        }
    }

    /// Returns the usage of the attempt as far as it is known: the provider's, else an estimate if anything was
    /// asked of a provider at all. `complete` says that the answer reached its end.
    pub(super) fn usage(&self, asked: &Asked, dispatched: bool, complete: bool) -> Option<v1::Usage> {
        let complete = complete && !self.cut;
        let mut usage = match &self.usage {
            // A running count of a stream that broke off is not what the provider will bill: it may have generated more
            // than arrived. One that came after the last content is its last word, whatever we would estimate.
            Some(told)
                if complete || self.told_at == Some(self.content_events) && self.finish_reason.is_some() =>
            {
                let mut told = told.clone();
                if told.output_tokens.is_none() && self.output_tokens > 0 {
                    // It counted the prompt only.
                    told.output_tokens = Some(self.output_tokens);
                    told.set_source(Source::Estimated);
                } else if told.source() != Source::Estimated {
                    told.set_source(Source::Provider);
                }
                told
            }
            _ if !dispatched => return None,
            told => {
                let mut estimate = told.clone().unwrap_or_default();
                // What the provider charged so far is not what the call costs.
                estimate.cost = None;
                estimate.set_source(Source::Estimated);
                estimate.input_tokens.get_or_insert_with(|| bill::prompt_tokens(asked, self.carried_tokens));
                let told = estimate.output_tokens.unwrap_or(0);
                estimate.output_tokens = Some(told.max(self.output_tokens));
                estimate
            }
        };
        usage.service_tier = if STANDARD_TIERS.contains(&self.service_tier.as_str()) {
            String::new()
        } else {
            self.service_tier.clone()
        };
        usage.r#final = true;
        Some(usage)
    }
}

/// How vendors call the tier that everybody gets. `auto` is what was asked for, not what was given.
const STANDARD_TIERS: [&str; 4] = ["default", "standard", "on_demand", "auto"];

fn keep_first(slot: &mut String, value: Option<&str>) {
    if let (true, Some(value)) = (slot.is_empty(), value) {
        value.clone_into(slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Item {
        Item::Event(Event::Text(v1::TextDelta { text: text.to_owned(), choice: 0, part: 0 }))
    }

    fn told(output: i64) -> Item {
        let usage = v1::Usage { input_tokens: Some(7), output_tokens: Some(output), ..Default::default() };
        Item::Event(Event::Usage(Box::new(usage)))
    }

    fn asked() -> Asked {
        Asked { input_bytes: 40, ..Asked::default() }
    }

    #[test]
    fn model_name_resolved_is_what_the_answer_says_first_in_both_lanes() {
        let started = |model: &str| {
            let start = v1::StreamStart { model: model.to_owned(), ..Default::default() };
            Item::Event(Event::Start(Box::new(start)))
        };
        let seen = |model: &str| {
            let seen = crate::call::Seen { model: Some(model.to_owned()), ..Default::default() };
            Item::Raw(bytes::Bytes::new(), seen)
        };
        for items in [[started(""), started("gpt-4o-2024-08-06")], [seen("gpt-4o-2024-08-06"), seen("later")]]
        {
            let mut tally = Tally::default();
            for item in &items {
                tally.count(item);
            }
            assert_eq!(tally.model, "gpt-4o-2024-08-06");
        }
    }

    #[test]
    fn the_providers_usage_holds_at_a_complete_end() {
        let mut tally = Tally::default();
        tally.count(&text("hello"));
        tally.count(&told(1));
        let usage = tally.usage(&asked(), true, true).unwrap();
        assert_eq!((usage.input_tokens, usage.output_tokens), (Some(7), Some(1)));
        assert_eq!(usage.source(), Source::Provider);
        assert!(usage.r#final);
    }

    #[test]
    fn a_cut_stream_is_estimated_from_what_was_delivered_and_flagged() {
        let mut tally = Tally::default();
        for _ in 0..5 {
            assert!(tally.count(&text(" word")));
        }
        let usage = tally.usage(&asked(), true, false).unwrap();
        assert_eq!((usage.input_tokens, usage.output_tokens), (Some(10), Some(5)));
        assert_eq!(usage.source(), Source::Estimated);
    }

    #[test]
    fn a_running_count_is_not_the_last_word_on_a_cut_stream() {
        let mut tally = Tally::default();
        tally.count(&told(1));
        for _ in 0..3 {
            tally.count(&text(" word"));
        }
        let usage = tally.usage(&asked(), true, false).unwrap();
        assert_eq!(usage.output_tokens, Some(3));
        assert_eq!(usage.input_tokens, Some(7), "the input the provider told still holds");
        assert_eq!(usage.source(), Source::Estimated);
    }

    #[test]
    fn a_running_count_above_ours_holds_on_a_cut_stream_and_is_flagged() {
        let mut tally = Tally::default();
        tally.count(&text("a"));
        tally.count(&told(40));
        let usage = tally.usage(&asked(), true, false).unwrap();
        assert_eq!((usage.output_tokens, usage.source()), (Some(40), Source::Estimated));
    }

    #[test]
    fn the_last_word_after_the_finish_holds_though_the_caller_left_before_the_end() {
        let mut tally = Tally::default();
        for _ in 0..3 {
            tally.count(&text("a word of many letters "));
        }
        let finish = v1::ChoiceEnd { finish_reason: v1::FinishReason::Stop.into(), ..Default::default() };
        tally.count(&Item::Event(Event::ChoiceEnd(finish.into())));
        tally.count(&told(2));
        let usage = tally.usage(&asked(), true, false).unwrap();
        assert_eq!((usage.output_tokens, usage.source()), (Some(2), Source::Provider));
    }

    #[test]
    fn usage_absent_from_a_complete_answer_is_an_estimate() {
        let mut tally = Tally::default();
        tally.count(&text("hello"));
        let usage = tally.usage(&asked(), true, true).unwrap();
        assert_eq!((usage.input_tokens, usage.output_tokens), (Some(10), Some(1)));
        assert_eq!(usage.source(), Source::Estimated);
    }

    #[test]
    fn an_output_that_was_delivered_and_never_counted_is_estimated_and_flagged() {
        let mut tally = Tally::default();
        tally.count(&text("hello"));
        let prompt = v1::Usage { input_tokens: Some(7), ..Default::default() };
        tally.count(&Item::Event(Event::Usage(Box::new(prompt))));
        let usage = tally.usage(&asked(), true, true).unwrap();
        assert_eq!((usage.input_tokens, usage.output_tokens), (Some(7), Some(1)));
        assert_eq!(usage.source(), Source::Estimated);
    }

    #[test]
    fn the_service_tier_outlasts_the_usage_that_leaves_it_out_and_the_standard_one_has_no_name() {
        let tier = |first: &str, end: &str| {
            let mut tally = Tally::default();
            let usage = |tier: &str| v1::Usage { service_tier: tier.to_owned(), ..Default::default() };
            tally.count(&Item::Event(Event::Usage(Box::new(usage(first)))));
            tally.count(&told(3));
            let end = v1::StreamEnd { service_tier: end.to_owned(), ..Default::default() };
            tally.count(&Item::Event(Event::End(Box::new(end))));
            tally.usage(&asked(), true, true).unwrap().service_tier
        };
        assert_eq!(tier("flex", ""), "flex");
        assert_eq!(tier("auto", "priority"), "priority");
        for word in STANDARD_TIERS {
            assert_eq!(tier(word, ""), "", "{word}");
        }
    }

    #[test]
    fn a_call_that_reached_no_provider_has_no_usage() {
        assert!(Tally::default().usage(&asked(), false, false).is_none());
    }
}
