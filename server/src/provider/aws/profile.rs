//! The files that AWS's tools share: `~/.aws/credentials` and `~/.aws/config`.

use std::{collections::HashMap, path::PathBuf};

use super::keys::Keys;
use crate::provider::registry::Environment;

/// No such file is larger.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Where the files are.
#[derive(Clone, Debug, Default)]
pub(super) struct Files {
    credentials: Option<PathBuf>,
    config: Option<PathBuf>,
}

/// What the files say of a profile.
#[derive(Default)]
pub(super) struct Profile {
    pub(super) keys: Option<Keys>,
    pub(super) region: Option<String>,
    pub(super) role_arn: Option<String>,
    pub(super) web_identity_token_file: Option<String>,
}

impl Files {
    /// Finds the files as AWS's tools do.
    pub(super) fn of_environment(get: &Environment<'_>) -> Self {
        let path = |name: &str, file: &str| {
            let own = get("HOME").map(|home| PathBuf::from(home).join(".aws").join(file));
            get(name).map(PathBuf::from).or(own)
        };
        Self {
            credentials: path("AWS_SHARED_CREDENTIALS_FILE", "credentials"),
            config: path("AWS_CONFIG_FILE", "config"),
        }
    }

    /// Reads a profile; in doubt the credentials file holds. None if neither file knows it.
    pub(super) fn profile(&self, name: &str) -> Option<Profile> {
        let in_config = if name == "default" { name.to_owned() } else { format!("profile {name}") };
        let mut members: Option<HashMap<String, String>> = None;
        for (path, section) in [(&self.config, in_config.as_str()), (&self.credentials, name)] {
            let text = path.as_ref().and_then(read);
            if let Some(found) = text.and_then(|text| section_of(&text, section)) {
                members.get_or_insert_default().extend(found);
            }
        }
        let mut members = members?;
        let mut take = |name: &str| members.remove(name).filter(|value| !value.is_empty());
        let keys = take("aws_access_key_id").zip(take("aws_secret_access_key"));
        let session = take("aws_session_token").map(Into::into);
        Some(Profile {
            keys: keys.map(|(id, secret)| Keys { id, secret: secret.into(), session }),
            region: take("region"),
            role_arn: take("role_arn"),
            web_identity_token_file: take("web_identity_token_file"),
        })
    }
}

fn read(path: &PathBuf) -> Option<String> {
    let known = std::fs::metadata(path).ok()?;
    (known.len() <= MAX_FILE_BYTES).then(|| std::fs::read_to_string(path).ok())?
}

/// Reads the members of a section. Indented lines belong to nested settings, which mean nothing here.
fn section_of(text: &str, wanted: &str) -> Option<HashMap<String, String>> {
    let mut members = None;
    let mut inside = false;
    for line in text.lines() {
        let trimmed = line.trim();
        if let Some(name) = trimmed.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            let words: Vec<&str> = name.split_whitespace().collect();
            inside = words.join(" ") == wanted;
            if inside {
                members.get_or_insert_with(HashMap::new);
            }
        } else if inside
            && !line.starts_with(|c: char| c.is_whitespace() || matches!(c, '#' | ';'))
            && let Some((name, value)) = trimmed.split_once('=')
            && let Some(members) = &mut members
        {
            members.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    members
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn a_profile_is_put_together_from_both_files() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let credentials = write(
            "credentials",
            "[default]\naws_access_key_id = A\naws_secret_access_key = a=b\n\n# note\n[work]\n\
             aws_access_key_id=W\naws_secret_access_key=w\naws_session_token=t\n",
        );
        let config = write(
            "config",
            "[default]\nregion = us-east-1\ns3 =\n  region = nowhere\n[profile  work]\nregion=eu-west-1\n\
             [profile web]\nrole_arn=arn\nweb_identity_token_file=/token\n",
        );
        let get = |name: &str| match name {
            "AWS_SHARED_CREDENTIALS_FILE" => Some(credentials.clone()),
            "AWS_CONFIG_FILE" => Some(config.clone()),
            _ => None,
        };
        let files = Files::of_environment(&get);
        let default = files.profile("default").unwrap();
        assert_eq!(default.region.as_deref(), Some("us-east-1"));
        assert_eq!(default.keys.unwrap().secret.expose_secret(), "a=b");
        let work = files.profile("work").unwrap();
        assert_eq!(work.region.as_deref(), Some("eu-west-1"));
        assert_eq!(work.keys.unwrap().session.unwrap().expose_secret(), "t");
        let web = files.profile("web").unwrap();
        assert!(web.keys.is_none() && web.role_arn.is_some() && web.web_identity_token_file.is_some());
        assert!(files.profile("nobody").is_none());
        assert!(Files::default().profile("default").is_none());
    }
}
