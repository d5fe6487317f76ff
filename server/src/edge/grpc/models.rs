//! `ModelService`: the names that a caller may ask for, and what is known of the models behind them.

use tollgate_api::v1::{self, model_service_server::ModelService};
use tonic::{Request, Response, Status};

use super::{Services, access, status::to_status};
use crate::{
    auth,
    call::{Caller, Target},
    error::Error,
    meter::ModelFacts,
    pipeline::Pipeline,
};

/// Models of a page if the caller does not say, and the most it may ask for.
const PAGE: (usize, usize) = (100, 1000);

#[tonic::async_trait]
impl ModelService for Services {
    async fn list_models(
        &self,
        request: Request<v1::ListModelsRequest>,
    ) -> Result<Response<v1::ListModelsResponse>, Status> {
        let caller = access::caller(request.extensions())?;
        let listed = list(&self.edge.pipeline, &caller, request.get_ref());
        listed.map(Response::new).map_err(|error| to_status(&error))
    }

    async fn get_model(
        &self,
        request: Request<v1::GetModelRequest>,
    ) -> Result<Response<v1::GetModelResponse>, Status> {
        let caller = access::caller(request.extensions())?;
        let found = get(&self.edge.pipeline, &caller, &request.get_ref().name);
        found
            .map(|model| Response::new(v1::GetModelResponse { model: Some(model) }))
            .map_err(|e| to_status(&e))
    }
}

fn list(
    pipeline: &Pipeline,
    caller: &Caller,
    request: &v1::ListModelsRequest,
) -> Result<v1::ListModelsResponse, Error> {
    let size = match usize::try_from(request.page_size) {
        Err(_) => return Err(Error::invalid("page_size", "page_size must not be negative")),
        Ok(0) => PAGE.0,
        Ok(size) => size.min(PAGE.1),
    };
    let mut names: Vec<&str> = pipeline.routes.names().filter(|name| caller.may_call(name)).collect();
    names.sort_unstable();
    // The token is the last name of the page before, so that a reload between two pages loses nothing.
    let after = names.partition_point(|name| *name <= request.page_token.as_str());
    let from = if request.page_token.is_empty() { 0 } else { after };
    let mut models = names[from..]
        .iter()
        .map(|name| describe(pipeline, name))
        .filter(|model| is_able(model, &request.operation));
    let page: Vec<v1::Model> = models.by_ref().take(size).collect();
    let more = models.next().is_some();
    let next_page_token = page.last().filter(|_| more).map_or_else(String::new, |model| model.name.clone());
    Ok(v1::ListModelsResponse { models: page, next_page_token })
}

fn get(pipeline: &Pipeline, caller: &Caller, name: &str) -> Result<v1::Model, Error> {
    if name.is_empty() {
        return Err(Error::invalid("name", "name is required"));
    }
    auth::permit_model(caller, name)?;
    pipeline.routes.targets(name)?;
    Ok(describe(pipeline, name))
}

/// Tells what is known of a name. Where it stands for several targets, it promises what all of them can do.
fn describe(pipeline: &Pipeline, name: &str) -> v1::Model {
    let catalog = pipeline.meter.catalog();
    let unknown = v1::Model { name: name.to_owned(), ..Default::default() };
    let Ok(targets) = pipeline.routes.targets(name) else { return unknown };
    let mut known: Option<v1::Model> = None;
    for candidate in &targets {
        let target = &candidate.target;
        let Some(facts) = catalog.facts(&target.vendor, &target.model) else { return unknown };
        let one = of_facts(name, target, facts);
        known = Some(match known {
            None => one,
            Some(model) => common(model, &one),
        });
    }
    known.unwrap_or(unknown)
}

fn of_facts(name: &str, target: &Target, facts: &ModelFacts) -> v1::Model {
    let own = target.rates.map(|rates| (Some(rates.input), Some(rates.output)));
    let (input, output) = own.unwrap_or_else(|| (facts.input_rate(), facts.output_rate()));
    let price = |(unit, rate): (&str, Option<i64>)| {
        let nanos_per_million = rate?;
        Some(v1::Price { unit: unit.to_owned(), currency_code: "USD".to_owned(), nanos_per_million })
    };
    v1::Model {
        name: name.to_owned(),
        operations: vec![facts.operation.to_string()],
        input_modalities: facts.input_modalities.iter().map(ToString::to_string).collect(),
        output_modalities: facts.output_modalities.iter().map(ToString::to_string).collect(),
        context_tokens: facts.context_tokens.unwrap_or(0),
        max_output_tokens: facts.max_output_tokens.unwrap_or(0),
        capabilities: facts.capabilities.iter().map(ToString::to_string).collect(),
        prices: [("input_tokens", input), ("output_tokens", output)].into_iter().filter_map(price).collect(),
        owned_by: target.vendor.to_string(),
        ..Default::default()
    }
}

/// Returns what two targets of one name have in common, at the dearer price.
fn common(mut model: v1::Model, other: &v1::Model) -> v1::Model {
    model.operations.retain(|word| other.operations.contains(word));
    model.input_modalities.retain(|word| other.input_modalities.contains(word));
    model.output_modalities.retain(|word| other.output_modalities.contains(word));
    model.capabilities.retain(|word| other.capabilities.contains(word));
    model.context_tokens = model.context_tokens.min(other.context_tokens);
    model.max_output_tokens = model.max_output_tokens.min(other.max_output_tokens);
    if model.owned_by != other.owned_by {
        model.owned_by.clear();
    }
    for price in &mut model.prices {
        let dearer = other.prices.iter().find(|one| one.unit == price.unit).map(|one| one.nanos_per_million);
        price.nanos_per_million = price.nanos_per_million.max(dearer.unwrap_or(0));
    }
    let no_price = model.prices.is_empty() || other.prices.is_empty();
    if no_price {
        // One target without a known price: a sum of the others would promise too much.
        model.prices.clear();
    }
    model
}

/// Tells whether a model can do this, as far as that is known.
fn is_able(model: &v1::Model, operation: &str) -> bool {
    operation.is_empty() || model.operations.is_empty() || model.operations.iter().any(|one| one == operation)
}
