//! How long a caller has been behind: it lags while something is ready that it does not take, and crumbs do not make
//! up for it.

use std::time::Duration;

use tokio::time::Instant;

/// What a caller takes at least within its time, in bytes. Whoever takes less is as good as gone, and a kernel whose
/// window is shut lets a crumb through now and then, though nobody reads.
pub(super) const LEAST: usize = 4 * 1024;

/// The pace of one caller.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Since when it lags, and what it took since then.
    behind: Option<(Instant, usize)>,
}

impl Pace {
    /// Something is ready for the caller.
    pub(super) fn ready(&mut self, now: Instant) {
        self.behind.get_or_insert((now, 0));
    }

    /// The caller took so many bytes.
    pub(super) fn took(&mut self, bytes: usize, now: Instant) {
        if let Some((since, taken)) = &mut self.behind {
            *taken = taken.saturating_add(bytes);
            if *taken >= LEAST {
                (*since, *taken) = (now, 0);
            }
        }
    }

    /// The caller has everything there is, and waits for more.
    pub(super) fn caught_up(&mut self) {
        self.behind = None;
    }

    /// Returns when a caller is given up that is behind.
    pub(super) fn ends(&self, patience: Duration) -> Option<Instant> {
        self.behind.map(|(since, _)| since + patience)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[test]
    fn only_enough_bytes_or_having_all_buy_time() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut pace = Pace::default();
        assert_eq!(pace.ends(PATIENCE), None);
        pace.took(LEAST, at(0));
        assert_eq!(pace.ends(PATIENCE), None, "it was not behind");
        pace.ready(at(1));
        pace.ready(at(5));
        pace.took(LEAST - 1, at(6));
        assert_eq!(pace.ends(PATIENCE), Some(at(11)), "crumbs do not count");
        pace.took(1, at(7));
        assert_eq!(pace.ends(PATIENCE), Some(at(17)));
        pace.caught_up();
        assert_eq!(pace.ends(PATIENCE), None);
    }
}
