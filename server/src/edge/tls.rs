//! TLS towards callers: certificate, key, and the authorities of callers' own certificates.

use std::{path::Path, sync::Arc};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio_rustls::TlsAcceptor;

use super::listen::Tls;

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
            let mut roots = RootCertStore::empty();
            for cert in certificates(path)? {
                let added = roots.add(cert);
                added.map_err(|error| format!("{} holds no usable authority: {error}", path.display()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
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

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let shown = path.display();
    let certs: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(|certs| certs.collect());
    let certs = certs.map_err(|error| format!("the certificates {shown} cannot be read: {error}"))?;
    if certs.is_empty() {
        return Err(format!("{shown} holds no certificate in PEM form"));
    }
    Ok(certs)
}
