//! What tokens and other things cost at given rates: exact integers.

use std::{borrow::Cow, collections::HashMap};

use serde::Deserialize;
use tollgate_api::v1;

use crate::call::Rates;

/// Rates are per million tokens.
const TOKENS_PER_RATE: i128 = 1_000_000;

/// Nano-USD per million tokens, by what the tokens are.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Prices {
    pub(super) input: Option<i64>,
    pub(super) output: Option<i64>,
    pub(super) cache_read: Option<i64>,
    pub(super) cache_write: Option<i64>,
    pub(super) cache_write_1h: Option<i64>,
    pub(super) input_audio: Option<i64>,
    pub(super) cache_read_audio: Option<i64>,
    pub(super) output_audio: Option<i64>,
    pub(super) input_image: Option<i64>,
    pub(super) output_image: Option<i64>,
    pub(super) output_reasoning: Option<i64>,
}

impl Prices {
    /// Returns these rates, and the others' where these say nothing.
    pub(super) fn or(&self, base: &Self) -> Self {
        Self {
            input: self.input.or(base.input),
            output: self.output.or(base.output),
            cache_read: self.cache_read.or(base.cache_read),
            cache_write: self.cache_write.or(base.cache_write),
            cache_write_1h: self.cache_write_1h.or(base.cache_write_1h),
            input_audio: self.input_audio.or(base.input_audio),
            cache_read_audio: self.cache_read_audio.or(base.cache_read_audio),
            output_audio: self.output_audio.or(base.output_audio),
            input_image: self.input_image.or(base.input_image),
            output_image: self.output_image.or(base.output_image),
            output_reasoning: self.output_reasoning.or(base.output_reasoning),
        }
    }

    /// Returns the dearest of these rates for all input, and for all output.
    pub(super) fn dearest(self) -> Self {
        let input = [self.cache_write, self.cache_write_1h, self.input_audio, self.input_image];
        let output = [self.output_audio, self.output_image, self.output_reasoning];
        Self {
            input: input.into_iter().fold(self.input, Option::max),
            output: output.into_iter().fold(self.output, Option::max),
            ..Self::default()
        }
    }

    /// Prices a usage in nano-USD, rounded half up once, over the whole sum. `None` if it has tokens of a kind
    /// without a price, or no counts at all.
    pub(super) fn amount(&self, usage: &v1::Usage) -> Option<i64> {
        if usage.input_tokens.is_none() && usage.output_tokens.is_none() {
            return None;
        }
        let input = match billed(usage, "billed_input_tokens") {
            Some(tokens) => times(tokens, self.input),
            None => self.input_amount(usage),
        };
        let output = match billed(usage, "billed_output_tokens") {
            Some(tokens) => times(tokens, self.output),
            None => self.output_amount(usage),
        };
        let total = input?.checked_add(output?)?;
        i64::try_from(total.checked_add(TOKENS_PER_RATE / 2)?.div_euclid(TOKENS_PER_RATE)).ok()
    }

    /// Input tokens include cached ones, and each token is paid for once.
    fn input_amount(&self, usage: &v1::Usage) -> Option<i128> {
        let mut left = Left(count(usage.input_tokens));
        let mut cached = Left(left.take(count(usage.cache_read_input_tokens)));
        let written = left.take(count(usage.cache_write_input_tokens));
        let written_1h = count(usage.cache_write_by_ttl.get("1h").copied()).min(written);
        let read_rate = self.cache_read.or(self.input);
        let write_rate = self.cache_write.or(self.input);
        let mut total = 0;
        for part in &usage.input_by_modality {
            let (fresh_rate, cached_rate) = match part.modality.as_str() {
                "audio" => (self.input_audio, self.cache_read_audio.or(self.cache_read)),
                "image" => (self.input_image, self.cache_read),
                _ => continue,
            };
            let Some(fresh_rate) = fresh_rate else { continue };
            let part_cached = cached.take(count(Some(part.cache_read_tokens)).min(count(Some(part.tokens))));
            let part_fresh = left.take(count(Some(part.tokens)) - part_cached);
            total += times(part_fresh, Some(fresh_rate))?;
            total += times(part_cached, cached_rate.or(Some(fresh_rate)))?;
        }
        total += times(cached.0, read_rate)?;
        total += times(written - written_1h, write_rate)?;
        total += times(written_1h, self.cache_write_1h.or(write_rate))?;
        Some(total + times(left.0, self.input)?)
    }

    fn output_amount(&self, usage: &v1::Usage) -> Option<i128> {
        let mut left = Left(count(usage.output_tokens));
        let mut total = 0;
        for part in &usage.output_by_modality {
            let rate = match part.modality.as_str() {
                "audio" => self.output_audio,
                "image" => self.output_image,
                _ => continue,
            };
            if rate.is_some() {
                total += times(left.take(count(Some(part.tokens))), rate)?;
            }
        }
        if self.output_reasoning.is_some() {
            total += times(left.take(count(usage.reasoning_output_tokens)), self.output_reasoning)?;
        }
        Some(total + times(left.0, self.output)?)
    }
}

impl From<Rates> for Prices {
    fn from(rates: Rates) -> Self {
        Self {
            input: Some(rates.input),
            output: Some(rates.output),
            cache_read: rates.cache_read,
            cache_write: rates.cache_write,
            ..Self::default()
        }
    }
}

/// Returns what is paid for where a vendor bills other numbers of tokens than the model saw (Cohere).
fn billed(usage: &v1::Usage, name: &str) -> Option<i64> {
    usage.billable_units.get(name).map(|tokens| count(Some(*tokens)))
}

/// Things other than tokens that vendors bill, as `Usage.billable_units` names them, and the rate each is priced by.
const UNITS: [(&str, &str); 8] = [
    ("web_search_requests", "web_search_requests"),
    ("search_queries", "web_search_requests"),
    ("search_units", "search_units"),
    ("images", "images"),
    ("characters", "characters"),
    ("seconds", "seconds"),
    ("requests", "requests"),
    ("sources", "sources"),
];

/// What the things beside tokens cost.
pub(super) struct Units {
    /// The sum of those whose price is known, in nano-USD.
    pub(super) amount: i64,
    /// How many kinds have a price.
    pub(super) priced: usize,
    /// How many kinds are known to be billed, but not at what price.
    pub(super) unpriced: usize,
}

/// Prices what is billed beside tokens. `rates` are nano-USD for one.
pub(super) fn units(rates: &HashMap<Cow<'static, str>, i64>, usage: &v1::Usage) -> Units {
    let mut sum = Units { amount: 0, priced: 0, unpriced: 0 };
    for (name, rate) in UNITS {
        let Some(units) = usage.billable_units.get(name).copied().filter(|units| *units > 0) else {
            continue;
        };
        match rates.get(rate) {
            Some(rate) => {
                sum.priced += 1;
                sum.amount = sum.amount.saturating_add(units.saturating_mul(*rate));
            }
            None => sum.unpriced += 1,
        }
    }
    // What another model did for the answer, like an advisor, is billed at the price of that model.
    let others = usage
        .billable_units
        .iter()
        .filter(|(name, count)| **count > 0 && name.ends_with("put_tokens") && !name.starts_with("billed_"));
    sum.unpriced += others.count();
    sum
}

/// Tokens that are not paid for yet.
struct Left(i64);

impl Left {
    /// Takes up to `tokens`, and returns how many there were: parts never add up to more than the whole.
    fn take(&mut self, tokens: i64) -> i64 {
        let taken = tokens.min(self.0);
        self.0 -= taken;
        taken
    }
}

/// Reads a count of an upstream, which may say anything.
pub(super) fn count(tokens: Option<i64>) -> i64 {
    tokens.unwrap_or(0).max(0)
}

/// Nothing costs nothing, even where no price is known.
fn times(tokens: i64, rate: Option<i64>) -> Option<i128> {
    if tokens == 0 {
        return Some(0);
    }
    rate.map(|rate| i128::from(tokens) * i128::from(rate))
}
