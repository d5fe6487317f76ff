//! Alerts: that they are about something and go somewhere.

use http::Uri;
use secrecy::ExposeSecret as _;

use super::{
    Checker,
    Step::{Item, Name},
};
use crate::config::{Alert, Deviation};

const WORDS: [&str; 6] = ["team", "model", "key", "provider", "target", "surface"];

impl Checker<'_> {
    pub(super) fn alerts(&mut self, alerts: &[Alert]) {
        for (number, alert) in alerts.iter().enumerate() {
            let at = |field| [Name("alerts"), Item(number), Name(field)];
            let url = alert.webhook.filled().map_or("", |url| url.expose_secret());
            // The address may hold a secret: it is never shown.
            self.require(
                is_url(url),
                &at("webhook"),
                "must be an address with `http://` or `https://` and a host",
            );
            let is_about_something =
                alert.budget.is_some() || alert.forecast || alert.soft_limits || alert.deviation.is_some();
            let about = "tells nothing; set `budget`, `forecast`, `soft_limits` or `deviation`";
            self.require(is_about_something, &at("webhook"), about);
            self.require(
                alert.budget.is_none_or(|share| share.0 > 0),
                &at("budget"),
                "must be more than nothing",
            );
            if let Some(deviation) = &alert.deviation {
                self.deviation(number, deviation);
            }
        }
    }

    fn deviation(&mut self, number: usize, deviation: &Deviation) {
        let at = |field| [Name("alerts"), Item(number), Name("deviation"), Name(field)];
        let known = |word: &String| {
            WORDS.contains(&&**word) || word.strip_prefix("tag:").is_some_and(crate::call::is_tag_name)
        };
        let words = "must be words of team, model, key, provider, target, surface, tag:<name>, at least one";
        self.require(!deviation.by.is_empty() && deviation.by.iter().all(known), &at("by"), words);
        self.require(deviation.factor > 0, &at("factor"), "must be at least 1");
        self.require((1..=52).contains(&deviation.weeks), &at("weeks"), "must lie between 1 and 52");
    }
}

fn is_url(url: &str) -> bool {
    let uri = url.parse::<Uri>().ok();
    uri.is_some_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some())
}
