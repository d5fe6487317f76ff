//! Where Redis is: an address, or those of sentinels or of a cluster's nodes, who know which server to talk to.
//!
//! All that replicas share lies in one slot of a cluster, so that at any time one server has it.

use std::time::Duration;

use redis::{AsyncConnectionConfig, Client, ErrorKind, FromRedisValue as _, RedisError, Value};

/// In what slot of a cluster everything lies.
const TAG: &str = "{tollgate}";
/// Longest wait for one of those who know.
const PATIENCE: Duration = Duration::from_millis(500);

/// Where Redis is. Holds passwords, and is never shown.
pub(super) struct Address {
    /// Who is asked, the first that answers; one, if that is the server itself.
    seeds: Vec<Client>,
    asked: Asked,
    /// How the server's address begins and ends: scheme, credentials, database.
    scheme: &'static str,
    credentials: String,
    database: String,
}

/// What those at the addresses are.
enum Asked {
    /// The server.
    Server,
    /// Sentinels that watch a server of this name.
    Sentinels(String),
    /// Nodes of a cluster.
    Nodes,
}

impl Address {
    /// Reads an address: `redis://`, `rediss://` (TLS), `redis+unix://`, `redis+sentinel://host:port,host:port/name` or
    /// `redis+cluster://host:port,host:port`; the last two also with `rediss`.
    pub(super) fn read(text: &str) -> Result<Self, RedisError> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        let (scheme, kind) = match scheme {
            "redis+sentinel" => ("redis", "sentinel"),
            "rediss+sentinel" => ("rediss", "sentinel"),
            "redis+cluster" => ("redis", "cluster"),
            "rediss+cluster" => ("rediss", "cluster"),
            _ => {
                let (seeds, nothing) = (vec![Client::open(text)?], String::new);
                let (credentials, database) = (nothing(), nothing());
                return Ok(Self { seeds, asked: Asked::Server, scheme: "redis", credentials, database });
            }
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, hosts) = match authority.rsplit_once('@') {
            Some((credentials, hosts)) => (format!("{credentials}@"), hosts),
            None => (String::new(), authority),
        };
        let mut path = path.split('/');
        let (asked, own) = if kind == "cluster" {
            (Asked::Nodes, credentials.as_str())
        } else {
            let name = path.next().filter(|name| !name.is_empty());
            let missing = (ErrorKind::InvalidClientConfig, "the name of the server is missing");
            // The credentials are the server's: sentinels have users of their own, and seldom any.
            (Asked::Sentinels(name.ok_or(missing)?.to_owned()), "")
        };
        let database = path.next().map_or_else(String::new, |database| format!("/{database}"));
        let seed = |host: &str| Client::open(format!("{scheme}://{own}{host}"));
        let seeds = hosts.split(',').map(seed).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { seeds, asked, scheme, credentials, database })
    }

    /// Finds the server that has what replicas share.
    pub(super) async fn server(&self) -> Result<Client, RedisError> {
        let mut last = super::hangs();
        for seed in &self.seeds {
            let found = match &self.asked {
                Asked::Server => return Ok(seed.clone()),
                Asked::Sentinels(name) => ask_sentinel(seed, name).await,
                Asked::Nodes => ask_node(seed).await,
            };
            match found {
                Ok((host, port)) => return self.at(&host, port),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn at(&self, host: &str, port: u16) -> Result<Client, RedisError> {
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        Client::open(format!("{}://{}{host}:{port}{}", self.scheme, self.credentials, self.database))
    }
}

async fn ask(seed: &Client, commands: &redis::Pipeline) -> Result<Value, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(PATIENCE));
    let mut connection = seed.get_multiplexed_async_connection_with_config(&config).await?;
    commands.query_async(&mut connection).await
}

/// Asks a sentinel where the server of that name is.
async fn ask_sentinel(seed: &Client, name: &str) -> Result<(String, u16), RedisError> {
    let mut asks = redis::pipe();
    asks.cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(name);
    let (found,) = <(Option<(String, u16)>,)>::from_redis_value(ask(seed, &asks).await?)?;
    found.ok_or_else(|| (ErrorKind::MasterNameNotFoundBySentinel, "the sentinel knows no such server").into())
}

/// Asks a node of a cluster who has our slot.
async fn ask_node(seed: &Client) -> Result<(String, u16), RedisError> {
    let mut asks = redis::pipe();
    asks.cmd("CLUSTER").arg("KEYSLOT").arg(TAG).cmd("CLUSTER").arg("SLOTS");
    let (slot, ranges) = <(u16, Vec<Vec<Value>>)>::from_redis_value(ask(seed, &asks).await?)?;
    let number = |value: &Value| u16::from_redis_value_ref(value).ok();
    let has = |range: &&Vec<Value>| {
        let (first, last) = (range.first().and_then(number), range.get(1).and_then(number));
        first.zip(last).is_some_and(|(first, last)| (first..=last).contains(&slot))
    };
    let nobody = || (ErrorKind::ClusterConnectionNotFound, "no node has the slot").into();
    let range = ranges.iter().find(has).ok_or_else(nobody)?;
    let Some(Value::Array(node)) = range.get(2) else { return Err(nobody()) };
    let port = node.get(1).and_then(number).ok_or_else(nobody)?;
    let host = node.first().and_then(|host| String::from_redis_value_ref(host).ok());
    // A node that does not know its own name is at the address that was asked.
    let host = host.filter(|host| !host.is_empty() && host != "?").or_else(|| {
        match seed.get_connection_info().addr() {
            redis::ConnectionAddr::Tcp(host, _) | redis::ConnectionAddr::TcpTls { host, .. } => {
                Some(host.clone())
            }
            _ => None,
        }
    });
    Ok((host.ok_or_else(nobody)?, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redis_server::Redis;

    #[test]
    fn addresses_of_every_kind_are_read() {
        for text in [
            "redis://127.0.0.1:6379/2",
            "rediss://user:pass@host:6380",
            "redis+unix:///run/redis.sock",
            "redis+sentinel://a:26379,b:26379/main/3",
            "rediss+cluster://user:p%40ss@a:7000,b:7001",
        ] {
            assert!(Address::read(text).is_ok(), "{text}");
        }
        for text in ["http://host", "redis+sentinel://a:26379", "redis+cluster://a:port"] {
            assert!(Address::read(text).is_err(), "{text}");
        }
    }

    async fn ping(address: &str) -> Result<String, RedisError> {
        let server = Address::read(address)?.server().await?;
        let mut connection = server.get_multiplexed_async_connection().await?;
        redis::cmd("PING").query_async(&mut connection).await
    }

    #[tokio::test]
    async fn nodes_of_a_cluster_know_who_has_our_slot() {
        let node = Redis::start_with(&["--cluster-enabled", "yes"]);
        let address = format!("redis+cluster://127.0.0.1:1,{}", node.addr);
        assert!(ping(&address).await.is_err(), "it has no slots yet");
        node.command(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
        assert_eq!(ping(&address).await.unwrap(), "PONG");
    }

    #[tokio::test]
    async fn sentinels_know_where_the_server_is() {
        let server = Redis::start_with_port();
        let sentinel = Redis::start_sentinel("main", server.addr);
        let address = format!("redis+sentinel://127.0.0.1:1,{}/main", sentinel.addr);
        assert_eq!(ping(&address).await.unwrap(), "PONG");
        assert!(ping(&address.replace("main", "other")).await.is_err());
    }
}
