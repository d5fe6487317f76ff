//! A real Redis on a socket of its own, as a child process.

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::port::Port;

/// A running Redis. Dropping it kills the process.
pub struct Redis {
    child: Child,
    folder: tempfile::TempDir,
    /// Where it listens for TCP too; port 0: it does not.
    pub addr: SocketAddr,
    /// So that nobody else is given its port while it is down.
    _port: Option<Port>,
    more: Vec<String>,
}

impl Redis {
    /// Starts one that listens on a socket in a folder of its own, so that no port is needed.
    pub fn start() -> Self {
        Self::start_on(None, Vec::new())
    }

    /// Starts one that listens on a port too, for proxies.
    pub fn start_with_port() -> Self {
        Self::start_with(&[])
    }

    /// Starts one that listens on a port too, with more on its command line.
    pub fn start_with(more: &[&str]) -> Self {
        Self::start_on(Some(Port::hold()), more.iter().map(|word| (*word).to_owned()).collect())
    }

    /// Starts a sentinel that watches a server by this name.
    pub fn start_sentinel(name: &str, server: SocketAddr) -> Self {
        let watches =
            ["--sentinel", "monitor", name, &server.ip().to_string(), &server.port().to_string(), "1"];
        let watches = watches.map(str::to_owned).to_vec();
        Self::start_on(Some(Port::hold()), watches)
    }

    fn start_on(port: Option<Port>, more: Vec<String>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let addr = port.as_ref().map_or(SocketAddr::from(([127, 0, 0, 1], 0)), |port| port.addr);
        let child = launch(&folder, addr.port(), &more);
        Self { child, folder, addr, _port: port, more }
    }

    /// What the configuration calls it.
    pub fn url(&self) -> String {
        format!("redis+unix://{}", socket(&self.folder).display())
    }

    /// Kills it; what it knew is gone.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::fs::remove_file(socket(&self.folder)).unwrap();
    }

    /// Starts it again at the same place.
    pub fn restart(&mut self) {
        self.child = launch(&self.folder, self.addr.port(), &self.more);
    }

    /// Sends its process a signal, such as `-STOP`.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// Has it forget everything.
    pub fn flush(&self) {
        self.command(&["FLUSHALL"]);
    }

    /// Has it do something.
    pub fn command(&self, words: &[&str]) {
        let socket = socket(&self.folder);
        let done = Command::new("redis-cli").arg("-s").arg(socket).args(words).stdout(Stdio::null()).status();
        assert!(done.unwrap().success());
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // Already gone is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn socket(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("redis.sock")
}

fn launch(folder: &tempfile::TempDir, port: u16, more: &[String]) -> Child {
    let mut command = Command::new("redis-server");
    if more.iter().any(|word| word == "--sentinel") {
        // It writes down what it finds out.
        let config = folder.path().join("sentinel.conf");
        std::fs::write(&config, format!("{}\n", more.join(" ").replace("--sentinel", "sentinel"))).unwrap();
        command.arg(config).arg("--sentinel");
    } else {
        command.args(["--save", "", "--appendonly", "no"]).args(more);
    }
    let child = command
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--daemonize", "no"])
        .arg("--unixsocket")
        .arg(socket(folder))
        .arg("--dir")
        .arg(folder.path())
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is there (tests/run installs it)");
    let patience = Instant::now() + Duration::from_secs(60);
    while std::os::unix::net::UnixStream::connect(socket(folder)).is_err() {
        assert!(Instant::now() < patience, "redis-server does not listen");
        std::thread::yield_now();
    }
    child
}
