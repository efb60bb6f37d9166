//! Mail and HTTP against real peers on this machine, sound ones and broken ones.

#![expect(clippy::disallowed_methods, reason = "a test bed is made of processes, files and clocks")]

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::thread::JoinHandle;
use std::time::Instant;

use super::*;
use crate::host::Mail;
use crate::model::MailAddress;

fn mail() -> Mail {
    Mail {
        to: MailAddress::parse("ops@example.org").unwrap(),
        id: "bakery_pro-web1-1".to_owned(),
        subject: "bäckerei: quarantined".to_owned(),
        text: "rule    quarantined\n.\nnext    none — ever\n".to_owned(),
    }
}

/// Answers one request with these bytes and hands over what it was asked: the head, and the body.
fn answers(answer: &'static str) -> (SecretUrl, JoinHandle<(String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://user:pw@{}/hook/s3cret", listener.local_addr().unwrap());
    let served = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let asked = read_request(&mut stream);
        stream.write_all(answer.as_bytes()).unwrap();
        asked
    });
    (SecretUrl::parse(&url).unwrap(), served)
}

fn read_request(stream: &mut TcpStream) -> (String, String) {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(reader.read_line(&mut head).unwrap(), 0, "{head}");
    }
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).unwrap();
    (head, String::from_utf8(body).unwrap())
}

#[test]
fn json_is_posted_and_a_heartbeat_is_asked() {
    let (url, served) = answers("HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n");
    RealPost::new().ask(&url, Some(b"{\"schema\":1}")).unwrap();
    let (head, body) = served.join().unwrap();
    assert!(head.starts_with("POST /hook/s3cret HTTP/1.1\r\n"), "{head}");
    assert!(head.to_lowercase().contains("content-type: application/json"), "{head}");
    assert_eq!(body, "{\"schema\":1}");
    let (url, served) = answers("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    RealPost::new().ask(&url, None).unwrap();
    assert!(served.join().unwrap().0.starts_with("GET /hook/s3cret HTTP/1.1\r\n"));
}

#[test]
fn a_refusal_is_said_without_the_token_and_a_redirect_is_one() {
    let elsewhere = "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/x\r\ncontent-length: 0\r\n\r\n";
    for (answer, words) in [
        ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", "answered 404"),
        ("HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n", "answered 500"),
        (elsewhere, "answered 302"),
    ] {
        let (url, served) = answers(answer);
        assert_eq!(RealPost::new().ask(&url, Some(b"{}")).unwrap_err(), words);
        served.join().unwrap();
    }
    for text in
        ["http://127.0.0.1:1/hook/s3cret", "https://127.0.0.1:1/hook/s3cret", "http://no-such-host.invalid/s3cret"]
    {
        let said = RealPost::new().ask(&SecretUrl::parse(text).unwrap(), None).unwrap_err();
        assert!(!said.contains("s3cret") && !said.is_empty(), "{said}");
    }
    let (url, served) = answers("garbage\r\n\r\n");
    let said = RealPost::new().ask(&url, None).unwrap_err();
    assert!(!said.contains("s3cret") && !said.contains("pw@"), "{said}");
    served.join().unwrap();
}

#[test]
fn a_peer_that_never_answers_costs_a_few_seconds() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = SecretUrl::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
    let before = Instant::now();
    assert_eq!(RealPost::new().ask(&url, None).unwrap_err(), "no answer within 5s");
    assert!(before.elapsed() < DEADLINE * 2, "{:?}", before.elapsed());
}

/// TLS is real: a certificate that nobody here trusts is refused before anything is sent.
#[test]
fn a_certificate_that_this_machine_does_not_trust_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (key, cert) = (directory.path().join("key"), directory.path().join("cert"));
    let made = tool::output(
        std::path::Path::new("/usr/bin/openssl"),
        [
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-keyout",
            key.to_str().unwrap(),
            "-out",
            cert.to_str().unwrap(),
        ],
        DEADLINE * 4,
    )
    .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut server = std::process::Command::new("/usr/bin/openssl");
    server
        .args(["s_server", "-quiet", "-naccept", "1", "-accept", &format!("127.0.0.1:{port}"), "-key"])
        .arg(&key)
        .arg("-cert")
        .arg(&cert);
    let mut server = server
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let url = SecretUrl::parse(&format!("https://localhost:{port}/hook/s3cret")).unwrap();
    let said = loop {
        let said = RealPost::new().ask(&url, Some(b"{}")).unwrap_err();
        if !said.contains("refused") {
            break said;
        }
        assert!(server.try_wait().unwrap().is_none(), "the server has ended: {said}");
    };
    assert!(said.contains("certificate"), "{said}");
    server.kill().ok();
    let mut got = String::new();
    server.stdout.take().unwrap().read_to_string(&mut got).unwrap();
    server.wait().unwrap();
    assert!(!got.contains("s3cret"), "{got}");
}

#[test]
fn sendmail_is_handed_the_message_with_its_recipient() {
    let directory = tempfile::tempdir().unwrap();
    let (program, got) = (directory.path().join("sendmail"), directory.path().join("got"));
    let script = format!("#!/bin/sh\necho \"$@\" >{0}\ncat >>{0}\n", got.display());
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let post = RealPost { sendmail: Some(program.clone()), smtp: 1, host: "web1".to_owned() };
    post.mail(&mail()).unwrap();
    let text = std::fs::read_to_string(&got).unwrap();
    assert!(text.starts_with("-t -i\n"), "{text}");
    for header in [
        "To: ops@example.org",
        "From: Portreeve <root@web1>",
        "Message-ID: <bakery_pro-web1-1@web1>",
        "Auto-Submitted: auto-generated",
    ] {
        assert!(text.contains(header), "{header}\n{text}");
    }
    assert!(text.is_ascii(), "what is not ASCII is encoded: {text}");
    std::fs::write(&program, "#!/bin/sh\nexec >/dev/null\necho 'queue is full' >&2\nexit 75\n").unwrap();
    let said = post.mail(&mail()).unwrap_err();
    assert_eq!(said, format!("{} ended with 75: queue is full", program.display()));
}

#[test]
fn without_sendmail_it_goes_to_the_mail_system_on_this_machine() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let smtp = listener.local_addr().unwrap().port();
    let sink = std::thread::spawn(move || receive(&listener));
    let post = RealPost { sendmail: None, smtp, host: "web1".to_owned() };
    post.mail(&mail()).unwrap();
    let got = sink.join().unwrap();
    assert!(got.contains("MAIL FROM:<root@web1>") && got.contains("RCPT TO:<ops@example.org>"), "{got}");
    assert!(got.contains("Subject: ") && got.contains("\r\n.\r\n"), "{got}");
    let nobody = RealPost { sendmail: None, smtp: 1, host: "web1".to_owned() };
    let said = nobody.mail(&mail()).unwrap_err();
    assert!(said.starts_with("no sendmail here, and localhost:1: "), "{said}");
}

/// One conversation of SMTP (RFC 5321), from the server's side.
fn receive(listener: &TcpListener) -> String {
    let (stream, _) = listener.accept().unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let say = |line: &str| (&stream).write_all(format!("{line}\r\n").as_bytes()).unwrap();
    say("220 sink");
    let mut got = String::new();
    let mut in_data = false;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap() == 0 {
            return got;
        }
        got.push_str(&line);
        match (in_data, line.trim_end()) {
            (true, ".") => {
                in_data = false;
                say("250 taken");
            }
            (true, _) => {}
            (false, "DATA") => {
                in_data = true;
                say("354 go on");
            }
            (false, "QUIT") => say("221 bye"),
            (false, _) => say("250 ok"),
        }
    }
}
