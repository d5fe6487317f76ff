//! The composition root: config -> stores, rooms, pipeline, edges; then serving and draining.

mod alerting;
mod counting;
mod data_dir;
mod declared;
mod greeting;
mod routing;
mod signals;
mod spent;
pub mod store;

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use secrecy::SecretString;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use self::signals::Signals;
use crate::{
    auth::Auth,
    call::{Rule, Subject},
    config::{self, Config, Problems, Surroundings},
    edge::{
        self, About, Edge,
        listen::{Listener, Tls},
    },
    load::{self, Gates, Load},
    meter::{Catalog, Meter},
    once::Once,
    pipeline::Pipeline,
    postgres::Postgres,
    provider::{self, Settings},
    quota::{self, Engine, Quota},
    route::{self, Health, Routes, Timeouts},
    shared::{self, Shared},
    telemetry,
};
pub use greeting::Greeting;
pub use routing::resolve;
pub use spent::Spent;

/// Silence after which a stream gets a keep-alive comment.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long the operators' connections may go on when everything else has ended.
const OPERATORS_GRACE: Duration = Duration::from_millis(500);

/// Connections of operators at a time. They live on what callers leave.
const MOST_OPERATORS: usize = 16;

/// What a process is started with.
pub struct Options {
    /// The configuration, with the command line's overrides in it.
    pub config: Config,
    /// Providers that the environment names.
    pub found: Vec<Settings>,
    /// Where data lies.
    pub data_dir: PathBuf,
    /// When the process was started.
    pub started: Instant,
}

/// Why a process cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The configuration is wrong.
    #[error("{0}")]
    Config(String),
    /// Something around it is: a port in use, a directory that cannot be written.
    #[error("{0}")]
    Start(String),
}

/// Reads the configuration, or takes the defaults if there is no file, and looks for providers in the environment.
///
/// # Errors
/// Everything that is wrong with the file.
pub fn load(file: Option<&Path>) -> Result<(Config, Vec<Settings>), Problems> {
    let env = |name: &str| std::env::var(name).ok();
    let found = provider::from_environment(&env);
    let Some(file) = file else { return Ok((Config::default(), found)) };
    let around = Surroundings {
        env: &env,
        dialects: provider::dialects().collect(),
        keys_of: provider::keys_of,
        discovered: found.iter().map(|settings| settings.name.clone()).collect(),
    };
    Ok((config::load(file, &around)?, found))
}

/// Runs the gateway until it is told to stop, and ends when what was running has ended or the grace is over.
///
/// # Errors
/// Why it cannot start. Once it has started it does not fail.
pub async fn run(options: Options) -> Result<(), Failure> {
    // First of all, so that a signal while starting is not lost.
    let mut signals = Signals::listen().map_err(Failure::Start)?;
    let gateway = tokio::select! {
        gateway = Gateway::start(options) => gateway?,
        () = signals.stop() => return Ok(()),
    };
    let draining = gateway.draining.clone();
    let mut serving = Box::pin(gateway.serve());
    tokio::select! {
        () = &mut serving => return Ok(()),
        () = signals.stop() => {}
    }
    tracing::info!("draining: readiness is off, running calls may end; a second signal stops at once");
    draining.cancel();
    tokio::select! {
        () = &mut serving => {
            tracing::info!("stopped");
            Ok(())
        }
        // What is journaled is safe without further ado; what runs is settled as recovered at the next start.
        () = signals.stop() => Err(Failure::Start("stopped at once by a second signal".to_owned())),
    }
}

/// Everything that was built, ready to serve.
struct Gateway {
    edge: Edge,
    auth: Arc<Auth>,
    engine: Arc<dyn Engine>,
    callers: Listener,
    operators: Listener,
    config_json: Arc<str>,
    app: axum::Router,
    grace: Duration,
    draining: CancellationToken,
}

impl Gateway {
    async fn start(options: Options) -> Result<Self, Failure> {
        let Options { config, found, data_dir, started } = options;
        let found_names: Vec<String> = match config.providers {
            Some(_) => Vec::new(),
            None => found.iter().map(|settings| settings.name.clone()).collect(),
        };
        let discovered = found.iter().filter(|_| config.providers.is_none());
        let config_hash = config
            .fingerprint(discovered.map(|settings| (settings.name.as_str(), settings.api_key.as_ref())));
        let configured = config.providers.iter().flat_map(|providers| providers.keys());
        let routes = Routes::new(resolve(&config, found).map_err(Failure::Config)?)
            .knowing(configured.map(String::as_str));
        let mut aliases: Vec<String> = routes.names().map(str::to_owned).collect();
        aliases.sort_unstable();
        let draining = CancellationToken::new();
        // Ports first: a second process by mistake must not touch the first one's data.
        let (callers, operators) = bind(&config).await.map_err(Failure::Start)?;
        let postgres = postgres(&config)?;
        let (auth, meter) = open(&config, &data_dir, postgres.clone()).await?;
        let minted = mint_first(&auth).await.map_err(Failure::Start)?;
        let files = load::files::open_files();
        let callers = callers.at_most(files.map_or(usize::MAX, load::files::connections));
        let load = stage(&config.load, files);
        let shared = config.shared.as_ref().and_then(config::Secret::filled).map(Shared::new).transpose();
        let shared = shared.map_err(Failure::Config)?.map(Arc::new);
        let engine =
            counting::engine(&config, shared.as_ref(), (&meter, &auth), &data_dir).map_err(Failure::Start)?;
        let once = Once::start(&config.idempotency, &data_dir, shared.clone()).map_err(Failure::Start)?;
        let about = About { start_time: SystemTime::now(), config_hash, shared, postgres };
        let rooms = (&auth, &meter, load, engine.clone(), once);
        let edge = edge(&config, routes, rooms, &draining, about);
        if let Some(shared) = &edge.about.shared {
            shared::share(shared.clone(), edge.pipeline.health.clone());
        }
        let postgres = edge.about.postgres.clone();
        alerting::start(&config, &data_dir, &edge.pipeline, postgres).map_err(Failure::Start)?;
        if let Some(probe) = &config.probe {
            let (routes, health) = (edge.pipeline.routes.clone(), edge.pipeline.health.clone());
            tokio::spawn(route::prober::run(routes, health, probe.every.0));
        }
        let gateway = Self {
            app: edge::app(&edge).map_err(Failure::Start)?,
            edge,
            auth,
            engine,
            config_json: config.to_json().into(),
            grace: config.timeouts.grace.0,
            draining,
            callers,
            operators,
        };
        let greeting = Greeting {
            callers: gateway.callers.local_addr(),
            operators: gateway.operators.local_addr(),
            tls: config.tls.is_some(),
            data_dir: &data_dir,
            found: &found_names,
            aliases: &aliases,
            minted: minted.as_ref(),
            took: started.elapsed(),
        };
        print(&greeting.text());
        Ok(gateway)
    }

    /// Serves both ports until `draining` is cancelled and what runs has ended, then writes what is not written.
    async fn serve(self) {
        let closed = CancellationToken::new();
        let operators = self.operators.serve(
            edge::ops::app(&self.edge, self.config_json),
            self.edge.limits,
            closed.clone(),
            OPERATORS_GRACE,
        );
        // The operators' port outlives the callers', so that probes can see the draining.
        let callers = async {
            let until = async {
                self.draining.cancelled().await;
                Instant::now() + self.grace
            };
            let serving = self.callers.serve(self.app, self.edge.limits, self.draining.clone(), self.grace);
            let (until, ()) = tokio::join!(until, serving);
            self.edge.pipeline.meter.end_drains(until).await;
            self.engine.leave().await;
            self.edge.pipeline.meter.flush().await;
            self.auth.flush().await;
            closed.cancel();
        };
        tokio::join!(callers, operators);
    }
}

async fn bind(config: &Config) -> Result<(Listener, Listener), String> {
    let tls = config.tls.as_ref().map(|tls| Tls {
        cert: tls.cert.clone(),
        key: tls.key.clone(),
        client_ca: tls.client_ca.clone(),
    });
    let callers = Listener::bind(&config.listen.0, tls.as_ref()).await;
    let callers = callers.map_err(|message| format!("--listen: {message}"))?;
    let operators = Listener::bind(&config.ops_listen.0, None).await;
    let operators = operators.map_err(|message| format!("--ops-listen: {message}"))?;
    let patience = config.timeouts.write.0;
    Ok((callers.patient(patience), operators.patient(patience).at_most(MOST_OPERATORS)))
}

/// Makes the first key if there is none, where it may block.
async fn mint_first(auth: &Arc<Auth>) -> Result<Option<SecretString>, String> {
    let auth = auth.clone();
    let minting = tokio::task::spawn_blocking(move || auth.mint_first());
    minting.await.map_err(|_| "making the first key was cut off".to_owned())?
}

/// Makes what is needed to reach the PostgreSQL that the configuration names, if it does.
fn postgres(config: &Config) -> Result<Option<Postgres>, Failure> {
    let Some(address) = config.store_postgres().map_err(Failure::Config)? else { return Ok(None) };
    Postgres::new(address, Handle::current()).map(Some).map_err(Failure::Config)
}

/// Opens what is kept on disk, and what replicas keep together.
async fn open(
    config: &Config,
    data_dir: &Path,
    postgres: Option<Postgres>,
) -> Result<(Arc<Auth>, Arc<Meter>), Failure> {
    data_dir::make(data_dir).map_err(Failure::Start)?;
    let store = config.store_path(data_dir).map_err(Failure::Config)?;
    telemetry::metrics::install().map_err(Failure::Start)?;
    let catalog = Arc::new(Catalog::embedded());
    let meter = Meter::start_sharing(data_dir, &store, catalog, postgres.clone(), config.ledger.retain);
    let meter = meter.map_err(Failure::Start)?;
    let pepper = config.pepper.as_ref().and_then(config::Secret::filled);
    let declared = declared::declared(config);
    let auth = match postgres {
        Some(postgres) => {
            let announce = Box::new(|key: &SecretString| print(&greeting::first_key(key)));
            Auth::start_shared(postgres, declared, pepper.cloned(), announce).await
        }
        None => Auth::start(data_dir, &store, declared, pepper),
    };
    let auth = auth.map_err(Failure::Start)?;
    let teams = auth.clone();
    meter.know_teams(Box::new(move |id| teams.teams_below(id)));
    Ok((auth, meter))
}

/// Rooms that were opened before the pipeline joins them.
type Rooms<'r> = (&'r Arc<Auth>, &'r Arc<Meter>, Arc<Load>, Arc<dyn Engine>, Option<Arc<Once>>);

fn edge(
    config: &Config,
    routes: Routes,
    (auth, meter, load, engine, once): Rooms<'_>,
    draining: &CancellationToken,
    about: About,
) -> Edge {
    let times = &config.timeouts;
    let health = Arc::new(Health::new((&config.breaker).into()));
    health.show();
    let gates = Arc::new(Gates::new((&config.load).into()));
    gates.show(&load);
    let quota = Arc::new(quota(config, engine));
    let pipeline = Pipeline {
        auth: auth.clone(),
        meter: meter.clone(),
        quota,
        once,
        routes,
        health,
        load,
        gates,
        timeouts: Timeouts { first_token: times.first_token.0, idle: times.idle.0 },
        total: times.total.0,
        commit_after: times.commit_after.0,
        unpriced: config.unpriced,
    };
    let sizes = &config.limits_in;
    Edge {
        pipeline: Arc::new(pipeline),
        limits: edge::Limits { header: sizes.header.0, body: sizes.body.0, message: sizes.message.0 },
        keep_alive: KEEP_ALIVE,
        patience: times.write.0,
        draining: draining.clone(),
        cors: config.cors.clone().into(),
        about: Arc::new(about),
    }
}

/// Makes the room that counts limits and budgets.
fn quota(config: &Config, engine: Arc<dyn Engine>) -> Quota {
    let rule = |limit| Rule::new(Subject::Global, limit);
    let settings = quota::Settings {
        gateway: routing::limits(config.allowance()).into_iter().map(rule).collect(),
        queue: config.queue.clone(),
        budget_status: config.budget_status,
    };
    Quota::new(engine, settings)
}

/// Makes the stage that lets calls in, with as many places as there are files for unless the configuration tells.
fn stage(config: &config::Load, files: Option<usize>) -> Arc<Load> {
    let stage = Load::new(config, files.map(load::files::places));
    load::watch(&stage);
    stage
}

fn print(text: &str) {
    let mut stdout = std::io::stdout().lock();
    // Nobody may be reading, which is no reason not to serve.
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_in_use_is_told_with_the_flag_that_changes_it() {
        let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = || config::Address::parse(&other.local_addr().unwrap().to_string()).unwrap();
        let free = || config::Address::parse("127.0.0.1:0").unwrap();
        let operators = Config { listen: free(), ops_listen: taken(), ..Config::default() };
        let message = bind(&operators).await.err().unwrap();
        assert!(message.starts_with("--ops-listen: ") && message.contains("in use"), "{message}");
        let callers = Config { listen: taken(), ops_listen: free(), ..Config::default() };
        let message = bind(&callers).await.err().unwrap();
        assert!(message.starts_with("--listen: ") && message.contains("in use"), "{message}");
    }
}
