//! Finds the server that has what replicas share: at an address of its own, or where sentinels or a cluster's nodes say.
//!
//! All that replicas share lies in one slot of a cluster, so that at any time one server has it.

use std::time::Duration;

use futures_util::future::{FutureExt as _, select_ok};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ErrorKind, FromRedisValue as _, RedisError,
    TlsCertificates, Value, aio::MultiplexedConnection,
};

use super::{
    address::{Address, Asked, Files},
    trouble::explain,
};

/// In what slot of a cluster everything lies.
const TAG: &str = "{tollgate}";
/// Longest wait for one of those who know.
const PATIENCE: Duration = Duration::from_millis(500);

/// The way to the server.
pub(super) struct Server {
    address: Address,
    certificates: Option<TlsCertificates>,
    /// Who is asked; one, if that is the server itself.
    seeds: Vec<Client>,
}

impl Server {
    /// Reads the files that the address names.
    ///
    /// # Errors
    /// A message for the operator that names the file, and not the address: it may hold a password.
    pub(super) fn new(address: Address) -> Result<Self, String> {
        let certificates = address.tls.as_ref().map(read).transpose()?;
        let mut server = Self { address, certificates, seeds: Vec::new() };
        let seeds = server.address.hosts.iter().map(|host| server.client(&server.address.seed(host)));
        server.seeds = seeds.collect::<Result<_, _>>().map_err(|error| explain(&error))?;
        Ok(server)
    }

    fn client(&self, url: &str) -> Result<Client, RedisError> {
        match &self.certificates {
            Some(certificates) => Client::build_with_tls(url, certificates.clone()),
            None => Client::open(url),
        }
    }

    /// Finds the server. Those who know are asked all at once, so that one that hangs keeps nobody.
    pub(super) async fn find(&self) -> Result<Client, RedisError> {
        let (host, port) = match &self.address.asked {
            Asked::Socket | Asked::Server => return Ok(self.seeds[0].clone()),
            Asked::Sentinels(name) => {
                let asked = self.seeds.iter().map(|seed| ask_sentinel(seed, name).boxed());
                select_ok(asked).await.map_err(|error| told_by("sentinel", &error))?.0
            }
            Asked::Nodes => {
                let asked = self.seeds.iter().map(|seed| ask_node(seed).boxed());
                select_ok(asked).await.map_err(|error| told_by("node of the cluster", &error))?.0
            }
        };
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        self.client(&self.address.server(&format!("{host}:{port}")))
    }
}

/// Reads the files for TLS.
fn read(files: &Files) -> Result<TlsCertificates, String> {
    let bytes = |path: &std::path::PathBuf| {
        std::fs::read(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))
    };
    if let Some(roots) = &files.roots {
        // Whatever is wrong with it is told with its name.
        crate::pem::authorities(roots)?;
    }
    let own = files.own.as_ref().map(|(cert, key)| {
        Ok::<_, String>(ClientTlsConfig { client_cert: bytes(cert)?, client_key: bytes(key)? })
    });
    let root_cert = files.roots.as_ref().map(bytes).transpose()?;
    Ok(TlsCertificates { client_tls: own.transpose()?, root_cert })
}

/// Says who has that trouble, if it is not the server itself.
fn told_by(whom: &'static str, error: &RedisError) -> RedisError {
    (ErrorKind::Client, whom, explain(error)).into()
}

/// Connects to one of those who know.
async fn connect(seed: &Client) -> Result<MultiplexedConnection, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(PATIENCE));
    seed.get_multiplexed_async_connection_with_config(&config).await
}

/// Asks a sentinel where the server of that name is.
async fn ask_sentinel(seed: &Client, name: &str) -> Result<(String, u16), RedisError> {
    let mut asks = redis::cmd("SENTINEL");
    asks.arg("GET-MASTER-ADDR-BY-NAME").arg(name);
    let found: Option<(String, u16)> = asks.query_async(&mut connect(seed).await?).await?;
    found.ok_or_else(|| (ErrorKind::MasterNameNotFoundBySentinel, "the sentinel knows no such server").into())
}

/// Asks a node of a cluster who has our slot.
async fn ask_node(seed: &Client) -> Result<(String, u16), RedisError> {
    let mut node = connect(seed).await?;
    let slot: u16 = redis::cmd("CLUSTER").arg("KEYSLOT").arg(TAG).query_async(&mut node).await?;
    let ranges: Vec<Vec<Value>> = redis::cmd("CLUSTER").arg("SLOTS").query_async(&mut node).await?;
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
