//! nginx and supervisord of the tour: the installed ones, in the foreground, with every path below the host's root.

use std::path::Path;
use std::time::Duration;

use super::place::Place;
use super::{PORT, TourError};
use crate::emit::nginx::{Arg, Directive, render};
use crate::emit::supervisor::{Value, section};
use crate::emit::{EmitError, nginx};
use crate::host::{
    Clock as _, Command, HostError, Kernel as _, Request, Server, Services as _, Supervisor, Surroundings, Target,
};
use crate::host::{Files as _, Found, Probe as _};

/// How long a server may take to come up.
const READY: Duration = Duration::from_secs(20);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// supervisord first ends its programs, which finish their requests.
const PATIENCE: Duration = Duration::from_secs(40);

/// What every Debian has.
const DIRECTORIES: [&str; 9] = [
    "etc/logrotate.d",
    "etc/nginx/conf.d",
    "etc/nginx/sites-enabled",
    "etc/supervisor/conf.d",
    "etc/sysusers.d",
    "etc/tmpfiles.d",
    "run",
    "tmp",
    "var/log/nginx",
];

/// Both servers. They end with the value, nginx first.
#[derive(Debug)]
pub(super) struct Servers {
    nginx: Named,
    supervisord: Named,
    /// Where nginx listens.
    pub port: u16,
}

#[derive(Debug)]
struct Named {
    name: &'static str,
    log: String,
    server: Server,
}

impl Servers {
    /// Starts both, and waits until they answer.
    pub fn start(place: &Place) -> Result<Self, TourError> {
        let port = free_port(place)?;
        for directory in DIRECTORIES {
            place.files.make(Path::new("host").join(directory))?;
        }
        let mut servers = Self { supervisord: supervisord(place)?, nginx: nginx(place, port)?, port };
        let supervisor = Supervisor::new(place.layout.clone(), place.layout.supervisor_socket())?;
        servers.wait(place, |servers| &mut servers.supervisord, || supervisor.services().is_ok())?;
        let probe = crate::health::HttpProbe::new()?;
        let request = front(port);
        servers.wait(place, |servers| &mut servers.nginx, || probe.get(&request).is_ok_and(|answer| answer.is_ok()))?;
        Ok(servers)
    }

    /// An error when one of them has gone away.
    pub fn alive(&mut self, place: &Place) -> Result<(), TourError> {
        self.nginx.alive(place)?;
        self.supervisord.alive(place)
    }

    fn wait(
        &mut self,
        place: &Place,
        which: impl Fn(&mut Self) -> &mut Named,
        ready: impl Fn() -> bool,
    ) -> Result<(), TourError> {
        let clock = &place.parts.clock;
        let begun = clock.monotonic();
        while !ready() {
            let named = which(self);
            named.alive(place)?;
            place.go_on()?;
            if clock.monotonic().saturating_sub(begun) > READY {
                return Err(named.trouble(place, format!("does not answer within {}s", READY.as_secs())));
            }
            clock.sleep(LOOK);
        }
        Ok(())
    }
}

impl Named {
    fn start(place: &Place, name: &'static str, args: &[&str], config: &Path) -> Result<Self, TourError> {
        let log = format!("logs/{name}.log");
        let command = Command {
            program: place.program(name)?,
            args: args.iter().map(|&arg| arg.to_owned()).chain([text(config)?]).collect(),
            surroundings: Surroundings::Bare(std::collections::BTreeMap::new()),
            directory: place.layout.root().path().to_owned(),
        };
        let server = Server::start(command, &place.at(&log), PATIENCE)?;
        Ok(Self { name, log, server })
    }

    fn alive(&mut self, place: &Place) -> Result<(), TourError> {
        match self.server.ended()? {
            None => Ok(()),
            Some(status) => Err(self.trouble(place, format!("ended ({status})"))),
        }
    }

    fn trouble(&self, place: &Place, how: String) -> TourError {
        let log = place.files.read(&self.log).ok().flatten().unwrap_or_default();
        let said: Vec<&str> = log.lines().rev().take(5).collect();
        TourError::Server { name: self.name, how, said: said.into_iter().rev().collect::<Vec<_>>().join("; ") }
    }
}

/// The first port from [`PORT`] on at which nobody listens.
fn free_port(place: &Place) -> Result<u16, TourError> {
    let taken = place.parts.kernel.listeners()?;
    let free = (PORT..PORT + 100).find(|port| taken.iter().all(|listener| listener.port != *port));
    free.ok_or_else(|| TourError::Turn(format!("no port is free from {PORT} to {}", PORT + 99)))
}

fn front(port: u16) -> Request {
    Request {
        target: Target::Port(port),
        host: "127.0.0.1".to_owned(),
        path: "/".to_owned(),
        forwarded_https: false,
        timeout: Duration::from_secs(5),
    }
}

fn nginx(place: &Place, port: u16) -> Result<Named, TourError> {
    place.files.write(place.layout.nginx_conf(), nginx_conf(place, port)?)?;
    let prefix = text(&place.layout.root().join("/etc/nginx"))?;
    Named::start(place, "nginx", &["-p", &prefix, "-c"], &place.layout.nginx_conf())
}

/// One directive a line: the host reads some of them.
fn nginx_conf(place: &Place, port: u16) -> Result<String, TourError> {
    let root = place.layout.root();
    let path = |name: &'static str, path: &str| {
        Ok::<_, EmitError>(Directive::simple(name, [Arg::path(name, &root.join(path))?]))
    };
    let mut main = vec![Directive::fixed("daemon", &["off"])];
    if place.as_root {
        // Its workers would otherwise be somebody who may not read this directory.
        main.push(Directive::fixed("user", &["root"]));
    }
    main.extend([
        Directive::fixed("worker_processes", &["2"]),
        path("pid", "/run/nginx.pid")?,
        path("error_log", "/var/log/nginx/error.log")?,
        Directive::block("events", [], vec![Directive::fixed("worker_connections", &["512"])]),
        Directive::block("http", [], http(place, port)?),
    ]);
    Ok(render(&main))
}

fn http(place: &Place, port: u16) -> Result<Vec<Directive>, TourError> {
    let root = place.layout.root();
    let temporary = |(name, leaf): (&'static str, &str)| {
        Ok::<_, EmitError>(Directive::simple(name, [Arg::path(name, &root.join("/tmp").join(leaf))?]))
    };
    let mut http = [
        ("client_body_temp_path", "client"),
        ("proxy_temp_path", "proxy"),
        ("fastcgi_temp_path", "fastcgi"),
        ("uwsgi_temp_path", "uwsgi"),
        ("scgi_temp_path", "scgi"),
    ]
    .into_iter()
    .map(temporary)
    .collect::<Result<Vec<_>, _>>()?;
    let types = Path::new("/etc/nginx/mime.types");
    if place.parts.files.look(types)? != Found::Absent {
        http.push(Directive::simple("include", [Arg::path("a file", types)?]));
    }
    http.push(Directive::fixed("server_tokens", &["off"]));
    http.push(Directive::fixed("access_log", &["off"]));
    http.push(elsewhere(port)?);
    http.push(Directive::simple("include", [Arg::files("a directory", &place.layout.nginx_conf_d(), "*.conf")?]));
    http.push(Directive::simple("include", [Arg::files("a directory", &place.layout.nginx_sites(), "*")?]));
    Ok(http)
}

/// Who comes by number is sent to the site's name. It answers from the start, so that a taken port is noticed at once.
fn elsewhere(port: u16) -> Result<Directive, EmitError> {
    let site = nginx::Arg::prefixed("http://localhost:", "the port", &port.to_string())?;
    let listen = Arg::prefixed("127.0.0.1:", "the port", &port.to_string())?;
    Ok(Directive::block(
        "server",
        [],
        vec![Directive::simple("listen", [listen]), Directive::simple("return", [Arg::number(302), site])],
    ))
}

fn supervisord(place: &Place) -> Result<Named, TourError> {
    let config = place.layout.root().join("/etc/supervisor/supervisord.conf");
    place.files.write(&config, supervisord_conf(place)?)?;
    Named::start(place, "supervisord", &["--nodaemon", "--configuration"], &config)
}

fn supervisord_conf(place: &Place) -> Result<String, EmitError> {
    let root = place.layout.root();
    let path = |path: &str| Value::path("a path", &root.join(path));
    let mut main = vec![
        ("logfile", path("/var/log/supervisord.log")?),
        ("pidfile", path("/run/supervisord.pid")?),
        ("childlogdir", path("/tmp")?),
    ];
    if place.as_root {
        main.push(("user", Value::word("root")));
    }
    let socket = Value::path("the socket", &place.layout.supervisor_socket())?;
    let factory = Value::word("supervisor.rpcinterface:make_main_rpcinterface");
    Ok([
        section("supervisord", &main),
        section("unix_http_server", &[("file", socket), ("chmod", Value::word("0700"))]),
        section("rpcinterface:supervisor", &[("supervisor.rpcinterface_factory", factory)]),
        // Relative to this file: an absolute path would be split at its spaces.
        section("include", &[("files", Value::word("conf.d/*.conf"))]),
    ]
    .concat())
}

fn text(path: &Path) -> Result<String, HostError> {
    path.to_str().map(str::to_owned).ok_or_else(|| HostError::Unsafe {
        path: path.to_owned(),
        why: "not UTF-8; run the tour in another directory".to_owned(),
    })
}
