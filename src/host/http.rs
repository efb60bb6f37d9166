//! One HTTP/1.1 request over a Unix socket or a port of the loopback, against a peer that may be broken or hostile.
//!
//! One monotonic deadline covers connection, headers and body; no redirects, no keep-alive.

use std::io;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::{HostError, Result, Target};

/// Headers larger than this are no answer.
const HEADER_LIMIT: usize = 64 * 1024;
/// How often a socket whose queue is full is tried again: the kernel answers at once instead of waiting (`EAGAIN`).
const QUEUE_FULL: Duration = Duration::from_millis(20);

/// A request and the patience for its answer.
#[derive(Debug)]
pub(crate) struct Exchange<'a> {
    /// Where to.
    pub target: &'a Target,
    /// What is sent.
    pub request: hyper::Request<Full<Bytes>>,
    /// How many bytes of the body are read.
    pub limit: usize,
    /// For connection, headers and body together.
    pub deadline: Duration,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    /// Status and headers.
    pub head: hyper::http::response::Parts,
    /// What was read of the body.
    pub body: Body,
    /// The process that made a Unix socket listen; 0: none that can be seen from here.
    pub listener: Option<u32>,
}

/// What was read of a body.
#[derive(Debug)]
pub(crate) enum Body {
    /// All of it.
    Whole(Vec<u8>),
    /// It is longer than the limit; this is its beginning.
    Beginning(Vec<u8>),
}

impl Body {
    /// The bytes that were read.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        match self {
            Self::Whole(bytes) | Self::Beginning(bytes) => bytes,
        }
    }
}

/// Why there was no answer, in few words.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoAnswer {
    /// Nobody listens.
    #[error("connection refused")]
    Refused,
    /// The socket's file is not there.
    #[error("no socket")]
    NoSocket,
    /// The deadline passed.
    #[error("no answer within {}", words(*.0))]
    Late(Duration),
    /// The peer closed before its headers, or in the middle of its body.
    #[error("closed without an answer")]
    Closed,
    /// What came is not HTTP.
    #[error("not an HTTP answer: {0}")]
    Garbage(String),
    /// The kernel refused.
    #[error("can't connect: {0}")]
    Kernel(String),
}

/// A length of time as people say it: `5s`, `1.5s`, `200ms`.
pub(crate) fn words(time: Duration) -> String {
    match (time.as_secs(), time.subsec_millis()) {
        (seconds, 0) => format!("{seconds}s"),
        (0, millis) => format!("{millis}ms"),
        _ => format!("{:.1}s", time.as_secs_f64()),
    }
}

/// A runtime without threads of its own: the clients here are synchronous outside, and must not be called from an async task.
pub(crate) fn runtime() -> Result<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| HostError::Program { program: "portreeve".into(), why: format!("no event loop: {error}") })
}

/// Sends the request and reads the answer. The connection is closed when this returns.
pub(crate) async fn exchange(exchange: Exchange<'_>) -> std::result::Result<Reply, NoAnswer> {
    let deadline = exchange.deadline;
    let mut tasks = JoinSet::new();
    let answer = tokio::time::timeout(deadline, connect_and_ask(&mut tasks, exchange)).await;
    // The connection is owned by a task: without its end the peer would see it open until the next request.
    tasks.shutdown().await;
    answer.unwrap_or(Err(NoAnswer::Late(deadline)))
}

async fn connect_and_ask(tasks: &mut JoinSet<()>, exchange: Exchange<'_>) -> std::result::Result<Reply, NoAnswer> {
    match exchange.target {
        Target::Port(port) => {
            let stream = TcpStream::connect(("127.0.0.1", *port)).await.map_err(|error| refusal(&error))?;
            ask(tasks, stream, None, exchange).await
        }
        Target::Socket(path) => {
            let stream = loop {
                match UnixStream::connect(path).await {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => tokio::time::sleep(QUEUE_FULL).await,
                    other => break other.map_err(|error| refusal(&error))?,
                }
            };
            let peer = stream.peer_cred().map_err(|error| refusal(&error))?;
            let listener = peer.pid().and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0);
            ask(tasks, stream, Some(listener), exchange).await
        }
    }
}

async fn ask<S>(
    tasks: &mut JoinSet<()>,
    stream: S,
    listener: Option<u32>,
    exchange: Exchange<'_>,
) -> std::result::Result<Reply, NoAnswer>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        http1::Builder::new().max_buf_size(HEADER_LIMIT).handshake(TokioIo::new(stream)).await.map_err(broken)?;
    tasks.spawn(async move {
        // Its error reaches the sender too, with the request that it broke.
        drop(connection.await);
    });
    let answer = sender.send_request(exchange.request).await.map_err(broken)?;
    let (head, body) = answer.into_parts();
    Ok(Reply { head, body: read(body, exchange.limit).await?, listener })
}

async fn read(mut body: Incoming, limit: usize) -> std::result::Result<Body, NoAnswer> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        let room = limit - bytes.len();
        bytes.extend_from_slice(&data[..data.len().min(room)]);
        if data.len() > room {
            return Ok(Body::Beginning(bytes));
        }
    }
    Ok(Body::Whole(bytes))
}

fn refusal(error: &io::Error) -> NoAnswer {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => NoAnswer::Refused,
        io::ErrorKind::NotFound => NoAnswer::NoSocket,
        _ => NoAnswer::Kernel(error.to_string()),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is a `map_err` argument")]
fn broken(error: hyper::Error) -> NoAnswer {
    if error.is_parse() { NoAnswer::Garbage(error.to_string()) } else { NoAnswer::Closed }
}
