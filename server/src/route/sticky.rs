//! What keeps calls together: the value that does it, and the draw that comes out the same for it each time.
//!
//! The draw is weighted rendezvous hashing: each name runs a race against the others, by hash for calls that are kept
//! together and by lot for the rest. When a name goes, only its own calls move.

use super::{
    alias::Sticky,
    lot::{Lot, mixed},
};
use crate::call::Call;

/// Returns what keeps the call together with others, if anything does.
pub(super) fn key_of(sticky: Option<Sticky>, call: &Call) -> Option<&str> {
    let affinity = call.options.route.as_ref().map_or("", |route| route.affinity_key.as_str());
    let session = call.options.session_id.as_str();
    let key = match sticky {
        None if affinity.is_empty() => session,
        None | Some(Sticky::Affinity) => affinity,
        Some(Sticky::Session) => session,
        Some(Sticky::User) => &call.asked.end_user_id,
        Some(Sticky::Key) => &call.caller.key_id,
        Some(Sticky::None) => "",
    };
    Some(key).filter(|key| !key.is_empty())
}

/// Returns the lot of one call: its id seeds it, so that a plan depends on the call and nothing else.
pub(super) fn lot_of(call: &Call) -> Lot {
    Lot::seeded(hash([&call.id.as_bytes()[..]]))
}

/// Returns how well a name does in the race for a call. The highest wins, each in proportion to its weight; weight 0 is
/// behind all others.
pub(super) fn race(key: Option<&str>, name: &[&str], weight: u32, lot: &Lot) -> f64 {
    let number = match key {
        Some(key) => hash(std::iter::once(&key).chain(name).map(|part| part.as_bytes())),
        None => lot.draw(),
    };
    let high = u32::try_from(number >> 32).unwrap_or(u32::MAX);
    // Strictly between 0 and 1, so that the logarithm is a negative number.
    let unit = (f64::from(high) + 0.5) / 4_294_967_296.0;
    -f64::from(weight) / unit.ln()
}

/// Hashes texts. The same on every machine and in every version, so that replicas agree.
fn hash<'p>(parts: impl IntoIterator<Item = &'p [u8]>) -> u64 {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(PRIME);
    // 0xff is in no text, so that the parts cannot run into each other.
    let fnv = |hash, part: &[u8]| part.iter().copied().chain([0xff]).fold(hash, step);
    mixed(parts.into_iter().fold(BASIS, fnv))
}

#[cfg(test)]
mod tests;
