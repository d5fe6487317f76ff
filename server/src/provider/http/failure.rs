//! What can go wrong with a connection, in the words of `Kind` and in fixed words for people.

use std::{error::Error as StdError, io, time::Duration};

use http::StatusCode;

use crate::provider::{Error, Kind};

/// A request that got no answer.
#[derive(Clone, Debug)]
pub(super) struct Failed {
    kind: Kind,
    message: String,
    /// The upstream cannot have done anything.
    unsent: bool,
    /// What may make the same request succeed at once.
    pub(super) cure: Option<Cure>,
}

/// What may make the same request succeed at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cure {
    /// Another connection: the one that was kept open had died unnoticed.
    Fresh,
    /// Other root certificates: those that were loaded do not know the peer's.
    Roots,
}

/// A failure this soon after sending cannot come from an answer that was waited for: `Line` notices within that time
/// that nothing was acknowledged.
pub(super) const UNACKNOWLEDGED: Duration = Duration::from_millis(1500);

impl Failed {
    /// Makes the failure of a request that was not sent.
    pub(super) fn unsent(message: impl Into<String>) -> Self {
        Self { kind: Kind::Unavailable, message: message.into(), unsent: true, cure: None }
    }

    /// Makes the failure of connecting.
    pub(super) fn connecting(error: &(dyn StdError + 'static)) -> Self {
        let cause = cause(error);
        if cause == TIMED_OUT {
            let message = "no connection within `timeouts.connect`".to_owned();
            return Self { kind: Kind::Timeout, message, unsent: true, cure: None };
        }
        let untrusted = matches!(tls_of(error), Some(rustls::Error::InvalidCertificate(_)));
        Self { cure: untrusted.then_some(Cure::Roots), ..Self::unsent(format!("cannot connect: {cause}")) }
    }

    /// Makes the failure of a request that may have been sent, so long ago.
    pub(super) fn sending(error: &(dyn StdError + 'static), ago: Duration) -> Self {
        let died = ago < UNACKNOWLEDGED && chain(error).filter_map(io_kind).any(is_unreachable);
        Self {
            kind: Kind::Unavailable,
            message: format!("the connection broke before the answer began ({})", cause(error)),
            unsent: false,
            cure: died.then_some(Cure::Fresh),
        }
    }
}

impl From<Failed> for Error {
    fn from(failed: Failed) -> Self {
        Self { unsent: failed.unsent, ..Self::new(failed.kind, failed.message) }
    }
}

/// Makes the failure of an answer that broke off.
pub fn cut(error: &(dyn StdError + 'static)) -> Error {
    Error::new(Kind::Unavailable, format!("the connection broke before the answer's end ({})", cause(error)))
}

/// Makes the failure of a redirect, which is never followed: the key belongs to the configured host alone.
pub fn redirected(status: StatusCode) -> Error {
    let mut error = Error::new(
        Kind::BadResponse,
        format!("HTTP {status}: redirects are not followed; correct the provider's `base_url`"),
    );
    error.http_status = status.as_u16();
    error
}

/// Tells whether the peer of an HTTP/2 stream has said that it did nothing with the request.
pub(super) fn is_unprocessed(error: &(dyn StdError + 'static)) -> bool {
    chain(error).filter_map(|error| error.downcast_ref::<h2::Error>()).any(|error| {
        let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
        // Streams that a GOAWAY still allows to finish do not fail by it.
        error.is_remote() && (refused || error.is_go_away())
    })
}

const TIMED_OUT: &str = "timed out";

/// Walks from an error to its innermost cause.
fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn StdError + 'static)| {
        // An I/O error's own source leaves out the error that it wraps.
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped as &(dyn StdError + 'static)),
            None => (*error).source(),
        }
    })
}

fn tls_of<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    chain(error).find_map(|error| error.downcast_ref::<rustls::Error>())
}

/// Names the innermost cause in fixed words where it is known, so that no address or header gets into a message.
fn cause(error: &(dyn StdError + 'static)) -> String {
    let mut innermost = String::new();
    for error in chain(error) {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return format!("TLS: {}", tls_words(tls));
        }
        if let Some(word) = io_kind(error).and_then(io_word) {
            return word.to_owned();
        }
        innermost = error.to_string();
        if innermost.starts_with("dns error") || innermost.contains("lookup address") {
            return "the host's name cannot be resolved".to_owned();
        }
    }
    innermost
}

fn tls_words(error: &rustls::Error) -> String {
    use rustls::CertificateError as Wrong;
    let rustls::Error::InvalidCertificate(wrong) = error else { return error.to_string() };
    let words = match wrong {
        Wrong::Expired | Wrong::ExpiredContext { .. } => "the certificate has expired",
        Wrong::NotValidYet | Wrong::NotValidYetContext { .. } => "the certificate is not valid yet",
        Wrong::NotValidForName | Wrong::NotValidForNameContext { .. } => {
            "the certificate is for another name"
        }
        Wrong::UnknownIssuer => "the certificate is signed by an unknown authority",
        Wrong::BadSignature => "the certificate's signature is wrong",
        Wrong::Revoked => "the certificate is revoked",
        _ => "the certificate is not valid",
    };
    words.to_owned()
}

/// Finds the kind of an I/O failure, which HTTP/2 keeps in its own error.
fn io_kind(error: &(dyn StdError + 'static)) -> Option<io::ErrorKind> {
    let plain = error.downcast_ref::<io::Error>();
    plain.or_else(|| error.downcast_ref::<h2::Error>().and_then(h2::Error::get_io)).map(io::Error::kind)
}

fn is_unreachable(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{HostUnreachable, NetworkUnreachable, TimedOut};
    matches!(kind, TimedOut | HostUnreachable | NetworkUnreachable)
}

fn io_word(kind: io::ErrorKind) -> Option<&'static str> {
    Some(match kind {
        io::ErrorKind::ConnectionRefused => "connection refused",
        io::ErrorKind::ConnectionReset => "connection reset",
        io::ErrorKind::ConnectionAborted => "connection aborted",
        io::ErrorKind::TimedOut => TIMED_OUT,
        io::ErrorKind::HostUnreachable => "host unreachable",
        io::ErrorKind::NetworkUnreachable => "network unreachable",
        io::ErrorKind::BrokenPipe => "broken pipe",
        io::ErrorKind::UnexpectedEof => "unexpected end",
        _ => return None,
    })
}
