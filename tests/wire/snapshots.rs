//! Hashes of what each exchange becomes, in `tests/wire/snapshots.txt`: one line `<dialect>/<id> <hash>`, and no word of a
//! recording. `BLESS=1` writes them anew; an exchange without a line is checked by invariants alone.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Mutex, OnceLock},
};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/wire/snapshots.txt");

/// The hashes of the repository, and those of this run.
#[derive(Debug)]
pub struct Snapshots {
    kept: BTreeMap<String, String>,
    found: Mutex<BTreeMap<String, String>>,
}

/// Whether this run writes the hashes anew.
fn blesses() -> bool {
    static BLESS: OnceLock<bool> = OnceLock::new();
    *BLESS.get_or_init(|| std::env::var("BLESS").is_ok_and(|value| value == "1"))
}

impl Snapshots {
    pub fn read() -> Self {
        let text = std::fs::read_to_string(Path::new(FILE)).unwrap_or_default();
        let kept = text.lines().filter_map(|line| line.split_once(' '));
        let kept = kept.map(|(name, hash)| (name.to_owned(), hash.to_owned())).collect();
        Self { kept, found: Mutex::default() }
    }

    /// Compares what an exchange became with its hash. Every cut of its body must become the same.
    pub fn check(&self, dialect: &str, id: &str, canonical: &str) -> Result<(), String> {
        if std::env::var("TOLLGATE_WIRE_SHOW").is_ok_and(|shown| shown == id) {
            println!("--- {dialect}/{id}\n{canonical}");
        }
        let name = format!("{dialect}/{id}");
        let hash = blake3::hash(canonical.as_bytes()).to_hex()[..16].to_owned();
        let before = self.found.lock().unwrap().insert(name.clone(), hash.clone());
        if before.is_some_and(|before| before != hash) {
            return Err("another cut of the body became another answer".to_owned());
        }
        match self.kept.get(&name) {
            Some(kept) if *kept != hash && !blesses() => Err(format!(
                "the snapshot changed: look with TOLLGATE_WIRE_SHOW={id}, and keep it with BLESS=1"
            )),
            _ => Ok(()),
        }
    }

    /// Says how many there are, and writes them if it is asked to. A run of some leaves the others as they are.
    pub fn finish(&self) {
        let found = self.found.lock().unwrap();
        let new = found.keys().filter(|name| !self.kept.contains_key(*name)).count();
        println!("snapshots: {} compared, {new} without one", found.len() - new);
        if blesses() {
            let mut all = self.kept.clone();
            all.extend(found.clone());
            let lines: Vec<String> = all.iter().map(|(name, hash)| format!("{name} {hash}\n")).collect();
            std::fs::write(FILE, lines.concat()).unwrap();
        }
    }
}
