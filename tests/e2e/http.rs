//! As much of HTTP/1.1 as a client needs that wants to know exactly what failed.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::thread::LinkNameSpaceType;

use crate::host::TestHost;

/// A request that takes longer has failed.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Request {
    bytes: Vec<u8>,
}

impl Request {
    /// GET `path` of the site `host`.
    pub fn get(host: &str, path: &str) -> Self {
        Self { bytes: format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes() }
    }

    /// POST `form` to `path` of the site `host`.
    pub fn post(host: &str, path: &str, form: &str) -> Self {
        let kind = "application/x-www-form-urlencoded";
        let head = format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\n");
        Self { bytes: format!("{head}Content-Length: {}\r\n\r\n{form}", form.len()).into_bytes() }
    }
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Response {
    /// 200 and the like.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// Invalid UTF-8 replaced.
    pub body: String,
}

impl Response {
    /// The value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Which release of the sample site this is from.
    pub fn release(&self) -> Option<&str> {
        self.header("x-release")
    }
}

/// A connection that is kept while the server keeps it, and made anew when it says that it won't.
#[derive(Debug)]
pub struct Client {
    port: u16,
    stream: Option<BufReader<TcpStream>>,
}

impl Client {
    /// A client of the calling thread's own network.
    pub fn new(port: u16) -> Self {
        Self { port, stream: None }
    }

    /// One request. After an error the next one begins with a new connection.
    pub fn send(&mut self, request: &Request) -> io::Result<Response> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => connect(self.port)?,
        };
        stream.get_mut().write_all(&request.bytes)?;
        let response = receive(&mut stream)?;
        if response.header("connection") != Some("close") {
            self.stream = Some(stream);
        }
        Ok(response)
    }
}

/// One request to the site `host` inside `machine`, at port 80.
pub fn get(machine: &TestHost, host: &str, path: &str) -> io::Result<Response> {
    let network = machine.network();
    let ask = || {
        enter(network.as_fd());
        Client::new(80).send(&Request::get(host, path))
    };
    std::thread::scope(|scope| scope.spawn(ask).join()).expect("the client does not panic")
}

/// Moves the calling thread, which must not be the main one, into another network.
pub fn enter(network: BorrowedFd<'_>) {
    rustix::thread::move_into_link_name_space(network, Some(LinkNameSpaceType::Network))
        .expect("the network namespace is entered");
}

fn connect(port: u16) -> io::Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    Ok(BufReader::new(stream))
}

fn receive(stream: &mut impl BufRead) -> io::Result<Response> {
    let status = status(&line(stream)?)?;
    let headers = headers(stream)?;
    let mut response = Response { status, headers, body: String::new() };
    response.body = String::from_utf8_lossy(&body(&response, stream)?).into_owned();
    Ok(response)
}

fn status(line: &str) -> io::Result<u16> {
    line.split(' ').nth(1).and_then(|word| word.parse().ok()).ok_or_else(|| malformed(line))
}

fn headers(stream: &mut impl BufRead) -> io::Result<Vec<(String, String)>> {
    let mut headers = Vec::new();
    loop {
        let line = line(stream)?;
        if line.is_empty() {
            return Ok(headers);
        }
        let (name, value) = line.split_once(':').ok_or_else(|| malformed(&line))?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

fn body(response: &Response, stream: &mut impl BufRead) -> io::Result<Vec<u8>> {
    if response.header("transfer-encoding") == Some("chunked") {
        return chunks(stream);
    }
    let length = response.header("content-length").and_then(|length| length.parse().ok());
    exactly(stream, length.ok_or_else(|| malformed("neither chunks nor a length"))?)
}

fn chunks(stream: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let head = line(stream)?;
        let length = usize::from_str_radix(&head, 16).map_err(|_| malformed(&head))?;
        body.extend(exactly(stream, length)?);
        line(stream)?;
        if length == 0 {
            return Ok(body);
        }
    }
}

fn exactly(stream: &mut impl Read, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed without an answer"));
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not HTTP: {what}"))
}

#[test]
fn a_chunked_answer_is_put_together() {
    let bytes = b"HTTP/1.1 200 OK\r\nX-Release: v1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\na\r\n0123456789\r\n0\r\n\r\n";
    let response = receive(&mut &bytes[..]).unwrap();
    assert_eq!((response.status, response.body.as_str(), response.release()), (200, "abc0123456789", Some("v1")));
}

#[test]
fn an_answer_cut_short_is_an_error() {
    let cut = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc";
    assert_eq!(receive(&mut &cut[..]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    assert_eq!(receive(&mut &b""[..]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}
