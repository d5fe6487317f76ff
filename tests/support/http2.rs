//! A scripted upstream that speaks HTTP/2 without TLS. What it does with each stream is a list of steps; it counts its
//! connections and the streams that run at once.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use h2::{
    Reason, SendStream,
    server::{Builder, SendResponse},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    time::timeout,
};

/// What takes longer never comes.
const PATIENCE: Duration = Duration::from_secs(120);

/// One request as the upstream saw it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// How many connections had been made when its own was, itself included.
    pub connection: usize,
    /// How many requests had come before it, on all connections.
    pub before: usize,
    pub path: String,
    pub body: Vec<u8>,
}

/// One thing the upstream does with a stream.
#[derive(Clone, Debug)]
pub enum Step {
    /// Sends a DATA frame, after the head if there was none yet.
    Send(Bytes),
    /// Waits until `release` has been called this many times in all.
    Await(usize),
    /// Refuses the stream, as a server does that has not touched it.
    Refuse,
    /// Tells the peer to open no more streams on this connection.
    GoAway,
    /// Waits until the peer resets the stream.
    Hold,
}

type Script = dyn Fn(&Asked) -> Vec<Step> + Send + Sync;

/// A running scripted HTTP/2 upstream.
#[derive(Clone)]
pub struct Http2Upstream {
    pub addr: SocketAddr,
    peers: Arc<watch::Sender<Vec<SocketAddr>>>,
    running: Arc<watch::Sender<usize>>,
    seen: Arc<watch::Sender<Vec<Asked>>>,
    reset: Arc<watch::Sender<usize>>,
    released: Arc<watch::Sender<usize>>,
}

impl Http2Upstream {
    /// Starts an upstream that takes so many streams on each connection.
    pub async fn start(
        most_streams: u32,
        script: impl Fn(&Asked) -> Vec<Step> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = Self {
            addr: listener.local_addr().unwrap(),
            peers: Arc::new(watch::Sender::new(Vec::new())),
            running: Arc::new(watch::Sender::new(0)),
            seen: Arc::new(watch::Sender::new(Vec::new())),
            reset: Arc::new(watch::Sender::new(0)),
            released: Arc::new(watch::Sender::new(0)),
        };
        let (me, script): (_, Arc<Script>) = (upstream.clone(), Arc::new(script));
        tokio::spawn(async move {
            loop {
                let (socket, peer) = listener.accept().await.unwrap();
                me.peers.send_modify(|peers| peers.push(peer));
                let number = me.peers().len();
                tokio::spawn(me.clone().serve(socket, number, most_streams, script.clone()));
            }
        });
        upstream
    }

    /// What the configuration calls it: an OpenAI-dialect provider.
    pub fn provider(&self, name: &str) -> String {
        format!(
            "  {name}: {{ dialect: openai, base_url: \"http://{}/v1\", api_key: sk-up, protocol: http2 }}\n",
            self.addr
        )
    }

    /// Everything asked so far.
    pub fn seen(&self) -> Vec<Asked> {
        self.seen.borrow().clone()
    }

    /// Where the connections came from.
    pub fn peers(&self) -> Vec<SocketAddr> {
        self.peers.borrow().clone()
    }

    /// On how many connections there were requests.
    pub fn connections_used(&self) -> usize {
        self.seen.borrow().iter().map(|asked| asked.connection).collect::<BTreeSet<_>>().len()
    }

    /// Waits until so many streams run at once.
    pub async fn running(&self, count: usize) {
        let mut running = self.running.subscribe();
        timeout(PATIENCE, running.wait_for(|running| *running >= count))
            .await
            .expect("so many streams")
            .unwrap();
    }

    /// Waits until so many streams were reset in a `Hold` or while they were sent something.
    pub async fn reset(&self, count: usize) {
        let mut reset = self.reset.subscribe();
        timeout(PATIENCE, reset.wait_for(|reset| *reset >= count)).await.expect("so many resets").unwrap();
    }

    /// Lets one more `Await` pass.
    pub fn release(&self) {
        self.released.send_modify(|count| *count += 1);
    }

    async fn serve(self, socket: TcpStream, connection: usize, most_streams: u32, script: Arc<Script>) {
        socket.set_nodelay(true).unwrap();
        let Ok(mut peer) =
            Builder::new().max_concurrent_streams(most_streams).handshake::<_, Bytes>(socket).await
        else {
            return;
        };
        let (go_away, mut going_away) = mpsc::unbounded_channel();
        loop {
            let accepted = tokio::select! {
                accepted = peer.accept() => accepted,
                Some(()) = going_away.recv() => {
                    peer.graceful_shutdown();
                    continue;
                }
            };
            let Some(Ok((request, respond))) = accepted else { return };
            let (me, script, go_away) = (self.clone(), script.clone(), go_away.clone());
            tokio::spawn(async move {
                let path = request.uri().path().to_owned();
                let Some(body) = read(request.into_body()).await else { return };
                let asked = Asked { connection, before: me.seen.borrow().len(), path, body };
                let steps = script(&asked);
                me.seen.send_modify(|seen| seen.push(asked));
                me.running.send_modify(|running| *running += 1);
                if me.answer(respond, steps, go_away).await.is_none() {
                    me.reset.send_modify(|reset| *reset += 1);
                }
                me.running.send_modify(|running| *running -= 1);
            });
        }
    }

    /// Does the steps. Nothing if the peer resets the stream.
    async fn answer(
        &self,
        mut respond: SendResponse<Bytes>,
        steps: Vec<Step>,
        go_away: mpsc::UnboundedSender<()>,
    ) -> Option<()> {
        let mut open: Option<SendStream<Bytes>> = None;
        for step in steps {
            match step {
                Step::Send(data) => {
                    let stream = match &mut open {
                        Some(stream) => stream,
                        None => open.insert(respond.send_response(head(), false).ok()?),
                    };
                    send(stream, data).await?;
                }
                Step::Await(count) => {
                    let mut released = self.released.subscribe();
                    released.wait_for(|released| *released >= count).await.unwrap();
                }
                Step::Refuse => {
                    respond.send_reset(Reason::REFUSED_STREAM);
                    return Some(());
                }
                Step::GoAway => go_away.send(()).unwrap(),
                Step::Hold => {
                    let _ = match &mut open {
                        Some(stream) => std::future::poll_fn(|cx| stream.poll_reset(cx)).await,
                        None => std::future::poll_fn(|cx| respond.poll_reset(cx)).await,
                    };
                    return None;
                }
            }
        }
        match open {
            Some(mut stream) => stream.send_data(Bytes::new(), true).ok()?,
            None => drop(respond.send_response(head(), true).ok()?),
        }
        Some(())
    }
}

fn head() -> http::Response<()> {
    http::Response::builder().header("content-type", "text/event-stream").body(()).unwrap()
}

async fn read(mut body: h2::RecvStream) -> Option<Vec<u8>> {
    let mut read = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.ok()?;
        body.flow_control().release_capacity(data.len()).ok()?;
        read.extend_from_slice(&data);
    }
    Some(read)
}

async fn send(stream: &mut SendStream<Bytes>, data: Bytes) -> Option<()> {
    stream.reserve_capacity(data.len());
    while stream.capacity() < data.len() {
        std::future::poll_fn(|cx| stream.poll_capacity(cx)).await?.ok()?;
    }
    stream.send_data(data, false).ok()
}
