//! People are told of a change of state once, in words that help; a notifier that is down is shown and holds up nothing.

use crate::edits::IMPORT_ERROR;
use crate::traces::until;
use crate::world::World;

/// Part of every address here; whoever reads it could post.
const TOKEN: &str = "s3cret";

const PORTREEVE_TOML: &str = r#"schema = 1
[notify]
email = "ops@example.org"
webhook = "http://127.0.0.1:9080/hook/s3cret"
heartbeat = "https://localhost:9443/ping/s3cret"
"#;

/// Writes each request on a line of /srv/sink: method, path, body. The second port speaks TLS.
const SINK: &str = r#"
import http.server, ssl, threading

class Sink(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
        with open("/srv/sink", "a") as log:
            log.write(f"{self.command} {self.path} {body}\n")
        self.send_response(204)
        self.end_headers()
    do_POST = do_GET

    def log_message(self, *words):
        pass

plain = http.server.ThreadingHTTPServer(("127.0.0.1", 9080), Sink)
secure = http.server.ThreadingHTTPServer(("127.0.0.1", 9443), Sink)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/srv/sink.pem")
secure.socket = context.wrap_socket(secure.socket, server_side=True)
threading.Thread(target=secure.serve_forever, daemon=True).start()
plain.serve_forever()
"#;

const UNIT: &str = "[Service]\nExecStart=/usr/bin/python3 /srv/sink.py\n[Install]\nWantedBy=multi-user.target\n";

/// Each mail on its lines, and a line of dashes.
const SENDMAIL: &str = "#!/bin/sh\n{ echo \"args $*\"; cat; echo; echo ---; } >>/srv/mail\n";

/// A mail system that is asked over the network alone, as one in a container of its own is.
const SMTP: &str = r#"
import asyncore, smtpd

class Sink(smtpd.SMTPServer):
    def process_message(self, peer, sender, recipients, data, **options):
        with open("/srv/mail", "a") as log:
            log.write(f"to {recipients}\n{data.decode()}\n---\n")

Sink(("127.0.0.1", 25), None)
asyncore.loop()
"#;

/// An authority of the company's own, trusted by this machine, and what it says of the sink.
const CERTIFICATES: &str = "cd /srv; new='openssl req -newkey rsa:2048 -nodes'
    $new -x509 -days 30 -subj /CN=Company -keyout ca.key -out ca.pem 2>/dev/null
    $new -subj /CN=localhost -keyout key.pem -out request.pem 2>/dev/null
    echo subjectAltName=DNS:localhost >names
    openssl x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile names -out cert.pem 2>/dev/null
    cat key.pem cert.pem >sink.pem
    cp ca.pem /usr/local/share/ca-certificates/company.crt; update-ca-certificates >/dev/null 2>&1";

/// A host whose messages go into files of its own.
fn world(name: &str) -> World {
    let world = World::new(name);
    world.host.exec_ok(&["systemctl", "start", "nginx"]);
    world.host.put_file("/srv/sink.py", SINK);
    world.host.put_file("/etc/systemd/system/sink.service", UNIT);
    world.host.put_file("/usr/sbin/sendmail", SENDMAIL);
    world.host.sh(&format!(
        "echo 127.0.0.1 localhost >>/etc/hosts; touch /srv/sink /srv/mail; chmod 755 /usr/sbin/sendmail; {CERTIFICATES}"
    ));
    world.host.exec_ok(&["systemctl", "enable", "--quiet", "--now", "sink"]);
    listens(&world);
    world.push_deploy(&[("portreeve.toml", Some(PORTREEVE_TOML))]);
    world
}

fn listens(world: &World) {
    until("the sink listens", || {
        world.host.exec(&["curl", "-s", "-o", "/dev/null", "http://127.0.0.1:9080/up"]).code == 0
    });
}

/// The messages that arrived at the webhook.
fn posted(world: &World) -> Vec<serde_json::Value> {
    let log = world.host.read_file("/srv/sink");
    let bodies = log.lines().filter_map(|line| line.strip_prefix("POST /hook/s3cret "));
    bodies.map(|body| serde_json::from_str(body).expect("JSON")).collect()
}

fn states(world: &World) -> Vec<String> {
    let state = |message: &serde_json::Value| message["state"].as_str().expect("a state").to_owned();
    posted(world).iter().map(state).collect()
}

fn mails(world: &World) -> usize {
    world.host.read_file("/srv/mail").lines().filter(|line| *line == "---").count()
}

fn heartbeats(world: &World) -> usize {
    world.host.read_file("/srv/sink").lines().filter(|line| line.starts_with("GET /ping/s3cret")).count()
}

#[test]
fn people_are_told_once_of_each_change_over_many_ticks_and_reboots() {
    let mut world = world("notify");
    well(&world);
    broken(&mut world);
    mended(&world);
    down(&world);
    unwritten(&world);
    forgotten(&world);
    held(&world);
}

/// Neither a slip in an address nor a tip that is refused ends what people are told, nor what keeps the ports.
#[test]
fn neither_a_mistake_nor_a_refused_tip_silences_anybody() {
    let world = world("notify-kept");
    world.reconcile().ok();
    let reserved = world.host.read_file("/etc/sysctl.d/60-portreeve.conf");
    let mistyped = PORTREEVE_TOML.replace("http://127.0.0.1:9080", "htp:/127.0.0.1");
    world.push_deploy(&[("portreeve.toml", Some(&mistyped))]);
    let slip = world.reconcile().exits(2);
    assert!(slip.said().contains("`notify.webhook` is no address"), "{slip}");
    world.host.exec_ok(&["systemctl", "start", "portreeve.service"]);
    let journal = || world.host.sh("journalctl --unit portreeve.service --no-pager");
    until("the agent says it as well", || journal().contains("`notify.webhook` is no address"));
    world.host.exec_ok(&["systemctl", "stop", "portreeve.service"]);
    world.release("v2", IMPORT_ERROR).exits(3);
    assert_eq!(states(&world), ["quarantined"], "as they were told before");
    world.push_deploy(&[("portreeve.toml", Some(PORTREEVE_TOML))]);
    world.release("v3", &[]).ok();
    assert_eq!(states(&world), ["quarantined", "ok"]);

    world.deploy.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    world.deploy.write("portreeve.toml", "schema = 1\n");
    let project = world.deploy.read("projects/bakery/project.toml");
    world.deploy.write("projects/bakery/project.toml", project.replace("60000-60049", "60100-60149"));
    world.deploy.commit("rewritten");
    world.deploy.push_forced();
    let refused = world.reconcile().exits(4);
    assert!(refused.said().contains("was rewritten"), "{refused}");
    assert_eq!(states(&world), ["quarantined", "ok", "diverged"]);
    assert_eq!(world.host.read_file("/etc/sysctl.d/60-portreeve.conf"), reserved);
    assert_eq!(world.serving(), "v3");
}

#[test]
fn mail_goes_by_smtp_where_there_is_no_sendmail_and_waits_while_nobody_takes_it() {
    let world = world("notify-smtp");
    world.host.put_file("/srv/smtp.py", SMTP);
    world.host.put_file("/etc/systemd/system/smtp.service", UNIT.replace("sink.py", "smtp.py"));
    world.host.sh("rm /usr/sbin/sendmail");
    let takes = |takes: &str| {
        world.host.exec_ok(&["systemctl", takes, "smtp"]);
        let listens = || !world.host.exec(&["ss", "-ltnH", "sport = :25"]).stdout.is_empty();
        until("it has come, or gone", || listens() == (takes == "start"));
    };
    takes("start");
    world.reconcile().ok();
    let failed = world.release("v2", IMPORT_ERROR).exits(3);
    assert!(!failed.stderr.contains("note: email"), "{failed}");
    (0..2).for_each(|_| drop(world.reconcile().exits(4)));
    let mail = world.host.read_file("/srv/mail").replace('\r', "");
    in_order(
        &mail,
        &["to ['ops@example.org']\n", "Subject: bakery/pro on web1: quarantined; v1", "rule    quarantined: "],
    );
    assert_eq!(mails(&world), 1);

    takes("stop");
    let good = world.release("v3", &[]).ok();
    assert!(good.stderr.contains("no sendmail here, and localhost:25: "), "{good}");
    assert_eq!((world.serving().as_str(), mails(&world)), ("v3", 1));
    let status = world.portreeve(&["status"]).ok();
    in_order(&status.stdout, &["notify  email ops@example.org fails since ", "; 1 message waits"]);
    takes("start");
    comes_due(&world);
    let back = world.reconcile().ok();
    assert!(back.stderr.contains("email ops@example.org works again"), "{back}");
    assert_eq!(mails(&world), 2);
}

#[test]
fn of_what_does_not_run_nobody_is_told_that_it_serves() {
    let world = world("notify-down");
    world.reconcile().ok();
    world.portreeve(&["stop", "bakery/pro"]).ok();
    world.reconcile().ok();
    serves_nothing(&world, &["stopped"]);
    world.portreeve(&["start", "bakery/pro"]).ok();
    world.reconcile().ok();
    assert_eq!(posted(&world)[1]["serves"].as_str(), Some("v1 (generation 1)"));

    world.host.sh("for bin in /home/foouser/bakery/pro/venvs/*/bin; do mv $bin $bin.away; done");
    world.host.sh("systemctl stop 'portreeve-bakery_pro@*'");
    let failed = world.reconcile();
    assert!(![0, 2].contains(&failed.code), "it can't be started: {failed}");
    assert_eq!(world.get("/").status, 502);
    serves_nothing(&world, &["blocked", "quarantined"]);
}

/// The last message: it is of one of these states.
#[track_caller]
fn serves_nothing(world: &World, states: &[&str]) {
    let message = posted(world).pop().expect("a message");
    assert!(states.contains(&message["state"].as_str().expect("a state")), "{message}");
    assert!(message["serves"].is_null(), "{message}");
    let first = "bakery/pro on web1 serves nothing; v1 (generation 1) does not run\n";
    assert!(message["text"].as_str().expect("a text").starts_with(first), "{message}");
    let subject = format!("bakery/pro on web1: {}; nothing serves", message["state"].as_str().expect("a state"));
    let mail = world.host.read_file("/srv/mail").replace("=\r\n", "").replace('\r', "");
    assert!(mail.contains(&subject), "{mail}");
}

/// What waits to be sent again waits no longer.
fn comes_due(world: &World) {
    world.host.sh(r#"sed -i 's/"next": "20/"next": "19/' /var/lib/portreeve/notify.json"#);
}

/// Nothing to tell; the heartbeat beats, also while nothing happens, and that writes nothing.
fn well(world: &World) {
    let first = world.reconcile().ok();
    assert!(!first.stderr.contains("note: "), "{first}");
    world.reconcile().ok();
    let record = || world.host.sh("stat -c '%i %Y %a %U' /var/lib/portreeve/notify.json");
    let (before, beats) = (record(), heartbeats(world));
    assert!(before.trim().ends_with(" 600 root"), "{before}");
    assert_eq!(beats, 2, "{}", world.host.read_file("/srv/sink"));
    (0..3).for_each(|_| drop(world.reconcile().ok()));
    assert_eq!((heartbeats(world), record()), (beats + 3, before));
    assert_eq!((states(world), mails(world)), (vec![], 0), "a release of a healthy site is no change of state");
}

/// One message through each channel, however many ticks and reboots.
fn broken(world: &mut World) {
    let beats = heartbeats(world);
    world.release("v2", IMPORT_ERROR).exits(3);
    (0..6).for_each(|_| drop(world.reconcile().exits(4)));
    assert_eq!((states(world), mails(world)), (vec!["quarantined".to_owned()], 1));
    world.host.reboot();
    listens(world);
    (0..2).for_each(|_| drop(world.reconcile().exits(4)));
    assert_eq!((states(world), mails(world)), (vec!["quarantined".to_owned()], 1), "told once, also after a reboot");
    world.host.sh("systemctl stop 'portreeve-bakery_pro@*'");
    (0..2).for_each(|_| drop(world.reconcile().exits(4)));
    assert_eq!(world.serving(), "v1", "it is started");
    assert_eq!((states(world), mails(world)), (vec!["quarantined".to_owned()], 1), "a start mends nothing");
    assert_eq!(heartbeats(world), beats, "none of these passes was good");

    let message = &posted(world)[0];
    let of = |key: &str| message[key].as_str().unwrap_or_default().to_owned();
    assert_eq!((of("environment"), of("host"), of("was")), ("bakery/pro".into(), "web1".into(), "ok".into()));
    assert_eq!((of("serves"), of("wants")), ("v1 (generation 1)".into(), "v2".into()));
    assert!(of("cause").contains("breda") || of("cause").contains("health"), "{message}");
    let parts = [
        "bakery/pro on web1 serves v1 (generation 1)\n\n",
        "wanted  v2\n",
        "rule    quarantined: ",
        "next    ",
        "you     portreeve ",
    ];
    in_order(&of("text"), &parts);
    // RFC 2045 6.7: lines are broken by `=`.
    let mail = world.host.read_file("/srv/mail").replace("=\r\n", "").replace('\r', "");
    in_order(&mail, &["args -t -i\n", "To: ops@example.org", "Subject: bakery/pro on web1: quarantined; v1"]);
    in_order(&mail, &parts);
}

fn mended(world: &World) {
    world.release("v3", &[]).ok();
    (0..3).for_each(|_| drop(world.reconcile().ok()));
    assert_eq!((states(world), mails(world)), (vec!["quarantined".to_owned(), "ok".to_owned()], 2));
    assert_eq!(posted(world)[1]["serves"].as_str(), Some("v3 (generation 3)"));
}

/// A dead webhook and a dead heartbeat: releases go on, it is shown, no address is, and what waited arrives in its order.
fn down(world: &World) {
    world.host.exec_ok(&["systemctl", "stop", "sink"]);
    let said = world.release("v4", IMPORT_ERROR).exits(3).said();
    assert!(said.contains("note: webhook http://127.0.0.1:9080/… failed: "), "{said}");
    let good = world.release("v5", &[]).ok();
    assert_eq!(world.serving(), "v5", "a dead notifier fails no release");
    assert!(good.stderr.contains("heartbeat https://localhost:9443/… failed: "), "{good}");
    let status = world.portreeve(&["status"]).ok();
    in_order(
        &status.stdout,
        &["repo  main", "notify  webhook http://127.0.0.1:9080/… fails since ", "; 2 messages wait"],
    );
    let plan = world.portreeve(&["plan"]).ok();
    let all = [said, good.said(), status.said(), plan.said(), world.host.sh("journalctl --no-pager -o cat")].concat();
    assert!(!all.contains(TOKEN), "an address is shown: {all}");
    assert_eq!(mails(world), 4, "the mail goes its own way");

    world.host.exec_ok(&["systemctl", "start", "sink"]);
    listens(world);
    comes_due(world);
    let back = world.reconcile().ok();
    assert!(back.stderr.contains("webhook http://127.0.0.1:9080/… works again"), "{back}");
    assert_eq!(states(world), ["quarantined", "ok", "quarantined", "ok"]);
    assert!(!world.portreeve(&["status"]).ok().stdout.contains("notify"), "all is well again");
}

/// Nobody can write down what was told, and it is told once all the same.
fn unwritten(world: &World) {
    let there = states(world).len();
    world.host.sh("cd /var/lib/portreeve && mount --bind . . && mount -o remount,bind,ro /var/lib/portreeve");
    world.portreeve(&["suspend", "bakery/pro", "--for", "2h", "--reason", "db move"]).ok();
    for _ in 0..3 {
        let pass = world.reconcile();
        assert_eq!(states(world)[there..], ["suspended"], "{pass}");
    }
    world.host.sh("umount /var/lib/portreeve");
    world.portreeve(&["resume", "bakery/pro"]).ok();
    (0..2).for_each(|_| drop(world.reconcile().ok()));
    assert_eq!(states(world)[there..], ["suspended", "ok"]);
    assert!(!world.host.has("/run/portreeve/notify.json"), "it is on the disk");
}

/// The state directory is lost: what is wrong is told once more, and no more than once.
fn forgotten(world: &World) {
    world.release("v6", IMPORT_ERROR).exits(3);
    world.host.sh("rm -r /var/lib/portreeve");
    (0..3).for_each(|_| drop(world.reconcile().exits(4)));
    assert_eq!(states(world)[6..], ["quarantined", "quarantined"]);
    world.release("v7", &[]).ok();
    assert_eq!(states(world)[8..], ["ok"]);
}

/// Who ordered what, to those who did not; and nobody is told anything once the table is gone.
fn held(world: &World) {
    world.portreeve(&["rollback", "bakery/pro", "--reason", "cart broken"]).ok();
    (0..2).for_each(|_| drop(world.reconcile().ok()));
    let message = posted(world).pop().expect("a message");
    assert_eq!(message["state"].as_str(), Some("held"));
    assert_eq!(states(world).len(), 10);
    let cause = message["cause"].as_str().expect("a cause");
    assert!(cause.starts_with("by root, ") && cause.ends_with(": \"cart broken\""), "{cause}");
    world.push_deploy(&[("portreeve.toml", Some("schema = 1\n"))]);
    world.reconcile().ok();
    assert!(!world.host.has("/var/lib/portreeve/notify.json"), "the addresses are forgotten");
    world.portreeve(&["resume", "bakery/pro"]).ok();
    world.reconcile().ok();
    assert_eq!(states(world).len(), 10);
}

#[track_caller]
fn in_order(text: &str, parts: &[&str]) {
    let mut rest = text;
    for part in parts {
        let at = rest.find(part).unwrap_or_else(|| panic!("`{part}` is not said, or not there:\n{text}"));
        rest = &rest[at + part.len()..];
    }
}
