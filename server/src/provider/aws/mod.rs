//! What every AWS service shares: credentials (`chain`, `profile`, `web_identity`), request signatures (`sigv4`,
//! `signer`) and the binary event stream (`frames`).

pub mod chain;
pub mod frames;
mod keys;
mod profile;
mod signer;
mod sigv4;
mod web_identity;

use std::fmt::Write as _;

pub use signer::Signer;

/// The domain of a region's services.
fn domain(region: &str) -> &'static str {
    if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" }
}

/// Returns the address of a service in a region.
pub fn address(service: &str, region: &str) -> String {
    format!("https://{service}.{region}.{}", domain(region))
}

/// Encodes everything but the characters that RFC 3986 leaves unreserved, which is AWS's own rule.
fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
