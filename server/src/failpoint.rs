//! Places at which the process can be made to die, so that tests can see what a crash leaves. They are there only in
//! builds with debug assertions, which tests are: a release build has neither the places nor their names' meaning.
//!
//! `TOLLGATE_FAILPOINT=settle:after` lets the process die when it comes to that place, `settle:after#7` at the seventh
//! time; `panic@answered` makes the code there panic instead. `TOLLGATE_SMALL_STEPS=1` makes the ledger rotate and sum up after little, so that a test comes to those places.

/// Ends the process here, as kill -9 would, if that is asked for.
#[inline]
pub fn pass(place: &str) {
    #[cfg(debug_assertions)]
    armed::pass(place);
    #[cfg(not(debug_assertions))]
    let _ = place;
}

/// Returns how much is enough of something: `usual`, or `small` where a test asks for small steps.
#[inline]
pub fn step<T>(usual: T, small: T) -> T {
    #[cfg(debug_assertions)]
    if armed::small_steps() {
        return small;
    }
    let _ = small;
    usual
}

#[cfg(debug_assertions)]
mod armed {
    use std::sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    };

    /// What happens at a place when the process has come there so often.
    struct Failure {
        place: String,
        left: AtomicU32,
        panics: bool,
    }

    static FAILURE: LazyLock<Option<Failure>> = LazyLock::new(|| {
        let wanted = std::env::var("TOLLGATE_FAILPOINT").ok()?;
        let (place, times) = wanted.split_once('#').unwrap_or((&wanted, "1"));
        let (panics, place) = place.strip_prefix("panic@").map_or((false, place), |place| (true, place));
        Some(Failure { place: place.to_owned(), left: AtomicU32::new(times.parse().ok()?), panics })
    });
    static SMALL: LazyLock<bool> = LazyLock::new(|| std::env::var_os("TOLLGATE_SMALL_STEPS").is_some());

    pub(super) fn pass(here: &str) {
        let Some(failure) = &*FAILURE else { return };
        if failure.place != here || failure.left.fetch_sub(1, Ordering::Relaxed) != 1 {
            return;
        }
        assert!(!failure.panics, "asked for by TOLLGATE_FAILPOINT");
        std::process::abort();
    }

    pub(super) fn small_steps() -> bool {
        *SMALL
    }
}
