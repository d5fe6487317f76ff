//! What is spent in this hour and the last, beside what was spent at this time of the week before.

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;
use serde_json::{Map, json};

use super::{
    Deviation, Source,
    alert::{Alert, dollars},
    deviation::{Odd, judge},
};
use crate::error::Error;

const HOUR: i64 = 3_600;
const WEEK: i64 = 7 * 24 * HOUR;

/// Watches the spend that is configured.
pub(super) struct Trend {
    settings: Deviation,
    /// Of each word: the last hour that was looked at, and what was usual in it.
    known: HashMap<String, Usual>,
}

/// What was spent in the hours that an hour is compared with.
struct Usual {
    hour: i64,
    /// How many there are.
    hours: BTreeSet<i64>,
    spent: HashMap<String, HashMap<i64, i64>>,
}

impl Usual {
    /// Lists what a value had spent; an hour in which it spent nothing counts as that.
    fn of(&self, value: &str) -> Vec<i64> {
        let spent = self.spent.get(value);
        self.hours.iter().map(|hour| spent.and_then(|spent| spent.get(hour)).copied().unwrap_or(0)).collect()
    }
}

impl Trend {
    pub(super) fn new(settings: Deviation) -> Self {
        Self { settings, known: HashMap::new() }
    }

    /// Looks at the hour that runs, and once at each that is over.
    pub(super) async fn look(&mut self, source: &dyn Source, now: Timestamp) -> Result<Vec<Alert>, Error> {
        let hour = now.as_second().div_euclid(HOUR) * HOUR;
        let mut alerts = Vec::new();
        for word in self.settings.by.clone() {
            let last = self.known.remove(&word);
            let usual = match last {
                Some(usual) if usual.hour == hour => usual,
                last => {
                    if let Some(last) = last {
                        self.compare(source, &word, &last, true, &mut alerts).await?;
                    }
                    self.usual(source, &word, hour).await?
                }
            };
            self.compare(source, &word, &usual, false, &mut alerts).await?;
            self.known.insert(word, usual);
        }
        Ok(alerts)
    }

    /// Reads what was spent at this hour of the week, and an hour before and after, in the weeks before.
    async fn usual(&self, source: &dyn Source, word: &str, hour: i64) -> Result<Usual, Error> {
        let mut usual = Usual { hour, hours: BTreeSet::new(), spent: HashMap::new() };
        let Some(oldest) = source.oldest().await? else { return Ok(usual) };
        for week in 1..=i64::from(self.settings.weeks) {
            let (from, until) = (hour - week * WEEK - HOUR, hour - week * WEEK + 2 * HOUR);
            // Before the first call there was nothing to be usual.
            let hours: Vec<i64> = [from, from + HOUR, from + 2 * HOUR]
                .into_iter()
                .filter(|hour| *hour >= oldest - HOUR)
                .collect();
            if hours.is_empty() {
                break;
            }
            usual.hours.extend(hours);
            for spent in source.spend(word, from, until).await? {
                usual.spent.entry(spent.value).or_default().insert(spent.hour, spent.nanos);
            }
        }
        Ok(usual)
    }

    async fn compare(
        &self,
        source: &dyn Source,
        word: &str,
        usual: &Usual,
        is_over: bool,
        alerts: &mut Vec<Alert>,
    ) -> Result<(), Error> {
        let spent = source.spend(word, usual.hour, usual.hour + HOUR).await?;
        let spent: HashMap<String, i64> = spent.into_iter().map(|spent| (spent.value, spent.nanos)).collect();
        let values: BTreeSet<&String> = spent.keys().chain(usual.spent.keys()).collect();
        for value in values {
            let now = spent.get(value).copied().unwrap_or(0);
            if let Some(odd) = judge(now, is_over, &usual.of(value), &self.settings) {
                alerts.push(alert(word, value, usual.hour, now, odd));
            }
        }
        Ok(())
    }
}

/// One direction is told once a day.
fn alert(word: &str, value: &str, hour: i64, nanos: i64, odd: Odd) -> Alert {
    let direction = if odd.above { "above" } else { "below" };
    let day = hour.div_euclid(24 * HOUR);
    let start = Timestamp::from_second(hour).map_or_else(|_| hour.to_string(), |time| time.to_string());
    let message = format!(
        "{} were spent by {word} `{value}` in the hour from {start}, where {} is usual",
        dollars(nanos),
        dollars(odd.usual)
    );
    let mut facts = Map::new();
    facts.insert("by".to_owned(), word.into());
    facts.insert("value".to_owned(), value.into());
    facts.insert("direction".to_owned(), direction.into());
    facts.insert("hour".to_owned(), start.into());
    facts.insert("spent_nanos".to_owned(), json!(nanos));
    facts.insert("usual_nanos".to_owned(), json!(odd.usual));
    Alert { kind: "deviation", identity: format!("{word}/{value}/{direction}/{day}"), message, facts }
}

#[cfg(test)]
mod tests {
    use futures_util::future::BoxFuture;
    use tollgate_api::v1;

    use super::{super::Spent, *};

    const USD: i64 = 1_000_000_000;
    /// An hour well after 1970.
    const NOW: i64 = 500_000 * HOUR;

    /// Spend by hour, of one team.
    struct Books {
        oldest: i64,
        hours: HashMap<i64, i64>,
    }

    impl Source for Books {
        fn standings(&self) -> BoxFuture<'_, Result<Vec<v1::Quota>, Error>> {
            Box::pin(async { Ok(Vec::new()) })
        }

        fn spend<'a>(
            &'a self,
            _: &'a str,
            from: i64,
            until: i64,
        ) -> BoxFuture<'a, Result<Vec<Spent>, Error>> {
            let within = self.hours.iter().filter(move |(hour, _)| (from..until).contains(*hour));
            let spent =
                within.map(|(hour, nanos)| Spent { hour: *hour, value: "red".to_owned(), nanos: *nanos });
            Box::pin(async move { Ok(spent.collect()) })
        }

        fn oldest(&self) -> BoxFuture<'_, Result<Option<i64>, Error>> {
            Box::pin(async { Ok(Some(self.oldest)) })
        }
    }

    fn books(weeks: i64, usual: i64) -> Books {
        let hours = (1..=weeks).flat_map(|week| [-HOUR, 0, HOUR].map(|off| (NOW - week * WEEK + off, usual)));
        Books { oldest: NOW - weeks * WEEK - HOUR, hours: hours.collect() }
    }

    fn trend() -> Trend {
        Trend::new(Deviation { by: vec!["team".to_owned()], factor: 4, at_least: 5 * USD, weeks: 4 })
    }

    async fn told(trend: &mut Trend, books: &Books, now: i64) -> Vec<(String, String)> {
        let alerts = trend.look(books, Timestamp::from_second(now).unwrap()).await.unwrap();
        alerts.into_iter().map(|alert| (alert.facts["direction"].to_string(), alert.identity)).collect()
    }

    #[tokio::test]
    async fn a_surge_is_told_while_the_hour_runs_and_a_lull_when_it_is_over() {
        let (mut trend, mut books) = (trend(), books(4, 10 * USD));
        books.hours.insert(NOW, 11 * USD);
        assert!(told(&mut trend, &books, NOW + 60).await.is_empty());
        books.hours.insert(NOW, 100 * USD);
        let surge = told(&mut trend, &books, NOW + 120).await;
        assert_eq!(surge.len(), 1);
        assert_eq!(told(&mut trend, &books, NOW + 180).await, surge, "under the same name");
        books.hours.insert(NOW, USD);
        assert!(told(&mut trend, &books, NOW + 240).await.is_empty(), "it may still come");
        let lull = told(&mut trend, &books, NOW + HOUR + 1).await;
        assert_eq!((lull.len(), &*lull[0].0), (1, "\"below\""));
    }

    #[tokio::test]
    async fn before_there_is_a_week_of_records_nothing_is_odd() {
        let (mut trend, mut books) = (trend(), books(0, 0));
        books.oldest = NOW - 6 * 24 * HOUR;
        books.hours.insert(NOW, 1_000 * USD);
        assert!(told(&mut trend, &books, NOW + 60).await.is_empty());
    }
}
