//! nginx (<https://nginx.org/en/docs/switches.html>, <https://nginx.org/en/docs/control.html>).

#![expect(clippy::disallowed_methods, reason = "it is the machine's: configuration, pid file and /proc")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::bus::{self, Bus, Job, JobEnd, NO_SUCH_UNIT};
use super::{Authority, Front, HostError, Result, Twice, nginx_trial, tool};
use crate::model::Layout;

/// A test looks up the names of upstreams, and so may hang.
const DEADLINE: Duration = Duration::from_secs(30);
const UNIT: &str = "nginx.service";
/// Old workers are told to quit 100 ms after a reload; a busy machine takes longer.
const QUIT: Duration = Duration::from_secs(3);
/// Between two looks at them.
const GLANCE: Duration = Duration::from_millis(10);

/// How a candidate is tested without touching what serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trial {
    /// Mounted over `active` in a mount namespace of its own: tests the real paths. Takes `CAP_SYS_ADMIN`.
    Mount,
    /// A copy of the main configuration that includes the candidate: for a host below a directory, without privileges.
    Copy,
}

/// nginx of this host.
#[derive(Debug)]
pub struct Nginx {
    program: PathBuf,
    layout: Layout,
    trial: Trial,
    bus: Option<Bus>,
}

impl Nginx {
    /// nginx below the layout's root. `program` is absolute.
    pub fn new(program: PathBuf, layout: Layout) -> Result<Self> {
        let trial = match Authority::of(layout.root()) {
            Authority::Machine => Trial::Mount,
            Authority::Own(_) => Trial::Copy,
        };
        let managed = layout.root().is_system() && bus::booted_with_systemd();
        let bus = if managed { Some(Bus::system()?) } else { None };
        Ok(Self { program, layout, trial, bus })
    }

    fn try_with(&self, conf: &Path) -> Result<std::result::Result<Twice, String>> {
        let prefix = self.layout.root().join("/etc/nginx");
        let mut args = vec![Path::new("-t"), Path::new("-q"), Path::new("-c"), conf];
        if !self.layout.root().is_system() {
            args.extend([Path::new("-p"), &prefix]);
        }
        let output = tool::output(&self.program, args, DEADLINE)?;
        if output.status.success() {
            return Ok(Ok(named_twice(&output.stderr)));
        }
        if output.status.code().is_none() {
            // Ended by somebody, it has said nothing of the configuration.
            return Err(HostError::Program { program: "nginx -t".to_owned(), why: output.status.to_string() });
        }
        Ok(Err(complaint(&output.stderr).unwrap_or_else(|| format!("nginx -t: {}", output.status))))
    }

    fn try_mounted(&self, active: &Path, candidate: &Path) -> Result<std::result::Result<Twice, String>> {
        nginx_trial::mounted(candidate, active, || self.try_with(&self.layout.nginx_conf()))
    }

    fn try_copy(&self, active: &Path, candidate: &Path) -> Result<std::result::Result<Twice, String>> {
        let conf = self.layout.nginx_conf();
        let text = fs::read_to_string(&conf).map_err(HostError::at("read", &conf))?;
        let text = nginx_trial::with_candidate(&text, active, candidate, &self.layout.nginx_sites())?;
        let copy = nginx_trial::Copy::beside(&conf, &text)?;
        let verdict = self.try_with(copy.path())?;
        Ok(verdict.map_err(|words| words.replace(&copy.path().display().to_string(), &conf.display().to_string())))
    }

    /// The user and the group that its workers run as: by its `user` directive, or by how it was built.
    pub fn workers(&self) -> Result<(String, String)> {
        if let Some(said) = nginx_trial::directive(&self.configuration()?, "user") {
            let mut names = said.split_whitespace();
            let user = names.next().unwrap_or_default();
            return Ok((user.to_owned(), names.next().unwrap_or(user).to_owned()));
        }
        let built = tool::output(&self.program, ["-V"], DEADLINE)?;
        Ok(built_for(&String::from_utf8_lossy(&built.stderr)))
    }

    fn configuration(&self) -> Result<String> {
        let conf = self.layout.nginx_conf();
        match fs::read_to_string(&conf) {
            Ok(text) => Ok(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            Err(error) => Err(HostError::at("read", &conf)(error)),
        }
    }

    /// The master that the pid file names, held so that its number can't pass to another process.
    fn master(&self) -> Result<Option<Master>> {
        let file = self.pid_file()?;
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(HostError::at("read", &file)(error)),
        };
        // Empty after an `nginx -t` on a machine where it never ran.
        let Some(pid) = text.trim().parse().ok().filter(|&pid| pid > 1).and_then(Pid::from_raw) else {
            return Ok(None);
        };
        let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { return Ok(None) };
        let name = fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_nonzero())).unwrap_or_default();
        Ok((name.trim() == "nginx").then_some(Master { pid, handle }))
    }

    /// As its `pid` directive says, or where Debian's is.
    fn pid_file(&self) -> Result<PathBuf> {
        let said = nginx_trial::directive(&self.configuration()?, "pid").map(PathBuf::from);
        let file = said.unwrap_or_else(|| self.layout.root().join("/run/nginx.pid"));
        Ok(self.layout.root().join("/etc/nginx").join(file))
    }

    /// Through systemd when that runs it; whether it did.
    fn reload_unit(&self) -> Result<bool> {
        let Some(bus) = &self.bus else { return Ok(false) };
        let end = bus.with(DEADLINE + bus::PROMPT, &format!("reload {UNIT}"), async |connection| {
            bus::unless(NO_SUCH_UNIT, bus::run(connection, Job::Reload, UNIT, DEADLINE).await)
        })?;
        match end {
            // It does not run, or not as systemd's unit.
            None | Some(JobEnd::Invalid) => Ok(false),
            Some(JobEnd::Done) => Ok(true),
            Some(JobEnd::Failed) => Err(bus::refused(format!("reload {UNIT}: failed"))),
            Some(JobEnd::Prevented(word)) => Err(bus::refused(format!("reload {UNIT}: {}", JobEnd::words(&word)))),
            Some(JobEnd::Underway) => {
                Err(bus::refused(format!("{UNIT} has not reloaded within {}s", DEADLINE.as_secs())))
            }
        }
    }
}

/// A running master.
struct Master {
    pid: Pid,
    handle: std::os::fd::OwnedFd,
}

impl Master {
    fn hang_up(&self) -> Result<()> {
        match pidfd_send_signal(&self.handle, Signal::HUP) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => {
                Err(HostError::Program { program: "nginx".into(), why: format!("can't be signalled: {error}") })
            }
        }
    }

    /// Those that take requests now.
    fn workers(&self) -> Vec<String> {
        let pid = self.pid.as_raw_nonzero();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        children.split_whitespace().filter(|pid| takes_requests(pid)).map(str::to_owned).collect()
    }
}

/// nginx starts new workers, sleeps for 100 ms, and only then tells the old ones to quit; meanwhile either may take a request.
/// Where the reload was dropped they go on: no error here, because what is served is verified.
fn until_quitting(old: &[String]) {
    let begun = Instant::now();
    while old.iter().any(|pid| takes_requests(pid)) && begun.elapsed() < QUIT {
        std::thread::sleep(GLANCE);
    }
}

/// A worker that quits says so in its title, right before it closes its listeners.
fn takes_requests(pid: &str) -> bool {
    let title = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    title.starts_with(b"nginx: worker process") && !title.windows(8).any(|part| part == b"shutting")
}

impl Front for Nginx {
    fn test(&self, active: &Path, candidate: &Path) -> Result<std::result::Result<Twice, String>> {
        match self.trial {
            Trial::Mount => self.try_mounted(active, candidate),
            Trial::Copy => self.try_copy(active, candidate),
        }
    }

    fn test_live(&self) -> Result<std::result::Result<Twice, String>> {
        self.try_with(&self.layout.nginx_conf())
    }

    fn reload(&self) -> Result<()> {
        let master = self.master()?;
        let old = master.as_ref().map(Master::workers).unwrap_or_default();
        if !self.reload_unit()?
            && let Some(master) = &master
        {
            master.hang_up()?;
        }
        until_quitting(&old);
        Ok(())
    }

    fn process(&self) -> Result<Option<u32>> {
        Ok(self.master()?.map(|master| master.pid.as_raw_nonzero().get().unsigned_abs()))
    }
}

/// The user and the group in what `nginx -V` says; without a word of them, what nginx takes on Debian.
fn built_for(said: &str) -> (String, String) {
    let option = |name: &str| said.split_whitespace().find_map(|word| word.strip_prefix(name));
    let user = option("--user=");
    let group = option("--group=").or(user);
    (user.unwrap_or("nobody").to_owned(), group.unwrap_or("nogroup").to_owned())
}

/// What nginx found wrong: its `[emerg]` lines, one a line, without time, level and process.
fn complaint(stderr: &[u8]) -> Option<String> {
    let lines = tool::last_lines(stderr, 50);
    let grave: Vec<&str> =
        lines.iter().filter_map(|line| line.split_once("[emerg] ")).map(|(_, words)| without_pid(words)).collect();
    (!grave.is_empty()).then(|| grave.join("\n"))
}

/// `conflicting server name "bakery.example" on 0.0.0.0:80, ignored`
fn named_twice(stderr: &[u8]) -> Twice {
    let text = String::from_utf8_lossy(stderr);
    let names = text.lines().filter_map(|line| line.split_once("conflicting server name \"")?.1.split('"').next());
    names.map(str::to_owned).collect()
}

/// `unknown directive` of `12#12: unknown directive`.
fn without_pid(words: &str) -> &str {
    match words.split_once(": ") {
        Some((pid, rest)) if pid.bytes().all(|b| b.is_ascii_digit() || b == b'#') => rest,
        _ => words,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::process::{Child, Command, Stdio};

    use super::*;
    use crate::health::HttpProbe;
    use crate::host::{Probe as _, Request, Target};
    use crate::model::{EnvName, Root};

    const PROGRAM: &str = "/usr/sbin/nginx";

    /// nginx below a directory of its own. It ends with the value.
    struct Site {
        dir: tempfile::TempDir,
        layout: Layout,
        server: Option<Child>,
    }

    impl Drop for Site {
        fn drop(&mut self) {
            if let Some(mut server) = self.server.take() {
                let pid = Pid::from_child(&server);
                rustix::process::kill_process(pid, Signal::TERM).ok();
                server.wait().unwrap();
            }
        }
    }

    fn site() -> Site {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(Root::at(dir.path()));
        for path in [layout.nginx_sites(), layout.active(), dir.path().join("tmp"), dir.path().join("run")] {
            fs::create_dir_all(path).unwrap();
        }
        fs::write(layout.nginx_conf(), main_conf(dir.path(), &layout)).unwrap();
        Site { dir, layout, server: None }
    }

    fn main_conf(root: &Path, layout: &Layout) -> String {
        let temp = |kind: &str| format!("{kind}_temp_path {}/tmp/{kind};\n", root.display());
        let temps: String =
            ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].iter().map(|kind| temp(kind)).collect();
        format!(
            "daemon off;\npid {0}/run/nginx.pid;\nerror_log {0}/error.log;\nevents {{}}\nhttp {{\naccess_log off;\n{temps}include {1}/*;\n}}\n",
            root.display(),
            layout.nginx_sites().display()
        )
    }

    impl Site {
        fn nginx(&self, trial: Trial) -> Nginx {
            Nginx { trial, ..Nginx::new(PROGRAM.into(), self.layout.clone()).unwrap() }
        }

        fn generation(&self, number: u64, text: &str) -> PathBuf {
            let path = self.layout.generation(&env(), number);
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join("nginx.conf"), text).unwrap();
            path
        }

        fn activate(&self, number: u64) {
            let (active, staged) = (self.layout.active_link(&env()), self.dir.path().join("staged"));
            symlink(self.layout.generation(&env(), number), &staged).unwrap();
            fs::rename(staged, active).unwrap();
        }

        fn link(&self) {
            symlink(self.layout.active_link(&env()).join("nginx.conf"), self.layout.nginx_link(&env())).unwrap();
        }

        fn start(&mut self) {
            let conf = self.layout.nginx_conf();
            let server = Command::new(PROGRAM).arg("-c").arg(conf).stderr(Stdio::null()).spawn().unwrap();
            self.server = Some(server);
        }

        fn answer(&self) -> String {
            let request = Request {
                target: Target::Socket(self.dir.path().join("front.sock")),
                host: "x".into(),
                path: "/".into(),
                forwarded_https: false,
                timeout: Duration::from_secs(2),
            };
            match HttpProbe::new().unwrap().get(&request).unwrap() {
                Ok(answer) => String::from_utf8(answer.body).unwrap(),
                Err(why) => why,
            }
        }

        fn answers(&self, wanted: &str) {
            for _ in 0..200 {
                if self.answer() == wanted {
                    return;
                }
                std::thread::sleep(Duration::from_millis(25));
            }
            panic!("it answers {} instead of {wanted}", self.answer());
        }

        fn vhost(&self, says: &str) -> String {
            format!("server {{ listen unix:{}/front.sock; return 200 \"{says}\"; }}\n", self.dir.path().display())
        }
    }

    /// Whoever ended it, and for whatever reason, the vhost is not refused.
    #[test]
    fn a_test_that_was_killed_says_nothing_of_the_configuration() {
        let site = site();
        let program = site.dir.path().join("nginx");
        fs::write(&program, "#!/bin/sh\nkill -INT $$\n").unwrap();
        fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let nginx = Nginx { program, ..site.nginx(Trial::Copy) };
        let ended = nginx.test_live().unwrap_err().to_string();
        assert!(ended.contains("nginx -t") && ended.contains("signal"), "{ended}");
    }

    fn env() -> EnvName {
        EnvName::parse("bakery/pro").unwrap()
    }

    /// Good and bad candidates against a live configuration that stays as it is.
    fn candidates_are_told_apart(trial: Trial) {
        let site = site();
        let good = site.generation(1, &site.vhost("one"));
        let bad = site.generation(2, "server { listen unix:/x; frobnicate on; }\n");
        site.generation(0, "");
        site.activate(0);
        site.link();
        let (nginx, active) = (site.nginx(trial), site.layout.active_link(&env()));
        assert_eq!(nginx.test(&active, &good).unwrap(), Ok(vec![]));
        let words = nginx.test(&active, &bad).unwrap().unwrap_err();
        assert!(words.starts_with("unknown directive \"frobnicate\" in "), "{words}");
        assert_eq!(nginx.test_live().unwrap(), Ok(vec![]), "the live one is still the empty one");
        assert_eq!(fs::read_to_string(active.join("nginx.conf")).unwrap(), "");

        site.activate(2);
        assert!(nginx.test_live().unwrap().is_err());
        assert_eq!(nginx.test(&active, &good).unwrap(), Ok(vec![]), "a good candidate heals a broken live one");
        let left: Vec<_> = fs::read_dir(site.layout.root().join("/etc/nginx")).unwrap().collect();
        assert_eq!(left.len(), 2, "{left:?}");
    }

    /// nginx warns of it only, and goes by the first.
    #[test]
    fn a_name_that_two_vhosts_have_is_told() {
        let site = site();
        let vhost = site.vhost("one").replace("return", "server_name bakery.example; return");
        let two = site.generation(1, &vhost.repeat(2));
        site.generation(0, "");
        site.activate(0);
        site.link();
        let twice = site.nginx(Trial::Copy).test(&site.layout.active_link(&env()), &two).unwrap().unwrap();
        assert_eq!(twice, ["bakery.example"]);
    }

    #[test]
    fn a_copy_tells_candidates_apart() {
        candidates_are_told_apart(Trial::Copy);
    }

    #[test]
    fn a_mount_tells_candidates_apart() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
        candidates_are_told_apart(Trial::Mount);
        assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), before, "no mount is seen outside");
    }

    #[test]
    fn it_serves_what_it_reloaded() {
        let mut site = site();
        site.generation(1, &site.vhost("one"));
        site.generation(2, &site.vhost("two"));
        site.activate(1);
        site.link();
        let nginx = site.nginx(Trial::Copy);
        assert!(!nginx.running().unwrap());
        nginx.reload().unwrap();
        site.start();
        site.answers("one");
        assert!(nginx.running().unwrap());
        site.activate(2);
        assert_eq!(site.answer(), "one");
        nginx.reload().unwrap();
        site.answers("two");
    }

    #[test]
    fn a_pid_file_of_another_process_is_not_believed() {
        let site = site();
        for text in ["", "1\n", "x", "-5", "99999999", &std::process::id().to_string()] {
            fs::write(site.dir.path().join("run/nginx.pid"), text).unwrap();
            let nginx = site.nginx(Trial::Copy);
            assert!(!nginx.running().unwrap(), "{text:?}");
            nginx.reload().unwrap();
        }
    }

    #[test]
    fn its_workers_are_whom_it_says() {
        let site = site();
        let mut said =
            ["user www-data;", "user nginx web; # ours", "user \"http\";", "#user x;"].into_iter().map(|line| {
                fs::write(site.layout.nginx_conf(), format!("{line}\nevents {{}}\n")).unwrap();
                site.nginx(Trial::Copy).workers().unwrap()
            });
        let names = |user: &str, group: &str| Some((user.to_owned(), group.to_owned()));
        assert_eq!(said.next(), names("www-data", "www-data"));
        assert_eq!(said.next(), names("nginx", "web"));
        assert_eq!(said.next(), names("http", "http"));
        assert_eq!(said.next(), names("nobody", "nogroup"), "Debian's is built so");
        let fedora = "configure arguments: --prefix=/usr/share/nginx --user=nginx --group=nginx --with-threads";
        assert_eq!(Some(built_for(fedora)), names("nginx", "nginx"));
        assert_eq!(Some(built_for("--user=http")), names("http", "http"));
    }

    #[test]
    fn a_complaint_is_nginx_own_words() {
        let log = b"2026/11/21 06:01:10 [warn] 7#7: duplicate\n2026/11/21 06:01:10 [emerg] 7#7: host not found: x\nnginx: failed\n";
        assert_eq!(complaint(log).as_deref(), Some("host not found: x"));
        assert_eq!(complaint(b"nginx: failed"), None);
    }
}
