//! The HTTP client of health checks.

use http_body_util::Full;
use hyper::Request as Message;
use hyper::body::Bytes;
use tokio::runtime::Runtime;
use tokio::time::Instant;

use crate::host::http::{self, Exchange, Reply};
use crate::host::{Answer, Probe, Request, Result};

/// More of a body is not read.
const BODY: usize = 64 * 1024;

/// HTTP/1.1 over a Unix socket or a port of the loopback. Whatever the peer does, an answer comes by the request's timeout.
#[derive(Debug)]
pub struct HttpProbe {
    runtime: Runtime,
}

impl HttpProbe {
    /// A client. It opens nothing yet.
    pub fn new() -> Result<Self> {
        Ok(Self { runtime: http::runtime()? })
    }
}

impl Probe for HttpProbe {
    fn get(&self, request: &Request) -> Result<std::result::Result<Answer, String>> {
        let message = match message(request) {
            Ok(message) => message,
            Err(error) => return Ok(Err(format!("can't ask for {}: {error}", request.path))),
        };
        let exchange = Exchange { target: &request.target, request: message, limit: BODY, deadline: request.timeout };
        let answer = self.runtime.block_on(async {
            let begin = Instant::now();
            http::exchange(exchange).await.map(|reply| answer(reply, begin))
        });
        Ok(answer.map_err(|why| why.to_string()))
    }
}

/// The request as nginx would send it on.
fn message(request: &Request) -> hyper::http::Result<Message<Full<Bytes>>> {
    let mut message = Message::get(&request.path)
        .header("Host", &request.host)
        .header("User-Agent", "portreeve")
        .header("Connection", "close")
        .header("X-Forwarded-For", "127.0.0.1");
    if request.forwarded_https {
        message = message.header("X-Forwarded-Proto", "https");
    }
    message.body(Full::default())
}

fn answer(reply: Reply, begin: Instant) -> Answer {
    let headers = reply.head.headers.iter();
    Answer {
        status: reply.head.status.as_u16(),
        headers: headers
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect(),
        body: reply.body.into_bytes(),
        listener: reply.listener,
        took: begin.elapsed(),
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests are the servers, and hold the clock")]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;
    use std::path::Path;
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::host::Target;

    fn request(target: Target) -> Request {
        let (host, path) = ("bakery.example".into(), "/healthz?full=1".into());
        Request { target, host, path, forwarded_https: false, timeout: Duration::from_millis(400) }
    }

    /// A server for one connection: it reads the request, then does `answer`. It ends when its client goes.
    fn served(answer: impl FnOnce(&str, &mut dyn Write) + Send + 'static) -> Target {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            if let Some(text) = read_request(&mut stream) {
                answer(&text, &mut stream);
            }
        });
        Target::Port(port)
    }

    /// The request's head; `None` when its client went before its end.
    fn read_request(stream: &mut dyn Read) -> Option<String> {
        let mut text = Vec::new();
        while !text.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if stream.read(&mut byte).unwrap() == 0 {
                return None;
            }
            text.push(byte[0]);
        }
        Some(String::from_utf8(text).unwrap())
    }

    fn get(request: &Request) -> std::result::Result<Answer, String> {
        HttpProbe::new().unwrap().get(request).unwrap()
    }

    #[test]
    fn the_request_is_what_nginx_would_send() {
        let target = served(|seen, out| {
            let body = seen.to_lowercase();
            write!(out, "HTTP/1.1 200 OK\r\nX-Release: v1\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        });
        let seen = get(&Request { forwarded_https: true, ..request(target) }).unwrap();
        assert_eq!(seen.status, 200);
        assert!(seen.headers.contains(&("x-release".into(), "v1".into())), "{:?}", seen.headers);
        let body = String::from_utf8(seen.body).unwrap();
        assert!(body.starts_with("get /healthz?full=1 http/1.1\r\n"), "{body}");
        for line in ["host: bakery.example", "x-forwarded-proto: https", "connection: close", "user-agent: portreeve"] {
            assert!(body.contains(&format!("{line}\r\n")), "{body}");
        }
    }

    #[test]
    fn a_redirect_and_an_error_are_answers() {
        for status in [301, 500] {
            let target = served(move |_, out| {
                write!(out, "HTTP/1.1 {status} X\r\nLocation: http://127.0.0.1:1/\r\nConnection: close\r\n\r\nbody")
                    .unwrap();
            });
            let answer = get(&request(target)).unwrap();
            assert_eq!((answer.status, answer.body), (status, b"body".to_vec()));
        }
    }

    #[test]
    fn an_endless_body_is_read_to_its_limit() {
        let target = served(|_, out| {
            out.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            while out.write_all(&[b'x'; 4096]).is_ok() {}
        });
        let answer = get(&request(target)).unwrap();
        assert_eq!((answer.status, answer.body.len()), (200, BODY));
    }

    #[test]
    fn nobody_can_hold_it_up() {
        let slow_drip = served(|_, out| {
            out.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n").unwrap();
            while out.write_all(b"x").is_ok() {
                thread::sleep(Duration::from_millis(50));
            }
        });
        let slow_headers = served(|_, out| {
            out.write_all(b"HTTP/1.1 200 OK\r\nX: ").unwrap();
            while out.write_all(b"x").is_ok() {
                thread::sleep(Duration::from_millis(50));
            }
        });
        let endless_preludes = served(|_, out| while out.write_all(b"HTTP/1.1 102 Wait\r\n\r\n").is_ok() {});
        let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
        let deaf_port = Target::Port(deaf.local_addr().unwrap().port());
        for target in [slow_drip, slow_headers, endless_preludes, deaf_port] {
            let begin = Instant::now();
            assert_eq!(get(&request(target)).unwrap_err(), "no answer within 400ms");
            assert!(begin.elapsed() < Duration::from_millis(900), "{:?}", begin.elapsed());
        }
    }

    #[test]
    fn headers_without_end_and_garbage_are_no_answer() {
        let huge = served(|_, out| {
            out.write_all(b"HTTP/1.1 200 OK\r\nX: ").ok();
            while out.write_all(&[b'x'; 4096]).is_ok() {}
        });
        let garbage = served(|_, out| out.write_all(b"SSH-2.0-OpenSSH_9.2\r\n\r\n").unwrap());
        for target in [huge, garbage] {
            let why = get(&request(target)).unwrap_err();
            assert!(why.starts_with("not an HTTP answer"), "{why}");
        }
        let silent = served(|_, _| {});
        assert_eq!(get(&request(silent)).unwrap_err(), "closed without an answer");
        let cut = served(|_, out| out.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf").unwrap());
        assert_eq!(get(&request(cut)).unwrap_err(), "closed without an answer");
    }

    #[test]
    fn a_socket_says_why_it_does_not_answer() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("s");
        let ask = |path: &Path| get(&request(Target::Socket(path.to_owned())));
        assert_eq!(ask(&socket).unwrap_err(), "no socket");
        drop(UnixListener::bind(&socket).unwrap());
        assert_eq!(ask(&socket).unwrap_err(), "connection refused");
        std::fs::remove_file(&socket).unwrap();
        let listener = UnixListener::bind(&socket).unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            read_request(&mut stream).unwrap();
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
            stream.read_to_end(&mut Vec::new())
        });
        let answer = ask(&socket).unwrap();
        assert_eq!((answer.status, answer.listener), (204, Some(std::process::id())));
        server.join().unwrap().unwrap();
        let long = dir.path().join("x".repeat(120));
        assert!(ask(&long).unwrap_err().starts_with("can't connect"));
    }

    #[test]
    fn a_full_queue_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("s");
        let listener =
            rustix::net::socket(rustix::net::AddressFamily::UNIX, rustix::net::SocketType::STREAM, None).unwrap();
        rustix::net::bind(&listener, &rustix::net::SocketAddrUnix::new(&socket).unwrap()).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let _first = std::os::unix::net::UnixStream::connect(&socket).unwrap();
        assert_eq!(get(&request(Target::Socket(socket))).unwrap_err(), "no answer within 400ms");
    }

    #[test]
    fn a_path_that_is_none_is_said() {
        let wrong = Request { path: "a b".into(), ..request(Target::Port(1)) };
        assert!(get(&wrong).unwrap_err().starts_with("can't ask for a b"));
    }
}
