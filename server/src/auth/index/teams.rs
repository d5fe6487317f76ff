//! Teams in memory, each with the teams that it belongs to.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::adjustments::Adjustments;
use crate::{
    auth::{store, team::Record},
    call::{ModelGlobs, Subject, Team},
};

/// Every team.
#[derive(Default)]
pub(super) struct Teams {
    records: BTreeMap<String, Record>,
    /// By the id of a team: itself, the one that it belongs to, and so on.
    lineages: HashMap<String, Arc<[Arc<Team>]>>,
}

impl Teams {
    /// Returns a team and those that it belongs to. A team that nobody made limits nothing.
    pub(super) fn lineage(&self, id: &str) -> Arc<[Arc<Team>]> {
        self.lineages.get(id).cloned().unwrap_or_default()
    }

    /// Returns the team of that id.
    pub(super) fn get(&self, id: &str) -> Option<&Record> {
        self.records.get(id)
    }

    /// Returns the ids of a team and of all that are below it.
    pub(super) fn below(&self, id: &str) -> Vec<String> {
        let is_below = |(_, lineage): &(&String, &Arc<[Arc<Team>]>)| lineage.iter().any(|team| team.id == id);
        let below = self.lineages.iter().filter(is_below).map(|(id, _)| id.clone());
        below.filter(|other| other != id).chain([id.to_owned()]).collect()
    }

    /// Takes over a new or changed team; what is older than what is known is passed over.
    pub(super) fn put(&mut self, record: Record) {
        match self.records.get(&record.id) {
            // One of the same name that was made anew starts over.
            Some(known) if known.create_time == record.create_time && known.version > record.version => {}
            _ => {
                self.records.insert(record.id.clone(), record);
            }
        }
    }

    /// Forgets a team.
    pub(super) fn remove(&mut self, id: &str) {
        self.records.remove(id);
    }

    /// Makes all that calls look at anew.
    pub(super) fn rebuild(&mut self, adjustments: &Adjustments) {
        let built: HashMap<&str, Arc<Team>> =
            self.records.values().map(|record| (record.id.as_str(), build(record, adjustments))).collect();
        let lineage = |id: &str| -> Arc<[Arc<Team>]> {
            let parent = |id: &&str| self.records.get(*id).map(|record| record.parent_id.as_str());
            let ids = std::iter::successors(Some(id), parent).take(store::teams::DEEPEST);
            ids.map_while(|id| built.get(id).cloned()).collect()
        };
        self.lineages = self.records.keys().map(|id| (id.clone(), lineage(id))).collect();
    }
}

fn build(record: &Record, adjustments: &Adjustments) -> Arc<Team> {
    let subject = Subject::Team(record.id.as_str().into());
    Arc::new(Team {
        id: record.id.clone(),
        allowed_models: ModelGlobs::new(record.allowed_models.clone()),
        limits: adjustments.rules(&subject, &record.limits),
        disabled: record.disabled,
    })
}
