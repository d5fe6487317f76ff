//! The address of a PostgreSQL: what libpq takes as a URL, with its words for TLS.

use std::{fmt, path::PathBuf, time::Duration};

use percent_encoding::percent_decode_str;
use tokio_postgres::config::{Config, Host, SslMode};

/// Longest wait for a connection, unless the address says otherwise (`connect_timeout`).
const CONNECT: Duration = Duration::from_secs(3);
/// After how long without an answer a connection is asked whether it is still there, and given up.
const SILENCE: Duration = Duration::from_secs(10);

const FORM: &str =
    "write e.g. `postgres://tollgate:${DB_PASSWORD}@db.example.com/tollgate?sslmode=verify-full`";

/// A PostgreSQL, and how to reach it. Its password is never shown.
#[derive(Clone)]
pub struct Address {
    /// Everything but the checks of the server's certificate.
    pub(super) config: Config,
    /// How a connection is made safe.
    pub(super) security: Security,
    /// Longest wait for a connection.
    pub(super) connect: Duration,
}

/// What the address says about TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Security {
    /// How the server's certificate is looked at.
    pub(super) check: Check,
    /// File with the authorities, PEM. Absent: the system's.
    pub(super) roots: Option<PathBuf>,
    /// Files with a certificate and its key, PEM, to show to the server.
    pub(super) own: Option<(PathBuf, PathBuf)>,
}

/// How the server's certificate is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Check {
    /// Not at all: against those who only listen.
    #[default]
    None,
    /// An authority must have signed it.
    Authority,
    /// And it must be for the host of the address.
    Full,
}

impl Address {
    /// Reads an address.
    ///
    /// # Errors
    /// What is wrong, without the address: it may hold a password.
    pub fn parse(url: &str) -> Result<Self, String> {
        let (base, query) = split_query(url);
        let mut words = Words::default();
        let mut rest = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if !words.take(name, value)? {
                rest.push(pair);
            }
        }
        let plain = if rest.is_empty() { base.to_owned() } else { format!("{base}?{}", rest.join("&")) };
        // Its message is left out: what it quotes can be a part of a password that was not percent-encoded.
        let mut config: Config = plain.parse().map_err(|_| {
            format!("not an address of a PostgreSQL, or one with an option that is not known; {FORM}")
        })?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(format!("the host is missing; {FORM}"));
        }
        let (mode, security) = words.read()?;
        let local = config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_)));
        // As libpq: there is no TLS on a socket of the machine itself.
        let local = local && config.get_hostaddrs().is_empty();
        config.ssl_mode(if local { SslMode::Disable } else { mode });
        if config.get_application_name().is_none() {
            config.application_name("tollgate");
        }
        let connect = config.get_connect_timeout().copied().filter(|limit| !limit.is_zero());
        let connect = connect.unwrap_or(CONNECT);
        config.connect_timeout(connect);
        config.keepalives_idle(SILENCE).keepalives_interval(SILENCE / 3).keepalives_retries(3);
        config.tcp_user_timeout(SILENCE * 2);
        Ok(Self { config, security, connect })
    }

    /// Shows where it is, without user and password.
    pub fn place(&self) -> String {
        let ports = self.config.get_ports();
        let hosts = self.config.get_hosts().iter().enumerate().map(|(at, host)| {
            let port = ports.get(at).or(ports.first()).copied().unwrap_or(5432);
            match host {
                Host::Tcp(name) => format!("{name}:{port}"),
                Host::Unix(folder) => format!("{}:{port}", folder.display()),
            }
        });
        let hosts: Vec<_> = hosts.collect();
        let database = self.config.get_dbname().or(self.config.get_user()).unwrap_or_default();
        format!("{}/{database}", hosts.join(","))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({})", self.place())
    }
}

/// Splits at the `?` behind the credentials, which may hold one themselves.
fn split_query(url: &str) -> (&str, &str) {
    let after = url.find('@').unwrap_or(0);
    match url[after..].find('?') {
        Some(at) => (&url[..after + at], &url[after + at + 1..]),
        None => (url, ""),
    }
}

/// The words of the address that the client library does not know.
#[derive(Default)]
struct Words {
    mode: Option<String>,
    roots: Option<String>,
    cert: Option<String>,
    key: Option<String>,
}

impl Words {
    /// Takes a word if it is one of these.
    fn take(&mut self, name: &str, value: &str) -> Result<bool, String> {
        let field = match name {
            "sslmode" => &mut self.mode,
            "sslrootcert" => &mut self.roots,
            "sslcert" => &mut self.cert,
            "sslkey" => &mut self.key,
            _ => return Ok(false),
        };
        let value = percent_decode_str(value).decode_utf8().map_err(|_| format!("`{name}` is not UTF-8"))?;
        *field = Some(value.into_owned()).filter(|value| !value.is_empty());
        Ok(true)
    }

    fn read(self) -> Result<(SslMode, Security), String> {
        let roots = self.roots.filter(|roots| roots != "system").map(PathBuf::from);
        let (mode, check) = match self.mode.as_deref() {
            None | Some("prefer" | "allow") => (SslMode::Prefer, Check::None),
            Some("disable") => (SslMode::Disable, Check::None),
            // As libpq: who names authorities wants them asked.
            Some("require") if roots.is_some() => (SslMode::Require, Check::Authority),
            Some("require") => (SslMode::Require, Check::None),
            Some("verify-ca") if roots.is_some() => (SslMode::Require, Check::Authority),
            Some("verify-ca") => {
                return Err(
                    "`sslmode=verify-ca` needs `sslrootcert=FILE`; with the system's authorities only \
                            `verify-full` says anything"
                        .to_owned(),
                );
            }
            Some("verify-full") => (SslMode::Require, Check::Full),
            Some(_) => {
                return Err(
                    "`sslmode` is one of disable, prefer, require, verify-ca and verify-full".to_owned()
                );
            }
        };
        let own = match (self.cert, self.key) {
            (Some(cert), Some(key)) => Some((cert.into(), key.into())),
            (None, None) => None,
            _ => return Err("`sslcert` and `sslkey` belong together".to_owned()),
        };
        Ok((mode, Security { check, roots, own }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_says_whether_there_is_tls_and_what_is_checked() {
        for (query, mode, check) in [
            ("", SslMode::Prefer, Check::None),
            ("?sslmode=disable", SslMode::Disable, Check::None),
            ("?sslmode=require", SslMode::Require, Check::None),
            ("?sslmode=require&sslrootcert=/ca.pem", SslMode::Require, Check::Authority),
            ("?sslmode=verify-ca&sslrootcert=%2Fca.pem", SslMode::Require, Check::Authority),
            ("?sslmode=verify-full", SslMode::Require, Check::Full),
            ("?sslrootcert=system&sslmode=verify-full", SslMode::Require, Check::Full),
        ] {
            let address = Address::parse(&format!("postgres://u:p%40@h:1/d{query}")).unwrap();
            assert_eq!((address.config.get_ssl_mode(), address.security.check), (mode, check), "{query}");
            assert_eq!(address.config.get_password(), Some("p@".as_bytes()));
        }
    }

    #[test]
    fn what_is_wrong_is_told_without_the_address() {
        for (url, told) in [
            ("postgres://u:s3cret@h/d?sslmode=always", "verify-full"),
            ("postgres://u:s3cret@h/d?sslmode=verify-ca", "sslrootcert"),
            ("postgres://u:s3cret@h/d?sslcert=/a", "belong together"),
            ("postgres://u:s3cret@h:port/d", "not an address"),
            ("postgres://u:s3cret@h/d?s3cret=1", "not an address"),
            ("postgres:///d", "host is missing"),
        ] {
            let message = Address::parse(url).unwrap_err();
            assert!(message.contains(told) && !message.contains("s3cret"), "{url}: {message}");
        }
    }

    #[test]
    fn a_password_is_shown_nowhere() {
        let address = Address::parse("postgresql://u:s3c?ret@db1:5433,db2/books?application_name=x").unwrap();
        assert_eq!(address.place(), "db1:5433,db2:5432/books");
        assert!(!format!("{address:?}{:?}", address.config).contains("s3c"));
        assert_eq!(address.config.get_application_name(), Some("x"));
    }

    #[test]
    fn there_is_no_tls_on_a_socket_of_the_machine() {
        let address = Address::parse("postgres://u@%2Frun%2Fpg/d?sslmode=verify-full").unwrap();
        assert_eq!(address.config.get_ssl_mode(), SslMode::Disable);
    }
}
