//! Anthropic's usage, whose input excludes what was read from the cache or written to it, as the contract counts.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use tollgate_api::v1::{Usage, usage::Source};

use super::json::{Count, Text, read};

/// What an answer has told of its usage so far. Counts are cumulative: the last word on each holds.
#[derive(Debug, Default)]
pub(in crate::provider) struct Told {
    told: bool,
    input: Option<i64>,
    output: Option<i64>,
    /// The count of the output is that of a stream's begin, when there was hardly any.
    output_runs: bool,
    cache_read: Option<i64>,
    cache_write: Option<i64>,
    write_5m: Option<i64>,
    write_1h: Option<i64>,
    thinking: Option<i64>,
    service_tier: String,
    units: BTreeMap<String, i64>,
    /// What passes of the same model used that the counts above do not include.
    beside: Beside,
}

#[derive(Clone, Copy, Debug, Default)]
struct Beside {
    input: i64,
    output: i64,
    cache_read: i64,
    cache_write: i64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Counts<'a> {
    input_tokens: Count,
    output_tokens: Count,
    cache_read_input_tokens: Count,
    cache_creation_input_tokens: Count,
    #[serde(borrow)]
    cache_creation: Option<&'a RawValue>,
    #[serde(borrow)]
    output_tokens_details: Option<&'a RawValue>,
    #[serde(borrow)]
    server_tool_use: Option<&'a RawValue>,
    #[serde(borrow)]
    iterations: Option<&'a RawValue>,
    #[serde(borrow)]
    service_tier: Text<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ByTtl {
    ephemeral_5m_input_tokens: Count,
    ephemeral_1h_input_tokens: Count,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OutputDetails {
    thinking_tokens: Count,
}

/// One pass of a model.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Iteration<'a> {
    #[serde(rename = "type", borrow)]
    kind: Text<'a>,
    input_tokens: Count,
    output_tokens: Count,
    cache_read_input_tokens: Count,
    cache_creation_input_tokens: Count,
}

impl Told {
    /// Takes a usage object. What it does not tell stays as it was.
    pub(in crate::provider) fn take(&mut self, json: &str) {
        // A list would be read as the members in their order.
        let object = Some(json).filter(|json| json.starts_with('{'));
        let Some(Ok(counts)) = object.map(serde_json::from_str::<Counts<'_>>) else { return };
        let by_ttl: ByTtl = read(counts.cache_creation.map(RawValue::get));
        let output: OutputDetails = read(counts.output_tokens_details.map(RawValue::get));
        for (slot, count) in [
            (&mut self.input, counts.input_tokens),
            (&mut self.output, counts.output_tokens),
            (&mut self.cache_read, counts.cache_read_input_tokens),
            (&mut self.cache_write, counts.cache_creation_input_tokens),
            (&mut self.write_5m, by_ttl.ephemeral_5m_input_tokens),
            (&mut self.write_1h, by_ttl.ephemeral_1h_input_tokens),
            (&mut self.thinking, output.thinking_tokens),
        ] {
            if count.0.is_some() {
                *slot = count.0;
                self.told = true;
            }
        }
        self.output_runs &= counts.output_tokens.0.is_none();
        if !counts.service_tier.is_empty() {
            self.service_tier = counts.service_tier.0.into_owned();
        }
        for (name, Count(count)) in read::<BTreeMap<String, Count>>(counts.server_tool_use.map(RawValue::get))
        {
            if let Some(count) = count {
                self.units.insert(name, count);
            }
        }
        if let Some(iterations) = counts.iterations {
            self.iterations(&read::<Vec<Iteration<'_>>>(Some(iterations.get())));
        }
    }

    /// What was taken is of a stream's begin: its count of the output is not the last word.
    pub(in crate::provider) fn begun(&mut self) {
        self.output_runs = self.output.is_some();
    }

    /// Takes the end of a stream: a count of the output that was never brought up to date is none.
    pub(in crate::provider) fn end(&mut self) {
        if std::mem::take(&mut self.output_runs) {
            self.output = None;
        }
    }

    /// Takes the passes of models. The counts beside the list are the sum over the messages: a compaction comes on top,
    /// and what another model did is billed at its own price.
    fn iterations(&mut self, list: &[Iteration<'_>]) {
        self.beside = Beside::default();
        let mut others: BTreeMap<String, i64> = BTreeMap::new();
        for pass in list {
            let counts = [
                pass.input_tokens,
                pass.output_tokens,
                pass.cache_read_input_tokens,
                pass.cache_creation_input_tokens,
            ];
            let [input, output, read, write] = counts.map(|count| count.0.unwrap_or(0));
            match &*pass.kind.0 {
                "" | "message" | "fallback_message" => {}
                "compaction" => {
                    add(&mut self.beside.input, input);
                    add(&mut self.beside.output, output);
                    add(&mut self.beside.cache_read, read);
                    add(&mut self.beside.cache_write, write);
                }
                kind => {
                    let all_input = input.saturating_add(read).saturating_add(write);
                    add(others.entry(format!("{kind}_input_tokens")).or_default(), all_input);
                    add(others.entry(format!("{kind}_output_tokens")).or_default(), output);
                }
            }
        }
        self.units.extend(others);
    }

    /// Returns the usage as the contract counts; none if nothing was told: absent is not zero.
    pub(in crate::provider) fn usage(&self) -> Option<Usage> {
        if !self.told {
            return None;
        }
        let beside = self.beside;
        let with = |count: Option<i64>, more: i64| match (count, more) {
            (None, 0) => None,
            (count, more) => Some(count.unwrap_or(0).saturating_add(more)),
        };
        let read = with(self.cache_read, beside.cache_read);
        let by_ttl = self.write_5m.zip(self.write_1h).map(|(a, b)| a.saturating_add(b));
        let write = with(self.cache_write.or(by_ttl), beside.cache_write);
        let plain = with(self.input, beside.input);
        let cached = read.unwrap_or(0).saturating_add(write.unwrap_or(0));
        let mut usage = Usage {
            input_tokens: plain.map(|input| input.saturating_add(cached)),
            output_tokens: with(self.output, beside.output),
            cache_read_input_tokens: read,
            cache_write_input_tokens: write,
            reasoning_output_tokens: self.thinking,
            service_tier: self.service_tier.clone(),
            r#final: true,
            ..Usage::default()
        };
        for (ttl, count) in [("5m", self.write_5m), ("1h", self.write_1h)] {
            if let Some(count) = count.filter(|count| *count > 0) {
                usage.cache_write_by_ttl.insert(ttl.to_owned(), count);
            }
        }
        let units = self.units.iter().filter(|(_, count)| **count > 0);
        usage.billable_units.extend(units.map(|(name, count)| (name.clone(), *count)));
        usage.set_source(Source::Provider);
        Some(usage)
    }
}

fn add(sum: &mut i64, count: i64) {
    *sum = sum.saturating_add(count);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(told: &[&str]) -> Option<Usage> {
        let mut usage = Told::default();
        for json in told {
            usage.take(json);
        }
        usage.usage()
    }

    #[test]
    fn an_usage_split_the_last_word_on_each_count_holds() {
        let usage =
            after(&[r#"{"input_tokens":10,"output_tokens":1}"#, r#"{"input_tokens":10,"output_tokens":25}"#]);
        let usage = usage.unwrap();
        assert_eq!((usage.input_tokens, usage.output_tokens), (Some(10), Some(25)));
    }

    #[test]
    fn the_output_of_a_streams_begin_is_not_its_last_word() {
        let after = |more: &[&str]| {
            let mut usage = Told::default();
            usage.take(r#"{"input_tokens":10,"output_tokens":1}"#);
            usage.begun();
            more.iter().for_each(|json| usage.take(json));
            let running = usage.usage().unwrap().output_tokens;
            usage.end();
            (running, usage.usage().unwrap().output_tokens)
        };
        assert_eq!(after(&[]), (Some(1), None));
        assert_eq!(after(&[r#"{"input_tokens":12}"#]), (Some(1), None));
        assert_eq!(after(&[r#"{"output_tokens":25}"#]), (Some(25), Some(25)));
        assert_eq!(after(&[r#"{"output_tokens":1}"#]), (Some(1), Some(1)));
    }

    #[test]
    fn an_usage_delta_no_input_keeps_the_input_of_the_start() {
        let usage = after(&[
            r#"{"input_tokens":10,"cache_read_input_tokens":5,"output_tokens":1}"#,
            r#"{"output_tokens":25,"input_tokens":null}"#,
        ]);
        let usage = usage.unwrap();
        assert_eq!((usage.input_tokens, usage.output_tokens), (Some(15), Some(25)));
    }

    #[test]
    fn an_usage_delta_grows_with_what_server_tools_read() {
        let usage = after(&[
            r#"{"input_tokens":10,"output_tokens":1}"#,
            r#"{"input_tokens":70,"output_tokens":9,"server_tool_use":{"web_search_requests":2,"web_fetch_requests":0}}"#,
        ]);
        let usage = usage.unwrap();
        assert_eq!(usage.input_tokens, Some(70));
        assert_eq!(usage.billable_units, [("web_search_requests".to_owned(), 2)].into());
    }

    #[test]
    fn an_cache_tokens_are_part_of_the_input() {
        let usage = after(&[r#"{"input_tokens":3,"output_tokens":7,"cache_creation_input_tokens":100,
                "cache_read_input_tokens":20,"output_tokens_details":{"thinking_tokens":4},
                "cache_creation":{"ephemeral_5m_input_tokens":60,"ephemeral_1h_input_tokens":40}}"#])
        .unwrap();
        assert_eq!(usage.input_tokens, Some(123));
        assert_eq!((usage.cache_read_input_tokens, usage.cache_write_input_tokens), (Some(20), Some(100)));
        assert_eq!(usage.cache_write_by_ttl, [("5m".to_owned(), 60), ("1h".to_owned(), 40)].into());
        assert_eq!(usage.reasoning_output_tokens, Some(4));
    }

    #[test]
    fn an_iterations_of_a_compaction_come_on_top_and_other_models_apart() {
        let usage = after(&[r#"{"input_tokens":2411,"output_tokens":145,"iterations":[
                {"type":"message","input_tokens":2411,"output_tokens":145},
                {"type":"compaction","input_tokens":1000,"output_tokens":100,"cache_read_input_tokens":5},
                {"type":"advisor_message","model":"other","input_tokens":2543,"output_tokens":18}]}"#])
        .unwrap();
        assert_eq!((usage.input_tokens, usage.output_tokens), (Some(3416), Some(245)));
        assert_eq!(usage.billable_units["advisor_message_input_tokens"], 2543);
        assert_eq!(usage.billable_units["advisor_message_output_tokens"], 18);
    }

    #[test]
    fn the_service_tier_is_told_once_and_kept() {
        let usage = after(&[
            r#"{"input_tokens":10,"output_tokens":1,"service_tier":"priority"}"#,
            r#"{"output_tokens":25,"service_tier":null}"#,
        ]);
        assert_eq!(usage.unwrap().service_tier, "priority");
    }

    #[test]
    fn absent_is_not_zero_and_wrong_types_are_absent() {
        for json in ["{}", "null", "[1]", r#"{"input_tokens":"many","cache_creation":7}"#] {
            assert_eq!(after(&[json]), None, "{json}");
        }
        let usage = after(&[r#"{"output_tokens":5,"server_tool_use":7}"#]).unwrap();
        assert_eq!((usage.input_tokens, usage.output_tokens), (None, Some(5)));
        assert_eq!(usage.cache_read_input_tokens, None);
    }
}
