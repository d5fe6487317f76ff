//! The number of the last record of all replicas, as it grows: looked up for all who watch together, and only while
//! somebody does.

use std::{
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use tokio::{
    sync::watch::{self, Receiver, Sender},
    task::AbortHandle,
    time::timeout,
};

use super::{Central, Failure, unavailable};
use crate::{error::Error, postgres::Session};

/// How often PostgreSQL is asked whether other replicas have recorded anything.
const LOOK: Duration = Duration::from_millis(250);

/// The looking that goes on, if any does.
#[derive(Default)]
pub(super) struct Looking(Mutex<Weak<Task>>);

/// Ends the looking when nobody watches any more.
struct Task {
    /// Absent when it could not be read.
    newest: Receiver<Option<i64>>,
    handle: AbortHandle,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

/// The number, for one who watches.
pub(in crate::meter) struct Newest {
    newest: Receiver<Option<i64>>,
    _task: Arc<Task>,
}

impl Newest {
    /// Waits until there are records beyond this number and returns that of the last one; `None` when the ledger is closed.
    ///
    /// # Errors
    /// `STORE_UNAVAILABLE` if PostgreSQL is away.
    pub(in crate::meter) async fn beyond(&mut self, number: i64) -> Result<Option<i64>, Error> {
        let found = self.newest.wait_for(|newest| newest.is_none_or(|newest| newest > number)).await;
        match found.as_deref() {
            Ok(Some(newest)) => Ok(Some(*newest)),
            Ok(None) => {
                Err(unavailable("the gateway cannot read the shared ledger in PostgreSQL at present"))
            }
            Err(_) => Ok(None),
        }
    }
}

impl Central {
    /// Returns the number of the last record, as it grows.
    pub(in crate::meter) fn newest(self: &Arc<Self>) -> Newest {
        let mut looking = self.looking.0.lock().unwrap_or_else(PoisonError::into_inner);
        let task = looking.upgrade().unwrap_or_else(|| {
            let (sender, newest) = watch::channel(Some(i64::MIN));
            let handle = tokio::spawn(look(self.clone(), sender)).abort_handle();
            Arc::new(Task { newest, handle })
        });
        *looking = Arc::downgrade(&task);
        Newest { newest: task.newest.clone(), _task: task }
    }
}

async fn look(central: Arc<Central>, newest: Sender<Option<i64>>) {
    let mut shipped = central.shipped();
    loop {
        shipped.mark_unchanged();
        let found = central.read(self::newest).await.ok();
        newest.send_if_modified(|known| std::mem::replace(known, found) != found);
        // Own records are known of at once.
        if let Ok(Err(_)) = timeout(LOOK, shipped.changed()).await {
            return;
        }
    }
}

/// Reads the number of the last record.
pub(in crate::meter) fn newest(session: &mut Session) -> Result<i64, Failure> {
    let row = session.query_one("SELECT COALESCE(max(seq), 0) FROM records", &[])?;
    Ok(row.try_get(0).map_err(crate::postgres::Trouble::from)?)
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Handle;

    use super::*;
    use crate::{
        error::Reason,
        meter::Ledger,
        postgres::{Address, Postgres},
    };

    #[tokio::test(flavor = "multi_thread")]
    async fn all_who_watch_share_one_look_which_ends_with_the_last_of_them() {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("tollgate.db");
        let ledger = Ledger::open(&store).unwrap();
        let nowhere = Address::parse("postgres://nobody@127.0.0.1:1/none").unwrap();
        let postgres = Postgres::new(nowhere, Handle::current()).unwrap();
        let central = Central::start(postgres, &store, watch::channel(0).1, None).unwrap();
        let central = Arc::new(central);
        let (mut one, other) = (central.newest(), central.newest());
        assert!(Arc::ptr_eq(&one._task, &other._task));
        assert_eq!(one.beyond(0).await.unwrap_err().reason(), Reason::StoreUnavailable, "it is away");
        let looking = || central.looking.0.lock().unwrap().upgrade().is_some();
        drop(one);
        assert!(looking());
        drop(other);
        assert!(!looking());
        drop(ledger);
    }
}
