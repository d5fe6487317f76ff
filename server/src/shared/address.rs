//! What an address of Redis says: where it is, who knows which server to talk to, and how to log in. Nothing is opened here.

use std::path::PathBuf;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use redis::IntoConnectionInfo as _;

const FORM: &str = "write e.g. `redis://127.0.0.1:6379`";
/// Where sentinels listen, unless the address says otherwise.
const SENTINEL_PORT: u16 = 26_379;

/// Where Redis is. Holds passwords, and is never shown.
pub(super) struct Address {
    /// Who is asked; one, if that is the server itself. Host and port, or the whole address of a socket.
    pub(super) hosts: Vec<String>,
    pub(super) asked: Asked,
    /// Absent: without TLS.
    pub(super) tls: Option<Files>,
    /// User and password of the server, as they stand in an address, with the `@`.
    credentials: String,
    /// Those of the sentinels.
    sentinel_credentials: String,
    /// The server's database, with the `/`.
    database: String,
}

/// What those at the addresses are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// A socket of this machine.
    Socket,
    /// The server.
    Server,
    /// Sentinels that watch a server of this name.
    Sentinels(String),
    /// Nodes of a cluster.
    Nodes,
}

/// Files for TLS, PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Files {
    /// With the authorities. Absent: the system's.
    pub(super) roots: Option<PathBuf>,
    /// With a certificate and its key, to show to the server.
    pub(super) own: Option<(PathBuf, PathBuf)>,
}

impl Address {
    /// Reads an address: `redis://`, `rediss://` (TLS), `redis+unix://`, `redis+sentinel://host:port,host:port/name` or
    /// `redis+cluster://host:port,host:port`; the last two also with `rediss`.
    ///
    /// # Errors
    /// What is wrong, without the address: it may hold a password.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let (scheme, rest) =
            text.split_once("://").ok_or_else(|| format!("the scheme is missing; {FORM}"))?;
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("it holds a space or a character that is not ASCII; percent-encode it".to_owned());
        }
        let (is_safe, kind) = match scheme {
            "redis+unix" | "unix" => return Self::socket(text, rest),
            "redis" => (false, ""),
            "rediss" => (true, ""),
            "redis+sentinel" => (false, "sentinel"),
            "rediss+sentinel" => (true, "sentinel"),
            "redis+cluster" => (false, "cluster"),
            "rediss+cluster" => (true, "cluster"),
            _ => {
                return Err(
                    "the scheme is none of redis, rediss, redis+unix, redis+sentinel, rediss+sentinel, \
                            redis+cluster and rediss+cluster"
                        .to_owned(),
                );
            }
        };
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        if rest.contains('#') {
            return Err("it ends in `#…`, which means nothing here; in a password write `%23`".to_owned());
        }
        let (authority, path) = place.split_once('/').unwrap_or((place, ""));
        let (credentials, hosts) = match authority.rsplit_once('@') {
            Some((credentials, hosts)) => (format!("{credentials}@"), hosts),
            None => (String::new(), authority),
        };
        let (asked, database) = split_path(kind, path)?;
        let words = Words::read(query, is_safe, kind == "sentinel")?;
        let address = Self {
            hosts: hosts.split(',').map(|host| with_port(host, &asked)).collect(),
            asked,
            tls: is_safe.then_some(words.files),
            credentials,
            sentinel_credentials: words.sentinel_credentials,
            database,
        };
        address.check()?;
        Ok(address)
    }

    fn socket(text: &str, path: &str) -> Result<Self, String> {
        if !path.starts_with('/') || path.len() == 1 {
            return Err(
                "the path of the socket is missing; write e.g. `redis+unix:///run/redis.sock`".to_owned()
            );
        }
        let (credentials, sentinel_credentials, database) = Default::default();
        let hosts = vec![text.to_owned()];
        let address =
            Self { hosts, asked: Asked::Socket, tls: None, credentials, sentinel_credentials, database };
        address.check()?;
        Ok(address)
    }

    /// Finds out whether the client library can read what it will be given.
    fn check(&self) -> Result<(), String> {
        if self.hosts.iter().any(|host| host.is_empty() || host.starts_with(':')) {
            return Err(format!("the host is missing; {FORM}"));
        }
        if self.hosts.len() > 1 && self.asked == Asked::Server {
            return Err("several hosts need `redis+sentinel://` or `redis+cluster://`".to_owned());
        }
        // Its message is left out: what it quotes can be a part of a password that was not percent-encoded.
        let can_be_read = |url: String| url.as_str().into_connection_info().is_ok();
        if !self.hosts.iter().all(|host| can_be_read(self.seed(host))) {
            return Err(
                "a host, port, user or password cannot be read; percent-encode what is not a letter or a \
                        digit in user and password (`@` is `%40`, `/` is `%2F`)"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// Writes the address of one of those who are asked.
    pub(super) fn seed(&self, host: &str) -> String {
        match self.asked {
            Asked::Socket => host.to_owned(),
            Asked::Server => self.server(host),
            // They have users of their own, and seldom any.
            Asked::Sentinels(_) => format!("{}://{}{host}", self.scheme(), self.sentinel_credentials),
            Asked::Nodes => format!("{}://{}{host}", self.scheme(), self.credentials),
        }
    }

    /// Writes the address of the server at that host and port.
    pub(super) fn server(&self, host: &str) -> String {
        format!("{}://{}{host}{}", self.scheme(), self.credentials, self.database)
    }

    fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "rediss" } else { "redis" }
    }
}

/// Splits what follows the hosts: the name that sentinels know, and the database, with its `/`.
fn split_path(kind: &str, path: &str) -> Result<(Asked, String), String> {
    let (name, database) = match kind {
        "sentinel" => path.split_once('/').unwrap_or((path, "")),
        _ => ("", path),
    };
    let database = database.trim_end_matches('/');
    if !database.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("the database is no number; write e.g. `redis://127.0.0.1:6379/2`".to_owned());
    }
    let asked = match kind {
        "sentinel" if name.is_empty() => {
            return Err("the name that the sentinels know the server by is missing; write e.g. \
                        `redis+sentinel://host:26379/mymaster`"
                .to_owned());
        }
        "sentinel" => Asked::Sentinels(name.to_owned()),
        "cluster" if !matches!(database, "" | "0") => {
            return Err("a cluster has no database but 0".to_owned());
        }
        "cluster" => Asked::Nodes,
        _ => Asked::Server,
    };
    Ok((asked, if database.is_empty() { String::new() } else { format!("/{database}") }))
}

/// Sentinels have a port of their own, which the client library does not know.
fn with_port(host: &str, asked: &Asked) -> String {
    let behind = host.rsplit_once(']').map_or(host, |(_, behind)| behind);
    let needs_port = matches!(asked, Asked::Sentinels(_)) && !host.is_empty() && !behind.contains(':');
    if needs_port { format!("{host}:{SENTINEL_PORT}") } else { host.to_owned() }
}

/// What stands behind the `?`.
#[derive(Default)]
struct Words {
    files: Files,
    sentinel_credentials: String,
}

impl Words {
    fn read(query: &str, is_safe: bool, is_sentinel: bool) -> Result<Self, String> {
        let (mut roots, mut cert, mut key, mut user, mut password) = Default::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let slot: &mut Option<String> = match name {
                "sslrootcert" if is_safe => &mut roots,
                "sslcert" if is_safe => &mut cert,
                "sslkey" if is_safe => &mut key,
                "sentinel_username" if is_sentinel => &mut user,
                "sentinel_password" if is_sentinel => &mut password,
                _ => {
                    return Err("behind `?` there is an option that is not known; `sslrootcert`, `sslcert` and \
                                `sslkey` go with rediss, `sentinel_username` and `sentinel_password` with sentinels"
                        .to_owned());
                }
            };
            let value = percent_decode_str(value).decode_utf8();
            let value = value.map_err(|_| format!("`{name}` is not UTF-8"))?;
            *slot = Some(value.into_owned()).filter(|value| !value.is_empty());
        }
        let own = match (cert, key) {
            (Some(cert), Some(key)) => Some((cert.into(), key.into())),
            (None, None) => None,
            _ => return Err("`sslcert` and `sslkey` belong together".to_owned()),
        };
        if user.is_some() && password.is_none() {
            return Err("`sentinel_username` needs `sentinel_password`".to_owned());
        }
        let encoded = |text: Option<String>| {
            text.map(|text| utf8_percent_encode(&text, NON_ALPHANUMERIC).to_string()).unwrap_or_default()
        };
        let sentinel_credentials =
            password.map(|password| format!("{}:{}@", encoded(user), encoded(Some(password))));
        let files = Files { roots: roots.map(PathBuf::from), own };
        Ok(Self { files, sentinel_credentials: sentinel_credentials.unwrap_or_default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_every_kind_are_read() {
        let sentinels = || Asked::Sentinels("main".to_owned());
        for (text, asked, seed, server) in [
            ("redis://127.0.0.1:6379/2", Asked::Server, "redis://127.0.0.1:6379/2", "redis://x/2"),
            ("redis://[::1]", Asked::Server, "redis://[::1]", "redis://x"),
            (
                "rediss://u:p%40@h:1/?sslrootcert=/ca.pem",
                Asked::Server,
                "rediss://u:p%40@h:1",
                "rediss://u:p%40@x",
            ),
            ("redis+unix:///run/redis.sock", Asked::Socket, "redis+unix:///run/redis.sock", "redis://x"),
            ("redis+sentinel://:p@a,b:1/main/3", sentinels(), "redis://a:26379", "redis://:p@x/3"),
            (
                "rediss+sentinel://u:p@a/main?sentinel_username=s&sentinel_password=%40",
                sentinels(),
                "rediss://s:%40@a:26379",
                "rediss://u:p@x",
            ),
            ("rediss+cluster://u:p@a:7000,b:7001", Asked::Nodes, "rediss://u:p@a:7000", "rediss://u:p@x"),
        ] {
            let address = Address::read(text).unwrap();
            assert_eq!(address.asked, asked, "{text}");
            assert_eq!((&*address.seed(&address.hosts[0]), &*address.server("x")), (seed, server), "{text}");
        }
        let files =
            Address::read("rediss://h?sslrootcert=%2Fca.pem&sslcert=c&sslkey=k").unwrap().tls.unwrap();
        let own = Some(("c".into(), "k".into()));
        assert_eq!(files, Files { roots: Some("/ca.pem".into()), own });
    }

    #[test]
    fn what_is_wrong_with_an_address_is_told_without_it() {
        for (text, told) in [
            ("s3cret", "scheme is missing"),
            ("http://u:s3cret@host", "scheme is none of"),
            ("redis://:s3cret@", "host is missing"),
            ("redis://:6379", "host is missing"),
            ("redis://u:s3/cret@host", "database is no number"),
            ("redis://u:s3?cret@host", "option that is not known"),
            ("redis://u:s3#cret@host", "%23"),
            ("redis://u:s3 cret@host", "percent-encode"),
            ("redis://u:s3cret@host:port", "cannot be read"),
            ("redis://a:1,b:1", "redis+sentinel"),
            ("redis+unix://", "path of the socket"),
            ("redis://h?sslrootcert=/ca.pem", "go with rediss"),
            ("rediss://h?sslcert=/c.pem", "belong together"),
            ("rediss://h?sentinel_password=s3cret", "with sentinels"),
            ("redis+sentinel://a:26379", "redis+sentinel://host:26379/mymaster"),
            ("redis+sentinel://a/main?sentinel_username=u", "needs `sentinel_password`"),
            ("redis+cluster://a:port", "cannot be read"),
            ("redis+cluster://a:7000/2", "no database but 0"),
        ] {
            let message = Address::read(text).err().unwrap_or_default();
            assert!(message.contains(told) && !message.contains("cret"), "{text}: {message}");
        }
    }
}
