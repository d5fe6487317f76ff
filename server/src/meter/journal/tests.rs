//! Tests of the journal: nothing settled is lost, nothing begun is forgotten, whatever the crash left of the files.

use std::{
    collections::{HashMap, HashSet},
    time::{Instant, SystemTime},
};

use proptest::prelude::*;
use tempfile::tempdir;
use tollgate_api::v1::usage::Source;

use super::{replay::Replay, *};
use crate::meter::testing::{id, record, rows, target};

mod lives;

/// Returns what is known of a call before its upstream call.
fn begun(number: u128) -> v1::UsageRecord {
    let mut record = record(number);
    record.status.clear();
    record.attempts = vec![v1::Attempt { target: record.target.clone(), ..v1::Attempt::default() }];
    record.usage =
        Some(v1::Usage { input_tokens: Some(10), source: Source::Estimated.into(), ..v1::Usage::default() });
    record
}

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempdir().unwrap() }
    }

    fn store(&self) -> PathBuf {
        self.dir.path().join("tollgate.db")
    }

    fn journal(&self) -> PathBuf {
        self.dir.path().join("journal")
    }

    fn open(&self) -> (Journal, Ledger) {
        let ledger = Ledger::open(&self.store()).unwrap();
        let journal = Journal::open(&self.journal(), &ledger, &Catalog::embedded()).unwrap();
        (journal, ledger)
    }

    fn segments(&self) -> Vec<(u64, PathBuf)> {
        segment::list(&self.journal()).unwrap()
    }

    /// Keeps only the journal, as if the process had died before SQLite got anything.
    fn lose_the_store(&self) {
        for end in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(format!("{}{end}", self.store().display()));
        }
    }
}

#[test]
fn a_settled_call_that_sqlite_never_saw_is_there_after_a_restart() {
    let place = Place::new();
    let (journal, ledger) = place.open();
    journal.begin(begun(1), Some(&target()), None).unwrap();
    journal.settle(record(1), &ledger).unwrap();
    journal.settle(record(2), &ledger).unwrap();
    drop((journal, ledger));
    place.lose_the_store();
    let (_journal, ledger) = place.open();
    assert_eq!(rows(&ledger, &place.store()), [record(1), record(2)]);
    assert_eq!(place.segments().len(), 1, "the old segment is gone");
}

#[test]
fn a_call_that_a_crash_cut_off_is_recovered_once_with_its_last_checkpoint_and_price() {
    let place = Place::new();
    let (journal, ledger) = place.open();
    journal.begin(begun(1), Some(&target()), None).unwrap();
    journal.checkpoint(id(1), Progress { output_tokens: 3, content_events: 2 }).unwrap();
    journal.checkpoint(id(1), Progress { output_tokens: 7, content_events: 4 }).unwrap();
    drop((journal, ledger));
    for _ in 0..2 {
        let (_journal, ledger) = place.open();
        let rows = rows(&ledger, &place.store());
        assert_eq!(rows.len(), 1);
        let row = &rows[0];
        assert!(row.recovered && !row.unpriced);
        assert_eq!((&*row.status, &*row.error_reason), ("UNAVAILABLE", "STREAM_INTERRUPTED"));
        assert_eq!(row.attempts[0].outcome, "cancelled");
        assert_eq!(row.delivered_event_count, 4);
        let usage = row.usage.as_ref().unwrap();
        assert_eq!((usage.input_tokens, usage.output_tokens), (Some(10), Some(7)));
        assert_eq!(usage.source(), Source::Estimated);
        let cost = usage.cost.as_ref().unwrap();
        assert_eq!((cost.amount_nanos, cost.estimated), (10 * 150 + 7 * 600, true));
    }
}

#[test]
fn the_last_attempt_holds_and_keeps_what_was_handed_on_before() {
    let place = Place::new();
    let (journal, ledger) = place.open();
    journal.begin(begun(1), Some(&target()), None).unwrap();
    journal.checkpoint(id(1), Progress { output_tokens: 3, content_events: 2 }).unwrap();
    let mut second = begun(1);
    second.target = "other/unknown".to_owned();
    second.model = "unknown".to_owned();
    let other = Target { model: "unknown".into(), vendor: "other".into(), ..target() };
    journal.begin(second, Some(&other), None).unwrap();
    drop((journal, ledger));
    let (_journal, ledger) = place.open();
    let rows = rows(&ledger, &place.store());
    assert_eq!((rows.len(), &*rows[0].target, rows[0].unpriced), (1, "other/unknown", true));
    let usage = rows[0].usage.as_ref().unwrap();
    assert_eq!((usage.output_tokens, &usage.cost), (Some(3), &None));
}

#[test]
fn a_full_segment_is_followed_by_one_that_carries_the_open_calls() {
    let place = Place::new();
    let (journal, ledger) = place.open();
    journal.begin(begun(1), Some(&target()), None).unwrap();
    journal.checkpoint(id(1), Progress { output_tokens: 9, content_events: 9 }).unwrap();
    journal.begin(begun(2), Some(&target()), None).unwrap();
    journal.settle(record(2), &ledger).unwrap();
    journal.state().rotate_at = 0;
    journal.settle(record(3), &ledger).unwrap();
    assert!(ledger.flush_within(std::time::Duration::from_secs(30)));
    assert_eq!(place.segments().iter().map(|(number, _)| *number).collect::<Vec<_>>(), [2]);
    drop((journal, ledger));
    place.lose_the_store();
    let (_journal, ledger) = place.open();
    let rows = rows(&ledger, &place.store());
    assert_eq!(rows.len(), 1, "2 and 3 were committed before their segment went");
    assert_eq!((rows[0].id.clone(), rows[0].delivered_event_count), (id(1).to_string(), 9));
}

#[test]
fn a_data_directory_belongs_to_one_process() {
    let place = Place::new();
    let (_journal, ledger) = place.open();
    let message = Journal::open(&place.journal(), &ledger, &Catalog::default()).err().unwrap();
    assert!(message.contains("another tollgate uses"), "{message}");
}

#[test]
fn a_settlement_that_cannot_be_written_is_told_kept_and_written_later() {
    let place = Place::new();
    let (journal, ledger) = place.open();
    journal.begin(begun(1), Some(&target()), None).unwrap();
    journal.state().segment.break_for_test();
    assert!(journal.checkpoint(id(1), Progress::default()).is_err());
    // The next segment cannot be made either.
    fs::write(place.journal().join("000002.log"), "").unwrap();
    assert!(journal.settle(record(1), &ledger).is_err());
    assert!(journal.begin(begun(2), None, None).is_err(), "what cannot be accounted for is not begun");
    let kept = rows(&ledger, &place.store());
    assert_eq!((&*kept[0].status, &*kept[0].error_reason), ("UNAVAILABLE", "STORE_UNAVAILABLE"));
    fs::remove_file(place.journal().join("000002.log")).unwrap();
    journal.begin(begun(2), None, None).unwrap();
    drop((journal, ledger));
    place.lose_the_store();
    let (_journal, ledger) = place.open();
    let ids: Vec<_> = rows(&ledger, &place.store()).into_iter().map(|row| row.id).collect();
    assert_eq!(ids, [id(1).to_string(), id(2).to_string()]);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Begin(u8),
    Checkpoint(u8, u16),
    Settle(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0..8_u8).prop_map(Step::Begin),
        (0..8_u8, any::<u16>()).prop_map(|(call, tokens)| Step::Checkpoint(call, tokens)),
        (0..8_u8).prop_map(Step::Settle),
    ];
    proptest::collection::vec(step, 1..40)
}

/// Writes the steps of sound lives of calls. Returns the bytes, and each entry's end with its step.
fn write(steps: &[Step]) -> (Vec<u8>, Vec<(usize, Step)>) {
    let (mut bytes, mut ends, mut settled, mut open) =
        (Vec::new(), Vec::new(), HashSet::new(), HashSet::new());
    let mut buffer = Vec::new();
    for step in steps {
        match *step {
            Step::Begin(call) if !settled.contains(&call) => {
                open.insert(call);
                entry::begin(&mut buffer, &Begun::new(begun(call.into()), Some(&target()), None));
            }
            Step::Checkpoint(call, tokens) if open.contains(&call) => {
                buffer.clear();
                let progress = Progress { output_tokens: tokens.into(), content_events: 1 };
                entry::checkpoint(&mut buffer, id(call.into()), progress);
            }
            Step::Settle(call) if settled.insert(call) => {
                open.remove(&call);
                entry::settle(&mut buffer, &record(call.into()));
            }
            _ => continue,
        }
        bytes.extend_from_slice(&buffer);
        ends.push((bytes.len(), *step));
    }
    (bytes, ends)
}

proptest! {
    #[test]
    fn a_cut_anywhere_loses_nothing_whole_and_doubles_nothing(
        steps in steps(), cut in any::<prop::sample::Index>(),
    ) {
        let (bytes, ends) = write(&steps);
        let cut = cut.index(bytes.len() + 1);
        let mut expected = HashMap::new();
        for (_, step) in ends.iter().filter(|(end, _)| *end <= cut) {
            match *step {
                Step::Begin(call) => _ = expected.entry(call).or_insert((false, 0)),
                Step::Checkpoint(call, tokens) => expected.get_mut(&call).unwrap().1 = tokens,
                Step::Settle(call) => _ = expected.insert(call, (true, 0)),
            }
        }
        let mut replay = Replay::default();
        let whole = ends.iter().map(|(end, _)| *end).filter(|end| *end <= cut).max().unwrap_or(0);
        prop_assert_eq!(replay.segment(&bytes[..cut]), cut - whole);
        let mut found = replay.take_settled();
        prop_assert!(found.iter().all(|row| !row.recovered));
        found.extend(replay.cut_off(&Catalog::default(), SystemTime::now()));
        prop_assert_eq!(found.len(), expected.len());
        for row in found {
            let call = u8::try_from(Uuid::parse_str(&row.id).unwrap().as_u128()).unwrap();
            let (settled, tokens) = expected.remove(&call).unwrap();
            prop_assert_eq!(row.recovered, !settled);
            if !settled {
                prop_assert_eq!(row.usage.unwrap().output_tokens, Some(i64::from(tokens)));
            }
        }
    }

    #[test]
    fn a_flipped_byte_never_panics_nor_makes_up_a_call(
        steps in steps(), at in any::<prop::sample::Index>(), with in 1..=255_u8,
    ) {
        let (mut bytes, ends) = write(&steps);
        prop_assume!(!bytes.is_empty());
        let at = at.index(bytes.len());
        bytes[at] ^= with;
        let mut replay = Replay::default();
        let left = replay.segment(&bytes);
        let whole = ends.iter().map(|(end, _)| *end).filter(|end| *end <= at).max().unwrap_or(0);
        prop_assert_eq!(left, bytes.len() - whole, "reading stops at the entry that was changed");
    }

    #[test]
    fn noise_is_no_entry(noise in proptest::collection::vec(any::<u8>(), 0..200)) {
        Replay::default().segment(&noise);
    }
}

/// Not a benchmark: a look at what a call costs here, printed for who asks with `--nocapture`.
#[test]
fn begin_and_settle_take_microseconds() {
    let place = Place::new();
    let (journal, ledger) = place.open();
    let calls = 2_000;
    let start = Instant::now();
    for number in 0..calls {
        journal.begin(begun(number), Some(&target()), None).unwrap();
        journal.settle(record(number), &ledger).unwrap();
    }
    println!("begin + settle + append: {:?} a call", start.elapsed() / u32::try_from(calls).unwrap());
    assert_eq!(rows(&ledger, &place.store()).len(), usize::try_from(calls).unwrap());
    println!("with the commit: {:?} a call", start.elapsed() / u32::try_from(calls).unwrap());
}

/// Names the directory in which the process of `a_process_to_kill` works.
const CRASH_DIR: &str = "TOLLGATE_TEST_CRASH_DIR";

/// Writes until it is killed, and tells of each call that was settled once it is. Does nothing as a test.
#[test]
fn a_process_to_kill() {
    let Some(dir) = std::env::var_os(CRASH_DIR).map(PathBuf::from) else { return };
    let ledger = Ledger::open(&dir.join("tollgate.db")).unwrap();
    let journal = Journal::open(&dir.join("journal"), &ledger, &Catalog::default()).unwrap();
    let base = u128::from(std::process::id()) << 64;
    for number in 0.. {
        // One of three calls never ends.
        journal.begin(begun(base + number), None, None).unwrap();
        if number % 3 > 0 {
            journal.settle(record(base + number), &ledger).unwrap();
            println!("settled {}", id(base + number));
        } else {
            println!("begun {}", id(base + number));
        }
        if number % 500 == 0 {
            journal.state().rotate_at = 0;
        }
    }
}

#[test]
fn kill_9_loses_no_call_that_was_acknowledged() {
    use std::{
        io::{BufRead as _, BufReader},
        process::{Command, Stdio},
    };
    let place = Place::new();
    let (mut settled, mut begun) = (HashSet::new(), HashSet::new());
    for round in 1..=5_usize {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "meter::journal::tests::a_process_to_kill", "--nocapture"])
            .env(CRASH_DIR, place.dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut note = |line: String| {
            let word = |name| line.split_once(name).map(|(_, id)| id.to_owned());
            settled.extend(word("settled "));
            begun.extend(word("begun "));
        };
        lines.by_ref().take(round * 401).map(Result::unwrap).for_each(&mut note);
        child.kill().unwrap();
        child.wait().unwrap();
        lines.map_while(Result::ok).for_each(&mut note);
    }
    let (_journal, ledger) = place.open();
    let rows = rows(&ledger, &place.store());
    let is_whole = |id: &&String| id.len() == 36;
    let found: HashMap<_, _> = rows.iter().map(|row| (&row.id, row.recovered)).collect();
    assert_eq!(found.len(), rows.len(), "none is there twice");
    assert!(settled.len() > 1_000);
    assert!(settled.iter().filter(is_whole).all(|id| found.get(id) == Some(&false)));
    assert!(begun.iter().filter(is_whole).all(|id| found.get(id) == Some(&true)));
}
