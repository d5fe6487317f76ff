//! Rust client of Tollgate: chat, token streams, embeddings, models, usage, keys, teams and budgets over one connection.
//!
//! ```no_run
//! use tollgate_client::{ChatCall, Client};
//!
//! # async fn example() -> tollgate_client::Result<()> {
//! let client = Client::connect("127.0.0.1:8080", std::env::var("TOLLGATE_KEY").unwrap_or_default()).await?;
//!
//! // At once …
//! let answer = client.chat(ChatCall::new("echo", "hello")).await?;
//! println!("{} cost {:?}", answer.id, answer.usage.and_then(|usage| usage.cost));
//!
//! // … or token by token. A stream that is cut ends with an error, never as if it were complete.
//! let mut stream = client.stream(ChatCall::new("echo", "hello again")).await?;
//! while let Some(event) = stream.next().await {
//!     if let tollgate_client::Event::Text(delta) = event? {
//!         print!("{}", delta.text);
//!     }
//! }
//!
//! // Refusals explain themselves.
//! if let Err(error) = client.chat(ChatCall::new("no-such-model", "hello")).await {
//!     eprintln!("{error}: {:?}, retry after {:?}", error.reason(), error.retry_after());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Requests and answers are the generated types of the contract, [`api`].

mod budgets;
mod builder;
mod chat;
mod client;
mod error;
mod fold;
mod keys;
mod models;
mod retry;
mod secret;
mod status;
mod stream;
mod teams;
mod usage;

/// The contract's types: `api::v1` for callers, `api::admin` for operators.
pub use tollgate_api as api;
/// What the health service says about a service.
pub use tonic_health::pb::health_check_response::ServingStatus;

/// One typed event of a streamed answer.
pub use tollgate_api::v1::stream_complete_response::Event;

pub use crate::{
    budgets::Budgets,
    builder::Builder,
    chat::ChatCall,
    client::Client,
    error::{Error, Kind, Result, short_name},
    keys::Keys,
    secret::Key,
    stream::{ChatStream, QuotaStream, RecordStream, TextStream},
    teams::Teams,
    usage::Usage,
};
