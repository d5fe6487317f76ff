//! Continuity tokens in dialects that have one string for them (Anthropic's `signature`, OpenAI's `encrypted_content`):
//! a token that is not the dialect's own is told as `tollgate.<provider>.<base64url>`, so that it finds its way back.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use tollgate_api::v1::Continuity;

/// How a token of ours begins; no vendor's does.
const MARK: &str = "tollgate.";

/// Writes a token for a caller.
pub fn encode(continuity: &Continuity) -> String {
    format!("{MARK}{}.{}", continuity.provider, URL_SAFE_NO_PAD.encode(&continuity.token))
}

/// Reads what a caller sends back. A token without our mark is the dialect's vendor's own.
pub fn decode(text: &str, vendor: &str) -> Continuity {
    let marked = text.strip_prefix(MARK).and_then(|rest| rest.rsplit_once('.'));
    let told = marked.and_then(|(provider, token)| Some((provider, URL_SAFE_NO_PAD.decode(token).ok()?)));
    match told {
        Some((provider, token)) => Continuity { provider: provider.to_owned(), token: token.into() },
        None => Continuity { provider: vendor.to_owned(), token: text.as_bytes().to_vec().into() },
    }
}

/// Tells whether a token is one that `encode` wrote.
pub fn is_marked(text: &str) -> bool {
    text.starts_with(MARK)
}

/// Tells whether a body may hold a token of ours. Such a body must not take the express lane: the vendor would refuse
/// the token, or another vendor's would reach it.
pub fn is_in(body: &[u8]) -> bool {
    memchr::memmem::find(body, b"\"tollgate.").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_finds_its_way_back() {
        for (provider, token) in [("gemini.eu", &b"\x00\xffsig"[..]), ("claude", b"")] {
            let continuity = Continuity { provider: provider.to_owned(), token: token.to_vec().into() };
            let text = encode(&continuity);
            assert!(is_in(format!("{{\"signature\":\"{text}\"}}").as_bytes()));
            assert_eq!(decode(&text, "anthropic"), continuity);
        }
        assert_eq!(decode("EqQBCg==", "anthropic").provider, "anthropic");
        assert_eq!(decode("tollgate.x.!", "anthropic").token, "tollgate.x.!");
    }
}
