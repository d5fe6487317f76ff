//! What walks through the rooms: a `Call` on the way in, a `Reply` on the way out, and the items of its stream.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    ops::Range,
    pin::Pin,
    sync::{Arc, OnceLock},
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use futures_util::Stream;
use http::HeaderMap;
use tollgate_api::v1;
pub use tollgate_api::v1::stream_complete_response::Event;
use uuid::{Builder, Uuid};

use crate::error::Error;

/// Most tags a call may carry.
const MAX_TAGS: usize = 16;
/// Longest value of a tag, in bytes.
const MAX_TAG_VALUE: usize = 256;
/// Longest idempotency key.
const MAX_REQUEST_ID: usize = 64;

/// The wire a call came in by. `as_str` is the record's `surface` and the metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Surface {
    /// `tollgate.v1` over gRPC or gRPC-Web.
    Grpc,
    /// `POST /v1/chat/completions`.
    OpenAiChat,
    /// `POST /v1/embeddings`.
    OpenAiEmbeddings,
}

impl Surface {
    /// Returns the name that records and metrics use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::OpenAiChat => "openai-chat",
            Self::OpenAiEmbeddings => "openai-embeddings",
        }
    }
}

/// What a call does, in the words of OpenTelemetry's `gen_ai.operation.name`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// A completion, streamed or whole.
    Chat,
    /// Vectors for texts.
    Embeddings,
}

impl Operation {
    /// Returns the name that records and metrics use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Embeddings => "embeddings",
        }
    }
}

/// Who calls: the virtual key that opened the door, as it was at that moment.
#[derive(Debug, PartialEq, Eq)]
pub struct Caller {
    /// Public id of the key, never its secret.
    pub key_id: String,
    /// Name of the key, for people.
    pub key_name: String,
    /// Team that owns the key; empty if none.
    pub team_id: String,
    /// What the key may do.
    pub scopes: Scopes,
    /// Globs over model aliases the key may call; empty means all.
    pub allowed_models: ModelGlobs,
    /// Tags every call of this key carries unless the call sets the same tag.
    pub default_tags: BTreeMap<String, String>,
    /// How much the key may use; all of them hold.
    pub limits: Arc<[Limit]>,
}

#[cfg(test)]
impl Caller {
    /// A caller with the default scopes and no limits.
    pub(crate) fn for_test() -> Self {
        Self {
            key_id: "test".to_owned(),
            key_name: "test".to_owned(),
            team_id: String::new(),
            scopes: Scopes::DEFAULT,
            allowed_models: ModelGlobs::default(),
            default_tags: BTreeMap::new(),
            limits: Arc::default(),
        }
    }
}

/// One limit of a key: at most so much of a metric in a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What is counted.
    pub metric: Metric,
    /// In what time; means nothing for `Metric::Concurrent`.
    pub period: Period,
    /// How much, in the metric's own unit.
    pub amount: i64,
}

/// What a limit counts. The names are the contract's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Calls.
    Requests,
    /// Input tokens.
    InputTokens,
    /// Output tokens.
    OutputTokens,
    /// Input and output tokens together.
    Tokens,
    /// Calls in flight.
    Concurrent,
    /// Cost in nano-USD.
    CostNanos,
}

impl Metric {
    /// Every metric.
    pub const ALL: [Self; 6] = [
        Self::Requests,
        Self::InputTokens,
        Self::OutputTokens,
        Self::Tokens,
        Self::Concurrent,
        Self::CostNanos,
    ];

    /// Returns the contract's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::InputTokens => "input_tokens",
            Self::OutputTokens => "output_tokens",
            Self::Tokens => "tokens",
            Self::Concurrent => "concurrent",
            Self::CostNanos => "cost_nanos",
        }
    }

    /// Finds the metric of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|metric| metric.as_str() == name)
    }
}

/// The time a limit holds for: sliding up to an hour, by the UTC calendar beyond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// Any second.
    Second,
    /// Any 60 seconds.
    Minute,
    /// Any 60 minutes.
    Hour,
    /// A calendar day.
    Day,
    /// A calendar month.
    Month,
    /// For ever.
    Total,
}

impl Period {
    /// Every period.
    pub const ALL: [Self; 6] = [Self::Second, Self::Minute, Self::Hour, Self::Day, Self::Month, Self::Total];

    /// Returns the contract's name (`Limit.window`).
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
            Self::Total => "total",
        }
    }

    /// Finds the period of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|period| period.as_str() == name)
    }

    /// Tells whether what was used before a restart still counts.
    pub fn is_calendar(self) -> bool {
        matches!(self, Self::Day | Self::Month | Self::Total)
    }
}

/// One thing a key may do. The names are the contract's (`chat`, `usage:team`, …).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Scope {
    /// Completions and token counts.
    Chat = 1,
    /// Embeddings.
    Embed = 1 << 1,
    /// Listing models.
    Models = 1 << 2,
    /// The key's own records, quotas and sums.
    Usage = 1 << 3,
    /// The records and sums of the key's team.
    UsageTeam = 1 << 4,
    /// Pinning a target past the plan.
    RoutePin = 1 << 5,
    /// Everything of `tollgate.admin.v1`, and everybody's usage.
    Admin = 1 << 6,
}

impl Scope {
    /// Every scope, in the order in which they are shown.
    pub const ALL: [Self; 7] =
        [Self::Chat, Self::Embed, Self::Models, Self::Usage, Self::UsageTeam, Self::RoutePin, Self::Admin];

    /// Returns the contract's name of the scope.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Embed => "embed",
            Self::Models => "models",
            Self::Usage => "usage",
            Self::UsageTeam => "usage:team",
            Self::RoutePin => "route:pin",
            Self::Admin => "admin",
        }
    }

    /// Finds the scope of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == name)
    }
}

/// A set of scopes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    /// What a key may do if nothing else is said.
    pub const DEFAULT: Self =
        Self(Scope::Chat as u8 | Scope::Embed as u8 | Scope::Models as u8 | Scope::Usage as u8);

    /// Tells whether the set has this scope.
    pub fn has(self, scope: Scope) -> bool {
        self.0 & scope as u8 != 0
    }

    /// Tells whether every scope of `other` is in this set.
    pub fn covers(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Returns the names, in the order of `Scope::ALL`.
    pub fn names(self) -> Vec<String> {
        Scope::ALL
            .into_iter()
            .filter(|scope| self.has(*scope))
            .map(|scope| scope.as_str().to_owned())
            .collect()
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |set, scope| set | scope as u8))
    }
}

/// Globs over model aliases: `*` stands for any run of characters, `/` included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelGlobs(Vec<String>);

impl ModelGlobs {
    /// Builds the set; an empty list allows every model.
    pub fn new(globs: Vec<String>) -> Self {
        Self(globs)
    }

    /// Returns the globs as they were written.
    pub fn as_slice(&self) -> &[String] {
        &self.0
    }

    /// Tells whether the alias is allowed. Case matters, as it does for aliases.
    pub fn allow(&self, alias: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|glob| glob_matches(glob.as_bytes(), alias.as_bytes()))
    }

    /// Tells whether everything that `other` allows is allowed here too, so that a key can only hand down less.
    pub fn covers(&self, other: &Self) -> bool {
        self.0.is_empty() || (!other.0.is_empty() && other.0.iter().all(|glob| self.allow(glob)))
    }
}

/// Matches `text` against a glob whose only special character is `*`, in linear time and without recursion.
pub fn glob_matches(glob: &[u8], text: &[u8]) -> bool {
    let (mut g, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        if glob.get(g) == Some(&b'*') {
            retry = Some((g + 1, t));
            g += 1;
        } else if glob.get(g) == Some(&text[t]) {
            g += 1;
            t += 1;
        } else if let Some((after_star, from)) = retry {
            retry = Some((after_star, from + 1));
            g = after_star;
            t = from + 1;
        } else {
            return false;
        }
    }
    glob[g..].iter().all(|byte| *byte == b'*')
}

/// Checks tags by the contract's rules, for calls and for a key's defaults.
///
/// # Errors
/// `INVALID_REQUEST` naming the field.
pub fn check_tags(field: &str, tags: &BTreeMap<String, String>) -> Result<(), Error> {
    if tags.len() > MAX_TAGS {
        return Err(Error::invalid(field, format!("at most {MAX_TAGS} tags, not {}", tags.len())));
    }
    for (key, value) in tags {
        let mut bytes = key.bytes();
        let starts_well = bytes.next().is_some_and(|byte| byte.is_ascii_lowercase());
        let goes_on_well =
            bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.-".contains(&byte));
        if !(starts_well && goes_on_well && key.len() <= 64) {
            let shown: String = key.escape_default().take(80).collect();
            return Err(Error::invalid(
                field,
                format!("the tag `{shown}` must match [a-z][a-z0-9_.-]{{0,63}}"),
            ));
        }
        if value.len() > MAX_TAG_VALUE || value.chars().any(char::is_control) {
            let message =
                format!("the value of tag `{key}` must be at most {MAX_TAG_VALUE} bytes of printable text");
            return Err(Error::invalid(field, message));
        }
    }
    Ok(())
}

/// Checks an idempotency key by the contract's rules; an empty one is fine.
///
/// # Errors
/// `INVALID_REQUEST` naming the field.
pub fn check_request_id(field: &str, id: &str) -> Result<(), Error> {
    if id.len() <= MAX_REQUEST_ID && id.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err(Error::invalid(field, format!("{field} must be at most {MAX_REQUEST_ID} printable ASCII characters")))
}

/// When a call must be over, and who said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// The moment.
    pub at: Instant,
    /// True if the caller set it, false if it is our own `timeouts.total`.
    pub by_caller: bool,
}

impl Deadline {
    /// Returns the earlier of the caller's deadline and our own.
    pub fn earlier(self, other: Option<Self>) -> Self {
        match other {
            Some(other) if other.at < self.at => other,
            _ => self,
        }
    }
}

/// The wire format a body is written in. Provider and caller dialects that are equal may use the express lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// OpenAI Chat Completions.
    OpenAiChat,
    /// OpenAI Embeddings.
    OpenAiEmbeddings,
}

/// A request body exactly as the caller sent it, with the places where a provider may patch it.
#[derive(Clone, Debug)]
pub struct Raw {
    /// What the bytes are.
    pub dialect: Dialect,
    /// The JSON object, well-formed and checked for what we read of it.
    pub body: Bytes,
    /// Where the value of `model` stands, quotes included.
    pub model: Range<usize>,
    /// Where the value of `stream_options` stands, if it is there and not null.
    pub stream_options: Option<Range<usize>>,
}

/// A request as the caller sent it and as the contract sees it. The typed view is made on demand; changing it
/// drops the raw bytes, so that what is sent can never differ from what was checked.
#[derive(Debug)]
pub struct Payload<T> {
    raw: Option<Raw>,
    typed: OnceLock<T>,
    parse: fn(&[u8]) -> Result<T, Error>,
}

impl<T> Payload<T> {
    /// Wraps a typed request, which has no raw bytes.
    pub fn typed(request: T) -> Self {
        Self {
            raw: None,
            typed: OnceLock::from(request),
            parse: |_| Err(Error::internal("a typed payload is never parsed")),
        }
    }

    /// Wraps raw bytes; `parse` makes the typed view when somebody asks for it.
    pub fn raw(raw: Raw, parse: fn(&[u8]) -> Result<T, Error>) -> Self {
        Self { raw: Some(raw), typed: OnceLock::new(), parse }
    }

    /// Returns the caller's own bytes if they are in this dialect and nobody has changed the request.
    pub fn as_raw(&self, dialect: Dialect) -> Option<&Raw> {
        self.raw.as_ref().filter(|raw| raw.dialect == dialect)
    }

    /// Returns the typed view.
    ///
    /// # Errors
    /// `INVALID_REQUEST` with the field's path if the bytes do not fit the contract.
    pub fn view(&self) -> Result<&T, Error> {
        if let (None, Some(raw)) = (self.typed.get(), &self.raw) {
            let parsed = (self.parse)(&raw.body)?;
            return Ok(self.typed.get_or_init(|| parsed));
        }
        self.typed.get().ok_or_else(|| Error::internal("a payload has neither bytes nor a typed view"))
    }

    /// Returns the typed view for changing it, and drops the raw bytes.
    ///
    /// # Errors
    /// As `view`.
    pub fn change(&mut self) -> Result<&mut T, Error> {
        self.view()?;
        self.raw = None;
        self.typed.get_mut().ok_or_else(|| Error::internal("a payload lost its typed view"))
    }
}

/// What a call asks for.
#[derive(Debug)]
pub enum Request {
    /// A completion.
    Chat(Payload<v1::ChatInput>),
    /// Embeddings. The `options` of the message are already in `Call::options`.
    Embed(Payload<v1::EmbedRequest>),
}

/// What the rooms need to know of a request without reading all of it.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// The alias the caller named.
    pub model: String,
    /// Whether tokens are wanted as they come.
    pub streamed: bool,
    /// Whether the caller asked to see usage in the stream (always true over gRPC).
    pub usage_wanted: bool,
    /// Upper bound of output the caller set, in tokens.
    pub max_output_tokens: Option<i64>,
    /// How many answers are asked for; 0 stands for one.
    pub choice_count: i64,
    /// Length of the prompt's text in bytes, or a close upper bound, for estimates.
    pub input_bytes: usize,
    /// The end user the caller named, for the record.
    pub end_user_id: String,
}

/// Random bytes a thread fetches at a time: a system call for each id would cost more than the id.
const RANDOM_POOL: usize = 2048;

thread_local! {
    static POOL: RefCell<(Box<[u8; RANDOM_POOL]>, usize)> = RefCell::new((Box::new([0; RANDOM_POOL]), RANDOM_POOL));
}

/// Makes an id that sorts by time: a version 7 UUID.
pub fn new_id() -> Uuid {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let millis = u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX);
    POOL.with_borrow_mut(|(bytes, used)| {
        if *used + 10 > RANDOM_POOL {
            if getrandom::fill(&mut bytes[..]).is_err() {
                return Uuid::now_v7();
            }
            *used = 0;
        }
        let mut random = [0; 10];
        random.copy_from_slice(&bytes[*used..*used + 10]);
        *used += 10;
        Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    })
}

/// One caller's call.
#[derive(Debug)]
pub struct Call {
    /// Our id: `x-request-id`, the record's id, the stream's id.
    pub id: Uuid,
    /// When it came in, for durations.
    pub started: Instant,
    /// When it came in, for people.
    pub create_time: SystemTime,
    /// The wire it came by.
    pub surface: Surface,
    /// What it does.
    pub operation: Operation,
    /// Who calls.
    pub caller: Arc<Caller>,
    /// What is asked, in short. Its `model` is empty until the body has been read.
    pub asked: Asked,
    /// Gateway options of the call. `tags` there are merged into `Call::tags`.
    pub options: v1::CallOptions,
    /// The key's default tags, the header's, the message's; the last wins.
    pub tags: BTreeMap<String, String>,
    /// The caller's deadline, if it set one.
    pub deadline: Option<Deadline>,
    /// The caller's W3C `traceparent`, valid or absent.
    pub traceparent: Option<String>,
    /// Every upstream call made for this call so far, the current one last.
    pub attempts: Vec<Attempt>,
}

/// A vendor's model that a call may be sent to.
#[derive(Debug)]
pub struct Target {
    /// `provider/model`, as records and headers show it.
    pub name: Arc<str>,
    /// The provider's name in the configuration.
    pub provider: Arc<str>,
    /// The vendor's model id.
    pub model: Arc<str>,
    /// The catalog's name of the vendor, for prices and facts (`openai`, `echo`, …).
    pub vendor: Arc<str>,
    /// Prices from the configuration, which override the catalog's.
    pub rates: Option<Rates>,
}

/// Prices in nano-USD per million tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// Input tokens that were not read from the provider's cache.
    pub input: i64,
    /// Output tokens, reasoning included.
    pub output: i64,
    /// Input tokens read from the provider's cache; `input` if absent.
    pub cache_read: Option<i64>,
    /// Input tokens written to the provider's cache; `input` if absent.
    pub cache_write: Option<i64>,
}

/// One upstream call.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Where it went.
    pub target: Arc<Target>,
    /// When it was started.
    pub started: Instant,
    /// How long it took; absent while it runs.
    pub duration: Option<Duration>,
    /// `ok`, `cancelled`, or a kind of provider failure; empty while it runs.
    pub outcome: &'static str,
    /// The upstream's HTTP status; 0 if none came.
    pub http_status: u16,
    /// The upstream's own request id; empty if it gave none.
    pub upstream_request_id: String,
    /// Whether it ended before there was a connection, and so cannot have cost anything.
    pub unsent: bool,
}

impl Attempt {
    /// Starts the clock of an attempt.
    pub fn start(target: Arc<Target>, now: Instant) -> Self {
        Self {
            target,
            started: now,
            duration: None,
            outcome: "",
            http_status: 0,
            upstream_request_id: String::new(),
            unsent: false,
        }
    }

    /// Writes down how the attempt ended; the first ending holds.
    pub fn end(&mut self, outcome: &'static str, now: Instant) {
        if self.duration.is_none() {
            self.duration = Some(now.saturating_duration_since(self.started));
            self.outcome = outcome;
        }
    }

    /// Shows the attempt as the contract does.
    pub fn to_proto(&self) -> v1::Attempt {
        v1::Attempt {
            target: self.target.name.to_string(),
            provider: self.target.provider.to_string(),
            model: self.target.model.to_string(),
            outcome: self.outcome.to_owned(),
            http_status: i32::from(self.http_status),
            duration: self.duration.and_then(|d| d.try_into().ok()),
            upstream_request_id: self.upstream_request_id.clone(),
        }
    }
}

/// Estimates the tokens of one delta: models send about a token at a time, longer pieces hold four bytes a token.
pub fn estimate_delta_tokens(bytes: usize) -> u32 {
    if bytes <= 16 { u32::from(bytes > 0) } else { estimate_text_tokens(bytes) }
}

/// Estimates the tokens of a whole text at four bytes a token, rounded up.
pub fn estimate_text_tokens(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(4)).unwrap_or(u32::MAX)
}

/// What a provider's tap saw in a piece of raw bytes.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Content events (deltas with text, tool input, refusal or media; a whole answer counts as one).
    pub content_events: u32,
    /// Estimated output tokens of the content, for calls whose usage never comes.
    pub output_tokens: u32,
    /// Usage, if this piece told it. Cumulative: the last one holds.
    pub usage: Option<Box<v1::Usage>>,
    /// Finish reason of choice 0, if this piece told it.
    pub finish_reason: Option<v1::FinishReason>,
    /// The upstream's response id, told once.
    pub response_id: Option<String>,
    /// The model that the upstream says it used, told once.
    pub model: Option<String>,
    /// True on the piece that completes the answer (`[DONE]`, a whole body): nothing after it matters.
    pub last: bool,
    /// False for comments and pings, which are no progress.
    pub progress: bool,
}

/// One piece of a reply on its way to the caller.
#[derive(Debug)]
pub enum Item {
    /// Typed lane: an event of the stream grammar (`StreamCompleteResponse`). Providers send `Start` first and
    /// `End` last, for whole answers too.
    Event(Event),
    /// Typed lane: the whole answer of an embedding call.
    Embeddings(Box<v1::EmbedResponse>),
    /// Express lane: whole SSE events, or a whole body, exactly as the upstream sent them.
    Raw(Bytes, Seen),
}

/// A stream of items. Dropping it cancels the upstream call.
pub type Items<E = Error> = Pin<Box<dyn Stream<Item = Result<Item, E>> + Send>>;

/// What the ledger wrote for a call; there once its stream has ended.
#[derive(Clone, Debug, Default)]
pub struct Settled {
    /// Usage with its cost.
    pub usage: v1::Usage,
    /// Every attempt.
    pub attempts: Vec<v1::Attempt>,
}

/// The answer of the pipeline: what is known at the commit point, and the stream that follows.
pub struct Reply {
    /// Our id of the call.
    pub id: Uuid,
    /// The target that answers; absent if headers go out before any target has answered (`commit_after`).
    pub target: Option<Arc<Target>>,
    /// How many upstream calls were made so far.
    pub attempt_count: usize,
    /// What was dropped or changed in translation.
    pub warnings: Vec<v1::Warning>,
    /// Upstream headers that callers' SDKs read (`openai-processing-ms`, …), safe to forward.
    pub headers: HeaderMap,
    /// The upstream's own request id; empty if unknown.
    pub upstream_request_id: String,
    /// The pieces. Ends after the last one, or with an error; the record is durable before the end is seen.
    pub items: Items,
    /// Filled when the stream has ended.
    pub settled: Arc<OnceLock<Settled>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn globs(list: &[&str]) -> ModelGlobs {
        ModelGlobs::new(list.iter().map(|glob| (*glob).to_owned()).collect())
    }

    #[test]
    fn a_star_matches_any_run_and_case_matters() {
        assert!(globs(&["chat-*"]).allow("chat-fast"));
        assert!(globs(&["chat-*"]).allow("chat-"));
        assert!(!globs(&["chat-*"]).allow("Chat-fast"));
        assert!(!globs(&["chat-*"]).allow("my-chat-fast"));
        assert!(globs(&["*/gpt-*-mini"]).allow("openai/gpt-4o-mini"));
        assert!(!globs(&["*/gpt-*-mini"]).allow("openai/gpt-4o-mini-x"));
        assert!(globs(&[]).allow("anything"));
    }

    #[test]
    fn a_set_of_globs_covers_only_what_it_allows() {
        assert!(globs(&["chat-*"]).covers(&globs(&["chat-fast", "chat-slow*"])));
        assert!(!globs(&["chat-*"]).covers(&globs(&["*"])));
        assert!(!globs(&["chat-*"]).covers(&globs(&[])));
        assert!(globs(&[]).covers(&globs(&[])));
    }

    #[test]
    fn tags_are_checked_by_the_contracts_rules() {
        let tags = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
        assert!(check_tags("t", &tags("feature.x-1", "a b")).is_ok());
        assert!(check_tags("t", &tags("Feature", "x")).is_err());
        assert!(check_tags("t", &tags("ok", "line\nbreak")).is_err());
        assert!(check_tags("t", &tags("ok", &"x".repeat(257))).is_err());
    }

    #[test]
    fn ids_differ_sort_by_time_and_say_version_7() {
        let ids: Vec<_> = (0..1000).map(|_| new_id()).collect();
        assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), 1000);
        assert!(ids.iter().all(|id| id.get_version_num() == 7));
        let later = Builder::from_unix_timestamp_millis(u64::MAX >> 17, &[0; 10]).into_uuid();
        assert!(ids.iter().all(|id| *id < later));
    }

    #[test]
    fn changing_a_payload_drops_its_raw_bytes() {
        let raw = Raw {
            dialect: Dialect::OpenAiChat,
            body: Bytes::from_static(b"{}"),
            model: 0..0,
            stream_options: None,
        };
        let mut payload: Payload<v1::ChatInput> = Payload::raw(raw, |_| Ok(v1::ChatInput::default()));
        assert!(payload.as_raw(Dialect::OpenAiChat).is_some());
        payload.change().unwrap().model = "other".to_owned();
        assert!(payload.as_raw(Dialect::OpenAiChat).is_none());
        assert_eq!(payload.view().unwrap().model, "other");
    }
}
