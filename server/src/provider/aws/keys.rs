//! A set of AWS keys.

use std::time::SystemTime;

use secrecy::SecretString;

/// What requests are signed with. No Debug: it must never be printed.
pub(super) struct Keys {
    pub(super) id: String,
    pub(super) secret: SecretString,
    /// The session of temporary keys.
    pub(super) session: Option<SecretString>,
}

/// Keys that hold for some time.
pub(super) struct Lease {
    pub(super) keys: Keys,
    /// When they end; absent for those that never do.
    pub(super) expires: Option<SystemTime>,
}
