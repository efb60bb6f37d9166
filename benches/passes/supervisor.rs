//! Answers in Supervisor's place: every slot a runs.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;

use super::repositories::Bench;

/// Serves until the process ends.
pub fn serve(bench: &Bench) -> std::thread::JoinHandle<()> {
    let listener = UnixListener::bind(bench.root.join("run/supervisor.sock")).unwrap();
    let body = answer(&bench.projects);
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            let mut part = [0; 4096];
            while !request.ends_with(b"</methodCall>") {
                match stream.read(&mut part).unwrap() {
                    0 => break,
                    read => request.extend(&part[..read]),
                }
            }
            stream.write_all(answer.as_bytes()).unwrap();
        }
    })
}

/// As Supervisor 4.2 writes `getAllProcessInfo`, member by member.
fn answer(projects: &[String]) -> String {
    let text = |name: &str, value: &str| {
        format!("<member>\n<name>{name}</name>\n<value><string>{value}</string></value>\n</member>\n")
    };
    let int = |name: &str, value: i64| {
        format!("<member>\n<name>{name}</name>\n<value><int>{value}</int></value>\n</member>\n")
    };
    let mut out = String::from("<?xml version='1.0'?>\n<methodResponse>\n<params>\n<param>\n<value><array><data>\n");
    for project in projects {
        let name = format!("portreeve-{project}_pro-a");
        let log = format!("/var/log/bench/{project}/pro/web-a.log");
        out += "<value><struct>\n";
        for (member, value) in [("name", &*name), ("group", &name), ("statename", "RUNNING"), ("spawnerr", "")] {
            out += &text(member, value);
        }
        for (member, value) in [("logfile", &*log), ("stdout_logfile", &log), ("stderr_logfile", "")] {
            out += &text(member, value);
        }
        out += &text("description", "pid 4711, uptime 3 days, 1:02:03");
        for (member, value) in [("start", 1_700_000_000), ("stop", 0), ("now", 1_700_000_100), ("state", 20)] {
            out += &int(member, value);
        }
        out += &(int("exitstatus", 0) + &int("pid", 4711));
        out += "</struct></value>\n";
    }
    out + "</data></array></value>\n</param>\n</params>\n</methodResponse>\n"
}
