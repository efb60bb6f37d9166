//! One environment's files, whole, and what the programs that read them say.
#![expect(clippy::disallowed_methods, reason = "these tests lay files out and ask the real programs")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use secrecy::SecretString;

use super::*;
use crate::emit::proof;
use crate::manifest::{Django, Expect, Gunicorn, Health, Literal, Logs, Migrations, Nginx, Policy, Python, Rev, Web};
use crate::model::{
    Capability, CommitId, Digest, Domain, EnvName, Layout, NotHere, PortRange, ReleaseId, Root, Span, UserName,
};

fn bakery() -> Environment {
    Environment {
        name: EnvName::parse("bakery/pro").unwrap(),
        policy: Policy::Pro,
        user: UserName::parse("foouser").unwrap(),
        base_dir: "/home".into(),
        ports: PortRange::parse("60000-60009").unwrap(),
        source: "https://git.example.org/bakery.git".to_owned(),
        rev: Rev::Named("v1.4.2".to_owned()),
        domains: ["bakery.example", "*.bakery.example"].map(|name| Domain::parse(name).unwrap()).to_vec(),
        python: Python { version: Some("3.11".to_owned()), requirements: "requirements.txt".into() },
        web: Web::Gunicorn(Gunicorn {
            app: "bakery.wsgi:application".to_owned(),
            workers: Some(3),
            threads: 1,
            timeout: Span::secs(30),
            graceful_timeout: Span::secs(25),
            max_requests: 0,
        }),
        django: Some(Django {
            settings: "bakery.settings".to_owned(),
            dir: None,
            debug: false,
            compilemessages: true,
            collectstatic: true,
        }),
        health: Health {
            path: "/".to_owned(),
            expect: Expect::Answer,
            timeout: Span::secs(5),
            deadline: Span::secs(60),
            passes: 2,
            bake: Span::secs(10),
        },
        settings: BTreeMap::from([("EMAIL_HOST".to_owned(), Literal::Text("localhost".to_owned()))]),
        env: BTreeMap::from([
            ("LOG_LEVEL".to_owned(), "in\"fo".to_owned()),
            ("SECRET_KEY".to_owned(), "theirs".to_owned()),
        ]),
        nginx: Nginx {
            max_body: 20 << 20,
            headers: BTreeMap::from([("X-Robots-Tag".to_owned(), "noindex; \"nofollow\"".to_owned())]),
        },
        logs: Logs { max_size: 20 << 20, keep: 20 },
        keep_releases: 5,
        warm: Span::secs(60),
        migrations: Migrations::Additive,
        removed: false,
    }
}

fn layout(env: &Environment, root: Root) -> EnvLayout {
    Layout::new(root).env(&env.name, &env.user, &env.base_dir)
}

fn subject<'a>(env: &'a Environment, layout: &'a EnvLayout, key: &'a SecretString) -> Subject<'a> {
    let commit = CommitId::parse(&"a".repeat(40)).unwrap();
    let release = layout.release(&ReleaseId::new(&commit, &Digest::of(b"x")));
    Subject {
        env,
        layout,
        slot: Slot::B,
        code_dir: release.join("src"),
        release,
        venv: layout.venvs().join("env3.11-0123456789ab"),
        group: "foouser".to_owned(),
        web_user: "www-data".to_owned(),
        web_group: "www-data".to_owned(),
        workers: 3,
        http_port: 80,
        secret_key: key,
        capabilities: whole(),
        manager: Manager::Systemd,
        launcher: vec!["/usr/bin/portreeve".to_owned()],
    }
}

fn whole() -> &'static Capabilities {
    static WHOLE: LazyLock<Capabilities> = LazyLock::new(Capabilities::default);
    &WHOLE
}

fn nothing() -> &'static Capabilities {
    static NOTHING: LazyLock<Capabilities> =
        LazyLock::new(|| Capabilities::without(Capability::OF_ROOT, NotHere::Directory));
    &NOTHING
}

fn key() -> SecretString {
    SecretString::from("s3cr$t'\"\\key")
}

fn with_subject<T>(root: Root, test: impl FnOnce(Subject<'_>) -> T) -> T {
    let (env, key) = (bakery(), key());
    let layout = layout(&env, root);
    test(subject(&env, &layout, &key))
}

fn text_of(subject: &Subject<'_>, name: &str) -> String {
    let files = generation_files(subject).unwrap();
    let file = files.into_iter().find(|file| file.path == Path::new(name)).unwrap();
    String::from_utf8(file.bytes).unwrap()
}

fn golden_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/resource/golden")
}

fn all_texts() -> Vec<(String, String)> {
    with_subject(Root::system(), |mut subject| {
        let mut texts: Vec<_> = generation_files(&subject)
            .unwrap()
            .into_iter()
            .map(|file| (file.path.display().to_string(), String::from_utf8(file.bytes).unwrap()))
            .collect();
        subject.manager = Manager::Supervisor;
        texts.push(("program".to_owned(), text_of(&subject, "unit")));
        texts.push(("sysusers".to_owned(), sysusers::render(&subject.env.user, subject.layout).unwrap()));
        texts
    })
}

/// Rewrites the expected files: `cargo nextest run --lib --run-ignored only bless`. Read the diff.
#[test]
#[ignore = "writes the files that the others compare with"]
fn bless() {
    for (name, text) in all_texts() {
        std::fs::write(golden_dir().join(name), text).unwrap();
    }
}

#[test]
fn every_file_is_as_it_was_read_and_found_good() {
    for (name, text) in all_texts() {
        let expected = std::fs::read_to_string(golden_dir().join(&name)).unwrap_or_default();
        assert_eq!(text, expected, "{name}");
    }
}

#[test]
fn secrets_are_in_no_file_that_everyone_reads() {
    with_subject(Root::system(), |subject| {
        for file in generation_files(&subject).unwrap() {
            let leaks = String::from_utf8_lossy(&file.bytes).contains("s3cr");
            assert_eq!(leaks, file.audience == Audience::Application, "{file:?}");
            assert!(!format!("{file:?}").contains("s3cr") && !format!("{subject:?}").contains("s3cr"));
        }
    });
}

#[test]
fn the_slot_shows_in_slot_paths_only() {
    with_subject(Root::system(), |mut subject| {
        let b = generation_files(&subject).unwrap();
        subject.slot = Slot::A;
        let a = generation_files(&subject).unwrap();
        let same: Vec<_> =
            a.iter().zip(&b).filter(|(a, b)| a == b).map(|(a, _)| a.path.display().to_string()).collect();
        assert_eq!(same, ["nginx.conf", "logrotate", "settings_local.py", "portreeve_settings.py"]);
    });
}

#[test]
fn the_token_is_that_of_the_rest() {
    with_subject(Root::system(), |mut subject| {
        let text = text_of(&subject, "nginx.conf");
        let found = vhost::token(text.as_bytes()).unwrap();
        assert_eq!(Digest::of(text.replace(&found, &"0".repeat(16)).as_bytes()).short(16), found);
        subject.http_port = 81;
        assert_ne!(vhost::token(text_of(&subject, "nginx.conf").as_bytes()), Some(found));
        assert_eq!(vhost::token(&absent_files()[0].bytes), None);
    });
}

#[test]
fn values_that_would_be_structure_are_refused_or_quoted_in_every_field() {
    for value in proof::values() {
        let mut env = bakery();
        env.env = BTreeMap::from([("A".to_owned(), value.clone())]);
        env.settings = BTreeMap::from([("A".to_owned(), Literal::Text(value.clone()))]);
        env.nginx.headers = BTreeMap::from([("X-A".to_owned(), value.clone())]);
        let Web::Gunicorn(gunicorn) = &mut env.web;
        gunicorn.app.clone_from(&value);
        let (layout, key) = (layout(&env, Root::system()), key());
        let subject = subject(&env, &layout, &key);
        let Ok(files) = generation_files(&subject) else { continue };
        for file in files {
            let text = String::from_utf8(file.bytes).unwrap();
            let name = file.path.display().to_string();
            let expected = std::fs::read_to_string(golden_dir().join(&name)).unwrap();
            assert_eq!(text.lines().count(), expected.lines().count(), "{name}: {value:?}");
        }
    }
}

#[test]
fn what_cannot_be_carried_says_where() {
    let mut env = bakery();
    env.nginx.headers = BTreeMap::from([("X-A".to_owned(), "a\nb".to_owned())]);
    let (layout, key) = (layout(&env, Root::system()), key());
    let error = generation_files(&subject(&env, &layout, &key)).unwrap_err();
    assert_eq!(error.to_string(), "nginx cannot carry a line break in header X-A; take it out");
}

/// A root with the directories that the files name.
fn host() -> (tempfile::TempDir, Root) {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::at(dir.path());
    with_subject(root.clone(), |subject| {
        let layout = subject.layout;
        for path in [layout.log_dir(), layout.app_log_dir(), layout.static_files(), layout.media()] {
            std::fs::create_dir_all(path).unwrap();
        }
        std::fs::create_dir_all(layout.host().env_runtime(&subject.env.name)).unwrap();
    });
    (dir, root)
}

/// nginx refuses an address of a family that the kernel does not have.
#[test]
fn a_host_without_ipv6_is_listened_on_by_the_other_alone() {
    static OLD: LazyLock<Capabilities> =
        LazyLock::new(|| Capabilities::default().and_without(Capability::Ipv6, NotHere::Kernel));
    let listens = |capabilities| {
        with_subject(Root::system(), |mut subject| {
            subject.capabilities = capabilities;
            let text = text_of(&subject, "nginx.conf");
            assert_eq!(vhost::port(text.as_bytes()), Some(80));
            text.lines().filter(|line| line.contains("listen ")).map(|line| line.trim().to_owned()).collect::<Vec<_>>()
        })
    };
    assert_eq!(listens(whole()), ["listen 80;", "listen \"[::]:80\";"]);
    assert_eq!(listens(&OLD), ["listen 80;"]);
}

#[test]
fn the_ports_of_a_configuration_are_those_that_it_listens_on() {
    let text = "server {\n  listen 80 default_server; listen [::]:8080; # listen 1;\n  listen \"[::]:81\" ssl;\n}\n\
        server { listen unix:/run/x:99; listen 127.0.0.1:8099 ; listen localhost; listener 7; }\n";
    assert_eq!(vhost::ports(text).collect::<Vec<_>>(), [80, 8080, 81, 8099, 80]);
}

#[test]
fn nginx_takes_the_vhost() {
    let (_dir, root) = host();
    with_subject(root, |mut subject| {
        (subject.http_port, subject.capabilities) = (18080, nothing());
        proof::nginx_takes(&format!("events {{}}\nhttp {{\n{}}}\n", text_of(&subject, "nginx.conf")));
    });
}

/// What nginx answers to these paths, in order; `None` where it is not installed.
fn nginx_answers(dir: &Path, port: u16, vhost: &str, paths: &[&str]) -> Option<Vec<String>> {
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {}/{name};\n", dir.display()));
    let main = "user root;\ndaemon off;\nmaster_process off;\nevents {}\n";
    let conf =
        format!("pid {0}/pid;\nerror_log {0}/error;\n{main}http {{\n{1}{vhost}}}\n", dir.display(), temporary.concat());
    std::fs::write(dir.join("nginx.conf"), conf).unwrap();
    let mut command = std::process::Command::new(proof::tool("nginx")?);
    let mut nginx = command.arg("-p").arg(dir).arg("-c").arg(dir.join("nginx.conf")).spawn().unwrap();
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() && std::time::Instant::now() < until {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let answers = paths.iter().map(|path| status(port, path).unwrap_or_else(|error| error.to_string())).collect();
    nginx.kill().unwrap();
    nginx.wait().unwrap();
    Some(answers)
}

fn status(port: u16, path: &str) -> std::io::Result<String> {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: bakery.example\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let age = answer.lines().find_map(|line| line.strip_prefix("Cache-Control: ")).unwrap_or_default();
    Ok(format!("{} {age}", answer.split(' ').nth(1).unwrap_or_default()).trim_end().to_owned())
}

#[test]
fn nginx_serves_files_and_hides_what_it_should() {
    let (dir, root) = host();
    let port = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    with_subject(root, |mut subject| {
        (subject.http_port, subject.capabilities) = (port, nothing());
        let (statics, media) = (subject.layout.static_files(), subject.layout.media());
        let (active, own) = (subject.layout.host().active_link(&subject.env.name), subject.layout.static_releases());
        for directory in [&active, &own.join("v1")] {
            std::fs::create_dir_all(directory).unwrap();
        }
        std::os::unix::fs::symlink(own.join("v1"), active.join("static")).unwrap();
        for (place, name) in [
            (&own.join("v1"), "a.css"),
            (&statics, "b.css"),
            (&statics, "a.0123456789ab.css"),
            (&own.join("v1"), "b.0123456789ab.css"),
            (&statics, ".env"),
        ] {
            std::fs::write(place.join(name), "x").unwrap();
        }
        std::os::unix::fs::symlink("/etc/passwd", media.join("planted")).unwrap();
        // Only root can give the link to somebody else; without that it is the owner's own and is followed.
        let planted = std::os::unix::fs::lchown(media.join("planted"), Some(12345), None).is_ok();
        let vhost = text_of(&subject, "nginx.conf");
        let token = format!("/.portreeve/{}", vhost::token(vhost.as_bytes()).unwrap());
        let paths = [
            "/static/a.css",
            "/static/b.css",
            "/static/c.css",
            "/static/a.0123456789ab.css",
            "/static/b.0123456789ab.css",
            "/static/c.0123456789ab.css",
            "/static/.env",
            "/static/../etc",
            &token,
            "/",
            "/media/planted",
        ];
        let Some(answers) = nginx_answers(dir.path(), port, &vhost, &paths) else { return };
        assert_eq!(
            answers,
            [
                "200 max-age=0",
                "200 max-age=0",
                "404",
                "200 max-age=31536000",
                "200 max-age=31536000",
                "404",
                "404",
                "502",
                "204",
                "502",
                if planted { "403" } else { "200" }
            ]
        );
    });
}

#[test]
fn logrotate_takes_the_stanzas() {
    let (dir, root) = host();
    with_subject(root, |mut subject| {
        subject.capabilities = nothing();
        let conf = dir.path().join("logrotate");
        std::fs::write(&conf, text_of(&subject, "logrotate")).unwrap();
        let (state, conf) = (dir.path().join("state"), conf.display().to_string());
        let args = ["-d", "-s", state.to_str().unwrap(), &conf];
        let Some(said) = proof::ask("logrotate", &args, b"") else { return };
        assert!(said.ok && !said.stderr.contains("error:"), "{}", said.stderr);
        assert_eq!(said.stderr.matches("rotating pattern: ").count(), 2, "{}", said.stderr);
    });
}

#[test]
fn the_reopening_line_is_shell() {
    let line = std::fs::read_to_string(golden_dir().join("logrotate")).unwrap();
    let script = line.lines().skip_while(|line| line.trim() != "postrotate").nth(1).unwrap().to_owned();
    let Some(said) = proof::ask("dash", &["-n"], script.as_bytes()) else { return };
    assert!(said.ok && said.stderr.is_empty(), "{}", said.stderr);
}

#[test]
fn systemd_understands_every_line_of_the_unit() {
    let (dir, _root) = host();
    with_subject(Root::system(), |subject| {
        let path = dir.path().join("portreeve-bakery_pro@b.service");
        // verify looks for the program on this machine.
        let program = subject.venv.join("bin/gunicorn").display().to_string();
        std::fs::write(&path, text_of(&subject, "unit").replace(&program, "/bin/true")).unwrap();
        let Some(said) = proof::ask("systemd-analyze", &["verify", "--man=no", path.to_str().unwrap()], b"") else {
            return;
        };
        let ours: Vec<_> = said.stderr.lines().filter(|line| line.contains("bakery")).collect();
        assert!(ours.is_empty(), "{ours:?}");
    });
}

#[test]
fn systemd_makes_the_directories_and_leaves_a_link_alone() {
    let (dir, _root) = host();
    with_subject(Root::system(), |mut subject| {
        subject.capabilities = nothing();
        let apply = |subject: &Subject<'_>| {
            let conf = dir.path().join("t.conf");
            std::fs::write(&conf, text_of(subject, "tmpfiles.conf")).unwrap();
            let root = format!("--root={}", dir.path().display());
            let said = proof::ask("systemd-tmpfiles", &["--create", &root, conf.to_str().unwrap()], b"")?;
            assert!(said.ok, "{}", said.stderr);
            Some(std::fs::read_link(dir.path().join("run/portreeve/bakery_pro/web.sock")).unwrap())
        };
        let Some(first) = apply(&subject) else { return };
        assert_eq!(first, Path::new("b/s"));
        subject.slot = Slot::A;
        assert_eq!(apply(&subject).unwrap(), Path::new("b/s"));
    });
}

/// Imports `portreeve_settings` beside a project that has a `settings_local` of its own, and prints what counts.
#[test]
fn python_sees_our_settings_behind_the_projects() {
    let dir = tempfile::tempdir().unwrap();
    let (slot, code) = (dir.path().join("slot"), dir.path().join("code"));
    std::fs::create_dir_all(code.join("bakery")).unwrap();
    std::fs::create_dir(&slot).unwrap();
    std::fs::write(code.join("bakery/__init__.py"), "").unwrap();
    std::fs::write(code.join("bakery/settings.py"), "DEBUG = True\nSECRET_KEY = 'x'\nTHEIRS = 1\n").unwrap();
    std::fs::write(code.join("settings_local.py"), "DEBUG = True\n").unwrap();
    with_subject(Root::system(), |subject| {
        for name in ["settings_local.py", "portreeve_settings.py"] {
            std::fs::write(slot.join(name), text_of(&subject, name)).unwrap();
        }
    });
    let program = format!(
        "import sys, json; sys.path[:0] = {:?}; import portreeve_settings as s\n\
         print(json.dumps([s.DEBUG, s.SECRET_KEY, s.THEIRS, s.ALLOWED_HOSTS, s.CSRF_TRUSTED_ORIGINS, s.EMAIL_HOST, \
         'root' in s.LOGGING]))",
        [code.to_str().unwrap(), slot.to_str().unwrap()]
    );
    let Some(said) = proof::ask("python3", &["-I", "-B", "-c", &program], b"") else { return };
    assert!(said.ok, "{}", said.stderr);
    let found: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap();
    let origins =
        ["http://bakery.example", "https://bakery.example", "http://*.bakery.example", "https://*.bakery.example"];
    let hosts = ["bakery.example", ".bakery.example"];
    assert_eq!(found, serde_json::json!([false, "s3cr$t'\"\\key", 1, hosts, origins, "localhost", true]));
}

#[test]
fn the_launcher_reads_what_the_unit_runs() {
    with_subject(Root::system(), |subject| {
        let exec: Exec = serde_json::from_str(&text_of(&subject, "exec.json")).unwrap();
        assert_eq!(exec, exec::web(&subject).unwrap());
        let env = crate::emit::env::parse(&text_of(&subject, "env.conf")).unwrap();
        assert_eq!(env["SECRET_KEY"], "s3cr$t'\"\\key", "[env] may not replace it");
        assert_eq!(env["LOG_LEVEL"], "in\"fo");
    });
}
