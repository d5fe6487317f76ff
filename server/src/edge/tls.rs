//! TLS towards callers: certificate, key, and the authorities of callers' own certificates.

use std::sync::Arc;

use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio_rustls::TlsAcceptor;

use super::listen::Tls;
use crate::pem::{authorities, certificates};

/// Reads the files and makes the acceptor, for HTTP/2 and HTTP/1.1.
///
/// # Errors
/// A message for the operator that names the file.
pub(super) fn acceptor(tls: &Tls) -> Result<TlsAcceptor, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let certs = certificates(&tls.cert)?;
    let key = PrivateKeyDer::from_pem_file(&tls.key)
        .map_err(|error| format!("the TLS key {} cannot be read: {error}", tls.key.display()))?;
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?;
    let builder = match &tls.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let roots = Arc::new(authorities(path)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
            builder.with_client_cert_verifier(
                verifier.map_err(|error| format!("{} cannot be used: {error}", path.display()))?,
            )
        }
    };
    let mut config = builder.with_single_cert(certs, key).map_err(|error| {
        let (cert, key) = (tls.cert.display(), tls.key.display());
        format!("the TLS certificate {cert} and the key {key} do not work together: {error}")
    })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
