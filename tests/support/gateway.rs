//! The real `tollgate` binary, started on free ports with its own data directory.

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tokio::sync::OnceCell;
use tonic::{
    metadata::MetadataValue,
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};

use super::{
    PATIENCE,
    calendar::clear_of_midnight,
    faces::{FACES, Face},
};

/// A key every test configuration declares, with the default scopes.
pub const KEY: &str = "tg_testcaller01_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG";
/// A key every test configuration declares, with every scope.
pub const ADMIN_KEY: &str = "tg_testadmin001_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG";

/// A channel that sends a key.
pub type Client = InterceptedService<Channel, BearerKey>;

/// A running gateway. Dropping it kills the process it started.
pub struct Gateway {
    child: Child,
    data: tempfile::TempDir,
    config: PathBuf,
    shared: OnceCell<Client>,
    /// Where callers go.
    pub addr: SocketAddr,
    /// Where operators go.
    pub ops: SocketAddr,
    /// What the process printed before it was ready.
    pub greeting: String,
}

impl Gateway {
    /// Starts the binary with this configuration; listeners, the store and two keys are added.
    pub fn start(yaml: &str) -> Self {
        Self::start_with(yaml, Command::new(env!("CARGO_BIN_EXE_tollgate")))
    }

    /// Starts the binary as `start` does, with this environment.
    pub fn start_with_env(yaml: &str, env: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        command.envs(env.iter().copied());
        Self::start_with(yaml, command)
    }

    /// Starts the binary as `start` does, with at most so many open files.
    pub fn start_with_files(yaml: &str, files: u32) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -n {files} && exec \"$0\" \"$@\"")]);
        command.arg(env!("CARGO_BIN_EXE_tollgate"));
        Self::start_with(yaml, command)
    }

    fn start_with(yaml: &str, command: Command) -> Self {
        clear_of_midnight(yaml);
        let data = tempfile::tempdir().unwrap();
        let config = data.path().join("config.yaml");
        let keys = format!(
            "listen: 127.0.0.1:0\nops_listen: 127.0.0.1:0\nkeys:\n\
             - {{ name: caller, key: {KEY}, team: red }}\n\
             - {{ name: admin, key: {ADMIN_KEY}, scopes: [chat, embed, models, usage, \"route:pin\", admin] }}\n"
        );
        // On a busy machine the gateway would shed load for lateness that is not its own, or find connections too slow, in
        // tests about other things.
        let patient =
            ["load: { max_lag: 0s }\n", "timeouts: { connect: 60s }\n"].into_iter().filter(|section| {
                let (name, _) = section.split_once(' ').unwrap();
                !yaml.lines().any(|line| line.starts_with(name))
            });
        let patient: String = patient.collect();
        std::fs::write(&config, format!("{keys}{yaml}\n{patient}")).unwrap();
        let (child, addr, ops, greeting) = launch(command, &config, data.path());
        Self { child, data, config, shared: OnceCell::new(), addr, ops, greeting }
    }

    /// Starts the binary with an alias for each dialect, by its name, whose targets are these addresses, in this order,
    /// as providers `<dialect>-0` and so on.
    pub fn of_faces(addresses: &[SocketAddr], more: &str) -> Self {
        Self::with_faces(addresses, more, "")
    }

    /// The same, where each call is tried once and no target is ever left alone: what happens is what one answer does.
    pub fn of_faces_once(addresses: &[SocketAddr], more: &str) -> Self {
        let calm = "breaker: { failures: 1000000, min_calls: 1000000 }\n";
        Self::with_faces(addresses, &format!("{more}{calm}"), ", retry: { attempts: 1 }")
    }

    fn with_faces(addresses: &[SocketAddr], more: &str, model: &str) -> Self {
        Self::start(&Self::faces(addresses, more, model))
    }

    /// The configuration of `of_faces`, with something added to each alias.
    pub fn faces(addresses: &[SocketAddr], more: &str, model: &str) -> String {
        let (mut providers, mut models) = (String::new(), String::new());
        for face in FACES {
            let name = face.name();
            let version = if face == Face::OpenAi { "/v1" } else { "" };
            let mut targets = String::new();
            for (n, addr) in addresses.iter().enumerate() {
                providers += &format!(
                    "  {name}-{n}: {{ dialect: {name}, base_url: \"http://{addr}{version}\", api_key: sk-up }}\n"
                );
                targets += &format!("{{ provider: {name}-{n}, model: m-1 }}, ");
            }
            models += &format!("  {name}: {{ targets: [{targets}]{model} }}\n");
        }
        format!("{more}providers:\n{providers}models:\n{models}")
    }

    /// Kills the process with SIGKILL, as a crash would end it.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts the binary again on the same data directory.
    pub fn restart(&mut self) {
        self.shared = OnceCell::new();
        (self.child, self.addr, self.ops, self.greeting) =
            launch(Command::new(env!("CARGO_BIN_EXE_tollgate")), &self.config, self.data.path());
    }

    /// Starts the binary again on the same data directory, in an environment in which it dies before it is ready.
    pub fn restart_in_vain(&mut self, env: &[(&str, &str)]) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        let status =
            arguments(&mut command, &self.config, self.data.path()).envs(env.iter().copied()).status();
        assert_eq!(status.unwrap().code(), None, "it was to die by a signal, with {env:?}");
    }

    /// Starts the binary on the same data directory and sends it a signal after so long, ready or not. It has to end.
    pub fn start_and_signal(&mut self, after: Duration, signal: &str) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        let mut child = arguments(&mut command, &self.config, self.data.path()).spawn().unwrap();
        std::thread::sleep(after);
        let pid = child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{signal}"), &pid]).status().unwrap().success());
        child.wait().unwrap();
    }

    /// The process id, for signals.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the process to end and returns its exit code.
    pub fn wait(&mut self) -> Option<i32> {
        let patience = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < patience, "the process does not end");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Where the process keeps its files.
    pub fn data_dir(&self) -> &Path {
        self.data.path()
    }

    /// A channel that sends this key with every call.
    pub async fn channel(&self, key: &str) -> Client {
        let channel = Channel::from_shared(format!("http://{}", self.addr)).unwrap().connect().await.unwrap();
        InterceptedService::new(channel, BearerKey(format!("Bearer {key}").parse().unwrap()))
    }

    /// The one channel of all calls that have no reason for one of their own: they share its connection, as the calls
    /// of a service do.
    pub async fn shared_channel(&self) -> Client {
        self.shared.get_or_init(|| self.channel(KEY)).await.clone()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Already gone is fine; anything else is a test that leaves a process behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Adds the caller's key.
#[derive(Clone)]
pub struct BearerKey(MetadataValue<tonic::metadata::Ascii>);

impl Interceptor for BearerKey {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, tonic::Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

fn launch(mut command: Command, config: &Path, data: &Path) -> (Child, SocketAddr, SocketAddr, String) {
    let mut child = arguments(&mut command, config, data).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (mut greeting, mut addresses) = (String::new(), Vec::new());
    while addresses.len() < 2 {
        let line = lines.next().expect("the gateway ended before it was ready").unwrap();
        addresses.extend(address(&line));
        greeting.push_str(&line);
        greeting.push('\n');
    }
    // Somebody must keep reading, or the child blocks on a full pipe.
    std::thread::spawn(move || lines.for_each(drop));
    (child, addresses[0], addresses[1], greeting)
}

/// Adds what every start of the binary is given.
fn arguments<'c>(command: &'c mut Command, config: &Path, data: &Path) -> &'c mut Command {
    let command = command.args(["serve", "--config"]).arg(config).arg("--data-dir").arg(data.join("data"));
    command.env_remove("TOLLGATE_LISTEN").stdout(Stdio::piped())
}

/// The address in a line such as `listening on http://127.0.0.1:8080`.
fn address(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("://").filter(|(before, _)| !before.contains("curl"))?;
    rest.split([' ', '/', ',', ')']).next()?.parse().ok()
}
