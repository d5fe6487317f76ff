//! Certificates in files.

use std::path::Path;

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};

/// Reads the certificates of a file, of which there has to be one at least.
///
/// # Errors
/// A message for the operator that names the file.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let shown = path.display();
    let certs: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(|certs| certs.collect());
    let certs = certs.map_err(|error| format!("the certificates {shown} cannot be read: {error}"))?;
    if certs.is_empty() {
        return Err(format!("{shown} holds no certificate in PEM form"));
    }
    Ok(certs)
}

/// Reads the authorities of a file.
///
/// # Errors
/// A message for the operator that names the file.
pub(crate) fn authorities(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for cert in certificates(path)? {
        let added = roots.add(cert);
        added.map_err(|error| format!("{} holds no usable authority: {error}", path.display()))?;
    }
    Ok(roots)
}
