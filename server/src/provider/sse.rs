//! Cuts a byte stream into whole server-sent events, without copying those that lie within one network frame.
//!
//! A plain state machine over frames. `push` hands out blocks: runs of whole events, as long as the frame allows, so
//! that a frame of whole events is forwarded as the one piece it came as. Half an event is never handed out.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use memchr::{memchr2, memchr2_iter};

use super::{Error, Kind, follow::Frames};

/// The most bytes one event may have.
pub const MAX_EVENT_BYTES: usize = 8 * 1024 * 1024;

/// An event has more bytes than allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a server-sent event has more than {limit} bytes")]
pub struct TooLarge {
    limit: usize,
}

/// The state between two frames.
#[derive(Debug)]
pub struct Splitter {
    /// The begin of an event whose end has not come yet.
    carry: BytesMut,
    /// The current line has no byte yet.
    line_empty: bool,
    /// The last byte was a CR: a LF that follows belongs to it.
    after_cr: bool,
    /// No event was handed out yet, so that a byte order mark may stand here.
    at_start: bool,
    limit: usize,
}

impl Default for Splitter {
    fn default() -> Self {
        Self::with_limit(MAX_EVENT_BYTES)
    }
}

/// One or more whole events, exactly as they came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The bytes.
    pub raw: Bytes,
    at_start: bool,
}

/// One event of a block.
#[derive(Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// The event's bytes, its ending blank line included.
    pub raw: &'a [u8],
    /// The payload of its `data` lines; absent if it has none.
    pub data: Option<Cow<'a, [u8]>>,
    /// The value of its `event` line; empty if it has none.
    pub name: &'a [u8],
    /// It has a line that is no field, comment or blank: this is hardly an event stream.
    pub stray: bool,
}

impl Splitter {
    /// Starts a stream whose events may have at most `limit` bytes each.
    pub fn with_limit(limit: usize) -> Self {
        Self { carry: BytesMut::new(), line_empty: true, after_cr: false, at_start: true, limit }
    }

    /// Takes a frame and returns the events that are whole with it: first the one that began in an earlier frame,
    /// then those of this one.
    ///
    /// # Errors
    /// `TooLarge` if the event that is not whole yet has more bytes than allowed.
    pub fn push(&mut self, frame: Bytes) -> Result<impl Iterator<Item = Block> + use<>, TooLarge> {
        let (first_end, last_end) = self.boundaries(&frame);
        if last_end == 0 {
            self.hold(&frame)?;
            return Ok([None, None].into_iter().flatten());
        }
        let mut begun = None;
        let mut from = 0;
        if !self.carry.is_empty() {
            self.hold(&frame[..first_end])?;
            begun = Some(self.block(|splitter| splitter.carry.split().freeze()));
            from = first_end;
        }
        let whole = (from < last_end).then(|| self.block(|_| frame.slice(from..last_end)));
        self.hold(&frame[last_end..])?;
        Ok([begun, whole].into_iter().flatten())
    }

    /// Ends the stream. Returns an event that lacks only its blank line, with the line ends added.
    pub fn finish(&mut self) -> Option<Block> {
        if self.carry.iter().all(u8::is_ascii_whitespace) {
            return None;
        }
        self.carry.extend_from_slice(b"\n\n");
        Some(self.block(|splitter| splitter.carry.split().freeze()))
    }

    fn block(&mut self, raw: impl FnOnce(&mut Self) -> Bytes) -> Block {
        let at_start = std::mem::take(&mut self.at_start);
        Block { raw: raw(self), at_start }
    }

    fn hold(&mut self, bytes: &[u8]) -> Result<(), TooLarge> {
        if self.carry.len() + bytes.len() > self.limit {
            return Err(TooLarge { limit: self.limit });
        }
        self.carry.extend_from_slice(bytes);
        Ok(())
    }

    /// Finds where the first and the last event of the frame end; 0 if none does.
    fn boundaries(&mut self, frame: &[u8]) -> (usize, usize) {
        let (mut first, mut last) = (0, 0);
        let mut line = 0;
        if self.after_cr && !frame.is_empty() {
            self.after_cr = false;
            if frame[0] == b'\n' {
                line = 1;
                // The CR has already ended the event: its LF must not begin the next one.
                if self.carry.is_empty() {
                    (first, last) = (1, 1);
                }
            }
        }
        for at in memchr2_iter(b'\n', b'\r', frame) {
            if at < line {
                continue;
            }
            let blank = self.line_empty && at == line;
            let end = end_of_line(frame, at);
            self.after_cr = frame[at] == b'\r' && end == frame.len() && end == at + 1;
            self.line_empty = true;
            line = end;
            if blank {
                first = if first == 0 { end } else { first };
                last = end;
            }
        }
        self.line_empty &= line == frame.len();
        (first, last)
    }
}

/// Returns where the line ends whose CR or LF stands at `at`.
fn end_of_line(bytes: &[u8], at: usize) -> usize {
    if bytes[at] == b'\r' && bytes.get(at + 1) == Some(&b'\n') { at + 2 } else { at + 1 }
}

impl Frames for Splitter {
    type Block = Block;

    fn push(&mut self, data: Bytes) -> Result<impl Iterator<Item = Block> + use<>, Error> {
        Self::push(self, data).map_err(|too_large| Error::new(Kind::BadResponse, too_large.to_string()))
    }

    fn finish(&mut self) -> Option<Block> {
        Self::finish(self)
    }
}

impl Block {
    /// Returns the events, in order.
    pub fn events(&self) -> Events<'_> {
        Events { left: &self.raw, at_start: self.at_start }
    }
}

/// The events of a block.
#[derive(Debug)]
pub struct Events<'a> {
    left: &'a [u8],
    at_start: bool,
}

impl<'a> Iterator for Events<'a> {
    type Item = Event<'a>;

    fn next(&mut self) -> Option<Event<'a>> {
        if self.left.is_empty() {
            return None;
        }
        let mut event = Event { raw: self.left, data: None, name: b"", stray: false };
        let mut at = 0;
        if std::mem::take(&mut self.at_start) && self.left.starts_with(b"\xef\xbb\xbf") {
            at = 3;
        }
        // A first line of nothing but the mark is not blank: the splitter does not end an event there either.
        let marked = at;
        while at < self.left.len() {
            let rest = &self.left[at..];
            let is_mark = marked > 0 && at == marked;
            let Some(end) = memchr2(b'\n', b'\r', rest) else {
                at = self.left.len();
                event.line(rest);
                break;
            };
            at += end_of_line(rest, end);
            if end == 0 && !is_mark {
                break;
            }
            event.line(&rest[..end]);
        }
        event.raw = &self.left[..at];
        self.left = &self.left[at..];
        Some(event)
    }
}

impl<'a> Event<'a> {
    fn line(&mut self, line: &'a [u8]) {
        let (field, value) = match memchr::memchr(b':', line) {
            Some(colon) => {
                let value = &line[colon + 1..];
                (&line[..colon], value.strip_prefix(b" ").unwrap_or(value))
            }
            None => (line, &b""[..]),
        };
        match field {
            b"data" => self.add_data(value),
            b"event" => self.name = value,
            b"" | b"id" | b"retry" => {}
            _ => self.stray = true,
        }
    }

    fn add_data(&mut self, line: &'a [u8]) {
        match &mut self.data {
            None => self.data = Some(Cow::Borrowed(line)),
            Some(data) => {
                let data = data.to_mut();
                data.push(b'\n');
                data.extend_from_slice(line);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Told = (String, String);

    /// Returns what the events say, and the bytes of all blocks joined with what was not whole.
    fn run(input: &[u8], cuts: &[usize]) -> (Vec<Told>, Vec<u8>) {
        let mut splitter = Splitter::default();
        let (mut told, mut raw) = (Vec::new(), Vec::new());
        let mut from = 0;
        let ends = cuts.iter().copied().filter(|cut| *cut <= input.len()).chain([input.len()]);
        for end in ends {
            let frame = Bytes::copy_from_slice(&input[from.min(end)..end]);
            from = from.max(end);
            for block in splitter.push(frame).unwrap() {
                let joined: Vec<u8> = block.events().flat_map(|event| event.raw.to_vec()).collect();
                assert_eq!(joined, block.raw, "the events of a block are the block");
                for event in block.events() {
                    if let Some(data) = &event.data {
                        let name = String::from_utf8_lossy(event.name).into_owned();
                        told.push((name, String::from_utf8_lossy(data).into_owned()));
                    }
                }
                raw.extend_from_slice(&block.raw);
            }
        }
        raw.extend_from_slice(&splitter.carry);
        (told, raw)
    }

    fn data(input: &str) -> Vec<String> {
        run(input.as_bytes(), &[]).0.into_iter().map(|(_, data)| data).collect()
    }

    #[test]
    fn all_three_line_ends_end_an_event_and_may_be_mixed() {
        for end in ["\n\n", "\r\n\r\n", "\r\r", "\n\r\n", "\r\n\n", "\n\r"] {
            assert_eq!(data(&format!("data: a{end}data: b{end}")), ["a", "b"], "{end:?}");
        }
    }

    #[test]
    fn lines_of_data_are_joined_and_one_space_is_taken_off() {
        assert_eq!(data("data: a\ndata:b\ndata:  c\n\n"), ["a\nb\n c"]);
        assert_eq!(data("data\n\n"), [""]);
    }

    #[test]
    fn comments_names_ids_and_a_byte_order_mark_are_no_data() {
        assert_eq!(data("\u{feff}\rdata: a\n\n"), ["a"]);
        let input = "\u{feff}data: a\n\n: ping\n\nevent: error\nid: 7\ndata: b\n\n";
        let (told, _) = run(input.as_bytes(), &[1, 2]);
        assert_eq!(told, [("".into(), "a".into()), ("error".into(), "b".into())]);
    }

    #[test]
    fn a_frame_of_whole_events_is_one_block_without_a_copy() {
        let frame = Bytes::from("data: a\n\ndata: b\n\n".to_owned());
        let mut splitter = Splitter::default();
        let blocks: Vec<Block> = splitter.push(frame.clone()).unwrap().collect();
        assert_eq!(blocks.len(), 1);
        assert_eq!(blocks[0].raw.as_ptr(), frame.as_ptr());
        assert_eq!(blocks[0].raw.len(), frame.len());
    }

    #[test]
    fn half_an_event_is_held_back() {
        let mut splitter = Splitter::default();
        let blocks: Vec<Block> = splitter.push(Bytes::from("data: a\n\ndata: b\n")).unwrap().collect();
        assert_eq!(blocks[0].raw, "data: a\n\n");
        assert_eq!(blocks.len(), 1);
        let blocks: Vec<Block> = splitter.push(Bytes::from("\n")).unwrap().collect();
        assert_eq!(blocks[0].raw, "data: b\n\n");
        assert_eq!(splitter.finish(), None);
    }

    #[test]
    fn the_end_completes_an_event_that_lacks_its_blank_line() {
        let mut splitter = Splitter::default();
        assert_eq!(splitter.push(Bytes::from("data: [DONE]")).unwrap().count(), 0);
        assert_eq!(splitter.finish().unwrap().raw, "data: [DONE]\n\n");
    }

    #[test]
    fn an_event_beyond_the_limit_is_refused() {
        let mut splitter = Splitter::with_limit(10);
        assert!(splitter.push(Bytes::from("data: 1234")).is_ok());
        assert!(splitter.push(Bytes::from("5")).is_err());
    }

    #[test]
    fn a_line_that_is_no_field_is_noticed() {
        let mut splitter = Splitter::default();
        let blocks: Vec<Block> = splitter.push(Bytes::from("<html>\n\n")).unwrap().collect();
        assert!(blocks[0].events().any(|event| event.stray));
    }

    fn pieces() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop::sample::select(vec![
            "data: {\"a\":1}",
            "data:x",
            "data",
            ": ping",
            "event: error",
            "id: 1",
            "\n",
            "\r",
            "\r\n",
            "\n\n",
            "\r\n\r\n",
            "\u{feff}",
            "é",
            " ",
            ":",
        ]);
        prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat().into_bytes())
    }

    proptest! {
        #[test]
        fn any_slicing_gives_the_same_events_and_loses_no_byte(
            input in pieces(),
            mut cuts in prop::collection::vec(0_usize..200, 0..20),
        ) {
            cuts.sort_unstable();
            let (whole, raw) = run(&input, &[]);
            prop_assert_eq!(&raw, &input);
            let (sliced, raw) = run(&input, &cuts);
            prop_assert_eq!(&raw, &input);
            prop_assert_eq!(&sliced, &whole);
            let every: Vec<usize> = (0..input.len()).collect();
            prop_assert_eq!(&run(&input, &every).0, &whole);
        }
    }
}
