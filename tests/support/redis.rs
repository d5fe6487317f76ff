//! A real Redis on a socket of its own, as a child process.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// A running Redis. Dropping it kills the process.
pub struct Redis {
    child: Child,
    folder: tempfile::TempDir,
}

impl Redis {
    /// Starts one that listens on a socket in a folder of its own, so that no port is needed.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let child = launch(&folder);
        Self { child, folder }
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
        self.child = launch(&self.folder);
    }

    /// Its process, for signals.
    pub fn pid(&self) -> u32 {
        self.child.id()
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

fn launch(folder: &tempfile::TempDir) -> Child {
    let child = Command::new("redis-server")
        .args(["--port", "0", "--save", "", "--appendonly", "no", "--daemonize", "no"])
        .arg("--unixsocket")
        .arg(socket(folder))
        .arg("--dir")
        .arg(folder.path())
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is there (tests/run installs it)");
    let patience = Instant::now() + Duration::from_secs(10);
    while std::os::unix::net::UnixStream::connect(socket(folder)).is_err() {
        assert!(Instant::now() < patience, "redis-server does not listen");
        std::thread::yield_now();
    }
    child
}
