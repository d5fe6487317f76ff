//! A port on which nobody listens and which nobody else is given.

use std::net::SocketAddr;

use tokio::net::TcpSocket;

/// A port of the loopback that is taken without being listened on: who connects is refused. Whoever allows the address to
/// be used again, as servers do, may listen there.
pub struct Port {
    pub addr: SocketAddr,
    _held: TcpSocket,
}

impl Port {
    pub fn hold() -> Self {
        let held = TcpSocket::new_v4().unwrap();
        held.set_reuseaddr(true).unwrap();
        held.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Self { addr: held.local_addr().unwrap(), _held: held }
    }
}
