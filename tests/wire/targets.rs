//! The configuration of a run: one provider and one wildcard alias per dialect and family.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use tollgate_server::provider::{dialects, keys_of};

use crate::{exchange::Exchange, family::Family};

/// Registered dialects that begin the name of a recorded one without speaking OpenAI's wire.
const OTHER_WIRES: [&str; 5] = ["gemini", "vertex", "bedrock", "cohere", "anthropic"];

/// Returns the configuration, and the providers that no registered dialect can serve.
pub fn config(exchanges: &[Exchange], upstream: SocketAddr) -> (String, BTreeSet<String>) {
    let mut wanted: BTreeMap<String, (&str, Family)> = BTreeMap::new();
    for exchange in exchanges {
        if let Some(family) = exchange.family {
            wanted.insert(exchange.provider(), (&exchange.dialect, family));
        }
    }
    let (mut providers, mut models, mut missing) = (String::new(), String::new(), BTreeSet::new());
    for (name, (dialect, family)) in wanted {
        let (adapter, settings) = settings(dialect, family, upstream);
        let lacks_api = settings.contains("api: ") && !keys_of(adapter).contains(&"api");
        if lacks_api || !dialects().any(|known| known == adapter) {
            missing.insert(name);
            continue;
        }
        providers.push_str(&format!("  {name}: {{ dialect: {adapter}, {settings} }}\n"));
        models.push_str(&format!(
            "  \"{name}/*\": {{ targets: [{{ provider: {name}, model: \"*\" }}], retry: {{ attempts: 1 }} }}\n"
        ));
    }
    // On a busy machine the gateway would shed load for lateness that is not its own.
    let patient = "telemetry: { log: error }\nload: { max_lag: 0s }\n";
    (format!("{patient}providers:\n{providers}models:\n{models}"), missing)
}

/// The adapter of a dialect's family, and its settings.
fn settings(dialect: &str, family: Family, upstream: SocketAddr) -> (&'static str, String) {
    let plain = |adapter: &'static str, base: &str| {
        (adapter, format!("base_url: \"http://{upstream}{base}\", api_key: sk-upstream"))
    };
    let with =
        |(adapter, settings): (&'static str, String), more: &str| (adapter, format!("{settings}, {more}"));
    if family == Family::Native {
        return plain("openai", "");
    }
    let aws = "region: us-east-1, access_key_id: AKIDEXAMPLE, secret_access_key: example";
    match dialect.split('-').next().unwrap_or_default() {
        "bedrock" if dialect != "bedrock-mantle" => {
            ("bedrock", format!("base_url: \"http://{upstream}\", {aws}"))
        }
        "vertex" if dialect == "vertex-anthropic" => {
            with(plain("vertex-anthropic", ""), "project: example-project, region: global")
        }
        "vertex" => with(plain("vertex", ""), "project: example-project, region: us-central1"),
        "gemini" if dialect != "gemini-openai-chat" => plain("gemini", ""),
        "cohere" => plain("cohere", ""),
        "azure" if family == Family::Messages => plain("anthropic", "/anthropic"),
        "anthropic" => plain("anthropic", ""),
        "azure" if family == Family::Responses => with(plain("azure", ""), "api_version: v1, api: responses"),
        "azure" => {
            let api = if keys_of("azure").contains(&"api") { ", api: chat" } else { "" };
            with(plain("azure", ""), &format!("api_version: \"2025-04-01-preview\"{api}"))
        }
        vendor => {
            let known = dialects().find(|name| *name == vendor && !OTHER_WIRES.contains(name));
            let target = plain(known.unwrap_or("openai"), "/v1");
            match family {
                Family::Responses | Family::Count => with(target, "api: responses"),
                // Else a caller of Responses would go to the vendor's own.
                Family::Chat if keys_of(target.0).contains(&"api") => with(target, "api: chat"),
                _ => target,
            }
        }
    }
}
