//! Keys and teams in memory: what every call looks at. No disk, one short read lock, one hash.

mod adjustments;
mod entry;
mod teams;

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic::Ordering::Relaxed},
    time::{SystemTime, UNIX_EPOCH},
};

pub(super) use entry::Entry;

use self::{adjustments::Adjustments, entry::Used, teams::Teams};
use super::{adjustment, pepper::Hash, record::Record, team};
use crate::{
    call::{Caller, Rule, Subject},
    error::Error,
};
use tollgate_api::admin;

/// A way in: the hash of a secret leads here.
struct Door {
    entry: Arc<Entry>,
    /// Until when a secret works that a rotation replaced.
    until: Option<SystemTime>,
}

#[derive(Default)]
struct Maps {
    doors: HashMap<Hash, Door>,
    entries: HashMap<String, Arc<Entry>>,
    /// The configuration's `admin_key`, which is no key of the store.
    admin: Option<(Hash, Arc<Caller>)>,
    teams: Teams,
    adjustments: Adjustments,
    /// Goes up when teams or adjustments change: entries are made anew when they are next used.
    generation: u64,
}

/// All that the store holds.
pub(super) struct Everything {
    pub(super) keys: Vec<Record>,
    pub(super) teams: Vec<team::Record>,
    pub(super) adjustments: Vec<adjustment::Record>,
}

/// Every key, by the keyed hash of its secret and by its id, and every team.
#[derive(Default)]
pub(super) struct Index(RwLock<Maps>);

impl Index {
    /// Finds out whose secret this hash is of; nobody's, if it is not known.
    ///
    /// # Errors
    /// `API_KEY_INVALID` or `API_KEY_EXPIRED`.
    pub(super) fn enter(&self, hash: &Hash, now: SystemTime) -> Result<Option<Arc<Caller>>, Error> {
        {
            let maps = self.read();
            // A plain comparison tells nothing: without the pepper nobody can aim at a prefix of a hash.
            if let Some((admin, caller)) = &maps.admin
                && admin == hash
            {
                return Ok(Some(caller.clone()));
            }
            let Some(entry) = maps.open(hash, now)? else { return Ok(None) };
            if entry.generation == maps.generation {
                entry.touch(now);
                return Ok(Some(entry.caller.clone()));
            }
        }
        let mut maps = self.write();
        maps.renew(hash);
        let entry = maps.open(hash, now)?;
        Ok(entry.map(|entry| {
            entry.touch(now);
            entry.caller.clone()
        }))
    }

    /// Tells whether a secret is known, working or not.
    pub(super) fn knows(&self, hash: &Hash) -> bool {
        self.read().doors.contains_key(hash)
    }

    /// Takes over a new or changed key.
    pub(super) fn put(&self, record: &Record) {
        self.write().put(record, None);
    }

    /// Takes over a new or changed team.
    pub(super) fn put_team(&self, record: team::Record) {
        let mut maps = self.write();
        maps.teams.put(record);
        maps.rebuild();
    }

    /// Forgets a team.
    pub(super) fn remove_team(&self, id: &str) {
        let mut maps = self.write();
        maps.teams.remove(id);
        maps.rebuild();
    }

    /// Takes over a top-up or a reset.
    pub(super) fn put_adjustment(&self, record: adjustment::Record, now: SystemTime) {
        let mut maps = self.write();
        if maps.adjustments.put(record, now) {
            maps.rebuild();
        }
    }

    /// Replaces everything that the store holds; when keys were used is kept.
    pub(super) fn replace(&self, all: &Everything, now: SystemTime) {
        // Calls go on meanwhile.
        let mut fresh = self.fresh(all, now);
        let mut maps = self.write();
        fresh.admin.clone_from(&maps.admin);
        // If that has gone up meanwhile, entries are made anew once more.
        fresh.generation = fresh.generation.max(maps.generation);
        // What was changed here after the store was read. Keys never go; they are revoked.
        for (id, entry) in &maps.entries {
            if fresh.entries.get(id).is_none_or(|read| read.version < entry.version) {
                let around = (fresh.teams.lineage(&entry.caller.team_id), &fresh.adjustments);
                let entry = entry.renewed(around, fresh.generation);
                fresh.insert(entry);
            }
        }
        *maps = fresh;
    }

    /// Makes the maps of what the store holds.
    fn fresh(&self, all: &Everything, now: SystemTime) -> Maps {
        let (generation, mut used) = {
            let maps = self.read();
            let used = maps.entries.iter().map(|(id, entry)| (id.clone(), entry.used.clone()));
            (maps.generation, used.collect::<HashMap<_, _>>())
        };
        let mut fresh = Maps { generation, ..Maps::default() };
        for record in &all.teams {
            fresh.teams.put(record.clone());
        }
        for record in &all.adjustments {
            fresh.adjustments.put(record.clone(), now);
        }
        fresh.rebuild();
        for record in &all.keys {
            fresh.put(record, used.remove(&record.id));
        }
        fresh
    }

    /// Replaces the configuration's `admin_key`.
    pub(super) fn set_admin(&self, admin: Option<(Hash, Arc<Caller>)>) {
        self.write().admin = admin;
    }

    /// Tells whether the configuration has an `admin_key`.
    pub(super) fn has_admin(&self) -> bool {
        self.read().admin.is_some()
    }

    /// Returns the key of that id, revoked or not.
    pub(super) fn by_id(&self, id: &str) -> Option<Arc<Entry>> {
        self.read().entries.get(id).cloned()
    }

    /// Returns who calls with the key of that id, revoked or not, with the limits that hold for its next call.
    pub(super) fn caller(&self, id: &str) -> Option<Arc<Caller>> {
        let hash = {
            let maps = self.read();
            let entry = maps.entries.get(id)?;
            if entry.generation == maps.generation {
                return Some(entry.caller.clone());
            }
            entry.hash
        };
        self.write().renew(&hash);
        self.by_id(id).map(|entry| entry.caller.clone())
    }

    /// Returns the team of that id.
    pub(super) fn team(&self, id: &str) -> Option<team::Record> {
        self.read().teams.get(id).cloned()
    }

    /// Returns the ids of a team and of all that are below it.
    pub(super) fn below(&self, id: &str) -> Vec<String> {
        self.read().teams.below(id)
    }

    /// Returns limits as they are counted, with what was changed of them.
    pub(super) fn rules(&self, subject: &Subject, limits: &[admin::Limit]) -> Arc<[Arc<Rule>]> {
        self.read().adjustments.rules(subject, limits)
    }

    /// Returns when the key was last used, in seconds since 1970; 0 is never.
    pub(super) fn last_use(&self, record: &Record) -> u64 {
        self.by_id(&record.id).map_or(0, |entry| entry.used.last.load(Relaxed)).max(record.last_use)
    }

    /// Returns the last uses that the store does not know.
    pub(super) fn unstored_uses(&self) -> Vec<(String, u64)> {
        let maps = self.read();
        let used = maps.entries.iter().map(|(id, entry)| (id, &entry.used));
        used.filter(|(_, used)| used.last.load(Relaxed) > used.stored.load(Relaxed))
            .map(|(id, used)| (id.clone(), used.last.load(Relaxed)))
            .collect()
    }

    /// Notes that the store knows these uses.
    pub(super) fn uses_stored(&self, uses: &[(String, u64)]) {
        let maps = self.read();
        for (id, seconds) in uses {
            if let Some(entry) = maps.entries.get(id) {
                entry.used.stored.fetch_max(*seconds, Relaxed);
            }
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Maps> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Maps> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Maps {
    /// Finds the key of a secret and checks that it works now.
    fn open(&self, hash: &Hash, now: SystemTime) -> Result<Option<&Arc<Entry>>, Error> {
        let Some(door) = self.doors.get(hash) else { return Ok(None) };
        door.entry.check(door.until, now)?;
        Ok(Some(&door.entry))
    }

    /// Takes over a key; what is older than what is known is passed over.
    fn put(&mut self, record: &Record, used: Option<Arc<Used>>) {
        let before = self.entries.get(&record.id);
        if before.is_some_and(|before| before.version > record.version) {
            return;
        }
        let used = used.or_else(|| before.map(|entry| entry.used.clone()));
        let around = (self.teams.lineage(&record.team_id), &self.adjustments);
        let entry = Entry::new(record, used, around, self.generation);
        self.insert(entry);
    }

    /// Makes the entry of a key anew if teams or adjustments have changed since it was made.
    fn renew(&mut self, hash: &Hash) {
        let entry = self.doors.get(hash).map(|door| &door.entry);
        let Some(entry) = entry.filter(|entry| entry.generation != self.generation) else { return };
        let around = (self.teams.lineage(&entry.caller.team_id), &self.adjustments);
        let entry = entry.renewed(around, self.generation);
        self.insert(entry);
    }

    fn insert(&mut self, entry: Entry) {
        if let Some(before) = self.entries.get(&entry.caller.key_id) {
            self.doors.remove(&before.hash);
            before.old.map(|(hash, _)| self.doors.remove(&hash));
        }
        let entry = Arc::new(entry);
        if let Some((hash, until)) = entry.old {
            self.doors.insert(hash, Door { entry: entry.clone(), until: Some(until) });
        }
        self.doors.insert(entry.hash, Door { entry: entry.clone(), until: None });
        self.entries.insert(entry.caller.key_id.clone(), entry);
    }

    /// Takes changed teams or adjustments over to what calls look at.
    fn rebuild(&mut self) {
        self.teams.rebuild(&self.adjustments);
        self.generation += 1;
    }
}

/// Returns whole seconds since 1970.
pub(super) fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |span| span.as_secs())
}

/// Shows a moment to people, in UTC and to the second.
fn shown(at: SystemTime) -> String {
    let at = i64::try_from(seconds(at)).ok().and_then(|at| jiff::Timestamp::from_second(at).ok());
    at.map_or_else(|| "an earlier time".to_owned(), |at| at.to_string())
}
