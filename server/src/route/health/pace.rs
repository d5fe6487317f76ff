//! How fast and how well a target answers of late.

use std::time::{Duration, Instant};

use super::window::{Counts, Window};

/// How far back attempts count for the share of failures.
const SPAN: Duration = Duration::from_secs(60);
/// Least attempts for that share to tell anything.
const ENOUGH: u64 = 5;
/// After so long a pause, what was before counts for little.
const FADES: Duration = Duration::from_secs(10);
/// What the newest sample counts for at least.
const NEWEST: f64 = 0.1;
/// A shorter time says nothing about tokens per second: the answer came in one piece.
const ONE_PIECE: Duration = Duration::from_millis(50);

/// An average that follows the newest samples.
#[derive(Clone, Copy, Debug, Default)]
struct Average(Option<(f64, Instant)>);

impl Average {
    fn add(&mut self, sample: f64, now: Instant) {
        let value = self.0.map_or(sample, |(value, then)| {
            let age = now.saturating_duration_since(then).as_secs_f64() / FADES.as_secs_f64();
            value + (sample - value) * (1.0 - (-age).exp()).max(NEWEST)
        });
        self.0 = Some((value, now));
    }

    fn value(self) -> Option<f64> {
        self.0.map(|(value, _)| value)
    }

    fn time(self) -> Option<Duration> {
        self.value().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
    }
}

/// How long calls wait for content.
#[derive(Clone, Copy, Debug, Default)]
struct Wait {
    usual: Average,
    /// The longest silence since the last answer.
    silent: Duration,
}

/// The pace of one target.
#[derive(Debug)]
pub(super) struct Pace {
    first_token: Wait,
    /// The same of answers that come in one piece: nothing of them is there before all is.
    whole: Wait,
    tokens_per_second: Average,
    ended: Window,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            first_token: Wait::default(),
            whole: Wait::default(),
            tokens_per_second: Average::default(),
            ended: Window::new(SPAN),
        }
    }
}

impl Pace {
    /// Notes how long the first content took.
    pub(super) fn first_content(&mut self, after: Duration, streamed: bool, now: Instant) {
        let wait = self.wait(streamed);
        wait.usual.add(after.as_secs_f64(), now);
        wait.silent = Duration::ZERO;
    }

    /// Notes that a call was ended after so long without content.
    pub(super) fn silent(&mut self, during: Duration, streamed: bool) {
        let wait = self.wait(streamed);
        wait.silent = wait.silent.max(during);
    }

    fn wait(&mut self, streamed: bool) -> &mut Wait {
        if streamed { &mut self.first_token } else { &mut self.whole }
    }

    /// Notes so many output tokens in the time since the first content.
    pub(super) fn tokens(&mut self, tokens: i64, since_first: Duration, now: Instant) {
        if let Ok(tokens) = u32::try_from(tokens)
            && tokens > 1
            && since_first >= ONE_PIECE
        {
            self.tokens_per_second.add(f64::from(tokens - 1) / since_first.as_secs_f64(), now);
        }
    }

    /// Notes the end of an attempt.
    pub(super) fn ended(&mut self, failed: bool, now: Instant) {
        self.ended.add(failed, now);
    }

    /// Forgets how attempts ended.
    pub(super) fn forget_ends(&mut self) {
        self.ended.clear();
    }

    /// Returns how attempts ended of late.
    pub(super) fn ends(&self, now: Instant) -> Counts {
        self.ended.sum(now)
    }

    /// Returns the share of failures; absent if too few attempts ended.
    pub(super) fn failure_ratio(&self, now: Instant) -> Option<f64> {
        let ends = self.ends(now);
        if ends.all < ENOUGH { None } else { ends.share() }
    }

    /// Returns the typical time to the first token; where nothing was streamed, to the whole answer.
    pub(super) fn first_token(&self) -> Option<Duration> {
        self.first_token.usual.time().or(self.whole())
    }

    /// Returns the typical time to an answer in one piece.
    pub(super) fn whole(&self) -> Option<Duration> {
        self.whole.usual.time()
    }

    /// Returns the longest silence since the last answer: of streams, and of answers in one piece.
    pub(super) fn silence(&self) -> (Duration, Duration) {
        (self.first_token.silent, self.whole.silent)
    }

    /// Returns the typical output tokens per second.
    pub(super) fn tokens_per_second(&self) -> Option<f64> {
        self.tokens_per_second.value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_first_sample_is_the_average_and_later_ones_move_it() {
        let start = Instant::now();
        let mut pace = Pace::default();
        assert_eq!(pace.first_token(), None);
        pace.first_content(ms(100), true, start);
        assert_eq!(pace.first_token(), Some(ms(100)));
        pace.first_content(ms(200), true, start);
        assert_eq!(pace.first_token(), Some(ms(110)), "the clock may stand still");
        (0..100).for_each(|_| pace.first_content(ms(300), true, start));
        assert!(pace.first_token().is_some_and(|time| time > ms(299)));
        pace.first_content(ms(100), true, start + ms(100_000));
        assert!(pace.first_token().is_some_and(|time| time < ms(101)), "after a pause the newest counts");
    }

    #[test]
    fn answers_in_one_piece_say_nothing_of_the_first_token_of_streams() {
        let now = Instant::now();
        let mut pace = Pace::default();
        pace.first_content(ms(9_000), false, now);
        assert_eq!(
            (pace.first_token(), pace.whole()),
            (Some(ms(9_000)), Some(ms(9_000))),
            "it is all there is"
        );
        pace.first_content(ms(100), true, now);
        assert_eq!((pace.first_token(), pace.whole()), (Some(ms(100)), Some(ms(9_000))));
    }

    #[test]
    fn a_silence_is_remembered_until_the_next_answer_of_its_sort() {
        let mut pace = Pace::default();
        [20, 30, 10].into_iter().for_each(|silent| pace.silent(ms(silent), true));
        pace.silent(ms(5), false);
        assert_eq!((pace.silence(), pace.first_token()), ((ms(30), ms(5)), None));
        pace.first_content(ms(1), true, Instant::now());
        assert_eq!(pace.silence(), (ms(0), ms(5)));
    }

    #[test]
    fn tokens_per_second_are_told_by_streams_only() {
        let now = Instant::now();
        for (tokens, time, rate) in [
            (101, ms(2_000), Some(50.0)),
            (100, ms(0), None),
            (100, ms(49), None),
            (1, ms(500), None),
            (-5, ms(500), None),
            (i64::MAX, ms(500), None),
        ] {
            let mut pace = Pace::default();
            pace.tokens(tokens, time, now);
            assert_eq!(pace.tokens_per_second(), rate, "{tokens} tokens in {time:?}");
        }
    }

    #[test]
    fn a_share_of_failures_needs_some_attempts() {
        let now = Instant::now();
        let mut pace = Pace::default();
        (0..4).for_each(|_| pace.ended(true, now));
        assert_eq!(pace.failure_ratio(now), None);
        pace.ended(false, now);
        assert_eq!(pace.failure_ratio(now), Some(0.8));
        assert_eq!(pace.failure_ratio(now + ms(60_000)), None);
    }
}
