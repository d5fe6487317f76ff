//! Cuts a body into the pieces of an answer, whatever form it has: an event stream, one JSON array that grows, or one
//! JSON object.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use crate::provider::{
    Error, Kind,
    follow::Frames,
    http::MAX_ANSWER_BYTES,
    sse::{self, Splitter},
};

/// The most bytes one event of a stream may have: an image comes in one.
const MAX_EVENT_BYTES: usize = MAX_ANSWER_BYTES / 2;

/// One or more whole pieces.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Block {
    /// Whole server-sent events.
    Events(sse::Block),
    /// One object, at the top or in the array.
    Object(Bytes),
    /// The array is closed.
    Closed,
    /// The body ended within an object or the array.
    Cut,
    /// Bytes that belong to no list of objects, so that the objects before them are still told.
    Odd,
}

/// The state between two frames. What a body is shows in its first byte, not in its content type.
#[derive(Debug, Default)]
pub(super) struct Pieces(Form);

#[derive(Debug, Default)]
enum Form {
    #[default]
    Unknown,
    Events(Splitter),
    Json(Objects),
}

impl Frames for Pieces {
    type Block = Block;

    fn push(&mut self, data: Bytes) -> Result<impl Iterator<Item = Block> + use<>, Error> {
        let mut data = data;
        if matches!(self.0, Form::Unknown) {
            let start = data.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(data.len());
            data = data.slice(start..);
            match data.first() {
                None => return Ok(VecDeque::new().into_iter()),
                Some(b'[' | b'{') => self.0 = Form::Json(Objects::default()),
                Some(_) => self.0 = Form::Events(Splitter::with_limit(MAX_EVENT_BYTES)),
            }
        }
        let mut blocks = VecDeque::new();
        match &mut self.0 {
            Form::Unknown => {}
            Form::Events(splitter) => {
                blocks.extend(<Splitter as Frames>::push(splitter, data)?.map(Block::Events));
            }
            Form::Json(objects) => objects.push(&data, &mut blocks)?,
        }
        Ok(blocks.into_iter())
    }

    fn finish(&mut self) -> Option<Block> {
        match &mut self.0 {
            Form::Unknown => None,
            Form::Events(splitter) => splitter.finish().map(Block::Events),
            Form::Json(objects) => objects.is_cut().then_some(Block::Cut),
        }
    }
}

/// Finds the objects of a JSON array, or the one that stands alone, without reading what is in them.
#[derive(Debug, Default)]
struct Objects {
    /// The object that is not whole yet.
    held: BytesMut,
    depth: usize,
    in_string: bool,
    escaped: bool,
    array: bool,
    closed: bool,
    odd: bool,
}

impl Objects {
    fn is_cut(&self) -> bool {
        self.depth > 0 || (self.array && !self.closed)
    }

    fn push(&mut self, data: &[u8], blocks: &mut VecDeque<Block>) -> Result<(), Error> {
        let mut from = 0;
        if self.odd {
            return Ok(());
        }
        for (at, &byte) in data.iter().enumerate() {
            if self.depth > 0 {
                if self.ends_object(byte) {
                    self.hold(&data[from..=at])?;
                    blocks.push_back(Block::Object(self.held.split().freeze()));
                }
                continue;
            }
            match byte {
                b'{' if !self.closed => (self.depth, from) = (1, at),
                b'[' if !self.array => self.array = true,
                b']' if self.array && !self.closed => {
                    self.closed = true;
                    blocks.push_back(Block::Closed);
                }
                b',' | b' ' | b'\n' | b'\r' | b'\t' => {}
                _ => {
                    self.odd = true;
                    blocks.push_back(Block::Odd);
                    return Ok(());
                }
            }
        }
        if self.depth > 0 {
            self.hold(&data[from..])?;
        }
        Ok(())
    }

    /// Takes one byte within an object and tells whether it is the object's last.
    fn ends_object(&mut self, byte: u8) -> bool {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return false;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' => self.depth += 1,
            b'}' => self.depth -= 1,
            _ => {}
        }
        self.depth == 0
    }

    fn hold(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if self.held.len() + bytes.len() > MAX_ANSWER_BYTES {
            return Err(Error::new(Kind::BadResponse, "the answer has more bytes than allowed"));
        }
        self.held.extend_from_slice(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects(body: &str, step: usize) -> Vec<String> {
        let mut pieces = Pieces::default();
        let mut told = Vec::new();
        let mut take = |block: Block| {
            told.push(match block {
                Block::Object(json) => String::from_utf8(json.to_vec()).unwrap(),
                other => format!("{other:?}"),
            });
        };
        for piece in body.as_bytes().chunks(step) {
            pieces.push(Bytes::copy_from_slice(piece)).unwrap().for_each(&mut take);
        }
        pieces.finish().into_iter().for_each(&mut take);
        told
    }

    #[test]
    fn an_array_is_cut_into_its_objects_wherever_it_is_sliced() {
        let body = " [{\"a\":\"}\\\"{\"}\r\n,\r\n{\"b\":{\"c\":[1]}}]\n";
        for step in 1..body.len() {
            assert_eq!(objects(body, step), ["{\"a\":\"}\\\"{\"}", "{\"b\":{\"c\":[1]}}", "Closed"]);
        }
    }

    #[test]
    fn an_object_may_stand_alone_and_an_open_end_is_a_cut() {
        assert_eq!(objects("\n{\"a\":1}\n", 3), ["{\"a\":1}"]);
        assert_eq!(objects("[{\"a\":1}", 4), ["{\"a\":1}", "Cut"]);
        assert_eq!(objects("{\"a\":", 2), ["Cut"]);
        assert!(objects(" \r\n", 1).is_empty());
    }

    #[test]
    fn what_is_no_list_of_objects_is_refused() {
        for body in ["[1]", "[[", "{}x", "[]{"] {
            assert!(objects(body, body.len()).contains(&"Odd".to_owned()), "{body}");
        }
    }
}
