//! The kinds of Google Cloud credentials, and how each is exchanged for an access token.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use ::http::{HeaderValue, Method, Request, Uri, header::CONTENT_TYPE};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use rustls::{
    SignatureScheme,
    crypto::aws_lc_rs::sign::any_supported_type,
    pki_types::{PrivateKeyDer, pem::PemObject as _},
    sign::SigningKey,
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use super::token::{Fetch, Token};
use crate::provider::{
    Error, Kind, Settings,
    http::{self, Http, MAX_ERROR_BYTES, Pieces},
    json::write::Object,
    refusal,
};

const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";
const METADATA_HOST: &str = "metadata.google.internal";
const METADATA_PATH: &str = "/computeMetadata/v1/instance/service-accounts/default/token";
/// How long an assertion holds, and how far the clocks may differ.
const ASSERTION: Duration = Duration::from_mins(59);
/// How long an exchange may take in all.
const EXCHANGE: Duration = Duration::from_secs(10);
/// Tokens whose lifetime is not told, and the longest that is believed.
const LIFETIME: Duration = Duration::from_mins(10);
const LONGEST: Duration = Duration::from_hours(12);

/// Where tokens come from.
pub(super) enum Source {
    ServiceAccount(Box<Account>),
    User(Box<User>),
    Metadata(Uri),
}

/// A service account's key.
pub(super) struct Account {
    email: String,
    key_id: String,
    key: Arc<dyn SigningKey>,
    token_uri: Uri,
    project: Option<String>,
}

/// What `gcloud auth application-default login` leaves.
pub(super) struct User {
    client_id: String,
    client_secret: SecretString,
    refresh_token: SecretString,
    token_uri: Uri,
    quota_project: Option<HeaderValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct File {
    r#type: String,
    client_email: String,
    private_key_id: String,
    private_key: String,
    token_uri: Option<String>,
    project_id: Option<String>,
    client_id: String,
    client_secret: String,
    refresh_token: String,
    quota_project_id: Option<String>,
}

impl Source {
    /// Finds the credentials of a provider.
    pub(super) fn find(settings: &Settings) -> Result<Self, String> {
        let environment = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        if let Some(told) = &settings.cloud.credentials {
            return Self::of_text_or_path(told.expose_secret());
        }
        if let Some(path) = environment("GOOGLE_APPLICATION_CREDENTIALS") {
            return Self::of_text_or_path(&path);
        }
        let home = environment("HOME").map(PathBuf::from);
        let left = home.map(|home| home.join(".config/gcloud/application_default_credentials.json"));
        if let Some(text) = left.and_then(|path| std::fs::read_to_string(path).ok()) {
            return Self::of_json(&text);
        }
        let host = environment("GCE_METADATA_HOST").unwrap_or_else(|| METADATA_HOST.to_owned());
        let url = format!("http://{host}{METADATA_PATH}");
        url.parse().map(Self::Metadata).map_err(|error| format!("`GCE_METADATA_HOST` is no host: {error}"))
    }

    fn of_text_or_path(told: &str) -> Result<Self, String> {
        if told.trim_start().starts_with('{') {
            return Self::of_json(told);
        }
        let text = std::fs::read_to_string(told.trim())
            .map_err(|error| format!("`credentials` names a file that cannot be read: {error}"))?;
        Self::of_json(&text)
    }

    /// Reads a credential file. Messages say nothing of what is in it.
    pub(super) fn of_json(text: &str) -> Result<Self, String> {
        let file: File = serde_json::from_str(text)
            .map_err(|_| "`credentials` is no JSON of Google Cloud's".to_owned())?;
        let token_uri: Uri = file
            .token_uri
            .as_deref()
            .unwrap_or(TOKEN_URI)
            .parse()
            .map_err(|_| "`token_uri` of `credentials` is no URL".to_owned())?;
        match file.r#type.as_str() {
            "service_account" => {
                let key = PrivateKeyDer::from_pem_slice(file.private_key.as_bytes())
                    .ok()
                    .and_then(|key| any_supported_type(&key).ok())
                    .filter(|key| key.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256]).is_some())
                    .ok_or("`private_key` of `credentials` is no RSA key in PEM")?;
                let (email, key_id) = (file.client_email, file.private_key_id);
                let account = Account { email, key_id, key, token_uri, project: file.project_id };
                Ok(Self::ServiceAccount(Box::new(account)))
            }
            "authorized_user" => Ok(Self::User(Box::new(User {
                client_id: file.client_id,
                client_secret: file.client_secret.into(),
                refresh_token: file.refresh_token.into(),
                token_uri,
                quota_project: file.quota_project_id.and_then(|project| project.parse().ok()),
            }))),
            "" => Err("`credentials` has no `type`".to_owned()),
            _ => Err("`credentials` must be of type `service_account` or `authorized_user`".to_owned()),
        }
    }

    pub(super) fn project(&self) -> Option<&str> {
        match self {
            Self::ServiceAccount(account) => account.project.as_deref(),
            Self::User(_) | Self::Metadata(_) => None,
        }
    }

    fn uri(&self) -> &Uri {
        match self {
            Self::ServiceAccount(account) => &account.token_uri,
            Self::User(user) => &user.token_uri,
            Self::Metadata(uri) => uri,
        }
    }

    fn request(&self, now: SystemTime) -> Result<Request<Pieces>, Error> {
        let form = match self {
            Self::ServiceAccount(account) => {
                let grant = encode("urn:ietf:params:oauth:grant-type:jwt-bearer");
                format!("grant_type={grant}&assertion={}", account.assertion(now)?)
            }
            Self::User(user) => format!(
                "grant_type=refresh_token&client_id={}&client_secret={}&refresh_token={}",
                encode(&user.client_id),
                encode(user.client_secret.expose_secret()),
                encode(user.refresh_token.expose_secret()),
            ),
            Self::Metadata(_) => String::new(),
        };
        let mut request = Request::new(Pieces::from(form));
        *request.uri_mut() = self.uri().clone();
        if let Self::Metadata(_) = self {
            request.headers_mut().insert("metadata-flavor", HeaderValue::from_static("Google"));
        } else {
            *request.method_mut() = Method::POST;
            let form = HeaderValue::from_static("application/x-www-form-urlencoded");
            request.headers_mut().insert(CONTENT_TYPE, form);
        }
        Ok(request)
    }
}

impl Account {
    /// Makes the signed statement that is exchanged for a token (RFC 7523).
    pub(super) fn assertion(&self, now: SystemTime) -> Result<String, Error> {
        let issued = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let at = |time: u64| i64::try_from(time).ok();
        let (mut header, mut claims) = (String::new(), String::new());
        let mut object = Object::begin(&mut header);
        object.string("alg", "RS256");
        object.string("typ", "JWT");
        object.text("kid", &self.key_id);
        object.end();
        let mut object = Object::begin(&mut claims);
        object.string("iss", &self.email);
        object.string("scope", SCOPE);
        object.string("aud", &self.token_uri.to_string());
        object.int("iat", at(issued));
        object.int("exp", at(issued + ASSERTION.as_secs()));
        object.end();
        let mut text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signer = self.key.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256]);
        let signature = signer.and_then(|signer| signer.sign(text.as_bytes()).ok());
        let signature = signature
            .ok_or_else(|| Error::new(Kind::Denied, "the service account's key cannot sign a request"))?;
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut text);
        Ok(text)
    }
}

/// Writes a value of a form.
fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Exchanges a credential for tokens.
pub(super) struct Exchange {
    source: Source,
    http: Http,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Given {
    access_token: Option<String>,
    expires_in: Option<u64>,
}

impl Exchange {
    pub(super) fn new(source: Source, connect_timeout: Duration) -> Result<Self, String> {
        let https = source.uri().scheme_str() == Some("https");
        Ok(Self { source, http: Http::new(connect_timeout, https)? })
    }

    /// The project that is charged for the calls of a user's credential.
    pub(super) fn quota_project(&self) -> Option<&HeaderValue> {
        match &self.source {
            Source::User(user) => user.quota_project.as_ref(),
            Source::ServiceAccount(_) | Source::Metadata(_) => None,
        }
    }

    async fn exchange(&self) -> Result<Token, Error> {
        let response = self.http.send(self.source.request(SystemTime::now())?).await?;
        let (head, body) = response.into_parts();
        if !head.status.is_success() {
            let body = http::read_error(body).await;
            let mut failed = refusal::of_response(head.status, &head.headers, body);
            let kind = failed.kind;
            failed.message = format!("Google Cloud gives no access token: {}", failed.message);
            failed.body = None;
            // A grant that is refused is a 400.
            failed.kind = if kind == Kind::Invalid { Kind::Denied } else { kind };
            return Err(failed);
        }
        let body: Bytes = http::read_all(body, MAX_ERROR_BYTES).await?;
        let given: Given = serde_json::from_slice(&body).map_err(|_| bad_token())?;
        let lifetime = given.expires_in.map_or(LIFETIME, Duration::from_secs).min(LONGEST);
        Ok(Token { secret: given.access_token.ok_or_else(bad_token)?.into(), lifetime })
    }
}

impl Fetch for Exchange {
    fn fetch(&self) -> BoxFuture<'_, Result<Token, Error>> {
        Box::pin(async {
            tokio::time::timeout(EXCHANGE, self.exchange()).await.unwrap_or_else(|_| {
                Err(Error::new(Kind::Timeout, "Google Cloud's token endpoint does not answer"))
            })
        })
    }
}

/// Makes the failure of a token endpoint that answers something else.
pub(super) fn bad_token() -> Error {
    Error::new(Kind::Denied, "Google Cloud's token endpoint gives no usable access token")
}
