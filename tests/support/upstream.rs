//! A scripted upstream: an HTTP/1.1 server whose answer to each request is a list of steps on the raw socket, so that
//! it can do everything a real provider does wrong. It remembers what it was asked and when the gateway hung up.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    sync::watch,
};

use super::in_time;

/// One request as the upstream saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Seen {
    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The model the request names.
    pub fn model(&self) -> String {
        self.json()["model"].as_str().unwrap_or_default().to_owned()
    }

    /// A header's value, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }
}

/// One thing the upstream does.
#[derive(Clone, Debug)]
pub enum Step {
    /// Writes these bytes in one go.
    Send(Vec<u8>),
    /// Waits until `Upstream::release` has been called this many times in all.
    Await(usize),
    /// Waits until the gateway hangs up.
    Hold,
    /// Takes so long over its work.
    Work(Duration),
    /// Ends the connection cleanly.
    Close,
    /// Resets the connection.
    Reset,
}

type Script = dyn Fn(&Seen) -> Vec<Step> + Send + Sync;

/// A running scripted upstream.
#[derive(Clone)]
pub struct Upstream {
    pub addr: SocketAddr,
    seen: Arc<watch::Sender<Vec<Seen>>>,
    hung_up: Arc<watch::Sender<Vec<Instant>>>,
    released: Arc<watch::Sender<usize>>,
}

impl Upstream {
    /// Starts an upstream that answers by this script.
    pub async fn start(script: impl Fn(&Seen) -> Vec<Step> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = Self {
            addr: listener.local_addr().unwrap(),
            seen: Arc::new(watch::Sender::new(Vec::new())),
            hung_up: Arc::new(watch::Sender::new(Vec::new())),
            released: Arc::new(watch::Sender::new(0)),
        };
        let (me, script): (_, Arc<Script>) = (upstream.clone(), Arc::new(script));
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let (me, script) = (me.clone(), script.clone());
                tokio::spawn(async move { me.serve(socket, &*script).await });
            }
        });
        upstream
    }

    /// What the configuration calls it: an OpenAI-dialect provider.
    pub fn provider(&self, name: &str) -> String {
        format!(
            "  {name}: {{ dialect: openai, base_url: \"http://{}/v1\", api_key: sk-upstream }}\n",
            self.addr
        )
    }

    /// Everything asked so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.borrow().clone()
    }

    /// Forgets everything asked so far, in runs of many thousand requests.
    pub fn forget(&self) {
        self.seen.send_modify(Vec::clear);
    }

    /// Waits until so many requests have come.
    pub async fn asked(&self, count: usize) -> Vec<Seen> {
        let mut seen = self.seen.subscribe();
        in_time("a request", seen.wait_for(|seen| seen.len() >= count)).await.unwrap().clone()
    }

    /// Waits until the gateway has hung up so many times in a `Hold` or while it was sent something.
    pub async fn hung_up(&self, count: usize) -> Vec<Instant> {
        let mut hung_up = self.hung_up.subscribe();
        in_time("a hang-up", hung_up.wait_for(|at| at.len() >= count)).await.unwrap().clone()
    }

    /// Lets one more `Await` pass.
    pub fn release(&self) {
        self.released.send_modify(|count| *count += 1);
    }

    async fn serve(&self, socket: TcpStream, script: &Script) {
        socket.set_nodelay(true).unwrap();
        let mut socket = BufReader::new(socket);
        while let Some(request) = read_request(&mut socket).await {
            let steps = script(&request);
            self.seen.send_modify(|seen| seen.push(request));
            for step in steps {
                let alive = match step {
                    Step::Send(bytes) => socket.get_mut().write_all(&bytes).await.is_ok(),
                    Step::Await(count) => {
                        let mut released = self.released.subscribe();
                        tokio::select! {
                            _ = released.wait_for(|released| *released >= count) => true,
                            () = closed(&mut socket) => false,
                        }
                    }
                    Step::Hold => {
                        closed(&mut socket).await;
                        false
                    }
                    Step::Work(time) => tokio::select! {
                        () = tokio::time::sleep(time) => true,
                        () = closed(&mut socket) => false,
                    },
                    Step::Close => return,
                    Step::Reset => {
                        socket.get_ref().set_zero_linger().unwrap();
                        return;
                    }
                };
                if !alive {
                    self.hung_up.send_modify(|at| at.push(Instant::now()));
                    return;
                }
            }
        }
    }
}

pub(super) async fn closed(socket: &mut BufReader<TcpStream>) {
    let mut byte = [0];
    while matches!(socket.read(&mut byte).await, Ok(1)) {}
}

pub(super) async fn read_request(socket: &mut BufReader<TcpStream>) -> Option<Seen> {
    let mut line = String::new();
    socket.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
    let path = line.split(' ').nth(1)?.to_owned();
    let (mut headers, mut length) = (Vec::new(), 0);
    loop {
        line.clear();
        socket.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        let name = name.to_ascii_lowercase();
        if name == "content-length" {
            length = value.parse().ok()?;
        }
        headers.push((name, value.to_owned()));
    }
    let mut body = vec![0; length];
    socket.read_exact(&mut body).await.ok()?;
    Some(Seen { path, headers, body })
}

/// A whole answer with a content-length.
pub fn whole(status: u16, content_type: &str, body: impl AsRef<[u8]>) -> Vec<Step> {
    let body = body.as_ref();
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: {content_type}\r\nx-request-id: up-1\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    vec![Step::Send([head.as_bytes(), body].concat())]
}

/// The head of an answer in chunked encoding.
pub fn head(status: u16, content_type: &str) -> Step {
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: {content_type}\r\nx-request-id: up-1\r\n\
         transfer-encoding: chunked\r\n\r\n"
    );
    Step::Send(head.into_bytes())
}

/// The head of an event stream.
pub fn stream_head() -> Step {
    head(200, "text/event-stream")
}

/// One chunk of the chunked encoding.
pub fn chunk(bytes: impl AsRef<[u8]>) -> Step {
    let bytes = bytes.as_ref();
    Step::Send([format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat())
}

/// The end of a chunked body.
pub fn end() -> Step {
    Step::Send(b"0\r\n\r\n".to_vec())
}

/// An SSE event of a chat stream with this delta.
pub fn delta(text: &str) -> String {
    let text = serde_json::to_string(text).unwrap();
    format!(
        "data: {{\"id\":\"chatcmpl-up\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m-1\",\
         \"choices\":[{{\"index\":0,\"delta\":{{\"content\":{text}}},\"finish_reason\":null}}]}}\n\n"
    )
}

/// The SSE events that end a chat stream: finish reason, usage, `[DONE]`.
pub fn finish(input: i64, output: i64) -> String {
    format!(
        "data: {{\"id\":\"chatcmpl-up\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m-1\",\
         \"choices\":[{{\"index\":0,\"delta\":{{}},\"finish_reason\":\"stop\"}}]}}\n\n\
         data: {{\"id\":\"chatcmpl-up\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m-1\",\
         \"choices\":[],\"usage\":{{\"prompt_tokens\":{input},\"completion_tokens\":{output},\"total_tokens\":{}}}}}\n\n\
         data: [DONE]\n\n",
        input + output
    )
}

/// A whole chat completion.
pub fn completion(text: &str, input: i64, output: i64) -> String {
    serde_json::json!({
        "id": "chatcmpl-up", "object": "chat.completion", "created": 1, "model": "m-1",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output},
    })
    .to_string()
}
