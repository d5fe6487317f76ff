//! Usage in Anthropic's counting, in which input excludes what was read from the cache or written to it.

use serde::Serialize;
use tollgate_api::v1;

#[derive(Serialize)]
pub(super) struct Usage<'a> {
    input_tokens: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_creation_input_tokens: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_read_input_tokens: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_creation: Option<CacheCreation>,
    output_tokens: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_tokens_details: Option<OutputDetails>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_tool_use: Option<ServerTools>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<&'a str>,
}

#[derive(Serialize)]
struct CacheCreation {
    ephemeral_5m_input_tokens: i64,
    ephemeral_1h_input_tokens: i64,
}

#[derive(Serialize)]
struct OutputDetails {
    thinking_tokens: i64,
}

#[derive(Serialize)]
struct ServerTools {
    web_search_requests: i64,
    web_fetch_requests: i64,
}

impl Usage<'static> {
    /// Shows what is known before the answer: the input, by an estimate if nobody has told it.
    pub(super) fn at_start(told: Option<&v1::Usage>, estimated_input_tokens: u32) -> Self {
        match told {
            Some(told) if told.input_tokens.is_some() => Self::of(told),
            _ => Self::of(&v1::Usage {
                input_tokens: Some(estimated_input_tokens.into()),
                ..Default::default()
            }),
        }
    }

    /// Shows a usage of the contract, whose input is inclusive.
    pub(super) fn of(usage: &v1::Usage) -> Self {
        let cached = usage.cache_read_input_tokens.unwrap_or(0).max(0)
            + usage.cache_write_input_tokens.unwrap_or(0).max(0);
        let written = |ttl: &str| usage.cache_write_by_ttl.get(ttl).copied();
        let by_ttl = (written("5m"), written("1h"));
        let units = |name: &str| usage.billable_units.get(name).copied();
        let tools = (units("web_search_requests"), units("web_fetch_requests"));
        Self {
            input_tokens: usage.input_tokens.unwrap_or(0).saturating_sub(cached).max(0),
            cache_creation_input_tokens: usage.cache_write_input_tokens,
            // Some vendors tell more cached tokens than there were; here the parts are added up by the caller.
            cache_read_input_tokens: usage
                .cache_read_input_tokens
                .map(|read| usage.input_tokens.map_or(read, |input| read.min(input))),
            cache_creation: (by_ttl != (None, None)).then(|| CacheCreation {
                ephemeral_5m_input_tokens: by_ttl.0.unwrap_or(0),
                ephemeral_1h_input_tokens: by_ttl.1.unwrap_or(0),
            }),
            output_tokens: usage.output_tokens.unwrap_or(0),
            output_tokens_details: usage
                .reasoning_output_tokens
                .map(|thinking_tokens| OutputDetails { thinking_tokens }),
            server_tool_use: (tools != (None, None)).then(|| ServerTools {
                web_search_requests: tools.0.unwrap_or(0),
                web_fetch_requests: tools.1.unwrap_or(0),
            }),
            service_tier: None,
        }
    }
}

impl<'a> Usage<'a> {
    /// Adds the class of service, where it is one that this dialect has a word for.
    pub(super) fn served_as(self, tier: &'a str) -> Self {
        let service_tier = match tier {
            "default" => Some("standard"),
            "standard" | "priority" | "batch" => Some(tier),
            _ => None,
        };
        Self { service_tier, ..self }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cached_tokens_are_taken_out_of_the_input_and_shown_beside_it() {
        let usage = v1::Usage {
            input_tokens: Some(100),
            output_tokens: Some(9),
            cache_read_input_tokens: Some(70),
            cache_write_input_tokens: Some(20),
            reasoning_output_tokens: Some(4),
            cache_write_by_ttl: [("5m".to_owned(), 15), ("1h".to_owned(), 5)].into(),
            billable_units: [("web_search_requests".to_owned(), 2)].into(),
            ..Default::default()
        };
        let shown = serde_json::to_value(Usage::of(&usage).served_as("default")).unwrap();
        assert_eq!(
            shown,
            json!({"input_tokens": 10, "cache_creation_input_tokens": 20, "cache_read_input_tokens": 70,
                "cache_creation": {"ephemeral_5m_input_tokens": 15, "ephemeral_1h_input_tokens": 5},
                "output_tokens": 9, "output_tokens_details": {"thinking_tokens": 4},
                "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 0},
                "service_tier": "standard"})
        );
    }

    #[test]
    fn what_is_not_known_is_left_out_and_nothing_falls_below_zero() {
        let usage =
            v1::Usage { input_tokens: Some(1), cache_read_input_tokens: Some(5), ..Default::default() };
        let shown = serde_json::to_value(Usage::of(&usage)).unwrap();
        assert_eq!(shown, json!({"input_tokens": 0, "cache_read_input_tokens": 1, "output_tokens": 0}));
    }

    #[test]
    fn before_the_answer_the_input_is_what_was_told_or_an_estimate() {
        let told = v1::Usage { input_tokens: Some(7), ..Default::default() };
        assert_eq!(Usage::at_start(Some(&told), 99).input_tokens, 7);
        assert_eq!(Usage::at_start(None, 99).input_tokens, 99);
    }
}
