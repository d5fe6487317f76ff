//! Where a model of Google's is: AI Studio's URLs, or Vertex's with a project and a location.

use std::sync::Arc;

use ::http::{HeaderName, Uri};
use secrecy::ExposeSecret as _;

use super::Gemini;
use crate::provider::{
    Error, Kind, Provider, Settings,
    credential::Credential,
    google,
    registry::{self, Environment},
    upstream::{Upstream, endpoint, path_segment},
};

const STUDIO: &str = "https://generativelanguage.googleapis.com";
const STUDIO_VERSION: &str = "v1beta";
const VERTEX_VERSION: &str = "v1";
const API_KEY: HeaderName = HeaderName::from_static("x-goog-api-key");

/// Which of the two APIs it is: they differ in what stands around the same answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Api {
    /// The Gemini API, with a key.
    Studio,
    /// Vertex AI, with a Google Cloud credential.
    Vertex,
}

/// One provider's URLs.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) api: Api,
    base: Uri,
    /// What stands between the base and a model, the version first.
    parent: String,
}

impl Place {
    fn new(api: Api, base: &Uri, version: &str, parent: &str) -> Result<Self, String> {
        let (base, told) = split_version(base)?;
        let version = told.as_deref().unwrap_or(version);
        Ok(Self { api, base, parent: format!("{version}{parent}") })
    }

    /// Returns the root of the host, below which a caller's own path begins with the version.
    pub(super) fn root(&self) -> &Uri {
        &self.base
    }

    /// Returns the URL of a method of a model.
    ///
    /// # Errors
    /// `Invalid` if the model's name cannot stand in a URL.
    pub(super) fn method(&self, model: &str, method: &str) -> Result<Uri, Error> {
        let resource = self.resource(model)?;
        endpoint(&self.base, &format!("{}/{resource}:{method}", self.parent))
            .map_err(|message| Error::new(Kind::Invalid, message))
    }

    /// Names a model as bodies do: `models/…`.
    pub(super) fn resource(&self, model: &str) -> Result<String, Error> {
        let (collection, name) = match self.api {
            Api::Studio => match model.strip_prefix("tunedModels/") {
                Some(name) => ("tunedModels", name),
                None => ("models", model.strip_prefix("models/").unwrap_or(model)),
            },
            Api::Vertex => match model.strip_prefix("endpoints/") {
                Some(name) => ("endpoints", name),
                None => ("publishers/google/models", model.strip_prefix("models/").unwrap_or(model)),
            },
        };
        Ok(format!("{collection}/{}", path_segment(name)?))
    }
}

/// Takes a trailing version segment off a base URL: the vendor's own SDK puts it there by itself.
fn split_version(base: &Uri) -> Result<(Uri, Option<String>), String> {
    let text = base.to_string();
    let text = text.trim_end_matches('/');
    let Some((rest, last)) = text.rsplit_once('/').filter(|(_, last)| is_version(last)) else {
        return Ok((base.clone(), None));
    };
    let base = rest.parse().map_err(|error| format!("`base_url` is no URL: {error}"))?;
    Ok((base, Some(last.to_owned())))
}

fn is_version(segment: &str) -> bool {
    let mut rest = segment.strip_prefix('v').unwrap_or_default().chars();
    rest.next().is_some_and(|first| first.is_ascii_digit()) && rest.all(|c| c.is_ascii_alphanumeric())
}

/// Builds the adapter of AI Studio.
///
/// # Errors
/// A message for operators.
pub fn build_studio(settings: &Settings) -> Result<Arc<dyn Provider>, String> {
    let (base, http) = registry::connect(settings, STUDIO)?;
    let credential = Credential::header(API_KEY, "", settings.api_key.as_ref())?;
    let place = Place::new(Api::Studio, &base, STUDIO_VERSION, "")?;
    Ok(Arc::new(Gemini::new(Upstream::new(http, credential, super::FORWARDED), place)))
}

/// Builds the adapter of Vertex.
///
/// # Errors
/// A message for operators.
pub fn build_vertex(settings: &Settings) -> Result<Arc<dyn Provider>, String> {
    let region = google::region(settings)?;
    let (base, http) = registry::connect(settings, &google::vertex_host(&region))?;
    let credential = match &settings.api_key {
        Some(key) if key.expose_secret().starts_with("ya29.") => Credential::bearer(Some(key))?,
        Some(key) => Credential::header(API_KEY, "", Some(key))?,
        None => google::credential(settings)?,
    };
    let parent = match google::project(settings)? {
        Some(project) => format!("/projects/{project}/locations/{region}"),
        // Express mode: the key tells the project.
        None if settings.api_key.is_some() => String::new(),
        None => return Err(google::NO_PROJECT.to_owned()),
    };
    let place = Place::new(Api::Vertex, &base, VERTEX_VERSION, &parent)?;
    Ok(Arc::new(Gemini::new(Upstream::new(http, credential, super::FORWARDED), place)))
}

/// Finds the key that Google's SDK would use.
pub fn studio_from_environment(get: &Environment<'_>) -> Option<Settings> {
    let key = get("GEMINI_API_KEY").or_else(|| get("GOOGLE_API_KEY"))?;
    Some(Settings {
        name: "gemini".to_owned(),
        dialect: "gemini".to_owned(),
        base_url: get("GOOGLE_GEMINI_BASE_URL"),
        api_key: Some(key.into()),
        ..Settings::default()
    })
}

/// Finds the project and location that Google's SDK would use; the credential is looked for when it is built.
pub fn vertex_from_environment(get: &Environment<'_>) -> Option<Settings> {
    let (project, region) = (get("GOOGLE_CLOUD_PROJECT")?, get("GOOGLE_CLOUD_LOCATION")?);
    let mut settings = Settings {
        name: "vertex".to_owned(),
        dialect: "vertex".to_owned(),
        base_url: get("GOOGLE_VERTEX_BASE_URL"),
        ..Settings::default()
    };
    settings.cloud.project = Some(project);
    settings.cloud.region = Some(region);
    settings.cloud.credentials = get("GOOGLE_APPLICATION_CREDENTIALS").map(Into::into);
    Some(settings)
}

/// Makes a place for tests.
#[cfg(test)]
pub(super) fn at(api: Api, base: &str, parent: &str) -> Place {
    let version = if api == Api::Studio { STUDIO_VERSION } else { VERTEX_VERSION };
    Place::new(api, &base.parse().unwrap(), version, parent).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(api: Api, base: &str, parent: &str, model: &str) -> String {
        let place = at(api, base, parent);
        place.method(model, "generateContent").unwrap().to_string()
    }

    #[test]
    fn models_stand_where_each_api_has_them() {
        let at = "/projects/p/locations/eu";
        for (api, base, parent, model, expected) in [
            (
                Api::Studio,
                "http://h",
                "",
                "gemini-2.5-pro",
                "http://h/v1beta/models/gemini-2.5-pro:generateContent",
            ),
            (Api::Studio, "http://h/v1/", "", "models/g", "http://h/v1/models/g:generateContent"),
            (
                Api::Studio,
                "http://h/x",
                "",
                "tunedModels/t",
                "http://h/x/v1beta/tunedModels/t:generateContent",
            ),
            (
                Api::Studio,
                "http://h",
                "",
                "a/../b?c",
                "http://h/v1beta/models/a%2F..%2Fb%3Fc:generateContent",
            ),
            (
                Api::Vertex,
                "http://h/v1beta1",
                at,
                "g",
                "http://h/v1beta1/projects/p/locations/eu/publishers/google/models/g:generateContent",
            ),
            (
                Api::Vertex,
                "http://h",
                at,
                "endpoints/12",
                "http://h/v1/projects/p/locations/eu/endpoints/12:generateContent",
            ),
            (Api::Vertex, "http://h", "", "g", "http://h/v1/publishers/google/models/g:generateContent"),
        ] {
            assert_eq!(url(api, base, parent, model), expected);
        }
    }

    #[test]
    fn the_environment_makes_providers_as_googles_sdk_does() {
        let get = |name: &str| match name {
            "GOOGLE_API_KEY" => Some("b".to_owned()),
            "GOOGLE_CLOUD_PROJECT" => Some("p".to_owned()),
            _ => None,
        };
        assert_eq!(studio_from_environment(&get).unwrap().api_key.unwrap().expose_secret(), "b");
        assert!(vertex_from_environment(&get).is_none());
        let located =
            |name: &str| if name == "GOOGLE_CLOUD_LOCATION" { Some("eu".to_owned()) } else { get(name) };
        assert_eq!(vertex_from_environment(&located).unwrap().cloud.region.as_deref(), Some("eu"));
    }
}
