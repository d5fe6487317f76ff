//! A journal over several lives that each end in a crash, at any moment, with the last write torn at any byte, and with
//! SQLite as far behind as it likes: each call has one record, and the right one.

use std::{
    collections::BTreeMap,
    sync::mpsc::{Sender, channel},
};

use proptest::prelude::*;

use super::*;
use crate::meter::ledger::Message;

/// What the journal is told.
#[derive(Clone, Copy, Debug)]
enum Act {
    Begin,
    /// Of one of the calls that run.
    Checkpoint(prop::sample::Index, u16),
    Settle(prop::sample::Index),
    /// The next settlement starts a new segment.
    Fill,
    /// From here on SQLite gets nothing any more.
    Hold,
}

/// One life of the process: what happens, and how much of the last write is missing after the crash.
#[derive(Clone, Debug)]
struct Life {
    acts: Vec<Act>,
    torn: prop::sample::Index,
}

fn lives() -> impl Strategy<Value = Vec<Life>> {
    let act = prop_oneof![
        4 => Just(Act::Begin),
        3 => (any::<prop::sample::Index>(), any::<u16>()).prop_map(|(which, tokens)| Act::Checkpoint(which, tokens)),
        3 => any::<prop::sample::Index>().prop_map(Act::Settle),
        1 => Just(Act::Fill),
        1 => Just(Act::Hold),
    ];
    let life = (proptest::collection::vec(act, 0..25), any::<prop::sample::Index>())
        .prop_map(|(acts, torn)| Life { acts, torn });
    proptest::collection::vec(life, 1..4)
}

/// What a call must be found as.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Settled,
    Recovered { tokens: i64 },
}

/// The calls of all lives, by a model that writes nothing.
#[derive(Default)]
struct Model {
    running: BTreeMap<u128, i64>,
    over: BTreeMap<u128, Fate>,
    next: u128,
}

impl Model {
    fn pick(&self, which: prop::sample::Index) -> Option<u128> {
        let running: Vec<_> = self.running.keys().copied().collect();
        (!running.is_empty()).then(|| *which.get(&running))
    }

    /// The process died: what ran is recovered.
    fn crash(&mut self) {
        let running = std::mem::take(&mut self.running).into_iter();
        self.over.extend(running.map(|(call, tokens)| (call, Fate::Recovered { tokens })));
    }
}

/// The last write: its place in its segment, and the model as it was before it.
struct LastWrite {
    path: PathBuf,
    from: u64,
    to: u64,
    running: BTreeMap<u128, i64>,
    over: BTreeMap<u128, Fate>,
}

/// Lives one life up to its crash, and returns what it left, with the last write torn.
fn live(place: &Place, life: &Life, model: &mut Model) -> Place {
    let (journal, ledger) = place.open();
    let mut held: Option<Sender<()>> = None;
    let mut last: Option<LastWrite> = None;
    for act in &life.acts {
        let before = {
            let state = journal.state();
            (state.segment.path().to_owned(), state.segment.bytes())
        };
        let (running, over) = (model.running.clone(), model.over.clone());
        match *act {
            Act::Begin => {
                let call = model.next;
                model.next += 1;
                journal.begin(begun(call), Some(&target()), None).unwrap();
                model.running.insert(call, 0);
            }
            Act::Checkpoint(which, tokens) => {
                let Some(call) = model.pick(which) else { continue };
                let progress = Progress { output_tokens: tokens.into(), content_events: 1 };
                journal.checkpoint(id(call), progress).unwrap();
                model.running.insert(call, tokens.into());
            }
            Act::Settle(which) => {
                let Some(call) = model.pick(which) else { continue };
                journal.settle(record(call), &ledger).unwrap();
                model.running.remove(&call);
                model.over.insert(call, Fate::Settled);
            }
            Act::Fill => {
                journal.state().rotate_at = 0;
                continue;
            }
            Act::Hold => {
                held.get_or_insert_with(|| hold(&ledger));
                continue;
            }
        }
        let state = journal.state();
        let same = state.segment.path() == before.0;
        // A write to the old segment that was followed by a new one is whole; the new one holds what is open.
        let from = if same { before.1 } else { 0 };
        // What SQLite was given or a segment's deletion waited for was written whole before.
        let given = matches!(act, Act::Settle(_)) && held.is_none();
        let (path, to) = (state.segment.path().to_owned(), state.segment.bytes());
        last = (!given).then(|| {
            let (running, over) =
                if same { (running, over) } else { (model.running.clone(), model.over.clone()) };
            LastWrite { path, from, to, running, over }
        });
    }
    let release = held.unwrap_or_else(|| hold(&ledger));
    let after = copy(place);
    drop(release);
    drop((journal, ledger));
    if let Some(last) = last.filter(|last| last.to > last.from) {
        let cut = u64::try_from(life.torn.index(usize::try_from(last.to - last.from).unwrap() + 1)).unwrap();
        if cut > 0 {
            let path = after.journal().join(last.path.file_name().unwrap());
            let file = fs::File::options().write(true).open(path).unwrap();
            file.set_len(last.to - cut).unwrap();
            (model.running, model.over) = (last.running, last.over);
        }
    }
    model.crash();
    after
}

/// Lets the ledger commit what it has, and nothing that comes later, until the sender is dropped.
fn hold(ledger: &Ledger) -> Sender<()> {
    let (release, released) = channel::<()>();
    let (there, arrived) = channel();
    ledger.send(Message::Then(Box::new(move || {
        let _ = there.send(());
        let _ = released.recv();
    })));
    arrived.recv().unwrap();
    release
}

/// What a crash leaves: the files as they are now.
fn copy(place: &Place) -> Place {
    let after = Place::new();
    fs::create_dir(after.journal()).unwrap();
    let files =
        [place.dir.path().to_owned(), place.journal()].into_iter().flat_map(|dir| fs::read_dir(dir).unwrap());
    for file in files.map(|file| file.unwrap().path()).filter(|path| path.is_file()) {
        let to = after.dir.path().join(file.strip_prefix(place.dir.path()).unwrap());
        fs::copy(&file, to).unwrap();
    }
    after
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn every_call_of_every_life_has_one_record_and_the_right_one(lives in lives()) {
        let mut model = Model { next: 1, ..Model::default() };
        let mut place = Place::new();
        for life in &lives {
            place = live(&place, life, &mut model);
        }
        let (_journal, ledger) = place.open();
        let rows = rows(&ledger, &place.store());
        prop_assert_eq!(rows.len(), model.over.len(), "one for each");
        for row in rows {
            let call = Uuid::parse_str(&row.id).unwrap().as_u128();
            let tokens = row.usage.as_ref().unwrap().output_tokens.unwrap();
            let found = if row.recovered { Fate::Recovered { tokens } } else { Fate::Settled };
            prop_assert_eq!(model.over.remove(&call), Some(found), "call {}", call);
        }
    }
}
