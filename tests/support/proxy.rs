//! A TCP fault proxy: stands before a server and delays, slices, damages, silences or breaks connections, each by its
//! number and a seed.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
    time::sleep,
};

use super::{dice::Dice, port::Port};

/// What happens to the bytes of one direction.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lane {
    /// How much later each read is passed on, and by how much more at most.
    pub latency: Duration,
    pub jitter: Duration,
    /// Bytes a second.
    pub rate: Option<u32>,
    /// Most bytes of one write.
    pub slice: Option<usize>,
    /// What happens once so many bytes have passed.
    pub at: Option<(u64, Fault)>,
}

/// What can happen at a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Both ends see the connection reset.
    Reset,
    /// Both ends see it end in order.
    Fin,
    /// Only the receiver of this direction sees its end; the other direction goes on.
    HalfClose,
    /// From here on this direction is silence.
    Blackhole,
    /// This one byte is another.
    Corrupt,
}

/// What happens to a connection: towards the server, and back.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fate {
    pub up: Lane,
    pub down: Lane,
}

impl Fate {
    /// The answer is cut or damaged once so many of its bytes have passed.
    pub fn answer(at: u64, fault: Fault) -> Self {
        Self { down: Lane { at: Some((at, fault)), ..Lane::default() }, ..Self::default() }
    }

    /// The request is.
    pub fn request(at: u64, fault: Fault) -> Self {
        Self { up: Lane { at: Some((at, fault)), ..Lane::default() }, ..Self::default() }
    }
}

/// How the proxy treats connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Through,
    /// Nobody listens, as after `kill -9`.
    Refusing,
    /// Connections are accepted, counted and reset.
    Resetting,
}

type Plan = dyn Fn(u64, &mut Dice) -> Fate + Send + Sync;

/// A running proxy.
#[derive(Clone)]
pub struct Proxy {
    pub addr: SocketAddr,
    accepted: Arc<AtomicUsize>,
    /// Its mode, and how often it has died.
    mode: Arc<watch::Sender<(Mode, u32)>>,
    plan: Arc<Mutex<Arc<Plan>>>,
    /// So that nobody else is given its port while it is down.
    _port: Arc<Port>,
}

impl Proxy {
    /// Stands before this server. The n-th connection's fate is drawn by the plan, with dice of its own.
    pub async fn start(to: SocketAddr, seed: u64) -> Self {
        let port = Port::hold();
        let listener = TcpListener::bind(port.addr).await.unwrap();
        let calm: Arc<Plan> = Arc::new(|_, _| Fate::default());
        let proxy = Self {
            addr: port.addr,
            accepted: Arc::default(),
            mode: Arc::new(watch::Sender::new((Mode::Through, 0))),
            plan: Arc::new(Mutex::new(calm)),
            _port: Arc::new(port),
        };
        tokio::spawn(proxy.clone().listen(listener, to, seed));
        proxy
    }

    /// What happens to connections from now on.
    pub fn plan(&self, plan: impl Fn(u64, &mut Dice) -> Fate + Send + Sync + 'static) {
        *self.plan.lock().unwrap() = Arc::new(plan);
    }

    /// The fate of all connections from now on.
    pub fn fate(&self, fate: Fate) {
        self.plan(move |_, _| fate);
    }

    /// Connections accepted so far.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// Dies as a process does: its connections are reset, and new ones refused.
    pub fn die(&self) {
        self.mode.send_modify(|(mode, died)| (*mode, *died) = (Mode::Refusing, *died + 1));
    }

    /// The same, but new connections are accepted, so that they can be counted, and then reset.
    pub fn die_counting(&self) {
        self.mode.send_modify(|(mode, died)| (*mode, *died) = (Mode::Resetting, *died + 1));
    }

    /// Is back, at the same address.
    pub fn revive(&self) {
        self.mode.send_modify(|(mode, _)| *mode = Mode::Through);
    }

    async fn listen(self, listener: TcpListener, to: SocketAddr, seed: u64) {
        let mut listener = Some(listener);
        let mut modes = self.mode.subscribe();
        loop {
            let (mode, life) = *modes.borrow_and_update();
            if mode == Mode::Refusing {
                listener = None;
            } else if listener.is_none() {
                listener = Some(TcpListener::bind(self.addr).await.unwrap());
            }
            let accepted = async {
                match &listener {
                    Some(listener) => listener.accept().await.unwrap().0,
                    None => std::future::pending().await,
                }
            };
            let client = tokio::select! {
                _ = modes.changed() => continue,
                client = accepted => client,
            };
            let number = u64::try_from(self.accepted.fetch_add(1, Ordering::SeqCst)).unwrap();
            if mode == Mode::Resetting {
                reset(&client);
                continue;
            }
            let mut dice = Dice::of(seed, number);
            let plan = self.plan.lock().unwrap().clone();
            let fate = plan(number, &mut dice);
            let modes = modes.clone();
            tokio::spawn(async move { connection(client, to, fate, dice, modes, life).await });
        }
    }
}

fn reset(socket: &TcpStream) {
    // The other end may be gone already.
    let _ = socket.set_zero_linger();
}

async fn connection(
    mut client: TcpStream,
    to: SocketAddr,
    fate: Fate,
    dice: Dice,
    mut modes: watch::Receiver<(Mode, u32)>,
    life: u32,
) {
    let Ok(mut server) = TcpStream::connect(to).await else { return reset(&client) };
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let ended = {
        let (client_reads, client_writes) = client.split();
        let (server_reads, server_writes) = server.split();
        let up = pass(client_reads, server_writes, fate.up, dice.clone());
        let down = pass(server_reads, client_writes, fate.down, dice);
        tokio::select! {
            ended = both(up, down) => ended,
            _ = modes.wait_for(|(_, died)| *died != life) => Some(Fault::Reset),
        }
    };
    if ended != Some(Fault::Fin) {
        reset(&client);
        reset(&server);
    }
}

/// Runs both directions until both have ended or one of them ends the whole connection.
async fn both(
    up: impl Future<Output = Option<Fault>>,
    down: impl Future<Output = Option<Fault>>,
) -> Option<Fault> {
    tokio::pin!(up, down);
    let (first, up_was_first) = tokio::select! {
        ended = &mut up => (ended, true),
        ended = &mut down => (ended, false),
    };
    if first != Some(Fault::HalfClose) {
        return first;
    }
    let second = if up_was_first { down.await } else { up.await };
    Some(second.filter(|fault| *fault != Fault::HalfClose).unwrap_or(Fault::Fin))
}

/// Passes one direction on. Says how it ended: `HalfClose` if only this direction did, none if a socket broke.
async fn pass(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, lane: Lane, mut dice: Dice) -> Option<Fault> {
    let mut passed = 0;
    let mut silent = false;
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut buffer).await.ok()?;
        if read == 0 {
            to.shutdown().await.ok()?;
            return Some(Fault::HalfClose);
        }
        if silent {
            continue;
        }
        let wait = lane.latency + dice.up_to(lane.jitter);
        if !wait.is_zero() {
            sleep(wait).await;
        }
        let piece = &mut buffer[..read];
        let span = passed..=passed + u64::try_from(read).unwrap();
        let due = lane.at.filter(|(at, _)| span.contains(at));
        let due = due.map(|(at, fault)| (usize::try_from(at - passed).unwrap(), fault));
        let whole = match due {
            Some((left, Fault::Corrupt)) => {
                if let Some(byte) = piece.get_mut(left) {
                    *byte = !*byte;
                }
                read
            }
            Some((left, _)) => left,
            None => read,
        };
        write(&mut to, &piece[..whole], lane).await?;
        passed += u64::try_from(whole).unwrap();
        match due {
            Some((_, Fault::Blackhole)) => silent = true,
            Some((_, Fault::HalfClose)) => {
                to.shutdown().await.ok()?;
                return Some(Fault::HalfClose);
            }
            Some((_, fault @ (Fault::Reset | Fault::Fin))) => return Some(fault),
            Some((_, Fault::Corrupt)) | None => {}
        }
    }
}

async fn write(to: &mut WriteHalf<'_>, bytes: &[u8], lane: Lane) -> Option<()> {
    for piece in bytes.chunks(lane.slice.unwrap_or(usize::MAX).max(1)) {
        to.write_all(piece).await.ok()?;
        if lane.slice.is_some() {
            // Lets the other end read it before the next one comes.
            tokio::task::yield_now().await;
        }
        if let Some(rate) = lane.rate {
            sleep(Duration::from_secs_f64(piece.len() as f64 / f64::from(rate))).await;
        }
    }
    Some(())
}
