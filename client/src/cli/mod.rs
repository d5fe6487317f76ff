//! `tollctl`: reads the command line, connects, runs one command, and says in words what failed.

mod amount;
mod budgets;
mod changes;
mod chat;
mod embed;
mod explain;
mod failure;
mod hints;
mod json;
mod keys;
mod keys_update;
mod models;
mod out;
mod overview;
mod pairs;
mod quota;
mod records;
mod status;
mod table;
mod teams;
mod time;
mod usage;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Parser, Subcommand};
use tollgate_client::{Client, Key};

use self::{
    failure::{EXIT_USAGE, Failure},
    out::Out,
};

/// How long a call may take unless `--timeout` says otherwise.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Talks to a Tollgate gateway: chat, embeddings, models, routes, usage, keys, teams.
#[derive(Parser)]
#[command(name = "tollctl", version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes, before or after its name.
#[derive(Args)]
#[command(next_help_heading = "Global options")]
struct Globals {
    /// Address of the gateway: HOST:PORT, or https://HOST for TLS
    #[arg(long, global = true, env = "TOLLGATE_ADDR", default_value = "127.0.0.1:8080", value_name = "ADDR")]
    addr: String,
    /// Key to call with; other users of the machine may see it here, so prefer the environment or a file
    #[arg(long, global = true, env = "TOLLGATE_KEY", hide_env_values = true, value_name = "KEY")]
    key: Option<String>,
    /// File that holds the key; wins over --key
    #[arg(long, global = true, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// PEM file of certificates to trust beside the system's, for https
    #[arg(long, global = true, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Print JSON, one object a line
    #[arg(long, global = true)]
    json: bool,
    /// Longest time a call may take, e.g. 30s [default: 30s; chat: the server's; watch: none]
    #[arg(long, global = true, value_name = "SPAN", value_parser = time::parse_timeout)]
    timeout: Option<Duration>,
}

#[derive(Subcommand)]
enum Command {
    /// Ask a model, and print its answer as it comes
    Chat(chat::ChatArgs),
    /// Turn texts into vectors
    Embed(embed::EmbedArgs),
    /// Tell where a call would go and why, without sending it
    Explain(explain::ExplainArgs),
    /// List the models that the key may use
    Models,
    /// Show what was used and what it cost
    Usage(usage::UsageArgs),
    /// Show the limits that hold for the key, and what is left of them
    Quota(quota::QuotaArgs),
    /// Make, list, change, rotate and revoke keys
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Make, list, change and delete teams, which share limits, budgets and models
    #[command(subcommand)]
    Teams(teams::TeamsCommand),
    /// Raise a limit or a budget that runs, or start it anew
    #[command(subcommand)]
    Budgets(budgets::BudgetsCommand),
    /// Tell whether the gateway is up and takes the key; with an admin's key, how its targets are
    Status,
}

/// What a command works with.
struct Context {
    client: Client,
    out: Out,
    json: bool,
    timeout: Option<Duration>,
}

impl Context {
    /// Returns the client for calls that take long by nature: bounded only by `--timeout`.
    fn unhurried(&self) -> Client {
        self.client.with_timeout(self.timeout)
    }
}

/// Runs the program.
pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(help) => {
            // Help and version were asked for; everything else is a wrong command line.
            let code = if help.use_stderr() { EXIT_USAGE } else { 0 };
            let _ = help.print();
            return ExitCode::from(code);
        }
    };
    let addr = cli.globals.addr.clone();
    let mut out = Out::process();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return ExitCode::from(Failure::Io(error).report(&addr, &mut out)),
    };
    let code = runtime.block_on(run(cli, out));
    // A lookup of a name may still be running; nobody waits for it.
    runtime.shutdown_background();
    ExitCode::from(code)
}

async fn run(cli: Cli, mut out: Out) -> u8 {
    let Cli { globals, command } = cli;
    let (addr, json, timeout) = (globals.addr.clone(), globals.json, globals.timeout);
    if matches!(command, Command::Status) {
        let ended = status::run(&globals, &mut out).await;
        return ended.unwrap_or_else(|failure| failure.report(&addr, &mut out));
    }
    let client = match client(&globals) {
        Ok(client) => client,
        Err(failure) => return failure.report(&addr, &mut out),
    };
    let mut context = Context { client, out, json, timeout };
    let ended = match dispatch(&mut context, command).await {
        Ok(()) => context.out.end_line().map_err(Failure::from),
        Err(failure) => Err(failure),
    };
    match ended {
        Ok(()) => 0,
        Err(failure) => failure.report(&addr, &mut context.out),
    }
}

async fn dispatch(context: &mut Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::Chat(args) => chat::run(context, args).await,
        Command::Embed(args) => embed::run(context, args).await,
        Command::Explain(args) => explain::run(context, args).await,
        Command::Models => models::run(context).await,
        Command::Usage(args) => usage::run(context, args).await,
        Command::Quota(args) => quota::run(context, args).await,
        Command::Keys(command) => keys::run(context, command).await,
        Command::Teams(command) => teams::run(context, command).await,
        Command::Budgets(command) => budgets::run(context, command).await,
        Command::Status => Ok(()),
    }
}

/// Makes the client of a command that needs a key. It connects with the first call, so that what is wrong
/// with the command itself is said first.
fn client(globals: &Globals) -> Result<Client, Failure> {
    let key = key(globals)?.ok_or_else(|| {
        Failure::Words("there is no key: give one with --key or --key-file, or set TOLLGATE_KEY".to_owned())
    })?;
    Ok(builder(globals)?.key(key).connect_lazy()?)
}

/// Sets up a client without a key.
fn builder(globals: &Globals) -> Result<tollgate_client::Builder, Failure> {
    let mut builder = Client::builder(globals.addr.as_str())
        .user_agent(concat!("tollctl/", env!("CARGO_PKG_VERSION")))
        .timeout(globals.timeout.unwrap_or(TIMEOUT));
    if let Some(path) = &globals.ca {
        builder = builder.ca_certificate(std::fs::read(path).map_err(|error| unreadable(path, &error))?);
    }
    if let Some(timeout) = globals.timeout {
        builder = builder.connect_timeout(timeout.min(Duration::from_secs(5)));
    }
    Ok(builder)
}

fn key(globals: &Globals) -> Result<Option<Key>, Failure> {
    if let Some(path) = &globals.key_file {
        let text = std::fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
        return Ok(Some(Key::from(text)));
    }
    Ok(globals.key.as_deref().filter(|key| !key.trim().is_empty()).map(Key::from))
}

fn unreadable(path: &std::path::Path, error: &std::io::Error) -> Failure {
    Failure::Words(format!("cannot read {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_flags_stand_before_or_after_the_command() {
        for line in [
            &["tollctl", "--json", "--addr", "a:1", "usage", "watch"][..],
            &["tollctl", "usage", "--json", "watch", "--addr", "a:1"],
            &["tollctl", "usage", "watch", "--addr", "a:1", "--json"],
        ] {
            let cli = Cli::try_parse_from(line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
            assert!(cli.globals.json && cli.globals.addr == "a:1", "{line:?}");
        }
    }

    #[test]
    fn a_key_file_wins_over_the_key_of_the_environment() {
        let line = ["tollctl", "--key", "tg_a", "--key-file", "/no/such/file", "models"];
        let cli = Cli::try_parse_from(line).unwrap();
        assert!(matches!(key(&cli.globals), Err(Failure::Words(words)) if words.contains("/no/such/file")));
    }

    #[test]
    fn wrong_values_are_faults_of_the_command_line() {
        for line in [
            &["tollctl", "usage", "--since", "yesterday"][..],
            &["tollctl", "usage", "--by", "colour"],
            &["tollctl", "usage", "--bucket", "year"],
            &["tollctl", "--timeout", "0s", "models"],
            &["tollctl", "chat", "--tag", "novalue"],
            &["tollctl", "keys", "create"],
            &["tollctl", "keys", "create", "--name", "n", "--limit", "coffee/day=1"],
            &["tollctl", "quota", "--at", "0.8"],
            &["tollctl", "quota", "--watch", "--at", "much"],
        ] {
            let error = Cli::try_parse_from(line).err().unwrap_or_else(|| panic!("{line:?} was accepted"));
            assert!(error.use_stderr(), "{line:?}");
        }
    }
}
