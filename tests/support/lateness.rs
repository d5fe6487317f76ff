//! How late the machine wakes whoever sleeps. Promises of the gateway are about its own lateness; on a machine that is
//! busy with other things a test adds this to them, and on one that is not, nothing.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

const TICK: Duration = Duration::from_millis(2);
/// A timer's ordinary lateness.
const USUAL: Duration = Duration::from_millis(2);

/// When the provider sees of a caller that left, in 99 of 100 cases.
pub const PROMISE: Duration = Duration::from_millis(100);

/// Checks how long after their callers left the provider saw it. Calls run beside each other and beside other tests on a
/// machine that may be busy, so the promise is held by the quicker ones: they show that nothing in the gateway waits. None
/// may be far off.
pub fn assert_prompt(mut lags: Vec<Duration>, lateness: &Lateness) {
    lags.sort_unstable();
    let (quick, last) = (lags[lags.len() / 4], lags[lags.len() - 1]);
    let allowed = lateness.allows(PROMISE, 5);
    assert!(quick < allowed && last < Duration::from_secs(60), "{lags:?}, of {allowed:?}");
}

/// A machine that is not later than this is calm.
pub const CALM: Duration = Duration::from_millis(50);
/// Wakes, one after the other, from a cause to where its effect is seen: the test, the gateway, a peer and back.
pub const WAKES: u32 = 5;
/// A promise that holds in 99 of 100 cases may be broken so often.
const BORNE: usize = 2;

/// Repeats a measurement and demands that it keeps the promise, with room only for how late the machine was during that
/// very measurement: in waking whoever slept, and in giving a processor to the test and to these processes. It has to do
/// so this many times, and as many times again for each of the few that did not. Up to three of them have to be on a calm
/// machine; one that never is calm is given up on after a while. Returns how many there were.
pub async fn assert_kept(
    promise: Duration,
    times: usize,
    processes: &[u32],
    mut measure: impl AsyncFnMut() -> Duration,
) -> usize {
    let (mut kept, mut calm, mut broken, mut all) = (0, 0, 0, Vec::new());
    while kept < times * (1 + broken) || (calm < times.min(3) && all.len() < 2 * times) {
        let (lateness, before) = (Lateness::measure(), waits(processes));
        let took = measure().await;
        let late = lateness.worst() * WAKES + waited(&before, &waits(processes));
        let keeps = took <= promise + late;
        all.push((took, late));
        kept += usize::from(keeps);
        calm += usize::from(keeps && late <= CALM);
        broken += usize::from(!keeps);
        assert!(broken <= BORNE, "{promise:?} were promised, and took, with the machine so late: {all:?}");
    }
    all.len()
}

/// How long each thread of this process and of these was ready to run and had no processor, so far, as Linux tells.
fn waits(processes: &[u32]) -> BTreeMap<PathBuf, u64> {
    let processes = processes.iter().copied().chain([std::process::id()]);
    let folders = processes.map(|id| format!("/proc/{id}/task"));
    let threads = folders.filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten();
    let wait = |thread: PathBuf| {
        let told = std::fs::read_to_string(thread.join("schedstat")).ok()?;
        Some((thread, told.split(' ').nth(1)?.parse().ok()?))
    };
    threads.filter_map(|thread| wait(thread.path())).collect()
}

fn waited(before: &BTreeMap<PathBuf, u64>, after: &BTreeMap<PathBuf, u64>) -> Duration {
    let grown = after.iter().map(|(thread, now)| now.saturating_sub(*before.get(thread).unwrap_or(&0)));
    Duration::from_nanos(grown.sum())
}

/// Measures from its start until it is dropped.
pub struct Lateness(Arc<Looks>);

struct Looks {
    began: Instant,
    /// When the sleep began that has not ended yet, and the worst of those before, in microseconds.
    slept: AtomicU64,
    worst: AtomicU64,
}

impl Looks {
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap()
    }

    /// By how much the sleep that has not ended yet is too long.
    fn late(&self) -> u64 {
        let usual = u64::try_from((TICK + USUAL).as_micros()).unwrap();
        self.now().saturating_sub(self.slept.load(Ordering::SeqCst) + usual)
    }
}

impl Lateness {
    /// Starts to measure.
    pub fn measure() -> Self {
        let (slept, worst) = Default::default();
        let looks = Arc::new(Looks { began: Instant::now(), slept, worst });
        let kept = Arc::downgrade(&looks);
        thread::spawn(move || {
            while let Some(looks) = kept.upgrade() {
                looks.worst.fetch_max(looks.late(), Ordering::SeqCst);
                looks.slept.store(looks.now(), Ordering::SeqCst);
                drop(looks);
                thread::sleep(TICK);
            }
        });
        Self(looks)
    }

    /// Returns the worst so far, which may be of a wake that is still to come.
    pub fn worst(&self) -> Duration {
        Duration::from_micros(self.0.late().max(self.0.worst.load(Ordering::SeqCst)))
    }

    /// Returns this promise with room for so many wakes, one after the other, as late as the worst was.
    pub fn allows(&self, promise: Duration, wakes: u32) -> Duration {
        promise + self.worst() * wakes
    }
}
