//! A server behind a firewall that drops.

use std::{net::SocketAddr, time::Duration};

use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// An address that takes no connection and refuses none, as behind a firewall that drops. Lives as long as this does.
pub struct Blackhole {
    pub addr: SocketAddr,
    _listener: TcpListener,
    _waiting: Vec<TcpStream>,
}

impl Blackhole {
    /// A listener whose queue is full: further SYNs are dropped by the kernel.
    pub async fn start() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let addr = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        while let Ok(stream) =
            tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(addr)).await
        {
            waiting.push(stream.unwrap());
        }
        Self { addr, _listener: listener, _waiting: waiting }
    }
}
