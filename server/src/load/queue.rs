//! Who waits for a place, and who is next: the more important first, then each tenant in turn.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Instant,
};

use crate::call::Priority;

/// Where somebody stands in a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    priority: Priority,
    tenant: Arc<str>,
    number: u64,
}

/// A bounded queue. Everybody in it has a moment after which waiting makes no sense: whoever is past it is left out.
#[derive(Debug)]
pub(super) struct Queue<T> {
    most: usize,
    next_number: u64,
    len: usize,
    /// By priority, the least important first.
    classes: [Class<T>; Priority::ALL.len()],
}

/// Those of one priority.
#[derive(Debug)]
struct Class<T> {
    /// The tenants who wait, the one whose turn is next first.
    turns: VecDeque<Arc<str>>,
    /// Never empty for a tenant who is in `turns`, and never there for another.
    waiting: HashMap<Arc<str>, VecDeque<Waiter<T>>>,
}

#[derive(Debug)]
struct Waiter<T> {
    number: u64,
    until: Instant,
    entry: T,
}

impl<T> Queue<T> {
    /// Makes a queue for at most so many.
    pub(super) fn new(most: usize) -> Self {
        Self { most, next_number: 0, len: 0, classes: std::array::from_fn(|_| Class::default()) }
    }

    /// Returns how many wait.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Lets somebody wait until that moment. If the queue is full, that costs another one the place: the last of those
    /// who are less important, or else of the tenant with the most, provided that it is greedier than the newcomer.
    /// Returns too who was sent away for it.
    ///
    /// # Errors
    /// The entry itself if it is the one to be sent away.
    pub(super) fn join(
        &mut self,
        tenant: &str,
        priority: Priority,
        until: Instant,
        entry: T,
    ) -> Result<(Ticket, Option<T>), T> {
        let mut evicted = None;
        if self.len >= self.most {
            evicted = self.make_room(tenant, priority);
            if evicted.is_none() {
                return Err(entry);
            }
        }
        let number = self.next_number;
        self.next_number += 1;
        self.len += 1;
        let tenant = self.class(priority).join(tenant, Waiter { number, until, entry });
        Ok((Ticket { priority, tenant, number }, evicted))
    }

    /// Takes out who is next. Those whose time is over are dropped on the way.
    pub(super) fn next(&mut self, now: Instant) -> Option<T> {
        for class in self.classes.iter_mut().rev() {
            while let Some(waiter) = class.next() {
                self.len -= 1;
                if waiter.until > now {
                    return Some(waiter.entry);
                }
            }
        }
        None
    }

    /// Takes out somebody who does not wait any more, if still there.
    pub(super) fn leave(&mut self, ticket: &Ticket) -> Option<T> {
        let left = self.class(ticket.priority).leave(&ticket.tenant, ticket.number)?;
        self.len -= 1;
        Some(left.entry)
    }

    fn class(&mut self, priority: Priority) -> &mut Class<T> {
        &mut self.classes[priority as usize]
    }

    /// Sends somebody away for a newcomer.
    fn make_room(&mut self, tenant: &str, priority: Priority) -> Option<T> {
        let lower = self.classes[..priority as usize].iter_mut().find(|class| !class.turns.is_empty());
        let evicted = match lower {
            Some(class) => class.evict(0),
            None => {
                let class = self.class(priority);
                // Whoever would then be no better off than the newcomer stays.
                let held = class.waiting.get(tenant).map_or(0, VecDeque::len);
                class.evict(held + 1)
            }
        }?;
        self.len -= 1;
        Some(evicted.entry)
    }
}

impl<T> Default for Class<T> {
    fn default() -> Self {
        Self { turns: VecDeque::new(), waiting: HashMap::new() }
    }
}

impl<T> Class<T> {
    fn join(&mut self, tenant: &str, waiter: Waiter<T>) -> Arc<str> {
        if let Some((known, _)) = self.waiting.get_key_value(tenant) {
            let known = known.clone();
            self.waiting.entry(known.clone()).or_default().push_back(waiter);
            return known;
        }
        let tenant: Arc<str> = tenant.into();
        self.turns.push_back(tenant.clone());
        self.waiting.insert(tenant.clone(), VecDeque::from([waiter]));
        tenant
    }

    /// Takes out the first of the tenant whose turn it is, who then comes last.
    fn next(&mut self) -> Option<Waiter<T>> {
        let tenant = self.turns.pop_front()?;
        let waiting = self.waiting.get_mut(&tenant)?;
        let waiter = waiting.pop_front();
        if waiting.is_empty() {
            self.waiting.remove(&tenant);
        } else {
            self.turns.push_back(tenant);
        }
        waiter
    }

    fn leave(&mut self, tenant: &Arc<str>, number: u64) -> Option<Waiter<T>> {
        let waiting = self.waiting.get_mut(tenant)?;
        // Numbers only grow.
        let at = waiting.binary_search_by_key(&number, |waiter| waiter.number).ok()?;
        let left = waiting.remove(at);
        self.forget_if_gone(tenant);
        left
    }

    /// Takes out the last one of the tenant who has the most, if that is more than `least`.
    fn evict(&mut self, least: usize) -> Option<Waiter<T>> {
        let count = |tenant: &&Arc<str>| self.waiting.get(*tenant).map_or(0, VecDeque::len);
        let greediest = self.turns.iter().max_by_key(count).filter(|tenant| count(tenant) > least)?.clone();
        let evicted = self.waiting.get_mut(&greediest)?.pop_back();
        self.forget_if_gone(&greediest);
        evicted
    }

    fn forget_if_gone(&mut self, tenant: &Arc<str>) {
        if self.waiting.get(tenant).is_some_and(VecDeque::is_empty) {
            self.waiting.remove(tenant);
            self.turns.retain(|other| other != tenant);
        }
    }
}

#[cfg(test)]
mod tests;
