//! Prices and facts of models, and what a usage costs: exact integers, never a guess.

use std::{borrow::Cow, collections::HashMap, sync::LazyLock, thread};

use serde::Deserialize;
use tollgate_api::v1::{self, usage::Source};

use crate::call::{Rates, Target};

/// The catalog of `data/build_catalog.py`. It has no escaped strings, so that rows borrow from it.
const EMBEDDED: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../data/catalog.json"));
/// Rates are per million tokens.
const TOKENS_PER_RATE: i128 = 1_000_000;

/// What is known of a vendor's model.
#[derive(Debug, Deserialize)]
pub struct ModelFacts {
    vendor: Cow<'static, str>,
    model: Cow<'static, str>,
    /// `chat`, `embeddings`, …
    pub operation: Cow<'static, str>,
    /// The only API that answers for it, where that is not the vendor's usual one: `responses`.
    api: Option<Cow<'static, str>>,
    /// Most input tokens of one call; absent if unknown.
    pub context_tokens: Option<i64>,
    /// Most output tokens of one answer; absent if unknown or if there are none.
    pub max_output_tokens: Option<i64>,
    /// What it takes, in the contract's words.
    #[serde(rename = "in")]
    pub input_modalities: Vec<Cow<'static, str>>,
    /// What it gives, in the contract's words.
    #[serde(rename = "out")]
    pub output_modalities: Vec<Cow<'static, str>>,
    /// What else it can do, in the contract's words.
    #[serde(rename = "can", default)]
    pub capabilities: Vec<Cow<'static, str>>,
    #[serde(flatten)]
    prices: Prices,
    #[serde(default)]
    tiers: Vec<Tier>,
}

impl ModelFacts {
    /// Returns the price of an input token in nano-USD per million, for short prompts; absent if unknown.
    pub fn input_rate(&self) -> Option<i64> {
        self.prices.input
    }

    /// Returns the price of an output token in nano-USD per million, for short prompts; absent if unknown.
    pub fn output_rate(&self) -> Option<i64> {
        self.prices.output
    }

    /// Returns the rates for a prompt of so many tokens: a longer prompt may be dearer, as a whole.
    fn prices_at(&self, input_tokens: i64) -> Prices {
        let tier = self.tiers.iter().filter(|tier| tier.above < input_tokens).max_by_key(|tier| tier.above);
        tier.map_or(self.prices, |tier| tier.prices.or(&self.prices))
    }
}

/// Prices for prompts longer than `above` tokens.
#[derive(Debug, Deserialize)]
struct Tier {
    above: i64,
    #[serde(flatten)]
    prices: Prices,
}

/// Nano-USD per million tokens, by what the tokens are.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct Prices {
    input: Option<i64>,
    output: Option<i64>,
    cache_read: Option<i64>,
    cache_write: Option<i64>,
    cache_write_1h: Option<i64>,
    input_audio: Option<i64>,
    cache_read_audio: Option<i64>,
    output_audio: Option<i64>,
    input_image: Option<i64>,
    output_image: Option<i64>,
    output_reasoning: Option<i64>,
}

impl Prices {
    fn or(&self, base: &Self) -> Self {
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

    /// Prices a usage in nano-USD, rounded half up once, over the whole sum. `None` if it has tokens of a kind
    /// without a price, or no counts at all.
    fn amount(&self, usage: &v1::Usage) -> Option<i64> {
        if usage.input_tokens.is_none() && usage.output_tokens.is_none() {
            return None;
        }
        let total = self.input_amount(usage)?.checked_add(self.output_amount(usage)?)?;
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
fn count(tokens: Option<i64>) -> i64 {
    tokens.unwrap_or(0).max(0)
}

/// Nothing costs nothing, even where no price is known.
fn times(tokens: i64, rate: Option<i64>) -> Option<i128> {
    if tokens == 0 {
        return Some(0);
    }
    rate.map(|rate| i128::from(tokens) * i128::from(rate))
}

#[derive(Default, Deserialize)]
struct List {
    version: String,
    models: Vec<ModelFacts>,
}

#[derive(Default)]
struct Table {
    version: String,
    models: HashMap<Cow<'static, str>, HashMap<Cow<'static, str>, ModelFacts>>,
}

impl Table {
    fn parse(text: &'static str) -> Result<Self, serde_json::Error> {
        let list: List = serde_json::from_str(text)?;
        let mut models: HashMap<_, HashMap<_, _>> = HashMap::new();
        for facts in list.models {
            models.entry(facts.vendor.clone()).or_default().insert(facts.model.clone(), facts);
        }
        Ok(Self { version: list.version, models })
    }
}

static SHIPPED: LazyLock<Table> =
    LazyLock::new(|| Table::parse(EMBEDDED).expect("a test parses the catalog that is compiled in"));
static EMPTY: LazyLock<Table> = LazyLock::new(Table::default);

/// Facts and prices of models, by vendor.
pub struct Catalog(&'static LazyLock<Table>);

impl Default for Catalog {
    /// Returns a catalog that knows nothing.
    fn default() -> Self {
        Self(&EMPTY)
    }
}

impl Catalog {
    /// Returns the catalog that is compiled in. It is read in the background, so that starting does not wait.
    pub fn embedded() -> Self {
        // If there is no thread to be had, the first question reads it.
        let _ = thread::Builder::new().name("catalog".to_owned()).spawn(|| LazyLock::force(&SHIPPED));
        Self(&SHIPPED)
    }

    /// Returns the version of the price list: a date and a hash.
    pub fn version(&self) -> &str {
        &self.0.version
    }

    /// Finds the facts of a vendor's model. A dated snapshot that is not listed has those of its undated name.
    pub fn facts(&self, vendor: &str, model: &str) -> Option<&ModelFacts> {
        let models = self.0.models.get(vendor)?;
        models.get(model).or_else(|| models.get(undated(model)?))
    }

    /// Prices a usage: by the target's configured rates, else by its model, else by the model that the upstream
    /// named. `None` if no price is known, which is never the same as zero.
    pub fn cost(&self, target: &Target, model: &str, usage: &v1::Usage) -> Option<v1::Cost> {
        let (prices, version) = self.prices(target, model, usage)?;
        let amount = prices.amount(usage)?;
        let cached = usage.source() == Source::Cache;
        Some(v1::Cost {
            currency_code: "USD".to_owned(),
            amount_nanos: if cached { 0 } else { amount },
            saved_nanos: if cached { amount } else { 0 },
            price_version: version.to_owned(),
            estimated: usage.source() == Source::Estimated,
        })
    }

    fn prices(&self, target: &Target, model: &str, usage: &v1::Usage) -> Option<(Prices, &str)> {
        if let Some(rates) = target.rates {
            return Some((rates.into(), "config"));
        }
        if &*target.vendor == "echo" {
            return Some((Rates { input: 0, output: 0, cache_read: None, cache_write: None }.into(), "echo"));
        }
        let input_tokens = count(usage.input_tokens);
        [&*target.model, model]
            .into_iter()
            .filter_map(|model| self.facts(&target.vendor, model))
            .map(|facts| facts.prices_at(input_tokens))
            .find(|prices| prices.input.is_some() || prices.output.is_some())
            .map(|prices| (prices, self.version()))
    }
}

/// Tells whether a vendor's model answers by OpenAI's Responses API only, as the shipped catalog knows.
pub fn is_responses_only(vendor: &str, model: &str) -> bool {
    Catalog(&SHIPPED).facts(vendor, model).and_then(|facts| facts.api.as_deref()) == Some("responses")
}

/// Cuts the date off a snapshot's name (`gpt-4o-2024-08-06`, `claude-x-20250929`, `claude-x@20250929`).
fn undated(model: &str) -> Option<&str> {
    let at = model.rfind(|letter: char| !letter.is_ascii_digit() && letter != '-')?;
    let (name, rest) = model.split_at_checked(at + 1)?;
    let compact = |text: &str| text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_digit());
    if let Some(name) = name.strip_suffix('@') {
        return compact(rest).then_some(name);
    }
    // The date may follow other numbers: `claude-sonnet-4-5-20250929`.
    for length in [10, 8] {
        let Some((head, date)) = rest.len().checked_sub(length).and_then(|cut| rest.split_at_checked(cut))
        else {
            continue;
        };
        let bytes = date.as_bytes();
        let dashed = length == 10 && bytes[4] == b'-' && bytes[7] == b'-' && compact(&date.replace('-', ""));
        if (dashed || compact(date)) && head.ends_with('-') {
            return model.get(..model.len() - length - 1).filter(|name| !name.is_empty());
        }
    }
    None
}

#[cfg(test)]
mod tests;
