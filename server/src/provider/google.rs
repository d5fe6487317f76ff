//! Google Cloud's credentials: where they come from, and the access tokens that are made of them.

mod source;
mod token;

use std::sync::Arc;

use ::http::{HeaderValue, Request, header::AUTHORIZATION};
use futures_util::future::BoxFuture;
use secrecy::ExposeSecret as _;

use self::{source::Source, token::Tokens};
use super::{
    Error, Settings,
    credential::{Credential, Sign},
    http::Pieces,
};

const GLOBAL: &str = "global";
/// What an operator is told who has named no project.
pub const NO_PROJECT: &str =
    "`project` is missing, and the credentials name none: set it to the Google Cloud project";

/// Makes the credential of a provider: its `credentials`, else what `GOOGLE_APPLICATION_CREDENTIALS` names, else what
/// `gcloud` left, else the metadata server of the machine. Sends nothing.
///
/// # Errors
/// A message for operators.
pub fn credential(settings: &Settings) -> Result<Credential, String> {
    let source = Source::find(settings)?;
    let tokens = Tokens::new(source::Exchange::new(source, settings.connect_timeout)?);
    Ok(Credential::Signed(Arc::new(Bearer(tokens))))
}

/// Returns the project of a provider: the configured one, else that of its credentials.
///
/// # Errors
/// A message for operators.
pub fn project(settings: &Settings) -> Result<Option<String>, String> {
    if let Some(project) = &settings.cloud.project {
        return path_part(project, "project").map(Some);
    }
    if settings.api_key.is_some() {
        return Ok(None);
    }
    let told = Source::find(settings)?.project().map(str::to_owned);
    told.map(|project| path_part(&project, "project")).transpose()
}

/// Returns the location of a provider, `global` if none is configured.
///
/// # Errors
/// A message for operators.
pub fn region(settings: &Settings) -> Result<String, String> {
    path_part(settings.cloud.region.as_deref().unwrap_or(GLOBAL), "region")
}

/// Returns the base URL of Vertex in a location.
pub fn vertex_host(region: &str) -> String {
    match region {
        GLOBAL => "https://aiplatform.googleapis.com".to_owned(),
        // Multi-regions have hosts of their own form.
        "us" | "eu" => format!("https://aiplatform.{region}.rep.googleapis.com"),
        region => format!("https://{region}-aiplatform.googleapis.com"),
    }
}

/// Checks what will stand in a host or a path. Projects of old domains have a colon in their name.
fn path_part(text: &str, key: &str) -> Result<String, String> {
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ':');
    let good = text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(known);
    if good { Ok(text.to_owned()) } else { Err(format!("`{key}` is no name that Google Cloud knows")) }
}

/// Puts an access token on each request.
struct Bearer(Tokens<source::Exchange>);

impl Sign for Bearer {
    fn sign<'a>(&'a self, request: &'a mut Request<Pieces>) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let token = self.0.get().await?;
            let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose_secret()))
                .map_err(|_| source::bad_token())?;
            value.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, value);
            if let Some(project) = self.0.fetch().quota_project() {
                request.headers_mut().insert("x-goog-user-project", project.clone());
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests;
