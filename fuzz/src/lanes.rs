//! One target for all readers of answers: the first byte selects the reader, the next how the body is cut, the rest is
//! the body. What holds of every answer must hold of this one, and slicing must not change it.

#![no_main]

mod seeds;

use bytes::Bytes;
use libfuzzer_sys::{Corpus, fuzz_target};
use tollgate_server::provider::lanes::{
    check::{check, gist},
    readers,
};

fuzz_target!(
    init: seeds::write().expect("the seeds cannot be written"),
    |data: &[u8]| -> Corpus { tried(data) }
);

fn tried(data: &[u8]) -> Corpus {
    let [which, step, body @ ..] = data else { return Corpus::Reject };
    let count = readers().count();
    let Some(reader) = readers().nth(usize::from(*which) % count) else { return Corpus::Reject };
    let body = Bytes::copy_from_slice(body);
    let whole = reader.read_cut(&body, &[]);
    let cuts: Vec<usize> = (0..body.len()).step_by(usize::from(*step) + 1).collect();
    let sliced = reader.read_cut(&body, &cuts);
    for told in [&whole, &sliced] {
        if let Err(why) = check(reader, &body, told) {
            panic!("{}: {why}", reader.name);
        }
    }
    assert_eq!(gist(&whole), gist(&sliced), "{}: slicing changes the answer", reader.name);
    Corpus::Keep
}
