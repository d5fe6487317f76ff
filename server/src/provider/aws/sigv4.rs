//! AWS Signature Version 4, for services other than S3: a request's method, path, headers and body hash, signed with a
//! key of the day. (Reference: "Signature Version 4 signing process" of the IAM user guide.)

use std::{fmt::Write as _, time::SystemTime};

use ::http::{
    HeaderMap, HeaderName, HeaderValue, Request, Uri,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST},
};
use aws_lc_rs::{digest, hmac};
use secrecy::ExposeSecret as _;

use super::keys::Keys;
use crate::provider::{http::Pieces, upstream::percent_encode};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// What a signature holds for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope<'a> {
    pub(super) region: &'a str,
    pub(super) service: &'a str,
}

/// Signs a request in place: sets `host`, `x-amz-date`, `authorization` and, for temporary keys,
/// `x-amz-security-token`. None if the request or the keys hold what no header can.
pub(super) fn sign(
    request: &mut Request<Pieces>,
    keys: &Keys,
    scope: Scope<'_>,
    now: SystemTime,
) -> Option<()> {
    let time = jiff::Timestamp::try_from(now).ok()?.strftime("%Y%m%dT%H%M%SZ").to_string();
    let day = time.get(..8)?;
    let host = host_of(request.uri())?;
    let headers = request.headers_mut();
    headers.insert(HOST, host);
    headers.insert(DATE, HeaderValue::from_str(&time).ok()?);
    if let Some(session) = &keys.session {
        let mut session = HeaderValue::from_str(session.expose_secret()).ok()?;
        session.set_sensitive(true);
        headers.insert(TOKEN, session);
    }
    let (canonical, names) = canonical(request)?;
    let scoped = format!("{day}/{}/{}/aws4_request", scope.region, scope.service);
    let hashed = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
    let to_sign = format!("{ALGORITHM}\n{time}\n{scoped}\n{hashed}");
    let signature = hex(mac(&signing_key(keys, scope, day), &to_sign).as_ref());
    let told =
        format!("{ALGORITHM} Credential={}/{scoped}, SignedHeaders={names}, Signature={signature}", keys.id);
    let mut told = HeaderValue::from_str(&told).ok()?;
    told.set_sensitive(true);
    request.headers_mut().insert(AUTHORIZATION, told);
    Some(())
}

/// Returns the `host` header as the HTTP client would write it: without the scheme's own port.
fn host_of(uri: &Uri) -> Option<HeaderValue> {
    let host = uri.host()?;
    let own = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    match uri.port_u16().filter(|port| *port != own) {
        Some(port) => HeaderValue::try_from(format!("{host}:{port}")).ok(),
        None => HeaderValue::from_str(host).ok(),
    }
}

/// Writes the request in the one form that both sides hash, and lists the headers that count.
fn canonical(request: &Request<Pieces>) -> Option<(String, String)> {
    let uri = request.uri();
    let mut text = format!("{}\n{}\n{}\n", request.method(), path(uri.path()), query(uri));
    let mut names = String::new();
    for (name, value) in signed_headers(request.headers()) {
        let words: Vec<&str> = value.to_str().ok()?.split_ascii_whitespace().collect();
        let _ = writeln!(text, "{name}:{}", words.join(" "));
        if !names.is_empty() {
            names.push(';');
        }
        names.push_str(name.as_str());
    }
    let mut body = digest::Context::new(&digest::SHA256);
    for piece in request.body().whole()? {
        body.update(piece);
    }
    let _ = write!(text, "\n{names}\n{}", hex(body.finish().as_ref()));
    Some((text, names))
}

/// Encodes the path as it is sent once more, which is the rule of every service but S3: `%3A` becomes `%253A`.
fn path(path: &str) -> String {
    let segments: Vec<String> = path.split('/').map(percent_encode).collect();
    segments.join("/")
}

/// Sorts the parameters, which are encoded already.
fn query(uri: &Uri) -> String {
    let mut pairs: Vec<String> = uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| if pair.contains('=') { pair.to_owned() } else { format!("{pair}=") })
        .collect();
    pairs.sort_unstable();
    pairs.join("&")
}

/// Proxies may change other headers on the way.
fn signed_headers(headers: &HeaderMap) -> Vec<(&HeaderName, &HeaderValue)> {
    let counts =
        |name: &HeaderName| *name == HOST || *name == CONTENT_TYPE || name.as_str().starts_with("x-amz-");
    let mut list: Vec<_> = headers.iter().filter(|(name, _)| counts(name)).collect();
    list.sort_by_key(|(name, _)| name.as_str());
    list
}

fn signing_key(keys: &Keys, scope: Scope<'_>, day: &str) -> hmac::Tag {
    let secret = format!("AWS4{}", keys.secret.expose_secret());
    let day = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), day.as_bytes());
    mac(&mac(&mac(&day, scope.region), scope.service), "aws4_request")
}

fn mac(key: &hmac::Tag, text: &str) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_ref()), text.as_bytes())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ::http::Method;
    use bytes::Bytes;

    use super::*;

    const NOW: Duration = Duration::from_secs(1_440_938_160); // 2015-08-30T12:36:00Z

    fn signed(request: &mut Request<Pieces>, session: Option<&str>, scope: Scope<'_>) -> String {
        let keys = Keys {
            id: "AKIDEXAMPLE".to_owned(),
            secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
            session: session.map(Into::into),
        };
        sign(request, &keys, scope, SystemTime::UNIX_EPOCH + NOW).unwrap();
        let told = request.headers()[AUTHORIZATION].to_str().unwrap();
        told.rsplit_once("Signature=").unwrap().1.to_owned()
    }

    fn request(method: Method, url: &str, body: &'static str) -> Request<Pieces> {
        let body = Pieces::new(vec![Bytes::from_static(body.as_bytes())]);
        Request::builder().method(method).uri(url).body(body).unwrap()
    }

    const SUITE: Scope<'_> = Scope { region: "us-east-1", service: "service" };

    #[test]
    fn the_published_test_suite_is_met() {
        let root = "https://example.amazonaws.com/";
        for (method, url, signature) in [
            (
                Method::GET,
                root.to_owned(),
                "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            ),
            (
                Method::POST,
                root.to_owned(),
                "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            ),
            (
                Method::GET,
                format!("{root}?Param2=value2&Param1=value1"),
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
            (
                Method::GET,
                format!("{root}-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"),
                "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
            ),
        ] {
            assert_eq!(
                signed(&mut request(method.clone(), &url, ""), None, SUITE),
                signature,
                "{method} {url}"
            );
        }
        let mut form = request(Method::POST, root, "Param1=value1");
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        form.headers_mut().insert(CONTENT_TYPE, kind);
        assert_eq!(
            signed(&mut form, None, SUITE),
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"
        );
    }

    /// The expected signatures are botocore's, for the same keys and moment.
    #[test]
    fn br_model_arn_an_encoded_path_is_encoded_once_more() {
        let root = "https://bedrock-runtime.us-east-1.amazonaws.com/model/";
        for (path, signature) in [
            (
                "us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse",
                "11bcc652fc6040ca2bd8fb7f07396c7d967d370e9399b2d6deb814d3653f8d53",
            ),
            (
                "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Ainference-profile%2Fus.anthropic.claude-3-7-sonnet-20250219-v1%3A0/converse-stream",
                "9c0872b9d1bd69b720f12997b12e42e9cf863f4ea5a8ade94f3685a6add36ace",
            ),
        ] {
            let mut asked = request(Method::POST, &format!("{root}{path}"), r#"{"messages":[]}"#);
            asked.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            let scope = Scope { region: "us-east-1", service: "bedrock" };
            assert_eq!(signed(&mut asked, Some("session+/=="), scope), signature, "{path}");
            assert!(asked.headers()[TOKEN].is_sensitive() && asked.headers()[AUTHORIZATION].is_sensitive());
        }
    }

    #[test]
    fn the_host_is_signed_as_it_is_sent() {
        for (url, host) in [
            ("http://127.0.0.1:8080/x", "127.0.0.1:8080"),
            ("https://a.example:443/x", "a.example"),
            ("http://a.example:443/x", "a.example:443"),
        ] {
            assert_eq!(host_of(&url.parse().unwrap()).unwrap(), host);
        }
    }
}
