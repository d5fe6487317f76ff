//! Tests of the splitter, with damage and with any slicing.

use proptest::prelude::*;

use super::{testing::event, *};

fn cut(body: &[u8], pieces: &[usize]) -> Vec<Result<Message, Damaged>> {
    let mut splitter = Splitter::default();
    let (mut all, mut from) = (Vec::new(), 0);
    for piece in pieces.iter().copied().chain([body.len()]) {
        let to = (from + piece).min(body.len());
        all.extend(splitter.push(Bytes::copy_from_slice(&body[from..to])).unwrap());
        from = to;
    }
    all.extend(splitter.finish());
    all
}

#[test]
fn messages_are_cut_and_their_headers_read() {
    let body = [event("messageStart", r#"{"role":"assistant"}"#), event("messageStop", "{}")].concat();
    let all: Vec<Message> = cut(&body, &[3, 20]).into_iter().map(Result::unwrap).collect();
    assert_eq!(all.len(), 2);
    assert_eq!((all[0].kind.as_str(), all[0].name.as_str()), ("event", "messageStart"));
    assert_eq!(all[0].payload, r#"{"role":"assistant"}"#);
}

#[test]
fn every_damaged_byte_is_seen_and_what_came_before_it_is_kept() {
    let (first, second) = (event("a", "{}"), event("b", "{}"));
    for at in 0..second.len() {
        let mut body = [first.clone(), second.clone()].concat();
        body[first.len() + at] ^= 0x40;
        let all = cut(&body, &[]);
        assert_eq!(all[0].as_ref().unwrap().name, "a", "{at}");
        assert!(all[1].is_err() && all.len() == 2, "{at}");
    }
}

#[test]
fn half_a_message_is_never_handed_out() {
    let body = event("a", "{}");
    for end in 1..body.len() {
        assert_eq!(cut(&body[..end], &[]), [Err(Damaged::Half)], "{end}");
    }
    assert_eq!(Error::from(Damaged::Half).kind, Kind::Unavailable);
}

#[test]
fn a_huge_length_is_refused_before_it_is_waited_for() {
    let mut prelude = u32::MAX.to_be_bytes().to_vec();
    prelude.extend_from_slice(&0_u32.to_be_bytes());
    prelude.extend_from_slice(&crc32fast::hash(&prelude).to_be_bytes());
    assert_eq!(cut(&prelude, &[]), [Err(Damaged::Length)]);
}

#[test]
fn headers_of_every_type_are_passed_over() {
    let mut headers = Vec::new();
    for (kind, bytes) in [(0, 0), (1, 0), (2, 1), (3, 2), (4, 4), (5, 8), (8, 8), (9, 16)] {
        headers.extend_from_slice(&[1, b'x', kind]);
        headers.extend(std::iter::repeat_n(0_u8, bytes));
    }
    headers.extend_from_slice(&[1, b'y', 6, 0, 1, 9]);
    let mut left = Bytes::from(headers);
    let mut count = 0;
    while !left.is_empty() {
        header(&mut left).unwrap();
        count += 1;
    }
    assert_eq!(count, 9);
    assert!(header(&mut Bytes::from_static(&[1, b'x', 10])).is_none());
}

#[test]
fn the_events_that_invoke_model_wraps_are_unwrapped() {
    let payload = Bytes::from_static(br#"{"bytes":"eyJhIjoxfQ==","p":"abc"}"#);
    let message = Message { payload, ..Message::default() };
    assert_eq!(message.chunk().unwrap(), r#"{"a":1}"#);
    assert_eq!(Message::default().chunk(), None);
}

proptest! {
    #[test]
    fn slicing_changes_nothing(
        names in proptest::collection::vec("[a-z]{0,9}", 0..4),
        noise in proptest::collection::vec(any::<u8>(), 0..40),
        pieces in proptest::collection::vec(0_usize..30, 0..40),
    ) {
        let mut body: Vec<u8> = names.iter().flat_map(|name| event(name, "{}")).collect();
        body.extend(noise);
        prop_assert_eq!(cut(&body, &pieces), cut(&body, &[]));
    }
}
