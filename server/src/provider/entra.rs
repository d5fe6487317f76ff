//! Microsoft Entra: a bearer token for an application, by OAuth's client credentials.

use ::http::{Request, Uri, header::AUTHORIZATION};
use futures_util::future::BoxFuture;
use secrecy::{ExposeSecret as _, SecretString};

use super::{
    Error,
    credential::Sign,
    http::{Http, Pieces},
    token::{self, Cached, Source, Token},
    upstream::path_segment,
};

/// Where tokens of the public cloud are given out.
pub const AUTHORITY: &str = "https://login.microsoftonline.com";
/// What the token is for: Azure's AI services.
const SCOPE: &str = "https://cognitiveservices.azure.com/.default";

/// An application of a tenant.
pub struct Application {
    http: Http,
    endpoint: Uri,
    client_id: String,
    client_secret: SecretString,
}

/// Puts an application's token into each request.
pub struct Entra(Cached<Application>);

impl Application {
    /// Makes the source of tokens for an application that proves itself with a secret.
    ///
    /// # Errors
    /// A message for operators if the tenant is no name or id.
    pub fn new(
        http: Http,
        authority: &str,
        tenant_id: &str,
        client_id: &str,
        client_secret: SecretString,
    ) -> Result<Self, String> {
        let tenant = path_segment(tenant_id).map_err(|_| "`tenant_id` is no tenant".to_owned())?;
        let endpoint = format!("{authority}/{tenant}/oauth2/v2.0/token");
        let endpoint = endpoint.parse().map_err(|error| format!("`tenant_id` is no tenant: {error}"))?;
        Ok(Self { http, endpoint, client_id: client_id.to_owned(), client_secret })
    }
}

impl Source for Application {
    fn fetch(&self) -> BoxFuture<'_, Result<Token, Error>> {
        Box::pin(async move {
            let form = [
                ("grant_type", "client_credentials"),
                ("client_id", &self.client_id),
                ("client_secret", self.client_secret.expose_secret()),
                ("scope", SCOPE),
            ];
            token::request(&self.http, &self.endpoint, &form).await
        })
    }
}

impl Entra {
    /// Makes the credential; the first request fetches the token.
    pub fn new(application: Application) -> Self {
        Self(Cached::new(application))
    }
}

impl Sign for Entra {
    fn sign<'a>(&'a self, request: &'a mut Request<Pieces>) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let value = self.0.get().await?;
            request.headers_mut().insert(AUTHORIZATION, value);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;
    use crate::provider::Kind;

    /// Answers each connection with the next of the bodies, and returns what was asked.
    async fn authority(answers: Vec<(u16, &'static str)>) -> (String, tokio::task::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move {
            let mut asked = Vec::new();
            for (status, body) in answers {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut text = String::new();
                let mut buffer = [0; 2048];
                while !text.contains(".default") {
                    let read = socket.read(&mut buffer).await.unwrap();
                    text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
                }
                let length = body.len();
                let head = format!(
                    "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
                );
                socket.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
                asked.push(text);
            }
            asked
        });
        (address, serving)
    }

    fn entra(authority: &str) -> Entra {
        let http = Http::new(Duration::from_secs(5), false).unwrap();
        Entra::new(Application::new(http, authority, "contoso.example", "app 1", "s&cret".into()).unwrap())
    }

    #[tokio::test]
    async fn a_token_is_asked_for_once_and_stamped_on_every_request() {
        let granted = r#"{"token_type":"Bearer","expires_in":3599,"access_token":"ey.1"}"#;
        let (address, serving) = authority(vec![(200, granted)]).await;
        let entra = entra(&address);
        for _ in 0..2 {
            let mut request = Request::new(Pieces::default());
            entra.sign(&mut request).await.unwrap();
            assert_eq!(request.headers()[AUTHORIZATION], "Bearer ey.1");
            assert!(request.headers()[AUTHORIZATION].is_sensitive());
        }
        let asked = serving.await.unwrap().remove(0);
        assert!(asked.starts_with("POST /contoso.example/oauth2/v2.0/token HTTP/1.1"), "{asked}");
        let form = "grant_type=client_credentials&client_id=app+1&client_secret=s%26cret&scope=https%3A%2F%2Fcognitiveservices.azure.com%2F.default";
        assert!(asked.ends_with(form), "{asked}");
    }

    #[tokio::test]
    async fn a_refused_application_is_denied_and_asked_for_again_by_the_next_call() {
        let refused = r#"{"error":"invalid_client","error_description":"AADSTS7000215: no"}"#;
        let (address, serving) = authority(vec![(401, refused), (200, r#"{"access_token":"b"}"#)]).await;
        let entra = entra(&address);
        let mut request = Request::new(Pieces::default());
        let error = entra.sign(&mut request).await.unwrap_err();
        assert_eq!((error.kind, error.unsent), (Kind::Denied, true));
        assert!(!error.message.contains("s&cret") && error.message.contains("AADSTS7000215"));
        entra.sign(&mut request).await.unwrap();
        assert_eq!(request.headers()[AUTHORIZATION], "Bearer b");
        assert_eq!(serving.await.unwrap().len(), 2);
    }

    #[test]
    fn a_tenant_cannot_leave_its_place_in_the_path() {
        let http = Http::new(Duration::from_secs(5), false).unwrap();
        let application = Application::new(http, AUTHORITY, "a/../b?c", "id", "s".into()).unwrap();
        assert_eq!(application.endpoint.path(), "/a%2F..%2Fb%3Fc/oauth2/v2.0/token");
    }
}
