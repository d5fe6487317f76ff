//! The upstream of a run: serves the exchange that a request names, cut as it says, and remembers what it was asked.
//!
//! A ticket `<model>~<caller>~<cut>~<id>` stands for the model, so that it comes back in the body or in the path; it
//! keeps the vendor's name in front, as adapters look at it. Wires whose model is fixed carry it in the query.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use percent_encoding::percent_decode_str;

use crate::{
    exchange::Exchange,
    support::upstream::{Seen, Step, Upstream, chunk, end},
};

/// Cuts of a body. Each piece is a chunk of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    Whole,
    Random(u8),
    /// Every byte by itself.
    Bytes,
}

impl Cut {
    fn name(self) -> String {
        match self {
            Self::Whole => "whole".to_owned(),
            Self::Random(seed) => format!("random{seed}"),
            Self::Bytes => "bytes".to_owned(),
        }
    }
}

/// The name under which an exchange is asked for.
pub fn ticket(exchange: &Exchange, caller: &str, cut: Cut) -> String {
    // Bedrock's are sometimes whole ARNs, which are no models' names in a path of ours.
    let model = exchange.model.rsplit_once(":inference-profile/").map_or(&*exchange.model, |(_, name)| name);
    format!("{model}~{caller}~{}~{}", cut.name(), exchange.id)
}

/// The scripted upstream with its memory.
pub struct Replay {
    pub upstream: Upstream,
    asked: Arc<Mutex<HashMap<String, Vec<Seen>>>>,
}

impl Replay {
    pub async fn start(exchanges: &[Exchange]) -> Self {
        let by_id: HashMap<String, Exchange> =
            exchanges.iter().map(|exchange| (exchange.id.clone(), exchange.clone())).collect();
        let asked = Arc::new(Mutex::new(HashMap::<String, Vec<Seen>>::new()));
        let memory = asked.clone();
        let upstream = Upstream::start(move |seen| {
            let Some(ticket) = ticket_of(seen) else {
                return crate::support::upstream::whole(500, "text/plain", "a request without a ticket");
            };
            let steps = answer(&by_id, &ticket);
            memory.lock().unwrap().entry(ticket).or_default().push(seen.clone());
            steps
        })
        .await;
        Self { upstream, asked }
    }

    /// Returns and forgets what was asked with this ticket.
    pub fn take(&self, ticket: &str) -> Vec<Seen> {
        self.upstream.forget();
        self.asked.lock().unwrap().remove(ticket).unwrap_or_default()
    }
}

fn ticket_of(seen: &Seen) -> Option<String> {
    let decoded = percent_decode_str(&seen.path).decode_utf8_lossy().into_owned();
    if let Some((_, ticket)) = decoded.split_once("wire=") {
        return Some(ticket.to_owned());
    }
    let in_body = serde_json::from_slice::<serde_json::Value>(&seen.body).ok();
    let in_body = in_body.and_then(|body| body["model"].as_str().map(str::to_owned));
    if let Some(model) = in_body.filter(|model| model.contains('~')) {
        return Some(model.rsplit_once("models/").map_or(model.clone(), |(_, model)| model.to_owned()));
    }
    // A model's own slashes are escaped in a path, and its verb stands behind it.
    let path = seen.path.split('?').next()?;
    let segment =
        path.split('/').find(|segment| percent_decode_str(segment).decode_utf8_lossy().contains('~'))?;
    let segment =
        segment.rsplit_once(':').filter(|(_, verb)| !verb.contains('~')).map_or(segment, |(model, _)| model);
    Some(percent_decode_str(segment).decode_utf8_lossy().into_owned())
}

fn answer(exchanges: &HashMap<String, Exchange>, ticket: &str) -> Vec<Step> {
    let mut parts = ticket.rsplitn(3, '~');
    let (id, cut) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let Some(exchange) = exchanges.get(id) else {
        return crate::support::upstream::whole(500, "text/plain", format!("no exchange of {ticket}"));
    };
    let mut head = format!("HTTP/1.1 {} X\r\ntransfer-encoding: chunked\r\n", exchange.status);
    for (name, value) in &exchange.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let mut steps = vec![Step::Send(head.into_bytes())];
    let mut random = Random::new(id, cut);
    let (mut rest, mut batch) = (exchange.body.as_slice(), Vec::new());
    while !rest.is_empty() {
        let length = match cut {
            "whole" => rest.len(),
            "bytes" => 1,
            _ => random.below(48) + 1,
        };
        let (piece, left) = rest.split_at(length.min(rest.len()));
        if cut == "bytes" {
            // A chunk a byte, many chunks a write: the reader sees them one by one all the same.
            batch.extend_from_slice(&[b'1', b'\r', b'\n', piece[0], b'\r', b'\n']);
        } else {
            steps.push(chunk(piece));
        }
        rest = left;
    }
    if !batch.is_empty() {
        steps.push(Step::Send(batch));
    }
    steps.push(end());
    steps
}

/// A small repeatable generator (splitmix64), so that a failing cut can be had again.
struct Random(u64);

impl Random {
    fn new(id: &str, cut: &str) -> Self {
        Self(
            id.bytes()
                .chain(cut.bytes())
                .fold(7, |seed, byte| seed.wrapping_mul(31).wrapping_add(u64::from(byte))),
        )
    }

    fn below(&mut self, bound: u64) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound).unwrap()
    }
}
