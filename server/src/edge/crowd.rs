//! How many connections there may be. Beyond, the oldest is asked to go: one that has nothing to do goes at once, any
//! other when what it does is done.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// How long one connection is waited for before the next is asked, too.
const PATIENCE: Duration = Duration::from_millis(20);

/// The connections there are.
pub(super) struct Crowd {
    room: Arc<Semaphore>,
    most: usize,
    /// How each is asked to go, the oldest first; some may have gone.
    here: VecDeque<CancellationToken>,
}

/// A connection's right to be there, until dropped.
pub(super) struct Seat {
    /// Cancelled when the connection is to go.
    pub(super) go: CancellationToken,
    _room: OwnedSemaphorePermit,
}

impl Drop for Seat {
    fn drop(&mut self) {
        // So that the crowd knows that this one has gone.
        self.go.cancel();
    }
}

impl Crowd {
    /// Makes room for so many.
    pub(super) fn new(most: usize) -> Self {
        let most = most.clamp(1, Semaphore::MAX_PERMITS);
        Self { room: Arc::new(Semaphore::new(most)), most, here: VecDeque::new() }
    }

    /// Waits until there is room for one more, and asks others to go if there is none. Can be dropped without harm.
    pub(super) async fn room(&mut self) -> OwnedSemaphorePermit {
        if let Ok(room) = self.room.clone().try_acquire_owned() {
            return room;
        }
        loop {
            if let Some(oldest) = self.oldest() {
                oldest.cancel();
            }
            if let Ok(Ok(room)) = timeout(PATIENCE, self.room.clone().acquire_owned()).await {
                return room;
            }
        }
    }

    /// Takes in a connection for which there is room. It is to go when `all` are, or when it is asked to.
    pub(super) fn seat(&mut self, room: OwnedSemaphorePermit, all: &CancellationToken) -> Seat {
        if self.here.len() >= self.most.saturating_mul(2) {
            self.here.retain(|one| !one.is_cancelled());
        }
        let go = all.child_token();
        self.here.push_back(go.clone());
        Seat { go, _room: room }
    }

    fn oldest(&mut self) -> Option<CancellationToken> {
        std::iter::from_fn(|| self.here.pop_front()).find(|one| !one.is_cancelled())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_oldest_is_asked_to_go_and_the_next_if_it_does_not() {
        let (mut crowd, all) = (Crowd::new(2), CancellationToken::new());
        let room = crowd.room().await;
        let first = crowd.seat(room, &all);
        let room = crowd.room().await;
        let second = crowd.seat(room, &all);
        let asked = (first.go.clone(), second.go.clone());
        let leaves = tokio::spawn(async move {
            second.go.cancelled().await;
            drop(second);
        });
        let room = crowd.room().await;
        assert!(asked.0.is_cancelled() && asked.1.is_cancelled());
        leaves.await.unwrap();
        drop((room, first));
        assert_eq!(crowd.room.available_permits(), 2);
    }

    #[tokio::test]
    async fn those_who_have_gone_are_forgotten() {
        let (mut crowd, all) = (Crowd::new(3), CancellationToken::new());
        for _ in 0..100 {
            let room = crowd.room().await;
            drop(crowd.seat(room, &all));
            assert!(crowd.here.len() <= 6);
        }
    }
}
