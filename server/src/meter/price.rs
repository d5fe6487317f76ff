//! Prices and facts of models, and what a usage costs: exact integers, never a guess.

mod names;
pub(crate) use names::undated;
mod rates;

use std::{borrow::Cow, collections::HashMap, sync::LazyLock, thread};

use serde::Deserialize;
use tollgate_api::v1::{self, usage::Source};

use self::rates::{Prices, count, units};
use crate::call::{Need, Needs, PROVIDERS_OWN_PRICE, Target};

/// The catalog of `data/build_catalog.py`. It has no escaped strings, so that rows borrow from it.
const EMBEDDED: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../data/catalog.json"));

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
    /// What is billed beside tokens, in nano-USD for one.
    #[serde(default)]
    units: HashMap<Cow<'static, str>, i64>,
}

impl ModelFacts {
    /// Returns what the model can take and do, as far as calls may need it. A model of which nothing is said can do all:
    /// that the catalog is silent is no reason to pass it over.
    pub fn needs(&self) -> Needs {
        let can = |need: Need| match need {
            _ if self.capabilities.is_empty() => true,
            Need::Vision => self.takes("image"),
            Need::Audio => self.takes("audio") || self.output_modalities.iter().any(|word| word == "audio"),
            Need::Documents => self.takes("document"),
            Need::Tools | Need::JsonSchema | Need::Reasoning => {
                self.capabilities.iter().any(|word| word == need.as_str())
            }
        };
        Need::ALL.into_iter().filter(|need| can(*need)).collect()
    }

    fn takes(&self, modality: &str) -> bool {
        self.input_modalities.iter().any(|word| word == modality)
    }

    /// Returns the price of an input token in nano-USD per million, for short prompts; absent if unknown.
    pub fn input_rate(&self) -> Option<i64> {
        self.prices.input
    }

    /// Returns the price of an output token in nano-USD per million, for short prompts; absent if unknown.
    pub fn output_rate(&self) -> Option<i64> {
        self.prices.output
    }

    /// Returns the rates for a prompt of so many tokens by a service tier: a longer prompt may be dearer, as a whole.
    /// Where a tier says nothing of long prompts, they cost what they do by the standard one, which is never less.
    fn prices_at(&self, input_tokens: i64, service: &str) -> Prices {
        let best = |service: &str, long: bool| {
            let fits = |tier: &&Tier| {
                tier.service == service && tier.above < input_tokens.max(1) && (tier.above > 0) == long
            };
            self.tiers.iter().filter(fits).max_by_key(|tier| tier.above).map(|tier| tier.prices)
        };
        let standard = [best("", true), Some(self.prices)];
        let own = if service.is_empty() { None } else { best(service, false) };
        let own_long = if service.is_empty() { None } else { best(service, true) };
        let order = [own_long, standard[0], own, standard[1]];
        order.into_iter().flatten().reduce(|wins, next| wins.or(&next)).unwrap_or_default()
    }
}

/// Prices for prompts longer than `above` tokens, or for another service tier.
#[derive(Debug, Deserialize)]
struct Tier {
    above: i64,
    #[serde(default)]
    service: Cow<'static, str>,
    #[serde(flatten)]
    prices: Prices,
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

    /// Finds the facts of a vendor's model. What is not listed by its name has those of the model that it is a dated
    /// snapshot, a regional profile or another form of.
    pub fn facts(&self, vendor: &str, model: &str) -> Option<&ModelFacts> {
        let models = self.0.models.get(vendor)?;
        names::candidates(vendor, model).find_map(|name| models.get(name))
    }

    /// Prices a usage: by the target's configured rates, else as the provider itself has priced it, else by its model,
    /// else by the model that the upstream named. `None` if no price is known, which is never the same as zero.
    pub fn cost(&self, target: &Target, model: &str, usage: &v1::Usage) -> Option<v1::Cost> {
        if let (None, Some(told)) = (target.rates, &usage.cost) {
            return Some(told.clone());
        }
        let (amount, version) = self.amount(target, model, usage, |prices| prices)?;
        let cached = usage.source() == Source::Cache;
        Some(v1::Cost {
            currency_code: "USD".to_owned(),
            amount_nanos: if cached { 0 } else { amount },
            saved_nanos: if cached { amount } else { 0 },
            price_version: version.to_owned(),
            estimated: usage.source() == Source::Estimated,
        })
    }

    /// Returns the most in nano-USD that so many tokens may cost by the standard tier, whatever they turn out to be:
    /// words, sound or images, written to a cache or not. `None` if no price is known.
    pub fn at_most(&self, target: &Target, usage: &v1::Usage) -> Option<i64> {
        self.amount(target, "", usage, Prices::dearest).map(|(amount, _)| amount)
    }

    /// Tells whether something that the provider bills beside tokens has no known price.
    pub fn is_partly_unpriced(&self, target: &Target, model: &str, usage: &v1::Usage) -> bool {
        let told = usage.cost.as_ref().is_some_and(|cost| cost.price_version == PROVIDERS_OWN_PRICE);
        let none = HashMap::new();
        let rates = self.row(target, model).map_or(&none, |facts| &facts.units);
        !told && units(rates, usage).unpriced > 0
    }

    /// Returns the sum in nano-USD, and the price list it is by.
    fn amount(
        &self,
        target: &Target,
        model: &str,
        usage: &v1::Usage,
        by: fn(Prices) -> Prices,
    ) -> Option<(i64, &str)> {
        if let Some(rates) = target.rates {
            return Some((by(Prices::from(rates)).amount(usage)?, "config"));
        }
        if &*target.vendor == "echo" {
            return Some((0, "echo"));
        }
        let facts = self.row(target, model)?;
        let beside = units(&facts.units, usage);
        let tokens = by(facts.prices_at(count(usage.input_tokens), &usage.service_tier)).amount(usage);
        // Where all that is billed comes by the piece, there may be no tokens at all, or none with a price.
        let by_the_piece = facts.prices.input.is_none() && facts.prices.output.is_none()
            || usage.input_tokens.is_none() && usage.output_tokens.is_none();
        let all_known = by_the_piece && beside.priced > 0 && beside.unpriced == 0;
        let tokens = tokens.or(all_known.then_some(0))?;
        Some((tokens.saturating_add(beside.amount), self.version()))
    }

    /// Finds the row by which a target is priced.
    fn row(&self, target: &Target, model: &str) -> Option<&ModelFacts> {
        let priced = |facts: &&ModelFacts| {
            facts.prices.input.is_some() || facts.prices.output.is_some() || !facts.units.is_empty()
        };
        [&*target.model, model].into_iter().filter_map(|model| self.facts(&target.vendor, model)).find(priced)
    }
}

/// Tells whether a vendor's model answers by OpenAI's Responses API only, as the shipped catalog knows.
pub fn is_responses_only(vendor: &str, model: &str) -> bool {
    Catalog(&SHIPPED).facts(vendor, model).and_then(|facts| facts.api.as_deref()) == Some("responses")
}

#[cfg(test)]
mod tests;
