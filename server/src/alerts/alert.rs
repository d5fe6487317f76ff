//! What somebody is told, and the name under which it is told once.

use jiff::Timestamp;
use serde_json::{Map, Value};

/// One alert.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// What happened: `budget`, `forecast`, `soft_limit` or `deviation`.
    pub kind: &'static str,
    /// What makes it the same alert: it is told once, whoever finds it and however often.
    pub identity: String,
    /// What happened, in one sentence.
    pub message: String,
    /// The figures.
    pub facts: Map<String, Value>,
}

impl Alert {
    /// Returns its id at one destination.
    pub(super) fn id(&self, destination: &str) -> String {
        let mut hasher = blake3::Hasher::new();
        for part in [destination, self.kind, &self.identity] {
            hasher.update(&part.len().to_le_bytes());
            hasher.update(part.as_bytes());
        }
        let hash = hasher.finalize().to_hex();
        format!("alert_{}", &hash[..32])
    }

    /// Returns the body that is sent.
    pub(super) fn body(&self, id: &str, now: Timestamp) -> String {
        let mut body = self.facts.clone();
        body.insert("id".to_owned(), id.into());
        body.insert("type".to_owned(), self.kind.into());
        body.insert("time".to_owned(), now.to_string().into());
        body.insert("message".to_owned(), self.message.clone().into());
        Value::Object(body).to_string()
    }
}

/// Writes nano-USD as dollars and cents, rounded down; less than a dollar to the millionth.
pub(super) fn dollars(nanos: i64) -> String {
    if nanos < 1_000_000_000 {
        return format!("$0.{:06}", nanos / 1_000);
    }
    let cents = nanos / 10_000_000;
    format!("${}.{:02}", cents / 100, cents % 100)
}
