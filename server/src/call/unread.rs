//! What a caller's own dialect can say and the contract cannot: it is left out with a warning, never in silence.

use std::cell::RefCell;

/// Most members that are told; a request with more of them is told of these.
const MOST: usize = 32;

/// Members of a request that the typed view has no place for.
#[derive(Debug, Default)]
pub struct Unread(RefCell<Vec<Member>>);

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its path in the caller's own JSON.
    pub path: String,
    /// The family of providers for which it is kept nevertheless, as their option; empty if for none.
    pub kept_for: &'static str,
}

impl Unread {
    /// Notes a member that reaches nobody.
    pub fn note(&self, path: String) {
        self.note_kept(path, "");
    }

    /// Notes a member that reaches providers of that family only.
    pub fn note_kept(&self, path: String, kept_for: &'static str) {
        let mut members = self.0.borrow_mut();
        if members.len() < MOST {
            members.push(Member { path, kept_for });
        }
    }

    /// Returns the members, in the order in which they were noted.
    pub fn into_members(self) -> Vec<Member> {
        self.0.into_inner()
    }
}
