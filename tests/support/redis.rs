//! A real Redis on a socket of its own, as a child process.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
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
    /// So that nobody else is given its ports while it is down.
    _ports: Vec<Port>,
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

    /// Starts one that may join a cluster, with more on its command line.
    pub fn start_in_cluster(more: &[&str]) -> Self {
        let (port, bus) = (Port::hold(), Port::hold());
        let own =
            ["--cluster-enabled", "yes", "--cluster-port", &bus.addr.port().to_string()].map(str::to_owned);
        let more = own.into_iter().chain(more.iter().map(|word| (*word).to_owned())).collect();
        Self::start_in(tempfile::tempdir().unwrap(), vec![port, bus], more)
    }

    /// Starts a sentinel that watches a server by this name.
    pub fn start_sentinel(name: &str, server: SocketAddr) -> Self {
        Self::start_sentinel_with(name, server, &[])
    }

    /// Starts a sentinel with more lines in its configuration.
    pub fn start_sentinel_with(name: &str, server: SocketAddr, lines: &[&str]) -> Self {
        let watches = format!("sentinel monitor {name} {} {} 1", server.ip(), server.port());
        let mut more = vec!["--sentinel".to_owned(), watches];
        more.extend(lines.iter().map(|line| (*line).to_owned()));
        Self::start_on(Some(Port::hold()), more)
    }

    /// Starts one that speaks TLS at a further port, with files that it finds in its folder.
    pub fn start_with_tls(prepare: impl FnOnce(&Path)) -> (Self, u16) {
        let (folder, port, safe) = (tempfile::tempdir().unwrap(), Port::hold(), Port::hold());
        prepare(folder.path());
        let file = |name: &str| folder.path().join(name).display().to_string();
        let more = [
            ["--tls-port", &safe.addr.port().to_string()],
            ["--tls-cert-file", &file("cert.pem")],
            ["--tls-key-file", &file("key.pem")],
            ["--tls-ca-cert-file", &file("ca.pem")],
            ["--tls-auth-clients", "no"],
        ];
        let more = more.concat().into_iter().map(str::to_owned).collect();
        let at = safe.addr.port();
        (Self::start_in(folder, vec![port, safe], more), at)
    }

    fn start_on(port: Option<Port>, more: Vec<String>) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), port.into_iter().collect(), more)
    }

    fn start_in(folder: tempfile::TempDir, ports: Vec<Port>, more: Vec<String>) -> Self {
        let addr = ports.first().map_or(SocketAddr::from(([127, 0, 0, 1], 0)), |port| port.addr);
        let child = launch(&folder, addr.port(), &more);
        Self { child, folder, addr, _ports: ports, more }
    }

    /// Where its files are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
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
        self.ask(words);
    }

    /// Has it do something, and returns what it says.
    pub fn ask(&self, words: &[&str]) -> String {
        self.try_ask(words).unwrap_or_else(|said| panic!("{words:?}: {said}"))
    }

    /// The same, of one that may cut connections at this very moment.
    ///
    /// # Errors
    /// What it said if it was not done.
    pub fn try_ask(&self, words: &[&str]) -> Result<String, String> {
        let mut client = Command::new("redis-cli");
        let password = self.more.iter().skip_while(|word| *word != "--requirepass").nth(1);
        client.envs(password.map(|password| ("REDISCLI_AUTH", password)));
        let done = client.arg("-e").arg("-s").arg(socket(&self.folder)).args(words).output().unwrap();
        let said = String::from_utf8(done.stdout).unwrap();
        if done.status.success() { Ok(said) } else { Err(said) }
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
        std::fs::write(&config, format!("{}\n", more[1..].join("\n"))).unwrap();
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
