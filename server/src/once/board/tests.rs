//! Tests of the board: one call runs under an id at a time, and what is kept stays within its bounds.

use std::{collections::HashMap, time::UNIX_EPOCH};

use proptest::prelude::*;

use super::*;

const BOUNDS: Bounds = Bounds { keep: Duration::from_secs(600), most_answers: 3, most_bytes: 3_000 };

fn hash(name: &str) -> Fingerprint {
    Fingerprint::of(&[name.as_bytes()])
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn answered(board: &mut Board, name: &str, bytes: u64, now: SystemTime) -> Vec<Scope> {
    assert!(matches!(board.claim(hash(name), hash("request"), now), Standing::First));
    let (gone, expires) = board.make_room(bytes, now);
    board.keep(hash(name), bytes, expires);
    gone
}

#[test]
fn a_repeat_waits_and_then_finds_the_answer_until_it_expires() {
    let mut board = Board::new(BOUNDS);
    assert!(matches!(board.claim(hash("a"), hash("request"), at(0)), Standing::First));
    let Standing::Running(over) = board.claim(hash("a"), hash("request"), at(1)) else { panic!("it runs") };
    assert!(over.has_changed().is_ok());
    let (_, expires) = board.make_room(10, at(2));
    board.keep(hash("a"), 10, expires);
    assert!(over.has_changed().is_err(), "whoever waits is woken");
    assert!(matches!(board.claim(hash("a"), hash("request"), at(601)), Standing::Kept));
    assert!(matches!(board.claim(hash("a"), hash("request"), at(602)), Standing::First));
}

#[test]
fn another_request_under_the_id_is_told_while_it_runs_and_while_it_is_kept() {
    let mut board = Board::new(BOUNDS);
    board.claim(hash("a"), hash("request"), at(0));
    let Standing::Running(known) = board.claim(hash("a"), hash("other"), at(0)) else {
        panic!("the id may yet be found to be another's")
    };
    assert!(!known.has_changed().unwrap());
    board.confirm(&hash("a"));
    assert!(known.has_changed().unwrap(), "whoever waits looks again");
    assert!(matches!(board.claim(hash("a"), hash("other"), at(0)), Standing::Reused));
    let (_, expires) = board.make_room(10, at(0));
    board.keep(hash("a"), 10, expires);
    assert!(matches!(board.claim(hash("a"), hash("other"), at(0)), Standing::Reused));
    assert!(matches!(board.claim(hash("b"), hash("other"), at(0)), Standing::First), "ids are apart");
}

#[test]
fn a_failure_is_not_kept_and_wakes_who_waits() {
    let mut board = Board::new(BOUNDS);
    board.claim(hash("a"), hash("request"), at(0));
    let Standing::Running(over) = board.claim(hash("a"), hash("request"), at(0)) else { panic!("it runs") };
    board.release(&hash("a"));
    assert!(over.has_changed().is_err());
    assert!(matches!(board.claim(hash("a"), hash("other"), at(0)), Standing::First));
}

#[test]
fn the_oldest_answers_go_when_there_are_too_many_or_too_large_ones() {
    let mut board = Board::new(BOUNDS);
    for (second, name) in [(0, "a"), (1, "b"), (2, "c")] {
        assert_eq!(answered(&mut board, name, 100, at(second)), []);
    }
    assert_eq!(answered(&mut board, "d", 100, at(3)), [hash("a")]);
    assert_eq!(answered(&mut board, "e", 2_500, at(4)), [hash("b"), hash("c"), hash("d")]);
    assert_eq!(board.expire(at(604)), [hash("e")]);
    assert_eq!((board.bytes, board.kept.len(), board.oldest.len()), (0, 0, 0));
}

#[derive(Clone, Debug)]
enum Act {
    Claim(u8, bool),
    Release(u8),
    Keep(u8, u64),
    Forget(u8),
    Pass(u64),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        3 => (0..5_u8, any::<bool>()).prop_map(|(id, other)| Act::Claim(id, other)),
        1 => (0..5_u8).prop_map(Act::Release),
        2 => (0..5_u8, 0..2_000_u64).prop_map(|(id, bytes)| Act::Keep(id, bytes)),
        1 => (0..5_u8).prop_map(Act::Forget),
        1 => (0..700_u64).prop_map(Act::Pass),
    ];
    proptest::collection::vec(act, 0..60)
}

proptest! {
    #[test]
    fn whatever_happens_one_call_runs_and_the_bounds_hold(acts in acts()) {
        let mut board = Board::new(BOUNDS);
        // What runs and what is kept, by a model that knows no bounds.
        let (mut running, mut kept) = (HashMap::new(), HashMap::<u8, (bool, u64)>::new());
        let mut now = 0;
        for act in acts {
            match act {
                Act::Pass(seconds) => now += seconds,
                Act::Claim(id, other) => {
                    let standing = board.claim(hash(&id.to_string()), hash(if other { "other" } else { "request" }), at(now));
                    let had = running.get(&id).copied();
                    let answer = kept.get(&id).copied().filter(|(_, until)| *until > now);
                    match standing {
                        Standing::First => {
                            prop_assert_eq!(had, None, "two run under one id");
                            running.insert(id, other);
                            board.confirm(&hash(&id.to_string()));
                        }
                        Standing::Running(_) => prop_assert_eq!(had, Some(other)),
                        Standing::Kept => prop_assert_eq!((had, answer.map(|(other, _)| other)), (None, Some(other))),
                        Standing::Reused => prop_assert!(had.or(answer.map(|(other, _)| other)) == Some(!other)),
                    }
                }
                Act::Release(id) => {
                    running.remove(&id);
                    board.release(&hash(&id.to_string()));
                }
                Act::Keep(id, bytes) => {
                    let (_, expires) = board.make_room(bytes, at(now));
                    board.keep(hash(&id.to_string()), bytes, expires);
                    if let Some(other) = running.remove(&id) {
                        kept.insert(id, (other, now + 600));
                    }
                }
                Act::Forget(id) => {
                    kept.remove(&id);
                    board.forget(&hash(&id.to_string()));
                }
            }
            let sum: u64 = board.kept.values().map(|kept| kept.bytes + OVERHEAD).sum();
            prop_assert_eq!(board.bytes, sum);
            prop_assert!(board.kept.len() <= BOUNDS.most_answers && board.bytes <= BOUNDS.most_bytes);
            prop_assert_eq!(board.running.len(), running.len());
        }
    }
}
