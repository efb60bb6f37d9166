//! Answers in Supervisor's place: every slot a runs, and no slot b is known.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};

use super::repositories::Bench;

/// Serves until the process ends.
pub fn serve(bench: &Bench) -> std::thread::JoinHandle<()> {
    let listener = UnixListener::bind(bench.root.join("run/supervisor.sock")).unwrap();
    let all = listed(&bench.projects);
    std::thread::spawn(move || listener.incoming().for_each(|stream| answer(stream.unwrap(), &all)))
}

fn answer(mut stream: UnixStream, all: &str) {
    let mut request = String::new();
    let mut part = [0; 4096];
    while !request.trim_end().ends_with("</methodCall>") {
        match stream.read(&mut part).unwrap() {
            0 => break,
            read => request += std::str::from_utf8(&part[..read]).unwrap(),
        }
    }
    let asked = |method: &str| request.contains(&format!("<methodName>supervisor.{method}</methodName>"));
    let body = if asked("getAllProcessInfo") {
        all.to_owned()
    } else if asked("reloadConfig") {
        let nothing = "<value><array><data></data></array></value>".repeat(3);
        response(&format!(
            "<value><array><data><value><array><data>{nothing}</data></array></value></data></array></value>"
        ))
    } else {
        let program = request.split_once("<string>").and_then(|(_, rest)| rest.split_once('<')).unwrap().0;
        if program.ends_with("-a") { response(&info(program)) } else { unknown() }
    };
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        .unwrap();
}

fn response(value: &str) -> String {
    format!(
        "<?xml version='1.0'?>\n<methodResponse>\n<params>\n<param>\n{value}</param>\n</params>\n</methodResponse>\n"
    )
}

/// `BAD_NAME`.
fn unknown() -> String {
    let members = int("faultCode", 10) + &text("faultString", "BAD_NAME");
    format!(
        "<?xml version='1.0'?>\n<methodResponse>\n<fault>\n<value><struct>\n{members}</struct></value>\n</fault>\n</methodResponse>\n"
    )
}

/// As Supervisor 4.2 writes `getAllProcessInfo`, member by member.
fn listed(projects: &[String]) -> String {
    let each: String = projects.iter().map(|project| info(&format!("portreeve-{project}_pro-a"))).collect();
    response(&format!("<value><array><data>\n{each}</data></array></value>\n"))
}

fn info(program: &str) -> String {
    let log = format!("/var/log/bench/{program}.log");
    let texts = [
        ("name", program),
        ("group", program),
        ("statename", "RUNNING"),
        ("spawnerr", ""),
        ("logfile", &log),
        ("stdout_logfile", &log),
        ("stderr_logfile", ""),
        ("description", "pid 4711, uptime 3 days, 1:02:03"),
    ];
    let numbers = [
        ("start", 1_700_000_000),
        ("stop", 0),
        ("now", 1_700_000_100),
        ("state", 20),
        ("exitstatus", 0),
        ("pid", 4711),
    ];
    let texts: String = texts.iter().map(|(name, value)| text(name, value)).collect();
    let numbers: String = numbers.iter().map(|(name, value)| int(name, *value)).collect();
    format!("<value><struct>\n{texts}{numbers}</struct></value>\n")
}

fn text(name: &str, value: &str) -> String {
    format!("<member>\n<name>{name}</name>\n<value><string>{value}</string></value>\n</member>\n")
}

fn int(name: &str, value: i64) -> String {
    format!("<member>\n<name>{name}</name>\n<value><int>{value}</int></value>\n</member>\n")
}
