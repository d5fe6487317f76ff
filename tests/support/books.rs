//! What the fake provider is told to do, and what it writes down.

use std::time::{Duration, Instant};

use super::{
    faces::{Count, Face, Told},
    upstream::Seen,
};

/// How one request is answered.
#[derive(Clone, Debug)]
pub struct Score {
    pub tokens: usize,
    /// Before the head, and before each token.
    pub first: Duration,
    pub gap: Duration,
    pub usage: Told,
    pub ending: Ending,
    /// Status and further header lines of a refusal.
    pub refusal: Option<(u16, String)>,
}

impl Default for Score {
    fn default() -> Self {
        let (first, gap) = Default::default();
        Self { tokens: 3, first, gap, usage: Told::Final, ending: Ending::Whole, refusal: None }
    }
}

/// How an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// As the dialect has it.
    Whole,
    /// After so many tokens with silence; `comments` says whether it is broken by keep-alive comments.
    Stall { after: usize, comments: bool },
    /// After so many tokens the body ends in order, without the dialect's own end.
    Short { after: usize },
    /// After so many tokens, or first of all, an error event comes, with its name in a line of its own or not.
    Failure { after: Option<usize>, named: bool },
    /// After the last token, before anything that tells the end or the usage, until it is released or hung up on.
    BeforeUsage,
}

/// What a provider bills when the caller goes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnCancel {
    /// What it had generated.
    Generated,
    /// The whole answer.
    Full,
    /// Nothing.
    None,
}

/// A line of the provider's books. Lines are only ever added; a line is kept up to date while its answer goes on.
#[derive(Clone, Debug)]
pub struct Line {
    /// What the request carried to tell it from others: the word after `case:` in its prompt.
    pub case: String,
    /// The gateway's id of the call.
    pub call: String,
    pub face: Face,
    pub refused: bool,
    pub input: i64,
    /// Tokens generated, which is to say handed to the socket.
    pub generated: i64,
    /// Tokens of the answer had it come to its end.
    pub planned: i64,
    pub bytes: usize,
    /// The usage was sent.
    pub told: bool,
    /// The dialect's own end was sent.
    pub whole: bool,
    /// When the gateway was seen to go before the end.
    pub closed: Option<Instant>,
}

impl Line {
    pub fn new(request: &Seen, score: &Score) -> Self {
        Self {
            case: case_of(request),
            call: request.header("x-client-request-id").to_owned(),
            face: Face::of(&request.path),
            refused: score.refusal.is_some(),
            input: 11,
            generated: 0,
            planned: i64::try_from(score.tokens).unwrap(),
            bytes: 0,
            told: false,
            whole: false,
            closed: None,
        }
    }

    /// What the provider bills for it.
    pub fn billed(&self, on_cancel: OnCancel) -> Count {
        if self.refused {
            return Count::default();
        }
        let output = match on_cancel {
            _ if self.whole => self.planned,
            OnCancel::Full => self.planned,
            OnCancel::Generated => self.generated,
            OnCancel::None => return Count::default(),
        };
        Count { input: self.input, output }
    }
}

fn case_of(request: &Seen) -> String {
    let body = String::from_utf8_lossy(&request.body);
    let rest = body.split_once("case:").map_or("", |(_, rest)| rest);
    rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').next().unwrap_or_default().to_owned()
}
