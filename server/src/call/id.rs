//! Ids of calls.

use std::{cell::RefCell, time::SystemTime};

use uuid::{Builder, Uuid};

/// Random bytes a thread fetches at a time: a system call for each id would cost more than the id.
const RANDOM_POOL: usize = 2048;

thread_local! {
    static POOL: RefCell<(Box<[u8; RANDOM_POOL]>, usize)> = RefCell::new((Box::new([0; RANDOM_POOL]), RANDOM_POOL));
}

/// Makes an id that sorts by time: a version 7 UUID.
pub fn new_id() -> Uuid {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let millis = u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX);
    POOL.with_borrow_mut(|(bytes, used)| {
        if *used + 10 > RANDOM_POOL {
            if getrandom::fill(&mut bytes[..]).is_err() {
                return Uuid::now_v7();
            }
            *used = 0;
        }
        let mut random = [0; 10];
        random.copy_from_slice(&bytes[*used..*used + 10]);
        *used += 10;
        Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_sort_by_time_and_say_version_7() {
        let ids: Vec<_> = (0..1000).map(|_| new_id()).collect();
        assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), 1000);
        assert!(ids.iter().all(|id| id.get_version_num() == 7));
        let later = Builder::from_unix_timestamp_millis(u64::MAX >> 17, &[0; 10]).into_uuid();
        assert!(ids.iter().all(|id| *id < later));
    }
}
