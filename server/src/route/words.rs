//! What the hints of a caller may name: a word that nothing in the configuration has is a slip of the pen, and one that
//! was let pass would leave nothing out.

use std::collections::{BTreeMap, BTreeSet};

use tollgate_api::v1::RouteHints;

use super::{LeadsTo, entry::Line};
use crate::{call::glob_matches, config, error::Error};

/// The words of a configuration.
#[derive(Clone, Debug, Default)]
pub(super) struct Words {
    providers: BTreeSet<String>,
    /// With and without the credential; `*` stands for any model.
    targets: BTreeSet<String>,
    regions: BTreeSet<String>,
    labels: BTreeMap<String, BTreeSet<String>>,
}

impl Words {
    /// Adds a provider, which need not be that of any target.
    pub(super) fn add_provider(&mut self, name: &str) {
        self.providers.insert(name.to_owned());
    }

    /// Adds what a line of an alias says.
    pub(super) fn add(&mut self, line: &Line) {
        if let LeadsTo::Model { credentials, model } = &line.target.leads_to {
            for provider in credentials {
                self.add_provider(&provider.name);
                self.targets.insert(format!("{}/{model}", provider.name));
                if !provider.credential.is_empty() {
                    self.targets.insert(format!("{}:{}/{model}", provider.name, provider.credential));
                }
            }
        }
        self.regions.extend(Some(&line.target.region).filter(|region| !region.is_empty()).cloned());
        for (label, value) in &line.target.labels {
            self.labels.entry(label.clone()).or_default().insert(value.clone());
        }
    }

    /// Checks what hints name; fallback models aside, which are looked up where they are used.
    ///
    /// # Errors
    /// `INVALID_REQUEST` with the path of the first word that nothing has, and the nearest that there is.
    pub(super) fn check(&self, hints: &RouteHints) -> Result<(), Error> {
        for (field, what, named, known) in [
            ("allowed_providers", "provider", &hints.allowed_providers, &self.providers),
            ("denied_providers", "provider", &hints.denied_providers, &self.providers),
            ("regions", "region", &hints.regions, &self.regions),
        ] {
            for (index, word) in named.iter().enumerate() {
                is_known(&format!("{field}[{index}]"), what, word, known)?;
            }
        }
        let is_target = |known: &String| glob_matches(known.as_bytes(), hints.target.as_bytes());
        if !hints.target.is_empty() && !self.targets.iter().any(is_target) {
            return Err(unknown("target", "target", &hints.target, &self.targets));
        }
        let names: BTreeSet<String> = self.labels.keys().cloned().collect();
        for (label, value) in &hints.labels {
            is_known("labels", "label", label, &names)?;
            is_known(
                "labels",
                &format!("value of the label `{}`", shown(label)),
                value,
                &self.labels[label],
            )?;
        }
        Ok(())
    }
}

fn is_known(field: &str, what: &str, word: &str, known: &BTreeSet<String>) -> Result<(), Error> {
    if known.contains(word) { Ok(()) } else { Err(unknown(field, what, word, known)) }
}

fn unknown(field: &str, what: &str, word: &str, known: &BTreeSet<String>) -> Error {
    let path = format!("options.route.{field}");
    let message = format!("{path}: there is no {what} `{}` here", shown(word));
    Error::invalid(path, config::with_suggestion(message, word, known.iter().map(String::as_str)))
}

fn shown(word: &str) -> String {
    word.chars().take(100).collect()
}
