//! Where the region and the keys come from: the configuration first, then what AWS's own SDKs would find.

use std::path::PathBuf;

use secrecy::SecretString;

use super::{
    keys::Keys,
    profile::{Files, Profile},
    signer::{Signer, Source},
    web_identity::WebIdentity,
};
use crate::provider::{
    credential::Credential,
    registry::{Cloud, Environment, Settings},
};

/// The variable of a Bedrock API key, which is sent as it is.
pub const BEARER_ENV: &str = "AWS_BEARER_TOKEN_BEDROCK";

/// Finds the region, and the credential of a service in it.
///
/// # Errors
/// A message for operators that says what is missing.
pub fn resolve(
    settings: &Settings,
    service: &'static str,
    get: &Environment<'_>,
) -> Result<(String, Credential), String> {
    let cloud = &settings.cloud;
    let chosen = cloud.profile.clone().or_else(|| get("AWS_PROFILE"));
    let files = Files::of_environment(get);
    let name = chosen.as_deref().unwrap_or("default");
    let region = cloud.region.clone().or_else(|| region_of_environment(get));
    let region = region.or_else(|| files.profile(name)?.region);
    let region = region.ok_or("there is no AWS region: set `region`, AWS_REGION, or one in the profile")?;
    check_region(&region)?;
    if settings.api_key.is_some() {
        return Ok((region, Credential::bearer(settings.api_key.as_ref())?));
    }
    let source = configured(cloud, &files)?;
    if source.is_none()
        && let Some(key) = get(BEARER_ENV)
    {
        return Ok((region, Credential::bearer(Some(&key.into()))?));
    }
    let source = match source {
        Some(source) => source,
        None => discovered(&files, chosen.as_deref(), get)?,
    };
    let signer =
        Signer::new(source, region.clone(), service, settings.connect_timeout, get("AWS_ENDPOINT_URL_STS"))?;
    Ok((region, Credential::signed(signer)))
}

/// Finds what AWS's own SDKs would use for Bedrock. None without a region or usable keys, as they may be meant for
/// anything, unless the key is Bedrock's own.
pub fn from_environment(get: &Environment<'_>) -> Option<Cloud> {
    let profile = get("AWS_PROFILE");
    let pair = |one: &str, other: &str| get(one).zip(get(other));
    let keys = pair("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY");
    let web_identity = pair("AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE");
    let bearer = get(BEARER_ENV).is_some();
    if !bearer && keys.is_none() && web_identity.is_none() && profile.is_none() {
        return None;
    }
    let in_files = || Files::of_environment(get).profile(profile.as_deref().unwrap_or("default"))?.region;
    let region = region_of_environment(get).or_else(in_files);
    let usable = || discovered(&Files::of_environment(get), profile.as_deref(), get).is_ok();
    if !bearer && (region.is_none() || !usable()) {
        return None;
    }
    Some(Cloud { region, profile, ..Cloud::default() })
}

fn region_of_environment(get: &Environment<'_>) -> Option<String> {
    get("AWS_REGION").or_else(|| get("AWS_DEFAULT_REGION"))
}

/// The region becomes a part of the host's name, to which requests are signed.
fn check_region(region: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !region.is_empty() && region.chars().all(fits) {
        return Ok(());
    }
    Err(format!("`{region}` is no AWS region"))
}

/// Returns what the configuration of the provider itself names.
fn configured(cloud: &Cloud, files: &Files) -> Result<Option<Source>, String> {
    match (&cloud.access_key_id, &cloud.secret_access_key) {
        (Some(id), Some(secret)) => {
            let keys = keys(id.clone(), secret.clone(), cloud.session_token.clone());
            return Ok(Some(Source::Static(keys)));
        }
        (None, None) => {}
        _ => return Err("`access_key_id` and `secret_access_key` must be set together".to_owned()),
    }
    match (&cloud.role_arn, &cloud.web_identity_token_file) {
        (Some(role), Some(file)) => return Ok(Some(web_identity(role, file))),
        (None, None) => {}
        _ => return Err("`role_arn` and `web_identity_token_file` must be set together".to_owned()),
    }
    match &cloud.profile {
        Some(name) => profile(files, name).map(Some),
        None => Ok(None),
    }
}

/// Returns what the environment or the shared files name, in the order of AWS's SDKs.
fn discovered(files: &Files, chosen: Option<&str>, get: &Environment<'_>) -> Result<Source, String> {
    if let Some((id, secret)) = get("AWS_ACCESS_KEY_ID").zip(get("AWS_SECRET_ACCESS_KEY")) {
        return Ok(Source::Static(keys(id, secret.into(), get("AWS_SESSION_TOKEN").map(Into::into))));
    }
    if let Some(name) = chosen {
        return profile(files, name);
    }
    if let Some((role, file)) = get("AWS_ROLE_ARN").zip(get("AWS_WEB_IDENTITY_TOKEN_FILE")) {
        return Ok(web_identity(&role, &file));
    }
    if files.profile("default").is_some() {
        return profile(files, "default");
    }
    Err("there are no AWS credentials: set `api_key`, `access_key_id` and `secret_access_key`, `profile`, or \
         `role_arn` and `web_identity_token_file`"
        .to_owned())
}

fn keys(id: String, secret: SecretString, session: Option<SecretString>) -> Keys {
    Keys { id, secret, session }
}

fn web_identity(role: &str, file: &str) -> Source {
    Source::WebIdentity(WebIdentity { role: role.to_owned(), token_file: PathBuf::from(file) })
}

fn profile(files: &Files, name: &str) -> Result<Source, String> {
    let Some(found) = files.profile(name) else {
        return Err(format!("there is no AWS profile `{name}` in the shared files"));
    };
    match found {
        Profile { role_arn: Some(role), web_identity_token_file: Some(file), .. } => {
            Ok(web_identity(&role, &file))
        }
        Profile { keys: Some(_), .. } => Ok(Source::Profile(files.clone(), name.to_owned())),
        _ => Err(format!(
            "the AWS profile `{name}` has neither keys nor a role with a web identity token; other sources (SSO, \
             `source_profile`, `credential_process`) are not read"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(cloud: Cloud, env: &[(&str, &str)]) -> Result<(String, Credential), String> {
        let settings = Settings { cloud, ..Settings::default() };
        let get = |name: &str| {
            let found = env.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        resolve(&settings, "bedrock", &get)
    }

    fn message(cloud: Cloud, env: &[(&str, &str)]) -> String {
        resolved(cloud, env).err().unwrap()
    }

    #[tokio::test]
    async fn the_configuration_wins_over_the_environment() {
        let cloud = Cloud { region: Some("eu-central-1".to_owned()), ..Cloud::default() };
        let env = [("AWS_REGION", "us-east-1"), (BEARER_ENV, "key")];
        let (region, credential) = resolved(cloud.clone(), &env).unwrap();
        assert_eq!(region, "eu-central-1");
        assert!(matches!(credential, Credential::Header(..)));
        let keys =
            Cloud { access_key_id: Some("id".to_owned()), secret_access_key: Some("secret".into()), ..cloud };
        assert!(matches!(resolved(keys, &env).unwrap().1, Credential::Signed(_)));
    }

    #[test]
    fn what_is_missing_is_named() {
        let region = || Cloud { region: Some("us-east-1".to_owned()), ..Cloud::default() };
        assert!(message(Cloud::default(), &[(BEARER_ENV, "key")]).contains("no AWS region"));
        assert!(message(region(), &[]).contains("no AWS credentials"));
        let half = Cloud { access_key_id: Some("id".to_owned()), ..region() };
        assert!(message(half, &[]).contains("`secret_access_key` must be set together"));
        let half = Cloud { role_arn: Some("arn".to_owned()), ..region() };
        assert!(message(half, &[]).contains("`web_identity_token_file` must be set together"));
        let profile = Cloud { profile: Some("x".to_owned()), ..region() };
        assert!(message(profile, &[]).contains("no AWS profile `x`"));
        let odd = Cloud { region: Some("evil.example/".to_owned()), ..Cloud::default() };
        assert!(message(odd, &[]).contains("is no AWS region"));
    }

    #[tokio::test]
    async fn every_source_of_the_environment_is_found() {
        for env in [
            &[("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "secret")][..],
            &[("AWS_ROLE_ARN", "arn"), ("AWS_WEB_IDENTITY_TOKEN_FILE", "/nowhere")][..],
        ] {
            let with_region = [env, &[("AWS_DEFAULT_REGION", "us-west-2")]].concat();
            let get = |name: &str| {
                with_region.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
            };
            assert_eq!(from_environment(&get).unwrap().region.as_deref(), Some("us-west-2"));
            let (_, credential) = resolved(Cloud::default(), &with_region).unwrap();
            assert!(matches!(credential, Credential::Signed(_)));
            let get =
                |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            assert!(from_environment(&get).is_none(), "without a region it may be meant for anything");
        }
        assert!(from_environment(&|_| None).is_none());
        let bearer = |name: &str| (name == BEARER_ENV).then(|| "key".to_owned());
        assert!(from_environment(&bearer).is_some(), "the key is Bedrock's own");
    }
}
