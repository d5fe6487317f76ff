//! A comparison for people and for programs.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    amounts::{COST, FIELDS},
    compare::{Compared, Outcome},
};

impl Outcome {
    /// Returns it as a table: a line for each amount that the provider tells, and what was not compared.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let width = self.rows.iter().map(|row| row.model.chars().count()).max().unwrap_or(0).max(5);
        let _ = writeln!(
            text,
            "{:<20}  {:<width$}  {:<19}  {:>18}  {:>18}  {:>18}",
            "from", "model", "", "ours", "theirs", "difference"
        );
        for row in &self.rows {
            for (at, theirs) in row.theirs.iter().enumerate() {
                let Some(theirs) = theirs else { continue };
                let (ours, apart) = (row.ours[at], row.ours[at] - theirs);
                let _ = writeln!(
                    text,
                    "{:<20}  {:<width$}  {:<19}  {:>18}  {:>18}  {:>18}",
                    time(row.start),
                    row.model,
                    if at == COST { "cost_usd" } else { FIELDS[at] },
                    amount(at, ours),
                    amount(at, *theirs),
                    amount(at, apart)
                );
            }
        }
        for note in &self.notes {
            let _ = writeln!(text, "not compared: {note}");
        }
        let differing = self.rows.iter().filter(|row| row.differs).count();
        let _ = writeln!(
            text,
            "{}: {differing} of {} differ, {} not compared (our calls to {})",
            if self.agrees() { "agreed" } else { "not agreed" },
            self.rows.len(),
            self.notes.len(),
            self.counted.join(", ")
        );
        text
    }

    /// Returns it as JSON.
    pub fn to_json(&self) -> String {
        let rows: Vec<Value> = self.rows.iter().map(Compared::to_json).collect();
        let value = json!({
            "provider": self.provider,
            "counted": self.counted,
            "agrees": self.agrees(),
            "rows": rows,
            "not_compared": self.notes,
        });
        format!("{value:#}\n")
    }
}

impl Compared {
    fn to_json(&self) -> Value {
        let side = |amounts: &dyn Fn(usize) -> Option<i128>| -> Value {
            let told = FIELDS.iter().enumerate().filter_map(|(at, name)| Some(((*name).to_owned(), number(amounts(at)?))));
            Value::Object(told.collect())
        };
        json!({
            "start_time": time(self.start),
            "end_time": time(self.end),
            "model": self.model,
            "ours": side(&|at| self.theirs[at].map(|_| self.ours[at])),
            "theirs": side(&|at| self.theirs[at]),
            "difference": side(&|at| self.theirs[at].map(|theirs| self.ours[at] - theirs)),
            "differs": self.differs,
        })
    }
}

/// A JSON number where it fits, a text where it does not.
fn number(amount: i128) -> Value {
    i64::try_from(amount).map_or_else(|_| amount.to_string().into(), Value::from)
}

fn time(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

fn amount(at: usize, amount: i128) -> String {
    if at != COST {
        return amount.to_string();
    }
    let (sign, nanos) = (if amount < 0 { "-" } else { "" }, amount.unsigned_abs());
    format!("{sign}{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}
