//! Which providers there are and which aliases lead to them: from the file, else from the environment.

use std::{collections::BTreeMap, sync::Arc};

use secrecy::SecretString;

use crate::{
    call::{Limit, Rates},
    config::{self, Config, ECHO, ECHO_ALIASES},
    meter::is_responses_only,
    provider::{self, Named, Settings, registry::Cloud},
    route::{Alias, AliasTarget, Experiment, Hedge, LeadsTo, Policy},
};

/// Builds the providers and resolves the aliases. `found` are the providers that the environment names; they count
/// if the file has none of its own.
///
/// # Errors
/// A line for each provider that is wrong, with what to correct; else for the first alias that is.
pub fn resolve(config: &Config, found: Vec<Settings>) -> Result<Vec<(String, Alias)>, String> {
    let mut settings = match &config.providers {
        Some(providers) => providers.iter().flat_map(|(name, provider)| from_file(name, provider)).collect(),
        None => found,
    };
    let first = first_real(&settings);
    let has_echo = config.echo && settings.iter().all(|settings| settings.name != ECHO);
    if has_echo {
        settings.push(echo());
    }
    let providers = build(config, settings)?;
    let mut aliases = BTreeMap::new();
    match &config.models {
        Some(models) => {
            for (name, model) in models {
                aliases.insert(name.clone(), alias(name, model, &providers)?);
            }
        }
        None => pass_through(&mut aliases, &providers, first.as_deref()),
    }
    if let (true, Some(provider)) = (has_echo, providers.get(ECHO)) {
        for name in ECHO_ALIASES {
            aliases.entry(name.to_owned()).or_insert_with(|| plain(provider, name));
        }
    }
    Ok(aliases.into_iter().collect())
}

/// Every provider by its name, once for each of its credentials.
type Providers = BTreeMap<String, Vec<Named>>;

/// Builds every provider, so that all mistakes are told at once.
fn build(config: &Config, settings: Vec<Settings>) -> Result<Providers, String> {
    let mut providers = Providers::new();
    let mut problems = Vec::new();
    for mut one in settings {
        one.connect_timeout = config.timeouts.connect.0;
        one.responses_only = Some(is_responses_only);
        match provider::build(&one) {
            Ok(provider) => providers.entry(one.name).or_default().push(provider),
            Err(problem) => problems.push(problem),
        }
    }
    // What is wrong with a provider is so for each of its credentials.
    problems.dedup();
    if problems.is_empty() { Ok(providers) } else { Err(problems.join("\n")) }
}

/// Reads a provider, once for each of its credentials.
fn from_file(name: &str, provider: &config::Provider) -> Vec<Settings> {
    let one = settings(name, provider);
    let filled = provider.api_keys.iter().filter_map(|(credential, key)| Some((credential, key.filled()?)));
    let all = filled.map(|(credential, key)| Settings {
        api_key: Some(key.clone()),
        credential: credential.clone(),
        ..one.clone()
    });
    let all: Vec<Settings> = all.collect();
    if all.is_empty() { vec![one] } else { all }
}

fn settings(name: &str, provider: &config::Provider) -> Settings {
    Settings {
        name: name.to_owned(),
        dialect: provider.dialect.clone(),
        base_url: provider.base_url.clone(),
        api_key: filled(provider.api_key.as_ref()),
        credential: String::new(),
        connect_timeout: config::Timeouts::default().connect.0,
        rejects_unsupported: provider.unsupported == config::Unsupported::Reject,
        drains: provider.on_cancel == config::OnCancel::Drain,
        protocol: match provider.protocol {
            config::Protocol::Http1 => provider::http::Protocol::Http1,
            config::Protocol::Http2 => provider::http::Protocol::Http2,
        },
        cloud: Cloud {
            api: provider.api.clone(),
            api_version: provider.api_version.clone(),
            region: provider.region.clone(),
            project: provider.project.clone(),
            credentials: filled(provider.credentials.as_ref()),
            profile: provider.profile.clone(),
            access_key_id: provider.access_key_id.clone(),
            secret_access_key: filled(provider.secret_access_key.as_ref()),
            session_token: filled(provider.session_token.as_ref()),
            role_arn: provider.role_arn.clone(),
            web_identity_token_file: provider.web_identity_token_file.clone(),
            tenant_id: provider.tenant_id.clone(),
            client_id: provider.client_id.clone(),
            client_secret: filled(provider.client_secret.as_ref()),
        },
        responses_only: None,
    }
}

fn filled(secret: Option<&config::Secret>) -> Option<SecretString> {
    secret.and_then(config::Secret::filled).cloned()
}

fn echo() -> Settings {
    Settings { name: ECHO.to_owned(), dialect: ECHO.to_owned(), ..Settings::default() }
}

/// Returns the provider that names without an alias go to: `openai` if it is there, else the first.
fn first_real(settings: &[Settings]) -> Option<String> {
    let mut real = settings.iter().filter(|settings| settings.dialect != ECHO);
    let first = real.clone().next();
    real.find(|settings| settings.name == "openai").or(first).map(|settings| settings.name.clone())
}

/// Names of models that tell whose they are, and the provider that has them first hand.
const FAMILIES: [(&str, &str); 7] = [
    ("claude-*", "anthropic"),
    ("command-*", "cohere"),
    ("deepseek-*", "deepseek"),
    ("gemini-*", "gemini"),
    ("gpt-*", "openai"),
    ("grok-*", "xai"),
    ("mistral-*", "mistral"),
];

/// Adds `<provider>/*` for each provider, `*` for the first, and what would go to the wrong one by that.
fn pass_through(aliases: &mut BTreeMap<String, Alias>, providers: &Providers, first: Option<&str>) {
    for (name, provider) in providers.iter().filter(|(name, _)| *name != ECHO) {
        aliases.insert(format!("{name}/*"), plain(provider, "*"));
    }
    if let Some(provider) = first.and_then(|name| providers.get(name)) {
        aliases.insert("*".to_owned(), plain(provider, "*"));
    }
    for (family, owner) in FAMILIES.iter().filter(|(_, owner)| first != Some(owner)) {
        if let Some(provider) = providers.get(*owner) {
            aliases.insert((*family).to_owned(), plain(provider, family));
        }
    }
}

fn alias(name: &str, model: &config::Model, providers: &Providers) -> Result<Alias, String> {
    let targets = |targets: &[config::Target]| -> Result<Vec<AliasTarget>, String> {
        targets
            .iter()
            .map(|one| target(one, providers))
            .collect::<Result<_, _>>()
            .map_err(|provider| format!("alias `{name}`: there is no provider `{provider}`"))
    };
    let experiment = model.experiment.as_ref().map(|experiment| {
        let arms = experiment.arms.iter();
        let arms = arms.map(|(name, arm)| Ok((name.clone(), arm.weight, targets(&arm.targets)?)));
        Ok::<_, String>(Experiment {
            name: experiment.name.clone(),
            arms: arms.collect::<Result<_, String>>()?,
        })
    });
    Ok(Alias {
        strategy: model.strategy,
        targets: targets(&model.targets)?,
        sticky: model.sticky,
        experiment: experiment.transpose()?,
        fallbacks: model.fallbacks.clone(),
        on_context_length: model.fallbacks_on.context_length.clone(),
        on_content_policy: model.fallbacks_on.content_policy.clone(),
        first_token: model.first_token.map(|span| span.0),
        rates: model.price.as_ref().map(rates),
        policy: Arc::new(policy(model)),
        limits: limits(model.allowance()),
    })
}

/// Reads a target.
///
/// # Errors
/// The name of a provider that does not exist.
fn target(target: &config::Target, providers: &Providers) -> Result<AliasTarget, String> {
    let leads_to = match &target.alias {
        Some(alias) => LeadsTo::Alias(alias.clone()),
        None => LeadsTo::Model {
            credentials: providers.get(&target.provider).cloned().ok_or_else(|| target.provider.clone())?,
            model: target.model.clone(),
        },
    };
    Ok(AliasTarget {
        weight: target.weight.unwrap_or(1),
        when: target.when.clone(),
        region: target.region.clone().unwrap_or_default(),
        labels: target.labels.clone(),
        concurrent: target.concurrent.and_then(|places| usize::try_from(places).ok()),
        can: target.can.as_ref().map(|needs| needs.iter().copied().collect()),
        context_tokens: target.context_tokens.map(|tokens| tokens.0),
        limits: limits(target.allowance()),
        ..AliasTarget::new(leads_to)
    })
}

/// Reads what a section allows.
pub(super) fn limits(allowance: config::Allowance<'_>) -> Vec<Limit> {
    allowance.to_contract().iter().filter_map(Limit::from_contract).collect()
}

/// Makes an alias that leads to a provider's model, with the defaults for everything else.
fn plain(credentials: &[Named], model: &str) -> Alias {
    let leads_to = LeadsTo::Model { credentials: credentials.to_vec(), model: model.to_owned() };
    Alias { targets: vec![AliasTarget::new(leads_to)], ..Alias::default() }
}

fn policy(model: &config::Model) -> Policy {
    Policy {
        attempts: usize::try_from(model.retry.attempts).unwrap_or(usize::MAX),
        backoff: model.retry.backoff.0,
        max_backoff: model.retry.max_backoff.0,
        retry_share: model.retry.budget.ratio(),
        hedge: model
            .hedge
            .as_ref()
            .map(|hedge| Hedge { after: hedge.after.0, at_most: hedge.at_most.ratio() }),
        hedges: Arc::default(),
        on_interrupt: model.on_interrupt,
        degraded: model.degraded.as_deref().map(Into::into),
    }
}

fn rates(price: &config::Price) -> Rates {
    Rates {
        input: price.input_per_million.0,
        output: price.output_per_million.0,
        cache_read: price.cache_read_per_million.map(|usd| usd.0),
        cache_write: price.cache_write_per_million.map(|usd| usd.0),
    }
}

#[cfg(test)]
mod plans;
#[cfg(test)]
mod tests;
