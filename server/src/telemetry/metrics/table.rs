//! Handles of metrics by their labels: found without an allocation, and never more than a bound.

use std::{
    collections::{HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, PoisonError, RwLock},
};

/// A label set with its handles.
type Entry<const N: usize, T> = ([String; N], Arc<T>);

/// Handles by `N` labels.
pub(super) struct Table<const N: usize, T>(RwLock<HashMap<u64, Vec<Entry<N, T>>>>);

impl<const N: usize, T> Default for Table<N, T> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<const N: usize, T> Table<N, T> {
    /// Finds the handles of these labels, or makes them.
    pub(super) fn get(&self, labels: [&str; N], make: impl FnOnce(&[String; N]) -> T) -> Arc<T> {
        let hash = hash(&labels);
        let found = |entries: &HashMap<u64, Vec<Entry<N, T>>>| {
            let same = entries.get(&hash)?;
            same.iter().find(|(owned, _)| *owned == labels).map(|(_, handles)| handles.clone())
        };
        let entries = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(handles) = found(&entries) {
            return handles;
        }
        drop(entries);
        let mut entries = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(handles) = found(&entries) {
            return handles;
        }
        let owned = labels.map(str::to_owned);
        let handles = Arc::new(make(&owned));
        entries.entry(hash).or_default().push((owned, handles.clone()));
        handles
    }

    /// Returns all entries, in the order of their labels.
    pub(super) fn sorted(&self) -> Vec<Entry<N, T>> {
        let entries = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = entries.values().flatten().cloned().collect();
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        all
    }
}

/// A set of names that admits a number of them, first come, first served.
#[derive(Default)]
pub(super) struct Bounded(RwLock<HashSet<u64>>);

impl Bounded {
    /// Tells whether these names are among the first `most` that were asked about.
    pub(super) fn admits(&self, names: &[&str], most: usize) -> bool {
        let hash = hash(&names);
        let admitted = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if admitted.contains(&hash) {
            return true;
        }
        if admitted.len() >= most {
            return false;
        }
        drop(admitted);
        let mut admitted = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if admitted.len() < most {
            admitted.insert(hash);
        }
        admitted.contains(&hash)
    }
}

fn hash(names: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    names.hash(&mut hasher);
    hasher.finish()
}
