//! What every AWS service shares: credentials (`chain`, `profile`, `web_identity`), request signatures (`sigv4`,
//! `signer`) and the binary event stream (`frames`).

pub mod chain;
pub mod frames;
mod keys;
mod profile;
mod signer;
mod sigv4;
mod web_identity;

pub use signer::Signer;

/// The domain of a region's services.
fn domain(region: &str) -> &'static str {
    if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" }
}

/// Returns the address of a service in a region.
pub fn address(service: &str, region: &str) -> String {
    format!("https://{service}.{region}.{}", domain(region))
}
