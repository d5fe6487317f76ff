//! Counters by name, without those of which nothing is left to know: these are dropped little by little.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

/// Looks for each counter that is made: more are dropped than made, if as many are of no use any more.
const LOOKS: usize = 2;

/// Counters by name.
#[derive(Debug)]
pub(super) struct Counters<C> {
    by_name: HashMap<Arc<str>, C>,
    /// All names, the next to be looked at first.
    round: VecDeque<Arc<str>>,
}

impl<C> Default for Counters<C> {
    fn default() -> Self {
        Self { by_name: HashMap::new(), round: VecDeque::new() }
    }
}

impl<C> Counters<C> {
    /// Returns the counter of that name.
    pub(super) fn get(&self, name: &str) -> Option<&C> {
        self.by_name.get(name)
    }

    /// Returns the counter of that name, to change it.
    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut C> {
        self.by_name.get_mut(name)
    }

    /// Returns all of them, to change them.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&Arc<str>, &mut C)> {
        self.by_name.iter_mut()
    }

    /// Adds a counter, unless there is one of that name, and looks at some others.
    pub(super) fn add(
        &mut self,
        name: &Arc<str>,
        new: impl FnOnce() -> C,
        is_over: impl FnMut(&mut C) -> bool,
    ) {
        if self.by_name.contains_key(name) {
            return;
        }
        self.sweep(LOOKS, is_over);
        self.by_name.insert(name.clone(), new());
        self.round.push_back(name.clone());
    }

    /// Looks at so many, one after the other, and drops those that are over.
    pub(super) fn sweep(&mut self, looks: usize, mut is_over: impl FnMut(&mut C) -> bool) {
        for _ in 0..looks.min(self.round.len()) {
            let Some(name) = self.round.pop_front() else { return };
            if self.by_name.get_mut(&name).is_some_and(&mut is_over) {
                self.by_name.remove(&name);
            } else {
                self.round.push_back(name);
            }
        }
    }
}

#[cfg(test)]
impl<C> Counters<C> {
    /// Counts them.
    pub(super) fn len(&self) -> usize {
        assert_eq!(self.by_name.len(), self.round.len());
        self.by_name.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_that_are_made_and_never_used_again_do_not_pile_up() {
        let mut counters = Counters::default();
        let mut most = 0;
        for now in 0..10_000_u32 {
            // Each is of use for a hundred steps.
            counters.add(&now.to_string().into(), || now, |made| now - *made > 100);
            most = most.max(counters.len());
        }
        assert!(most <= 300, "{most}");
        counters.sweep(usize::MAX, |made| *made < 9_990);
        assert_eq!(counters.len(), 10);
        assert!(counters.get("9999").is_some() && counters.get("9989").is_none());
    }
}
