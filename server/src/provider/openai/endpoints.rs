//! Where a provider of the dialect is asked: a base URL, and how the paths below it are made.

use std::borrow::Cow;

use ::http::Uri;

use crate::provider::{
    Error, Kind,
    upstream::{endpoint, path_segment},
};

/// The paths that are asked so often that their URLs are made once.
const READY: [&str; 4] = ["chat/completions", "embeddings", "responses", "completions"];

/// How the paths below a base URL are made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// What stands before the path, with a slash at its end if it is not empty.
    pub before: &'static str,
    /// `deployments/` and the model stand before the path too, but not before `responses`.
    pub by_model: bool,
    /// What stands behind the path: a query with its question mark, or nothing.
    pub query: String,
    /// Paths that the vendor names otherwise: OpenAI's, then its own.
    pub renamed: &'static [(&'static str, &'static str)],
}

/// Azure has these beside its deployments, with the model in the body.
const UNDER_NO_MODEL: &str = "responses";

/// The endpoints of one provider.
#[derive(Debug)]
pub struct Endpoints {
    base: Uri,
    layout: Layout,
    ready: Vec<(&'static str, Uri)>,
}

impl Endpoints {
    /// Makes the endpoints below a base URL.
    ///
    /// # Errors
    /// A message for operators if that makes no URLs.
    pub fn new(base: &Uri, layout: Layout) -> Result<Self, String> {
        let mut endpoints = Self { base: base.clone(), layout, ready: Vec::new() };
        for path in READY {
            if endpoints.holds_model(path) {
                continue;
            }
            let below = endpoints.path(path, "").map_err(|error| error.message)?;
            endpoints.ready.push((path, endpoint(base, &below)?));
        }
        Ok(endpoints)
    }

    /// Returns the base URL.
    pub fn base(&self) -> &Uri {
        &self.base
    }

    /// Returns the URL for one of OpenAI's paths, like `chat/completions`.
    ///
    /// # Errors
    /// `Invalid` if the model's name cannot stand in a URL and has to.
    pub fn uri(&self, path: &str, model: &str) -> Result<Cow<'_, Uri>, Error> {
        match self.ready.iter().find(|(ready, _)| *ready == path) {
            Some((_, uri)) => Ok(Cow::Borrowed(uri)),
            None => {
                let made = endpoint(&self.base, &self.path(path, model)?);
                made.map(Cow::Owned).map_err(|why| Error::new(Kind::Invalid, why))
            }
        }
    }

    /// Returns the path below the base URL.
    ///
    /// # Errors
    /// As `uri`.
    pub fn path(&self, path: &str, model: &str) -> Result<String, Error> {
        let Layout { before, query, renamed, .. } = &self.layout;
        let own = renamed.iter().find(|(openais, _)| *openais == path).map_or(path, |(_, own)| own);
        if self.holds_model(path) {
            let model = path_segment(model)?;
            return Ok(format!("{before}deployments/{model}/{own}{query}"));
        }
        Ok(format!("{before}{own}{query}"))
    }

    fn holds_model(&self, path: &str) -> bool {
        self.layout.by_model && path.split('/').next() != Some(UNDER_NO_MODEL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(layout: &Layout, path: &str, model: &str) -> String {
        let endpoints = Endpoints::new(&"https://h/v1".parse().unwrap(), layout.clone()).unwrap();
        endpoints.uri(path, model).unwrap().to_string()
    }

    #[test]
    fn paths_are_made_as_the_layout_says() {
        let plain = Layout { renamed: &[("chat/completions", "chat")], ..Layout::default() };
        assert_eq!(url(&plain, "chat/completions", "a/b"), "https://h/v1/chat");
        assert_eq!(url(&plain, "images/edits", "a/b"), "https://h/v1/images/edits");
        let deployments =
            Layout { before: "openai/", by_model: true, query: "?api-version=1".into(), renamed: &[] };
        assert_eq!(
            url(&deployments, "chat/completions", "a/b"),
            "https://h/v1/openai/deployments/a%2Fb/chat/completions?api-version=1"
        );
        assert_eq!(url(&deployments, "responses", "a/b"), "https://h/v1/openai/responses?api-version=1");
    }

    #[test]
    fn a_model_that_cannot_stand_in_a_url_is_refused_only_where_it_would() {
        let base: Uri = "https://h".parse().unwrap();
        let by_model = Layout { by_model: true, ..Layout::default() };
        let refused = Endpoints::new(&base, by_model).unwrap().uri("embeddings", "..").unwrap_err();
        assert_eq!(refused.kind, Kind::Invalid);
        assert!(Endpoints::new(&base, Layout::default()).unwrap().uri("embeddings", "..").is_ok());
    }
}
