//! Keys for a web identity token, as a pod of Kubernetes has one: STS gives them in exchange, for an hour.

use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

use ::http::{
    HeaderValue, Request, Uri,
    header::{ACCEPT_ENCODING, CONTENT_TYPE},
};
use bytes::Bytes;

use super::keys::{Keys, Lease};
use crate::provider::{
    Error, Kind,
    http::{self, Http, Pieces},
    upstream::percent_encode,
};

const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");
const PATIENCE: Duration = Duration::from_secs(10);

/// A role, and what proves that we may take it.
#[derive(Debug)]
pub(super) struct WebIdentity {
    pub(super) role: String,
    /// Written anew from time to time by whoever made it.
    pub(super) token_file: PathBuf,
}

impl WebIdentity {
    /// Asks STS at that address for keys.
    ///
    /// # Errors
    /// `Denied` if there is no token or STS refuses it, `Unavailable` or `Timeout` if STS cannot be reached.
    pub(super) async fn keys(&self, http: &Http, sts: &Uri) -> Result<Lease, Error> {
        match tokio::time::timeout(PATIENCE, self.ask(http, sts)).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::new(Kind::Timeout, "AWS STS did not answer in time")),
        }
    }

    async fn ask(&self, http: &Http, sts: &Uri) -> Result<Lease, Error> {
        let token = tokio::fs::read_to_string(&self.token_file).await.map_err(|error| {
            Error::new(Kind::Denied, format!("the web identity token cannot be read: {}", error.kind()))
        })?;
        let form = format!(
            "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleSessionName=tollgate&RoleArn={}&WebIdentityToken={}",
            percent_encode(&self.role),
            percent_encode(token.trim())
        );
        let mut request = Request::post(sts.clone()).body(Pieces::from(form)).map_err(|_| no_address())?;
        request.headers_mut().insert(CONTENT_TYPE, FORM);
        request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let response = http.send(request).await?;
        let status = response.status();
        if !status.is_success() {
            let body = http::read_error(response.into_body()).await;
            return Err(refused(status.as_u16(), &String::from_utf8_lossy(&body)));
        }
        let body: Bytes = http::read_all(response.into_body(), http::MAX_ERROR_BYTES).await?;
        let lease = std::str::from_utf8(&body).ok().and_then(lease);
        lease.ok_or_else(|| Error::new(Kind::Denied, "AWS STS gave an answer without credentials"))
    }
}

fn no_address() -> Error {
    Error::new(Kind::Denied, "the address of AWS STS cannot be used")
}

/// STS's messages may quote the token, its codes do not.
fn refused(status: u16, body: &str) -> Error {
    let kind = match status {
        429 | 500..=599 => Kind::Unavailable,
        _ => Kind::Denied,
    };
    let code = between(body, "Code").unwrap_or("no reason given");
    Error::new(
        kind,
        format!("AWS STS refused the web identity token: HTTP {status}, {}", code.escape_debug()),
    )
}

fn lease(answer: &str) -> Option<Lease> {
    let expires: jiff::Timestamp = between(answer, "Expiration")?.parse().ok()?;
    let keys = Keys {
        id: between(answer, "AccessKeyId")?.to_owned(),
        secret: between(answer, "SecretAccessKey")?.into(),
        session: Some(between(answer, "SessionToken")?.into()),
    };
    Some(Lease { keys, expires: Some(SystemTime::from(expires)) })
}

/// Returns the text of the first XML element of that name. Keys and times have nothing that XML escapes.
fn between<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    Some(text.trim()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn credentials_are_read_and_nothing_less_will_do() {
        let answer = "<AssumeRoleWithWebIdentityResponse><Credentials><SessionToken>t==</SessionToken>\
            <SecretAccessKey>s/+</SecretAccessKey><Expiration>2026-01-01T00:00:00Z</Expiration>\
            <AccessKeyId>ASIA</AccessKeyId></Credentials></AssumeRoleWithWebIdentityResponse>";
        let lease = lease(answer).unwrap();
        assert_eq!(lease.keys.id, "ASIA");
        assert_eq!(lease.keys.secret.expose_secret(), "s/+");
        assert_eq!(lease.keys.session.unwrap().expose_secret(), "t==");
        assert_eq!(lease.expires, Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600)));
        assert!(super::lease(&answer.replace("SessionToken", "Other")).is_none());
        assert!(super::lease("").is_none());
    }

    #[test]
    fn a_refusal_names_the_code_and_not_the_token() {
        let body = "<ErrorResponse><Error><Code>ExpiredTokenException</Code><Message>eyJ token</Message></Error></ErrorResponse>";
        let error = refused(400, body);
        assert_eq!(error.kind, Kind::Denied);
        assert!(
            error.message.contains("ExpiredTokenException") && !error.message.contains("eyJ"),
            "{}",
            error.message
        );
        assert_eq!(refused(503, "").kind, Kind::Unavailable);
    }
}
