//! `ModelService`: the names that a caller may ask for, and what is known of the models behind them.

use tollgate_api::v1::{self, model_service_server::ModelService};
use tonic::{Request, Response, Status};

use super::{Services, access, status::to_status};
use crate::{auth, call::Caller, error::Error, pipeline::Pipeline};

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
    let mut names: Vec<&str> =
        pipeline.routes.names().filter(|name| caller.allowed_models.allow(name)).collect();
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
    pipeline.routes.plan(name)?;
    Ok(describe(pipeline, name))
}

/// Tells what is known of a name. Where it stands for several targets, only what it is called is sure.
fn describe(pipeline: &Pipeline, name: &str) -> v1::Model {
    let mut model = v1::Model { name: name.to_owned(), ..Default::default() };
    let Ok(plan) = pipeline.routes.plan(name) else { return model };
    if let [only] = &plan.candidates[..] {
        model.owned_by = only.target.vendor.to_string();
    }
    model
}

/// Tells whether a model can do this, as far as that is known.
fn is_able(model: &v1::Model, operation: &str) -> bool {
    operation.is_empty() || model.operations.is_empty() || model.operations.iter().any(|one| one == operation)
}
