//! The `tollgate` binary: arguments, configuration, log, and then `app`.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use clap::{Parser, Subcommand};
use tokio::runtime::Runtime;
use tollgate_server::{
    app::{self, Failure, store},
    config::{self, Address},
    reconcile::Reconcile,
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

#[derive(Clone, Subcommand)]
enum Command {
    /// Serve. What happens without a command, too.
    Serve,
    /// Check a configuration file without starting, and tell everything that is wrong with it.
    Check,
    /// Print the JSON Schema of the configuration file, for editors.
    Schema,
    /// Look after the store: bring its tables up to date, check it, or write its records out.
    Store {
        #[command(subcommand)]
        task: store::Task,
    },
    Reconcile(Reconcile),
}

fn address(text: &str) -> Result<Address, String> {
    Address::parse(text).ok_or_else(|| "write host and port, like 127.0.0.1:8080".to_owned())
}

fn main() -> ExitCode {
    let started = Instant::now();
    let mut arguments = match Arguments::try_parse() {
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
    match arguments.command.take().unwrap_or(Command::Serve) {
        Command::Serve => runtime.block_on(serve(arguments, started)),
        Command::Store { task } => look_after_store(task, &arguments, &runtime),
        Command::Check => runtime.block_on(async { check(arguments.config.as_deref()) }),
        Command::Schema => say(&config::schema(), ExitCode::SUCCESS),
        Command::Reconcile(command) => reconcile(command, &arguments, &runtime),
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

/// Does something with the store that the configuration names. It blocks, so it runs beside the runtime.
fn look_after_store(task: store::Task, arguments: &Arguments, runtime: &Runtime) -> ExitCode {
    let Some(file) = &arguments.config else { return fail(USAGE, "store needs --config FILE") };
    let config = match app::load(Some(file)) {
        Ok((config, _)) => config,
        Err(problems) => {
            eprint!("{problems}");
            return BAD_CONFIG.into();
        }
    };
    let _inside = runtime.enter();
    match store::run(task, &config, &arguments.data_dir) {
        Ok(text) => say(&text, ExitCode::SUCCESS),
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

/// Compares the ledger with what a provider says.
fn reconcile(command: Reconcile, arguments: &Arguments, runtime: &Runtime) -> ExitCode {
    let config = match app::load(arguments.config.as_deref()) {
        Ok((config, _)) => config,
        Err(problems) => {
            eprint!("{problems}");
            return BAD_CONFIG.into();
        }
    };
    let _inside = runtime.enter();
    match command.run(&config, &arguments.data_dir) {
        Ok((text, agrees)) => say(&text, if agrees { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
        Err(message) => fail(1, &message),
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
