//! A fake provider with books of its own: what it was asked, what it generated, sent and would bill for each request,
//! and when it saw the gateway go. The books are what the gateway's ledger is compared with.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::sleep,
};

use super::{
    books::{Ending, Line, Score},
    faces::{self, Count, Face, Told},
    in_time,
    upstream::{Seen, closed, read_request},
};

type Composer = dyn Fn(&Seen) -> Score + Send + Sync;

/// A running provider.
#[derive(Clone)]
pub struct Meter {
    pub addr: SocketAddr,
    books: Arc<watch::Sender<Vec<Line>>>,
    released: Arc<watch::Sender<bool>>,
}

impl Meter {
    /// Starts a provider that answers each request by the score that is composed for it.
    pub async fn start(composer: impl Fn(&Seen) -> Score + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let meter = Self {
            addr: listener.local_addr().unwrap(),
            books: Arc::new(watch::Sender::new(Vec::new())),
            released: Arc::new(watch::Sender::new(false)),
        };
        let (me, composer): (_, Arc<Composer>) = (meter.clone(), Arc::new(composer));
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let (me, composer) = (me.clone(), composer.clone());
                tokio::spawn(async move { me.serve(socket, &*composer).await });
            }
        });
        meter
    }

    /// The books as they are now.
    pub fn books(&self) -> Vec<Line> {
        self.books.borrow().clone()
    }

    /// The lines of one case.
    pub fn lines(&self, case: &str) -> Vec<Line> {
        self.books().into_iter().filter(|line| line.case == case).collect()
    }

    /// Waits until the books are so.
    pub async fn until(&self, so: impl FnMut(&Vec<Line>) -> bool) -> Vec<Line> {
        let mut books = self.books.subscribe();
        in_time("such books", books.wait_for(so)).await.unwrap().clone()
    }

    /// Waits until the gateway has hung up on this case, and says when.
    pub async fn hung_up(&self, case: &str) -> Instant {
        let gone =
            |lines: &[Line]| lines.iter().filter(|line| line.case == case).find_map(|line| line.closed);
        gone(&self.until(|lines| gone(lines).is_some()).await).unwrap()
    }

    /// Lets answers that wait before their usage go on.
    pub fn release(&self) {
        self.released.send_replace(true);
    }

    async fn serve(&self, socket: TcpStream, composer: &Composer) {
        socket.set_nodelay(true).unwrap();
        let mut socket = BufReader::new(socket);
        while let Some(request) = read_request(&mut socket).await {
            let score = composer(&request);
            let line = self.open(&request, &score);
            if self.answer(&mut socket, &request, &score, line).await.is_none() {
                self.books.send_modify(|books| {
                    books[line].closed.get_or_insert_with(Instant::now);
                });
                return;
            }
            if matches!(score.ending, Ending::Short { .. }) {
                return;
            }
        }
    }

    fn open(&self, request: &Seen, score: &Score) -> usize {
        let line = Line::new(request, score);
        let mut at = 0;
        self.books.send_modify(|books| {
            at = books.len();
            books.push(line);
        });
        at
    }

    /// Answers one request. None if the gateway went away.
    async fn answer(
        &self,
        socket: &mut BufReader<TcpStream>,
        request: &Seen,
        score: &Score,
        line: usize,
    ) -> Option<()> {
        let mut out = Out { meter: self, socket, line };
        if let Some((status, headers)) = &score.refusal {
            let body = r#"{"error":{"message":"not now","type":"refused","code":"refused"}}"#;
            return out.write(&whole(*status, headers, body)).await;
        }
        let face = Face::of(&request.path);
        let streamed = request.path.contains("streamGenerate") || request.json()["stream"] == true;
        out.pause(score.first).await?;
        if !streamed {
            return out.unary(face, score).await;
        }
        out.write(HEAD).await?;
        out.stream(face, score).await
    }
}

/// An answer on its way out.
struct Out<'a> {
    meter: &'a Meter,
    socket: &'a mut BufReader<TcpStream>,
    line: usize,
}

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-request-id: up-1\r\ntransfer-encoding: chunked\r\n\r\n";

impl Out<'_> {
    fn book(&self, change: impl FnOnce(&mut Line)) {
        self.meter.books.send_modify(|books| change(&mut books[self.line]));
    }

    async fn write(&mut self, bytes: &str) -> Option<()> {
        self.socket.get_mut().write_all(bytes.as_bytes()).await.ok()?;
        self.book(|line| line.bytes += bytes.len());
        Some(())
    }

    async fn event(&mut self, event: &str) -> Option<()> {
        self.write(&format!("{:x}\r\n{event}\r\n", event.len())).await
    }

    /// Waits, unless the gateway goes away.
    async fn pause(&mut self, time: Duration) -> Option<()> {
        if time.is_zero() {
            return Some(());
        }
        tokio::select! {
            () = sleep(time) => Some(()),
            () = closed(self.socket) => None,
        }
    }

    fn count(&self, score: &Score, generated: usize) -> Count {
        let zero = score.usage == Told::Zero;
        let input = self.meter.books.borrow()[self.line].input;
        if zero { Count::default() } else { Count { input, output: i64::try_from(generated).unwrap() } }
    }

    async fn unary(&mut self, face: Face, score: &Score) -> Option<()> {
        for _ in 0..score.tokens {
            self.pause(score.gap).await?;
            self.book(|line| line.generated += 1);
        }
        let told = score.usage != Told::Absent;
        let body = face.whole(&faces::text(score.tokens), told.then(|| self.count(score, score.tokens)));
        self.write(&whole(200, "", &body)).await?;
        self.book(|line| (line.told, line.whole) = (told, true));
        Some(())
    }

    async fn stream(&mut self, face: Face, score: &Score) -> Option<()> {
        if let Ending::Failure { after: None, named } = score.ending {
            return self.fail(face, named).await;
        }
        let input = (score.usage != Told::Absent).then(|| self.count(score, 0).input);
        for event in face.opening(input) {
            self.event(&event).await?;
        }
        for n in 0..=score.tokens {
            match score.ending {
                Ending::Stall { after, comments } if after == n => return self.stall(comments).await,
                Ending::Short { after } if after == n => return self.write("0\r\n\r\n").await,
                Ending::Failure { after, named } if after == Some(n) => return self.fail(face, named).await,
                _ if n == score.tokens => break,
                _ => self.pause(score.gap).await?,
            }
            let count = (score.usage == Told::Each).then(|| self.count(score, n + 1));
            // Generated is what was begun to be sent: a token that breaks off on the wire was made all the same.
            self.book(|line| line.generated += 1);
            self.event(&face.delta(&faces::token(n), count)).await?;
        }
        if score.ending == Ending::BeforeUsage {
            let mut released = self.meter.released.subscribe();
            tokio::select! {
                _ = released.wait_for(|released| *released) => {}
                () = closed(self.socket) => return None,
            }
        }
        let told = score.usage != Told::Absent;
        for event in face.closing(told.then(|| self.count(score, score.tokens))) {
            self.event(&event).await?;
        }
        self.book(|line| (line.told, line.whole) = (told, true));
        self.write("0\r\n\r\n").await
    }

    async fn fail(&mut self, face: Face, named: bool) -> Option<()> {
        self.event(&face.failure(named)).await?;
        self.write("0\r\n\r\n").await
    }

    async fn stall(&mut self, comments: bool) -> Option<()> {
        if !comments {
            closed(self.socket).await;
            return None;
        }
        loop {
            self.pause(Duration::from_millis(50)).await?;
            self.event(": still here\n\n").await?;
        }
    }
}

fn whole(status: u16, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}
