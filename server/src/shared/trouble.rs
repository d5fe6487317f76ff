//! Why Redis is not to be had, in words that name the layer and what to do. Never holds a secret: what is quoted are the
//! words of the system, of TLS, and the codes of Redis.

use std::{error::Error as _, io, sync::Arc};

use redis::{ErrorKind, RedisError};
use rustls::{AlertDescription, CertificateError, Error as TlsError};

/// Says what is wrong.
pub(super) fn explain(error: &RedisError) -> String {
    if let Some(tls) = system(error).and_then(io::Error::get_ref).and_then(|inner| inner.downcast_ref()) {
        return format!("TLS: {}", explain_tls(tls));
    }
    match error.kind() {
        // One of those who know where the server is: who it was, and what was wrong.
        ErrorKind::Client => format!("a {error}").replace(" - Client: ", ": "),
        ErrorKind::Io if error.is_timeout() => SILENCE.to_owned(),
        ErrorKind::Io => explain_io(error),
        ErrorKind::AuthenticationFailed => LOGIN.to_owned(),
        ErrorKind::MasterNameNotFoundBySentinel => {
            "it knows no server of that name; look at `sentinel monitor` in its configuration".to_owned()
        }
        ErrorKind::ClusterConnectionNotFound => {
            "no node has the slot of `{tollgate}`; look at `redis-cli --cluster check`".to_owned()
        }
        _ => explain_code(error.code().unwrap_or_default()).map_or_else(
            || format!("Redis answers: {}", error.code().unwrap_or(error.category())),
            str::to_owned,
        ),
    }
}

const LOGIN: &str =
    "login: user or password is refused; look at those in `shared`, and at `ACL LIST` in Redis";

const SILENCE: &str = "no answer in time: the server hangs or is overloaded; if it never answered, look at host and \
                       port, and at whether the server speaks TLS there (`rediss://`) or not (`redis://`)";

/// With TLS, the reason for it may be lost on the way.
const CLOSED: &str = "TCP: the connection was closed; look at whether the server speaks TLS there (`rediss://`) or not \
                      (`redis://`), and whether it wants a certificate of ours (`?sslcert=FILE&sslkey=FILE`)";

fn explain_code(code: &str) -> Option<&'static str> {
    Some(match code {
        "WRONGPASS" | "NOAUTH" => LOGIN,
        "NOPERM" => "login: the user may not do all that is needed; docs/replicas.md has what that is",
        "READONLY" => {
            "the server is a replica, which takes no writes; give the address of the primary, or sentinels"
        }
        "OOM" => "the server is full; raise its `maxmemory`",
        "MISCONF" => "the server cannot write to its disk, and takes no writes; look at its log",
        "LOADING" => "the server is still loading its data",
        "MOVED" | "ASK" | "CROSSSLOT" => {
            "a node of a cluster that does not have our slot, or not yet; write `redis+cluster://`"
        }
        "CLUSTERDOWN" | "TRYAGAIN" => {
            "the cluster is changing; look at `redis-cli --cluster check` if it stays so"
        }
        "NOREPLICAS" => "the server has too few replicas to take writes (`min-replicas-to-write`)",
        _ => return None,
    })
}

fn explain_io(error: &RedisError) -> String {
    let closed = |kind| {
        matches!(
            kind,
            io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
        )
    };
    match system(error) {
        Some(inner) if closed(inner.kind()) => CLOSED.to_owned(),
        Some(inner) => format!("TCP: {inner}"),
        None => format!("TCP: {}", error.category()),
    }
}

fn explain_tls(error: &TlsError) -> String {
    let advice = match error {
        TlsError::InvalidCertificate(problem) => match problem {
            CertificateError::UnknownIssuer => {
                "nobody who is trusted here has signed the server's certificate; name the file of the authority that \
                 did with `?sslrootcert=FILE`"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "the server's certificate is for another name than that of the address; use one that it is for"
            }
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => {
                "the server's certificate is not valid at this time; renew it, or set the clock"
            }
            _ => return format!("the server's certificate is not accepted: {error}"),
        },
        TlsError::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::HandshakeFailure,
        ) => {
            "the server wants a certificate of ours that it accepts; name the files with `?sslcert=FILE&sslkey=FILE`"
        }
        TlsError::InvalidMessage(_) => "that port does not speak TLS; without TLS it is `redis://`",
        _ => return error.to_string(),
    };
    advice.to_owned()
}

/// Returns the error of the system that this one was made from.
fn system(error: &RedisError) -> Option<&io::Error> {
    let inner = error.source()?.downcast_ref::<Arc<dyn std::error::Error + Send + Sync>>()?;
    inner.downcast_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tls(error: TlsError) -> RedisError {
        io::Error::new(io::ErrorKind::InvalidData, error).into()
    }

    #[test]
    fn trouble_names_the_layer_and_what_to_do() {
        for (error, told) in [
            (
                tls(TlsError::InvalidCertificate(CertificateError::UnknownIssuer)),
                "TLS: nobody who is trusted",
            ),
            (
                tls(TlsError::InvalidCertificate(CertificateError::NotValidForName)),
                "TLS: the server's certificate is for another",
            ),
            (tls(TlsError::AlertReceived(AlertDescription::CertificateRequired)), "sslcert=FILE"),
            (io::Error::from(io::ErrorKind::ConnectionRefused).into(), "TCP: connection refused"),
            (io::Error::from(io::ErrorKind::UnexpectedEof).into(), "`rediss://`"),
            (io::Error::from(io::ErrorKind::TimedOut).into(), "no answer in time"),
            (super::super::hangs(), "no answer in time"),
            ((ErrorKind::AuthenticationFailed, "no").into(), "login: user or password"),
            ((ErrorKind::Client, "sentinel", "login: no".to_owned()).into(), "a sentinel: login: no"),
            (redis::make_extension_error("OOM".to_owned(), Some("s3cret".to_owned())), "maxmemory"),
            (redis::make_extension_error("NEW".to_owned(), Some("s3cret".to_owned())), "Redis answers: NEW"),
        ] {
            let message = explain(&error);
            assert!(message.contains(told) && !message.contains("s3cret"), "{error:?}: {message}");
        }
    }
}
