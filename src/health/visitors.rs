//! Visitors: clients that keep asking over connections that they keep, and remember every answer that was not right.
#![expect(clippy::disallowed_methods, reason = "what visitors see is timed where they are")]

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::host::{HostError, Result};

/// A request that takes longer has failed.
const TIMEOUT: Duration = Duration::from_secs(30);

/// So many failures are kept in words; all are counted.
const KEPT: usize = 10;

/// What visitors do.
#[derive(Debug, Clone)]
pub struct Habits {
    /// The port of 127.0.0.1 that they ask.
    pub port: u16,
    /// `Host:`
    pub host: String,
    /// How many connections there are at once.
    pub connections: u32,
    /// How long each looks at an answer before it asks again.
    pub think: Duration,
    /// What is asked for with GET.
    pub page: String,
    /// Where a form is posted to, and the form. One request in four is such a one.
    pub form: (String, String),
    /// The response header that says which release answered.
    pub release_header: &'static str,
}

/// What the visitors saw.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// How many requests were sent and have ended.
    pub requests: u64,
    /// How many did not get a 200 that names its release.
    pub failed: u64,
    /// The first of those, in words.
    pub failures: Vec<String>,
    /// The releases that answered since the last [`Visitors::watch`].
    pub releases: BTreeMap<String, Span>,
    /// When the last answer came, whoever gave it.
    pub latest: Option<Instant>,
}

/// From one release's first answer to its last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first one's end.
    pub first: Instant,
    /// How long nobody had answered before the first one came.
    pub silence: Duration,
    /// The last one's end.
    pub last: Instant,
}

/// Visitors at work, in a thread of their own. They leave when the value is dropped.
#[derive(Debug)]
pub struct Visitors {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    habits: Habits,
    leave: AtomicBool,
    seen: Mutex<Seen>,
}

impl Visitors {
    /// They begin to ask.
    pub fn start(habits: Habits) -> Result<Self> {
        let runtime = crate::host::http::runtime()?;
        let shared = Arc::new(Shared { habits, leave: AtomicBool::new(false), seen: Mutex::default() });
        let all = Arc::clone(&shared);
        let thread =
            std::thread::Builder::new().name("visitors".to_owned()).spawn(move || runtime.block_on(crowd(all)));
        let thread =
            thread.map_err(|error| HostError::Program { program: "visitors".into(), why: error.to_string() })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// What was seen until now.
    pub fn seen(&self) -> Seen {
        self.shared.seen().clone()
    }

    /// Looks at releases afresh from now on; the counts go on. Answers to what was asked before now still come.
    pub fn watch(&self) -> Instant {
        self.shared.seen().releases.clear();
        Instant::now()
    }

    /// Lets each have its last answer; all that was seen.
    pub fn leave(mut self) -> Seen {
        self.end();
        self.seen()
    }

    fn end(&mut self) {
        self.shared.leave.store(true, Ordering::Relaxed);
        let _panicked = self.thread.take().map(JoinHandle::join);
    }
}

impl Drop for Visitors {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, answer: std::result::Result<String, String>) {
        let now = Instant::now();
        let mut seen = self.seen();
        seen.requests += 1;
        match answer {
            Ok(release) => {
                let silence = seen.latest.map_or(Duration::ZERO, |latest| now.saturating_duration_since(latest));
                seen.releases.entry(release).or_insert(Span { first: now, silence, last: now }).last = now;
                seen.latest = Some(now);
            }
            Err(why) => {
                seen.failed += 1;
                if seen.failures.len() < KEPT {
                    seen.failures.push(why);
                }
            }
        }
    }
}

async fn crowd(shared: Arc<Shared>) {
    let mut visitors = JoinSet::new();
    for number in 0..shared.habits.connections {
        visitors.spawn(visit(Arc::clone(&shared), number));
    }
    visitors.join_all().await;
}

async fn visit(shared: Arc<Shared>, number: u32) {
    let mut connection = Connection { port: shared.habits.port, sender: None };
    let mut turn = number;
    while !shared.leave.load(Ordering::Relaxed) {
        let answer = tokio::time::timeout(TIMEOUT, connection.ask(&shared.habits, turn)).await;
        if answer.is_err() {
            connection.sender = None;
        }
        shared.note(answer.unwrap_or_else(|_| Err(format!("no answer within {}s", TIMEOUT.as_secs()))));
        turn = turn.wrapping_add(1);
        tokio::time::sleep(shared.habits.think).await;
    }
}

/// A connection that is kept while the server keeps it, and made anew when it has said that it won't.
struct Connection {
    port: u16,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Connection {
    /// One request; the release that answered, or what was wrong.
    async fn ask(&mut self, habits: &Habits, turn: u32) -> std::result::Result<String, String> {
        let request = request(habits, turn).map_err(|error| error.to_string())?;
        let mut sender = match self.sender.take() {
            Some(sender) => sender,
            None => connect(self.port).await?,
        };
        let (head, body) = sender.send_request(request).await.map_err(no_answer)?.into_parts();
        let body = body.collect().await.map_err(no_answer)?.to_bytes();
        if head.headers.get("connection").is_none_or(|value| value != "close") && sender.ready().await.is_ok() {
            self.sender = Some(sender);
        }
        judge(&Response::from_parts(head, body), habits.release_header)
    }
}

async fn connect(port: u16) -> std::result::Result<SendRequest<Full<Bytes>>, String> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.map_err(|error| format!("can't connect: {error}"))?;
    // Without it the little that is sent would wait for more.
    stream.set_nodelay(true).map_err(|error| format!("can't connect: {error}"))?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(no_answer)?;
    tokio::spawn(connection);
    Ok(sender)
}

fn request(habits: &Habits, turn: u32) -> hyper::http::Result<Request<Full<Bytes>>> {
    let request = Request::builder().header("Host", &habits.host);
    if !turn.is_multiple_of(4) {
        return request.uri(&habits.page).body(Full::default());
    }
    let (path, form) = &habits.form;
    let request = request.method("POST").uri(path).header("Content-Type", "application/x-www-form-urlencoded");
    request.body(Full::from(form.clone()))
}

fn judge(response: &Response<Bytes>, header: &str) -> std::result::Result<String, String> {
    let release = response.headers().get(header).and_then(|value| value.to_str().ok());
    match (response.status().as_u16(), release) {
        (200, Some(release)) => Ok(release.to_owned()),
        (200, None) => Err(format!("200 without {header}")),
        (status, _) => Err(format!("{status}: {}", head(response.body()))),
    }
}

fn head(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect()
}

fn no_answer(error: impl Display) -> String {
    format!("no answer: {error}")
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    /// A server that answers the n-th request of all with `answer(n)`, where an empty answer closes the connection.
    fn served(answer: impl Fn(u64) -> String + Send + Sync + 'static) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let answer: Arc<dyn Fn(u64) -> String + Send + Sync> = Arc::new(answer);
        let count = Arc::new(std::sync::atomic::AtomicU64::new(0));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (answer, count) = (Arc::clone(&answer), Arc::clone(&count));
                std::thread::spawn(move || serve(stream.unwrap(), &*answer, &count));
            }
        });
        port
    }

    fn serve(stream: TcpStreamOfStd, answer: &dyn Fn(u64) -> String, count: &std::sync::atomic::AtomicU64) {
        let mut reader = BufReader::new(stream);
        loop {
            let mut length = 0;
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap_or(0) == 0 {
                    return;
                }
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                if line.trim().is_empty() {
                    break;
                }
            }
            reader.read_exact(&mut vec![0; length]).unwrap();
            let said = answer(count.fetch_add(1, Ordering::Relaxed));
            if reader.get_mut().write_all(said.as_bytes()).is_err() || said.is_empty() || said.contains("close") {
                return;
            }
        }
    }

    type TcpStreamOfStd = std::net::TcpStream;

    fn ok(release: &str, more: &str) -> String {
        format!("HTTP/1.1 200 OK\r\nX-Release: {release}\r\n{more}Content-Length: 2\r\n\r\nok")
    }

    fn seen_after(requests: u64, answer: impl Fn(u64) -> String + Send + Sync + 'static) -> Seen {
        let habits = Habits {
            port: served(answer),
            host: "localhost".into(),
            connections: 4,
            think: Duration::from_millis(1),
            page: "/".into(),
            form: ("/order".into(), "item=bread".into()),
            release_header: "x-release",
        };
        let visitors = Visitors::start(habits).unwrap();
        while visitors.seen().requests < requests {
            std::thread::yield_now();
        }
        visitors.leave()
    }

    #[test]
    fn good_answers_are_counted_by_release() {
        let seen = seen_after(40, |n| ok(if n < 20 { "v1" } else { "v2" }, ""));
        assert_eq!((seen.failed, seen.failures.len()), (0, 0));
        assert_eq!(seen.releases.keys().collect::<Vec<_>>(), ["v1", "v2"]);
        let (v1, v2) = (seen.releases["v1"], seen.releases["v2"]);
        assert!(v1.first <= v2.first && v2.last == seen.latest.unwrap());
        assert!(v2.silence <= v2.first.duration_since(v1.first), "others answered in between");
    }

    #[test]
    fn a_connection_that_was_said_to_end_is_no_failure() {
        assert_eq!(seen_after(40, |_| ok("v1", "Connection: close\r\n")).failed, 0);
    }

    #[test]
    fn everything_else_is() {
        let bad = |n| match n % 10 {
            3 => "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 4\r\n\r\noops".to_owned(),
            5 => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned(),
            7 => String::new(),
            9 => "HTTP/1.1 200 OK\r\nX-Release: v1\r\nConnection: close\r\nContent-Length: 9\r\n\r\n".to_owned(),
            _ => ok("v1", ""),
        };
        let seen = seen_after(30, bad);
        assert!(seen.failed >= 9, "{seen:?}");
        assert!(seen.failures.iter().any(|why| why == "502: oops"), "{seen:?}");
        assert!(seen.failures.iter().any(|why| why == "200 without x-release"), "{seen:?}");
        assert!(seen.failures.iter().any(|why| why.starts_with("no answer")), "{seen:?}");
    }
}
