//! Where Claude is served: at Anthropic's own kind of API, or at Google's Vertex, which has the model in the path.

use std::sync::Arc;

use ::http::{HeaderName, Uri};

use super::{Claude, FAMILY, request::Form};
use crate::provider::{
    Error, Kind, Provider, Settings,
    credential::Credential,
    google,
    registry::{self, Dialect, Environment},
    upstream::{Upstream, endpoint, path_segment},
};

const ANTHROPIC: &str = "https://api.anthropic.com";
pub(super) const ON_VERTEX: &str = "vertex-anthropic";
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// What callers' SDKs read of the upstream's head and that is safe to forward: nothing. The limits and the organization
/// that Anthropic tells are the gateway's own.
const FORWARDED: &[&str] = &[];

/// Anthropic itself, and whoever serves its API under another root, such as Azure.
pub const OWN: Dialect = Dialect {
    name: FAMILY,
    vendor: FAMILY,
    keys: &[],
    build: build_own,
    from_environment: own_from_environment,
};

/// Claude on Google's Vertex.
pub const VERTEX: Dialect = Dialect {
    name: ON_VERTEX,
    vendor: "vertex",
    keys: &["project", "region", "credentials"],
    build: build_vertex,
    from_environment: vertex_from_environment,
};

/// The addresses of one provider.
#[derive(Debug)]
pub(super) enum Place {
    Own {
        root: Uri,
        messages: Uri,
        count: Uri,
    },
    /// The list of Anthropic's models in a project and region.
    Vertex {
        root: Uri,
        models: Uri,
    },
}

impl Place {
    pub(super) fn form(&self) -> Form {
        match self {
            Self::Own { .. } => Form::Own,
            Self::Vertex { .. } => Form::Vertex,
        }
    }

    /// Returns the root of the host, below which a caller's own path begins with the version.
    pub(super) fn root(&self) -> &Uri {
        match self {
            Self::Own { root, .. } | Self::Vertex { root, .. } => root,
        }
    }

    /// Returns where that model answers.
    ///
    /// # Errors
    /// `Invalid` if the model's name cannot stand in a URL.
    pub(super) fn messages(&self, model: &str, streamed: bool) -> Result<Uri, Error> {
        match self {
            Self::Own { messages, .. } => Ok(messages.clone()),
            Self::Vertex { models, .. } => {
                let method = if streamed { "streamRawPredict" } else { "rawPredict" };
                method_of(models, &path_segment(model)?, method)
            }
        }
    }

    /// Returns where tokens are counted.
    ///
    /// # Errors
    /// As `messages`.
    pub(super) fn count(&self) -> Result<Uri, Error> {
        match self {
            Self::Own { count, .. } => Ok(count.clone()),
            Self::Vertex { models, .. } => method_of(models, "count-tokens", "rawPredict"),
        }
    }
}

fn method_of(models: &Uri, model: &str, method: &str) -> Result<Uri, Error> {
    endpoint(models, &format!("{model}:{method}")).map_err(|message| Error::new(Kind::Invalid, message))
}

/// Returns what is above the version, with which a base URL may end or not.
fn root(base: &Uri) -> Result<Uri, String> {
    let text = base.to_string();
    let root = text.trim_end_matches('/').trim_end_matches("/v1");
    root.parse().map_err(|error| format!("`base_url` is no URL: {error}"))
}

fn build_own(settings: &Settings) -> Result<Arc<dyn Provider>, String> {
    let (base, http) = registry::connect(settings, ANTHROPIC)?;
    let credential = Credential::header(API_KEY, "", settings.api_key.as_ref())?;
    let root = root(&base)?;
    let (messages, count) = (endpoint(&root, "v1/messages")?, endpoint(&root, "v1/messages/count_tokens")?);
    let upstream = Upstream::new(http, credential, FORWARDED);
    Ok(Arc::new(Claude { upstream, place: Place::Own { root, messages, count } }))
}

fn build_vertex(settings: &Settings) -> Result<Arc<dyn Provider>, String> {
    let region = google::region(settings)?;
    let (base, http) = registry::connect(settings, &google::vertex_host(&region))?;
    let root = root(&base)?;
    let project = google::project(settings)?.ok_or(google::NO_PROJECT)?;
    let credential = match &settings.api_key {
        Some(token) => Credential::bearer(Some(token))?,
        None => google::credential(settings)?,
    };
    let path = format!("v1/projects/{project}/locations/{region}/publishers/{FAMILY}/models");
    let upstream = Upstream::new(http, credential, FORWARDED);
    Ok(Arc::new(Claude { upstream, place: Place::Vertex { models: endpoint(&root, &path)?, root } }))
}

/// Finds the key that Anthropic's SDK would use.
fn own_from_environment(get: &Environment<'_>) -> Option<Settings> {
    let key = get("ANTHROPIC_API_KEY")?;
    Some(Settings {
        name: FAMILY.to_owned(),
        dialect: FAMILY.to_owned(),
        base_url: get("ANTHROPIC_BASE_URL"),
        api_key: Some(key.into()),
        ..Settings::default()
    })
}

/// Finds the project and location that Anthropic's SDK for Vertex would use.
fn vertex_from_environment(get: &Environment<'_>) -> Option<Settings> {
    let (project, region) = (get("ANTHROPIC_VERTEX_PROJECT_ID")?, get("CLOUD_ML_REGION")?);
    let mut settings = Settings {
        name: ON_VERTEX.to_owned(),
        dialect: ON_VERTEX.to_owned(),
        base_url: get("ANTHROPIC_VERTEX_BASE_URL"),
        ..Settings::default()
    };
    settings.cloud.project = Some(project);
    settings.cloud.region = Some(region);
    settings.cloud.credentials = get("GOOGLE_APPLICATION_CREDENTIALS").map(Into::into);
    Some(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_version_at_the_end_of_a_base_url_is_tolerated() {
        for (base, url) in [
            ("https://api.anthropic.com", "https://api.anthropic.com/v1/messages"),
            ("https://api.anthropic.com/v1", "https://api.anthropic.com/v1/messages"),
            (
                "https://x.services.ai.azure.com/anthropic",
                "https://x.services.ai.azure.com/anthropic/v1/messages",
            ),
            ("http://127.0.0.1:9/__id/v1/", "http://127.0.0.1:9/__id/v1/messages"),
        ] {
            let root = root(&base.parse().unwrap()).unwrap();
            assert_eq!(endpoint(&root, "v1/messages").unwrap(), url);
        }
    }

    #[test]
    fn an_vertex_form_has_the_model_in_the_path() {
        let models = "https://h/v1/projects/p/locations/r/publishers/anthropic/models".parse().unwrap();
        let place = Place::Vertex { root: Uri::from_static("https://h"), models };
        let base = "https://h/v1/projects/p/locations/r/publishers/anthropic/models";
        let model = "claude-haiku-4-5@20251001";
        assert_eq!(place.messages(model, false).unwrap().to_string(), format!("{base}/{model}:rawPredict"));
        assert_eq!(
            place.messages(model, true).unwrap().to_string(),
            format!("{base}/{model}:streamRawPredict")
        );
        assert_eq!(place.count().unwrap().to_string(), format!("{base}/count-tokens:rawPredict"));
        assert_eq!(place.messages("..", true).unwrap_err().kind, Kind::Invalid);
    }

    #[test]
    fn the_environment_of_anthropics_sdk_makes_providers() {
        let get = |name: &str| match name {
            "ANTHROPIC_API_KEY" => Some("k".to_owned()),
            "ANTHROPIC_VERTEX_PROJECT_ID" => Some("p".to_owned()),
            "CLOUD_ML_REGION" => Some("global".to_owned()),
            _ => None,
        };
        assert_eq!(own_from_environment(&get).unwrap().name, "anthropic");
        assert_eq!(vertex_from_environment(&get).unwrap().cloud.region.as_deref(), Some("global"));
        assert!(own_from_environment(&|_| None).is_none() && vertex_from_environment(&|_| None).is_none());
    }
}
