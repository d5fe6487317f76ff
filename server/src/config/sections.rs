//! The sections of the file. Their doc comments are the reference for users and become the JSON Schema.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    alerts::Alert,
    idempotency::Idempotency,
    limits::{Allowance, Budget, Limits, LimitsBy, allows},
    quota::{BudgetStatus, Queue, TimeZone, Unpriced},
    routing::{Breaker, Load, Model, Probe},
    store::Store,
    values::{Address, Days, Moment, Secret, Size, Span},
};

/// Configuration of Tollgate. Strict: an unknown key is an error. In every text, `${NAME}` is replaced from the
/// environment (unset is an error), `${NAME:-default}` has a default, and `$${` stands for `${`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address for everything callers use: REST, SSE and gRPC. `--listen` and `TOLLGATE_LISTEN` win over it. Default
    /// `127.0.0.1:8080`, reachable from this machine only; `0.0.0.0:8080` opens it to the network.
    pub listen: Address,
    /// Address for operators: `/metrics`, `/livez`, `/readyz`, `/status`, `/config`. It asks for no key: keep it private.
    /// `--ops-listen` and `TOLLGATE_OPS_LISTEN` win over it. Default `127.0.0.1:9464`.
    pub ops_listen: Address,
    /// Key that may call `tollgate.admin.v1` and see everyone's usage, beside keys with the scope `admin`. Empty or
    /// absent: none. Example `${TOLLGATE_ADMIN_KEY:-}`.
    #[serde(skip_serializing)]
    pub admin_key: Option<Secret>,
    /// Where keys and usage records are kept: `sqlite://` and a path, of which a relative one lies in the data
    /// directory; or `postgres://` and the address of a PostgreSQL that replicas share, as libpq takes it, with
    /// `sslmode`, `sslrootcert`, `sslcert`, `sslkey` and `connect_timeout`. Records are then written to `tollgate.db` in
    /// the data directory first, and from there to PostgreSQL. Default `sqlite://tollgate.db`. Example
    /// `postgres://tollgate:${DB_PASSWORD}@db.example.com/tollgate?sslmode=verify-full` or `file:/run/secrets/store`.
    pub store: Store,
    /// How long usage records are kept.
    pub ledger: Ledger,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// Sizes that callers may send; larger is refused with 413 or OUT_OF_RANGE.
    pub limits_in: LimitsIn,
    /// TLS on `listen`. Absent: plain text.
    pub tls: Option<Tls>,
    /// Origins of web pages that may call from a browser, like `https://app.example.com`, or `"*"` for any. Default:
    /// none.
    pub cors: Vec<String>,
    /// Who answers: providers by the name that `models` uses. Absent: those that the environment names
    /// (`OPENAI_API_KEY`, `GROQ_API_KEY`, …).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub providers: Option<BTreeMap<String, Provider>>,
    /// What callers may ask for: aliases and their targets. A name may hold one `*`; an exact name wins over a
    /// pattern, a longer pattern over a shorter. Absent: `<provider>/*` for each provider, `*` for `openai` or else the
    /// first, and names like `claude-*` for the provider whose models are called so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub models: Option<BTreeMap<String, Model>>,
    /// When a target that fails is left alone for a while.
    pub breaker: Breaker,
    /// Asks targets that failed whether they are well, with a request that costs nothing. Absent: the next call finds
    /// out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe: Option<Probe>,
    /// How many calls are served at a time, and what the others do.
    pub load: Load,
    /// The Redis in which replicas count limits and budgets together, and tell each other which targets are not well:
    /// `redis://` or `rediss://` and an address, `redis+unix://`, `redis+sentinel://` or `redis+cluster://`. Absent: each
    /// counts its own. Example `redis://127.0.0.1:6379`.
    #[serde(skip_serializing)]
    pub shared: Option<Secret>,
    /// Rates, quotas and concurrency of all calls together. Example `{ requests_per_minute: 600, tokens_per_day: 10M, concurrent: 50 }`.
    #[serde(skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
    /// Money that all calls together may spend. Example `{ usd: 500, per: month }`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// Limits and budgets of only some of all calls together, by model and tag, or such that only warn. Example
    /// `[{ model: "gpt-*", tag: "feature=batch", soft: true, budget: { usd: 20, per: day } }]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub limits_by: Vec<LimitsBy>,
    /// Time zone of the days and months of limits and budgets, by its name in the IANA database. Default `UTC`. Example
    /// `Europe/Berlin`.
    pub time_zone: TimeZone,
    /// Whether calls that just miss a rate wait for it.
    pub queue: Queue,
    /// What happens under a budget to a call whose price is not known: `allow` or `refuse`. Default `allow`.
    pub unpriced: Unpriced,
    /// HTTP status of a call that is refused because a budget is spent: `429`, `402` or `403`. Default `429`.
    pub budget_status: BudgetStatus,
    /// What is kept for callers who repeat a call under the same `request_id` (`idempotency-key`).
    pub idempotency: Idempotency,
    /// Secret that the hashes of keys are keyed with, the same on every replica, at least 32 characters. It cannot be
    /// changed later: no key made with another one would work. Absent: made at the first start and kept in the data
    /// directory, or in PostgreSQL if the keys are. Example `${TOLLGATE_PEPPER}` or `file:/run/secrets/pepper`.
    #[serde(skip_serializing)]
    pub pepper: Option<Secret>,
    /// Teams, by their ids: keys and teams that share models, limits and budgets. Beside those made at run time.
    pub teams: BTreeMap<String, Team>,
    /// Keys that callers use, beside those made at run time. If there is none at all, one is made and printed at the
    /// first start.
    pub keys: Vec<Key>,
    /// Who is told of what is spent. Example `[{ budget: 80%, webhook: "https://hooks.example.com/tollgate" }]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub alerts: Vec<Alert>,
    /// What is logged.
    pub telemetry: Telemetry,
    /// Whether there are a built-in provider and a model `echo`, which answer with the prompt and cost nothing.
    /// Default `true`.
    pub echo: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: Address("127.0.0.1:8080".to_owned()),
            ops_listen: Address("127.0.0.1:9464".to_owned()),
            admin_key: None,
            store: Store::default(),
            ledger: Ledger::default(),
            timeouts: Timeouts::default(),
            limits_in: LimitsIn::default(),
            tls: None,
            cors: Vec::new(),
            providers: None,
            models: None,
            breaker: Breaker::default(),
            probe: None,
            load: Load::default(),
            shared: None,
            limits: Limits::default(),
            budget: None,
            limits_by: Vec::new(),
            time_zone: TimeZone::default(),
            queue: Queue::default(),
            unpriced: Unpriced::default(),
            budget_status: BudgetStatus::default(),
            idempotency: Idempotency::default(),
            pepper: None,
            teams: BTreeMap::new(),
            keys: Vec::new(),
            alerts: Vec::new(),
            telemetry: Telemetry::default(),
            echo: true,
        }
    }
}

/// How long things may take. What a caller asks for can shorten these, never lengthen them.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// Making a connection to a provider, TLS included. Default `1s`.
    pub connect: Span,
    /// From sending a request to a provider until the first content of its answer. Default `120s`.
    pub first_token: Span,
    /// Between two pieces of a provider's answer. Default `60s`.
    pub idle: Span,
    /// A whole call, all attempts included. Default `15m`.
    pub total: Span,
    /// How long the response's headers wait for the first content, so that an early failure is a real status.
    /// Afterwards they go out with keep-alive comments. Default `30s`.
    pub commit_after: Span,
    /// How long a caller may leave unread what is ready for it, before its call is cancelled. One that is out of reach
    /// without a word is given up after that long too, and after 25 s at most. Default `20s`.
    pub write: Span,
    /// How long running calls may go on after SIGTERM. Default `30s`.
    pub grace: Span,
    /// How long an answer of the shared Redis may take. If one takes four times as long, or two in a row are late, calls go
    /// by what each replica knows until Redis is well again. Default `25ms`.
    pub shared: Span,
}

impl Default for Timeouts {
    fn default() -> Self {
        let seconds = |seconds| Span(Duration::from_secs(seconds));
        Self {
            connect: seconds(1),
            first_token: seconds(120),
            idle: seconds(60),
            total: seconds(15 * 60),
            commit_after: seconds(30),
            write: seconds(20),
            grace: seconds(30),
            shared: Span(Duration::from_millis(25)),
        }
    }
}

/// Sizes that callers may send.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsIn {
    /// All headers of a request together, in bytes. Default `32KiB`.
    pub header: Size,
    /// The body of a REST request, in bytes after decompression. Default `32MiB`.
    pub body: Size,
    /// A gRPC message, in bytes after decompression. Default `32MiB`.
    pub message: Size,
}

impl Default for LimitsIn {
    fn default() -> Self {
        Self { header: Size(32 << 10), body: Size(32 << 20), message: Size(32 << 20) }
    }
}

/// How long usage records are kept.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Ledger {
    /// Records older than this are deleted; their sums by hour, which reports and budgets are made of, are kept. With
    /// PostgreSQL whole months go at once. Absent: records are kept. Example `400d`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retain: Option<Days>,
}

/// TLS for callers.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// File with the certificate chain, PEM. Example `/etc/tollgate/tls.crt`.
    pub cert: PathBuf,
    /// File with the private key, PEM. Example `/etc/tollgate/tls.key`.
    pub key: PathBuf,
    /// File with the authorities, PEM, one of which must have signed the certificate that every caller then has to
    /// show. Absent: callers need none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<PathBuf>,
}

/// A provider.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// The wire it speaks: `openai` (and everything compatible) or the name of another dialect.
    pub dialect: String,
    /// Where it is, as its own SDK takes it: with `/v1` for OpenAI and compatible servers, the root for others. Example
    /// `http://127.0.0.1:8000/v1`. Default: the vendor's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// Its credential. Empty or absent: none is sent. Example `${OPENAI_API_KEY}` or `file:/run/secrets/openai`.
    #[serde(default, skip_serializing)]
    pub api_key: Option<Secret>,
    /// Several credentials by name, in place of `api_key`: calls go to the least busy one, and when one is refused or
    /// limited, to another. Empty ones are left out. Example `{ a: "${KEY_A}", b: "${KEY_B}" }`.
    #[serde(default, skip_serializing)]
    pub api_keys: BTreeMap<String, Secret>,
    /// What happens to a parameter that the provider does not have: `drop` leaves it out with a warning, `reject`
    /// refuses the call and names it. A call may say otherwise. Default `drop`.
    #[serde(default)]
    pub unsupported: Unsupported,
    /// What happens to a running answer when its caller goes away: `cancel` stops the provider at once, `drain` reads the
    /// answer to its end, for providers that bill all of it anyway, so that the record has what they bill. Before the
    /// first content every call is cancelled. Default `cancel`.
    #[serde(default)]
    pub on_cancel: OnCancel,
    /// The version of HTTP it is spoken to by: `http1` gives each running call a connection of its own, `http2` lets up
    /// to 50 share one, for hosts that speak nothing else and where sockets are scarce. With `http://` the host has to
    /// know HTTP/2 beforehand, with `https://` it is agreed on (ALPN). Default `http1`.
    #[serde(default)]
    pub protocol: Protocol,
    /// OpenAI and compatible: the wire for calls that did not come by it, `chat` or `responses`. Default: `chat`,
    /// and `responses` for models that have nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api: Option<String>,
    /// Azure: version of the API by date, like `2025-04-01-preview`, or `v1`. Default `v1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// Bedrock: AWS region, like `us-east-1`. Vertex: location, like `us-central1` or `global`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Vertex: Google Cloud project. Default: the one of `credentials`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Vertex: a service account's key, as JSON. Example `file:/run/secrets/vertex.json`. Default: the file that
    /// `GOOGLE_APPLICATION_CREDENTIALS` names.
    #[serde(default, skip_serializing)]
    pub credentials: Option<Secret>,
    /// Bedrock: profile of the shared AWS configuration files. Example `production`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Bedrock: id of a static access key. Default: environment, profile, web identity, in this order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<String>,
    /// Bedrock: secret of the static access key. Example `${AWS_SECRET_ACCESS_KEY}`.
    #[serde(default, skip_serializing)]
    pub secret_access_key: Option<Secret>,
    /// Bedrock: session token of a temporary access key. Example `${AWS_SESSION_TOKEN}`.
    #[serde(default, skip_serializing)]
    pub session_token: Option<Secret>,
    /// Bedrock: role to assume with the web identity token. Example `arn:aws:iam::123456789012:role/tollgate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<String>,
    /// Bedrock: file with the web identity token. Example
    /// `/var/run/secrets/eks.amazonaws.com/serviceaccount/token`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub web_identity_token_file: Option<String>,
    /// Azure: Entra tenant, for a bearer token in place of `api_key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<String>,
    /// Azure: id of the Entra application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Azure: secret of the Entra application. Example `${AZURE_CLIENT_SECRET}`.
    #[serde(default, skip_serializing)]
    pub client_secret: Option<Secret>,
}

/// What happens to a parameter that a provider does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unsupported {
    /// It is left out with a warning.
    #[default]
    Drop,
    /// The call is refused.
    Reject,
}

/// What happens to a running answer when its caller goes away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnCancel {
    /// The provider is stopped.
    #[default]
    Cancel,
    /// It is read to its end.
    Drain,
}

/// The version of HTTP that a provider is spoken to by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// A connection for each running call.
    #[default]
    Http1,
    /// Calls share connections.
    Http2,
}

impl Provider {
    /// Lists the keys that are set and that only some dialects understand.
    pub(super) fn cloud_keys(&self) -> impl Iterator<Item = &'static str> {
        let set = [
            ("api", self.api.is_some()),
            ("api_version", self.api_version.is_some()),
            ("region", self.region.is_some()),
            ("project", self.project.is_some()),
            ("credentials", self.credentials.is_some()),
            ("profile", self.profile.is_some()),
            ("access_key_id", self.access_key_id.is_some()),
            ("secret_access_key", self.secret_access_key.is_some()),
            ("session_token", self.session_token.is_some()),
            ("role_arn", self.role_arn.is_some()),
            ("web_identity_token_file", self.web_identity_token_file.is_some()),
            ("tenant_id", self.tenant_id.is_some()),
            ("client_id", self.client_id.is_some()),
            ("client_secret", self.client_secret.is_some()),
        ];
        set.into_iter().filter(|(_, set)| *set).map(|(key, _)| key)
    }
}

/// A declared key.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// Name for people, unique among the keys. Example `search-prod`.
    pub name: String,
    /// What the caller sends, at least 32 characters without spaces: `tg_` and so on, or any other. Example
    /// `${SEARCH_KEY}` or `file:/run/secrets/search`.
    #[serde(skip_serializing)]
    pub key: Secret,
    /// Id of the team whose models, limits and budgets hold for the key too. Default: none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub team: String,
    /// What the key may do: `chat`, `embed`, `models`, `usage`, `usage:team`, `route:pin`, `admin`. Default
    /// `[chat, embed, models, usage]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// Models the key may ask for: names, or patterns with `*`. Default: all. Example `["chat-*", embeddings]`.
    #[serde(default)]
    pub models: Vec<String>,
    /// Tags of every call of this key, for sums and filters of usage. Example `{ service: search }`.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Rates and concurrency. Example `{ requests_per_minute: 60, tokens_per_day: 10M, concurrent: 8 }`.
    #[serde(default)]
    pub limits: Limits,
    /// Money the key may spend. Example `{ usd: 20, per: day }`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// Limits and budgets of only some of the key's calls, by model and tag, or such that only warn. Example
    /// `[{ model: "gpt-*", tag: "feature=batch", soft: true, budget: { usd: 20, per: day } }]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits_by: Vec<LimitsBy>,
    /// How important the key's calls are when there is not room for all: `low`, `normal` or `high`. A call can only
    /// lower it. Default `normal`.
    #[serde(default)]
    pub priority: Priority,
    /// When the key stops working: a date (its start in UTC) or an RFC 3339 time. Default: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Moment>,
}

allows!(Config, Key, Team);

/// A team: keys and teams that share models, limits and budgets.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Team {
    /// Name for people. Default: the id.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Id of the team that this one belongs to, whose models and limits hold too. Default: none. Example `acme`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub parent: String,
    /// Models its keys may ask for: names, or patterns with `*`. Default: all that the parent may. Example `["chat-*"]`.
    pub models: Vec<String>,
    /// Rates, quotas and concurrency of all its keys and teams together. Example
    /// `{ requests_per_minute: 600, tokens_per_minute: 200k, concurrent: 50 }`.
    #[serde(skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
    /// Money that all its keys and teams together may spend. Example `{ usd: 500, per: month }`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// Limits and budgets of only some of the team's calls, by model and tag, or such that only warn. Example
    /// `[{ model: "gpt-*", tag: "feature=batch", soft: true, budget: { usd: 20, per: day } }]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub limits_by: Vec<LimitsBy>,
    /// Rates, quotas and concurrency that a new key of the team gets if it is made without limits. Example
    /// `{ requests_per_minute: 60 }`.
    #[serde(skip_serializing_if = "Limits::is_empty")]
    pub key_limits: Limits,
    /// Money that such a key may spend. Example `{ usd: 5, per: day }`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_budget: Option<Budget>,
    /// Whether the calls of its keys, and of the teams below it, are refused. Default `false`.
    pub disabled: bool,
}

impl Team {
    /// Returns what a new key of the team gets.
    pub fn key_allowance(&self) -> Allowance<'_> {
        Allowance { limits: &self.key_limits, budget: self.key_budget.as_ref(), limits_by: &[] }
    }
}

/// How important a key's calls are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// They can wait, and can be refused.
    Low,
    /// What most calls are.
    #[default]
    Normal,
    /// Somebody is waiting for them.
    High,
}

/// What is logged.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// Least important lines that are logged: `error`, `warn`, `info`, `debug`, `trace`, or directives per module.
    /// Default `info`. Example `info,tollgate_server::route=debug`.
    pub log: String,
    /// Form of the lines on standard error. Default `text`.
    pub log_format: LogFormat,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self { log: "info".to_owned(), log_format: LogFormat::Text }
    }
}

/// Form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}
