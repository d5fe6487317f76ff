//! A real PostgreSQL in a folder of its own, as a child process that ends with the test's process, however that ends.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::{fs::chown, net::UnixStream, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use tokio_postgres::NoTls;

/// Starts the server that its first argument and what follows name, says its process id, and stops it at once when
/// the standard input ends: when the test's process has ended.
const GUARD: &str = r#""$@" >&2 & echo $!; cat >/dev/null; kill -QUIT $!; wait"#;

/// A running PostgreSQL. Dropping it stops the process.
pub struct Postgres {
    folder: tempfile::TempDir,
    guard: Option<Child>,
    pid: u32,
    settings: Vec<String>,
}

/// A database of its own on the server that all tests of a binary share.
pub async fn database() -> String {
    static SHARED: OnceLock<Postgres> = OnceLock::new();
    let shared = tokio::task::spawn_blocking(|| SHARED.get_or_init(|| Postgres::start(&[]))).await.unwrap();
    shared.database().await
}

impl Postgres {
    /// Starts one with further settings, like `max_connections=5`.
    pub fn start(settings: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let copied = Command::new("cp").arg("-r").arg(template()).arg(&data).status().unwrap();
        assert!(copied.success());
        own(folder.path());
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let mut server = Self { folder, guard: None, pid: 0, settings };
        server.launch();
        server
    }

    /// Makes a database, and returns its address.
    pub async fn database(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("d{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name}")).await;
        self.url(&name)
    }

    /// The address of a database.
    pub fn url(&self, database: &str) -> String {
        let folder = self.folder.path().display().to_string().replace('/', "%2F");
        format!("postgres://tollgate@{folder}/{database}")
    }

    /// Runs statements and returns the first column of what they find, as text.
    pub async fn sql(&self, database: &str, statements: &str) -> Vec<String> {
        sql(&self.url(database), statements).await
    }

    /// Stops it at once, as a crash would.
    pub fn stop(&mut self) {
        if let Some(mut guard) = self.guard.take() {
            drop(guard.stdin.take());
            guard.wait().unwrap();
        }
    }

    /// Starts it again at the same place.
    pub fn launch(&mut self) {
        let mut command = Command::new("sh");
        command
            .args(["-c", GUARD, "sh"])
            .arg(binary("postgres"))
            .arg("-D")
            .arg(self.folder.path().join("data"));
        command.arg("-k").arg(self.folder.path()).args(["-h", ""]);
        for setting in self.settings.iter().map(String::as_str).chain(QUICK) {
            command.args(["-c", setting]);
        }
        as_somebody(&mut command);
        let log = fs::File::create(self.folder.path().join("log")).unwrap();
        let mut guard = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut pid = String::new();
        BufReader::new(guard.stdout.take().unwrap()).read_line(&mut pid).unwrap();
        self.pid = pid.trim().parse().unwrap();
        self.guard = Some(guard);
        let socket = self.folder.path().join(".s.PGSQL.5432");
        let patience = Instant::now() + Duration::from_secs(60);
        while !self.log().contains("ready to accept connections") || UnixStream::connect(&socket).is_err() {
            assert!(Instant::now() < patience, "PostgreSQL does not listen: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends a signal to all of its processes, like `STOP`.
    pub fn signal(&self, name: &str) {
        let all = std::iter::once(self.pid).chain(children(self.pid)).map(|pid| pid.to_string());
        // A connection that ended meanwhile has no process any more.
        let _ = Command::new("kill").arg(format!("-{name}")).args(all).stderr(Stdio::null()).status();
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.signal("CONT");
        self.stop();
    }
}

/// Runs statements and returns the first column of what they find, as text.
pub async fn sql(url: &str, statements: &str) -> Vec<String> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    let found = client.simple_query(statements).await.unwrap();
    let first = |message: &_| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default().to_owned()),
        _ => None,
    };
    found.iter().filter_map(first).collect()
}

/// Nothing needs to outlive the machine, and little has to happen by itself.
const QUICK: [&str; 5] =
    ["fsync=off", "shared_buffers=16MB", "autovacuum=off", "max_wal_size=64MB", "log_min_messages=warning"];

/// A fresh data directory, made once; each server takes a copy.
fn template() -> PathBuf {
    static TEMPLATE: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = TEMPLATE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        own(folder.path());
        let mut command = Command::new(binary("initdb"));
        command.arg("-D").arg(folder.path().join("data"));
        command.args(["-U", "tollgate", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]);
        as_somebody(&mut command);
        let made = command.output().expect("initdb is there (tests/run installs it)");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        folder
    });
    folder.path().join("data")
}

/// The newest PostgreSQL of Debian, else what is in the path.
fn binary(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().filter_map(Result::ok);
    let mut found: Vec<_> =
        versions.map(|version| version.path().join("bin").join(name)).filter(|path| path.exists()).collect();
    found.sort();
    found.pop().unwrap_or_else(|| name.into())
}

/// PostgreSQL does not run as root: user and group to run it as then.
fn somebody() -> Option<(u32, u32)> {
    let own = fs::metadata("/proc/self").map(|own| std::os::unix::fs::MetadataExt::uid(&own)).unwrap();
    if own != 0 {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let ids = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut ids = line.split(':').skip(2).map(|id| id.parse().ok());
        Some((ids.next()??, ids.next()??))
    };
    ids("postgres").or_else(|| ids("nobody"))
}

fn as_somebody(command: &mut Command) {
    // Where the tests run need not be a folder that this user may enter.
    command.current_dir("/");
    if let Some((user, group)) = somebody() {
        command.uid(user).gid(group);
    }
}

/// Hands a folder and all in it to the user that PostgreSQL runs as.
fn own(folder: &Path) {
    let Some((user, group)) = somebody() else { return };
    chown(folder, Some(user), Some(group)).unwrap();
    if folder.is_dir() {
        fs::read_dir(folder).unwrap().for_each(|entry| own(&entry.unwrap().path()));
    }
}

fn children(of: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let parent = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in brackets may hold anything.
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse::<u32>().ok()
    };
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| parent(pid) == Some(of))
        .collect()
}
