//! What the client's tests share: peers, and a network of their own in which packets can be lost.

use std::{net::SocketAddr, process::Command, sync::Arc};

use bytes::Bytes;
use http::Request;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
    sync::watch,
};

use super::{Http, Pieces, read_all};
use crate::provider::Error;

#[path = "../../../../tests/support/http2.rs"]
#[expect(dead_code, unreachable_pub, reason = "shared with the end-to-end tests")]
pub(super) mod http2;

/// Gets a whole answer.
pub(super) async fn get(http: Http, url: String) -> Result<Bytes, Error> {
    let response = http.send(Request::get(url).body(Pieces::default()).unwrap()).await?;
    read_all(response.into_body(), 1 << 20).await
}

/// Reads a request without a body.
pub(super) async fn read_request(socket: &mut (impl AsyncRead + Unpin)) -> Option<()> {
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        socket.read_buf(&mut seen).await.ok().filter(|read| *read > 0)?;
    }
    Some(())
}

/// Answers `ok`.
pub(super) async fn say_ok(socket: &mut (impl AsyncWrite + Unpin)) -> Option<()> {
    socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.ok()
}

/// A plain HTTP/1.1 server that answers `ok` to everything once it is released.
#[derive(Clone)]
pub(super) struct Plain {
    pub(super) addr: SocketAddr,
    peers: Arc<watch::Sender<Vec<SocketAddr>>>,
    open: Arc<watch::Sender<usize>>,
    running: Arc<watch::Sender<usize>>,
    released: Arc<watch::Sender<bool>>,
}

impl Plain {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let plain = Self {
            addr: listener.local_addr().unwrap(),
            peers: Arc::new(watch::Sender::new(Vec::new())),
            open: Arc::new(watch::Sender::new(0)),
            running: Arc::new(watch::Sender::new(0)),
            released: Arc::new(watch::Sender::new(false)),
        };
        let me = plain.clone();
        tokio::spawn(async move {
            loop {
                let (mut socket, peer) = listener.accept().await.unwrap();
                me.peers.send_modify(|peers| peers.push(peer));
                me.open.send_modify(|open| *open += 1);
                let me = me.clone();
                tokio::spawn(async move {
                    while read_request(&mut socket).await.is_some() {
                        me.running.send_modify(|running| *running += 1);
                        me.released.subscribe().wait_for(|released| *released).await.unwrap();
                        me.running.send_modify(|running| *running -= 1);
                        if say_ok(&mut socket).await.is_none() {
                            break;
                        }
                    }
                    me.open.send_modify(|open| *open -= 1);
                });
            }
        });
        plain
    }

    pub(super) fn peers(&self) -> Vec<SocketAddr> {
        self.peers.borrow().clone()
    }

    pub(super) fn release(&self) {
        self.released.send_replace(true);
    }

    pub(super) async fn running(&self, count: usize) {
        self.running.subscribe().wait_for(|running| *running >= count).await.unwrap();
    }

    pub(super) async fn open_at_most(&self, count: usize) {
        self.open.subscribe().wait_for(|open| *open <= count).await.unwrap();
    }
}

/// Runs the named test again in a network namespace of its own, and tells whether this is that run. Where none can be
/// made (it takes root, `unshare` and `nft`) it says so.
pub(crate) fn in_own_network(test: &str) -> bool {
    const INSIDE: &str = "TOLLGATE_TEST_IN_OWN_NETWORK";
    const RULES: &str = "ip link set lo up && nft add table ip lost \
        && nft 'add chain ip lost everything { type filter hook output priority 0; }'";
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let run = |script: &str| {
        let me = std::env::current_exe().unwrap();
        let mut command = Command::new("unshare");
        command.args(["-n", "sh", "-c", script]).arg(me).args([test, "--exact", "--nocapture"]);
        command.env(INSIDE, "1").output()
    };
    if !run(RULES).is_ok_and(|probe| probe.status.success()) {
        println!("NOT CHECKED: {test}: no network namespace with nft can be made here");
        return false;
    }
    let ran = run(&format!("{RULES} && exec \"$0\" \"$@\"")).unwrap();
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(ran.status.success() && said.contains("1 passed"), "{said}");
    false
}

/// Loses every packet from and to this port from now on, in a network of one's own.
pub(crate) fn lose(port: u16) {
    for side in ["sport", "dport"] {
        let port = port.to_string();
        let rule = ["add", "rule", "ip", "lost", "everything", "tcp", side, &port, "drop"];
        assert!(Command::new("nft").args(rule).status().unwrap().success());
    }
}
