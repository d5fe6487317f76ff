//! What PostgreSQL tells by itself (LISTEN, NOTIFY), over a connection of its own that is made again whenever it is lost.

use std::{future::poll_fn, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_postgres::{AsyncMessage, Client};

use super::{
    BACKOFF, Postgres,
    session::{away, configure},
    trouble::Trouble,
};

/// How often a connection on which nothing comes is asked whether it is still there.
const PROBE: Duration = Duration::from_secs(3);
/// Longest wait for an answer to that.
const ANSWER: Duration = Duration::from_secs(2);
/// What may be told before it is heard. If it is more, the connection is made again, and all is read.
const TOLD: usize = 4_096;

/// What is heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// From now on everything is heard. What was told before this may have been missed: read it.
    Connected,
    /// Somebody told something.
    Told {
        /// Where.
        channel: String,
        /// What.
        payload: String,
    },
    /// The connection is lost; `Connected` follows once it is made again.
    Lost,
}

impl Postgres {
    /// Listens to channels until it is dropped. `hear` must not block.
    pub async fn listen(&self, channels: &[&str], mut hear: impl FnMut(Heard) + Send) {
        let mut pause = BACKOFF.0;
        loop {
            let began = Instant::now();
            let mut connected = false;
            let mut told = |heard| {
                connected |= heard == Heard::Connected;
                hear(heard);
            };
            let trouble = self.listen_once(channels, &mut told).await;
            if connected {
                tracing::debug!(%trouble, "store: PostgreSQL is not listened to any more");
                hear(Heard::Lost);
                pause = BACKOFF.0;
            }
            sleep(pause.saturating_sub(began.elapsed())).await;
            pause = (pause * 2).min(BACKOFF.1 / 4);
        }
    }

    /// Connects and listens until the connection is lost.
    async fn listen_once(&self, channels: &[&str], hear: &mut (impl FnMut(Heard) + Send)) -> Trouble {
        match self.try_listen(channels, hear).await {
            Ok(()) => Trouble::Away("the connection was closed".to_owned()),
            Err(trouble) => trouble,
        }
    }

    async fn try_listen(
        &self,
        channels: &[&str],
        hear: &mut (impl FnMut(Heard) + Send),
    ) -> Result<(), Trouble> {
        let address = &self.0.address;
        let (client, mut told) = match timeout(address.connect, self.open(channels)).await {
            Ok(opened) => opened.map_err(|error| away(Trouble::from(error)))?,
            Err(_) => return Err(Trouble::Away("no connection in time".to_owned())),
        };
        hear(Heard::Connected);
        let mut probe = Instant::now() + PROBE;
        loop {
            match timeout_at(probe, told.recv()).await {
                Ok(Some(heard)) => hear(heard),
                Ok(None) => return Ok(()),
                Err(_) => {
                    let answer = timeout(ANSWER, client.batch_execute("SELECT 1")).await;
                    answer.map_err(|_| Trouble::Away("no answer in time".to_owned()))??;
                    probe = Instant::now() + PROBE;
                }
            }
        }
    }

    /// Opens a connection that listens, and a task that reads from it.
    async fn open(
        &self,
        channels: &[&str],
    ) -> Result<(Client, mpsc::Receiver<Heard>), tokio_postgres::Error> {
        let (client, mut connection) = self.0.address.config.connect(self.0.tls.clone()).await?;
        let (sender, told) = mpsc::channel(TOLD);
        tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
                let AsyncMessage::Notification(note) = message else { continue };
                let heard =
                    Heard::Told { channel: note.channel().to_owned(), payload: note.payload().to_owned() };
                if sender.try_send(heard).is_err() {
                    break;
                }
            }
        });
        configure(&client).await?;
        for channel in channels {
            client.batch_execute(&format!("LISTEN \"{channel}\"")).await?;
        }
        Ok((client, told))
    }
}
