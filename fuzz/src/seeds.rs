//! Writes the seeds: the bodies of recorded answers, each for every reader that makes something of it. They are made
//! anew for each run and never kept in the repository.

use std::{env, fs, io, path::PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde_json::Value;
use tollgate_server::provider::lanes::{Reader, readers};

/// The most bytes of a seed: longer bodies only make the fuzzer slow.
const MOST_BYTES: usize = 16 * 1024;

/// Takes the recordings of `TOLLGATE_WIRE_DIR` and writes seeds to the folder `TOLLGATE_FUZZ_SEEDS`, if both are told.
pub fn write() -> io::Result<()> {
    let told = |name| env::var_os(name).map(PathBuf::from);
    let (Some(recordings), Some(corpus)) = (told("TOLLGATE_WIRE_DIR"), told("TOLLGATE_FUZZ_SEEDS")) else {
        return Ok(());
    };
    fs::create_dir_all(&corpus)?;
    let mut count = 0;
    for dialect in fs::read_dir(recordings)?.flatten().filter(|entry| entry.path().is_dir()) {
        for recording in fs::read_dir(dialect.path())?.flatten() {
            if let Some(body) = body_of(&fs::read(recording.path())?) {
                for (which, reader) in (0_u8..).zip(readers()) {
                    if understands(reader, &body) {
                        let seed = [&[which, 6], &body[..]].concat();
                        fs::write(corpus.join(format!("seed-{count}")), seed)?;
                        count += 1;
                    }
                }
            }
        }
    }
    eprintln!("{count} seeds");
    Ok(())
}

/// Returns the bytes of a recorded answer, in whichever member they are.
fn body_of(recording: &[u8]) -> Option<Bytes> {
    let recording: Value = serde_json::from_slice(recording).ok()?;
    let response = recording.get("response")?;
    let text = ["sse", "ndjson", "raw", "body_text"].iter().find_map(|name| response.get(name)?.as_str());
    let frames = response.get("eventstream_base64").and_then(Value::as_str);
    let body = match (text, frames) {
        (Some(text), _) => text.as_bytes().to_vec(),
        (None, Some(frames)) => STANDARD.decode(frames).ok()?,
        (None, None) => response.get("body")?.to_string().into_bytes(),
    };
    (body.len() <= MOST_BYTES).then(|| body.into())
}

fn understands(reader: &Reader, body: &Bytes) -> bool {
    let told = reader.read_cut(body, &[]);
    told.len() > 1 || told.iter().any(Result::is_ok)
}
