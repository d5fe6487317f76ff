//! The `tollgate` binary: arguments, configuration, log, and then `app`.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use clap::{Parser, Subcommand};
use tollgate_server::{
    app::{self, Failure},
    config::{self, Address},
    telemetry,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const USAGE: u8 = 64;
const BAD_CONFIG: u8 = 78;

/// Tollgate, the LLM gateway: one port between every application and every model.
#[derive(Parser)]
#[command(name = "tollgate", version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Configuration file. None is searched for; without one, providers come from the environment.
    #[arg(long, global = true, value_name = "FILE", env = "TOLLGATE_CONFIG")]
    config: Option<PathBuf>,
    /// Address for callers (REST, SSE, gRPC) [default: 127.0.0.1:8080]
    #[arg(long, global = true, value_name = "ADDR", env = "TOLLGATE_LISTEN", value_parser = address)]
    listen: Option<Address>,
    /// Address for operators (/metrics, /livez, /readyz, /status, /config) [default: 127.0.0.1:9464]
    #[arg(long, global = true, value_name = "ADDR", env = "TOLLGATE_OPS_LISTEN", value_parser = address)]
    ops_listen: Option<Address>,
    /// Directory for keys, records and the journal.
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "TOLLGATE_DATA_DIR",
        default_value = "./tollgate-data"
    )]
    data_dir: PathBuf,
}

#[derive(Clone, Copy, Subcommand)]
enum Command {
    /// Serve. What happens without a command, too.
    Serve,
    /// Check a configuration file without starting, and tell everything that is wrong with it.
    Check,
    /// Print the JSON Schema of the configuration file, for editors.
    Schema,
}

fn address(text: &str) -> Result<Address, String> {
    Address::parse(text).ok_or_else(|| "write host and port, like 127.0.0.1:8080".to_owned())
}

fn main() -> ExitCode {
    let started = Instant::now();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { USAGE.into() } else { ExitCode::SUCCESS };
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(1, &format!("the runtime cannot start: {error}")),
    };
    match arguments.command.unwrap_or(Command::Serve) {
        Command::Serve => runtime.block_on(serve(arguments, started)),
        Command::Check => runtime.block_on(async { check(arguments.config.as_deref()) }),
        Command::Schema => say(&config::schema(), ExitCode::SUCCESS),
    }
}

async fn serve(arguments: Arguments, started: Instant) -> ExitCode {
    let (mut config, found) = match app::load(arguments.config.as_deref()) {
        Ok(loaded) => loaded,
        Err(problems) => {
            eprint!("{problems}");
            return BAD_CONFIG.into();
        }
    };
    config.listen = arguments.listen.unwrap_or(config.listen);
    config.ops_listen = arguments.ops_listen.unwrap_or(config.ops_listen);
    let log = &config.telemetry;
    if let Err(message) = telemetry::log::start(&log.log, log.log_format == config::LogFormat::Json) {
        return fail(BAD_CONFIG, &message);
    }
    telemetry::log::hook_panics();
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    let data_dir = arguments.data_dir;
    match app::run(app::Options { config, found, data_dir, started }).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Config(message)) => fail(BAD_CONFIG, &message),
        Err(Failure::Start(message)) => fail(1, &message),
    }
}

/// Prints every problem of a file. Providers are built too, because some mistakes only show then.
fn check(file: Option<&Path>) -> ExitCode {
    let Some(file) = file else { return fail(USAGE, "check needs --config FILE") };
    let shown = file.display();
    let (config, found) = match app::load(Some(file)) {
        Ok(loaded) => loaded,
        Err(problems) => return say(&problems.to_string(), ExitCode::FAILURE),
    };
    let warnings = config.warnings().into_iter();
    let warnings: String = warnings.map(|line| format!("{shown}: warning: {line}\n")).collect();
    match app::resolve(&config, found) {
        Ok(aliases) => say(&format!("{warnings}{shown}: ok, {} models\n", aliases.len()), ExitCode::SUCCESS),
        Err(message) => {
            let lines: String = message.lines().map(|line| format!("{shown}: {line}\n")).collect();
            say(&lines, ExitCode::FAILURE)
        }
    }
}

fn say(text: &str, code: ExitCode) -> ExitCode {
    use std::io::Write as _;
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

fn fail(code: u8, message: &str) -> ExitCode {
    eprintln!("tollgate: {message}");
    code.into()
}
