//! All of it: a host with the program installed, a git server, a deploy repository and the bakery's.

use std::cell::RefCell;

use std::path::Path;

use crate::cmd::CmdResult;
use crate::git::{self, Repo, copy_tree};
use crate::host::{Storage, TestHost};
use crate::http::{self, Response};
use crate::load::Load;

/// The site's first domain.
pub const SITE: &str = "bakery.example";

/// Changes to the bakery's tree: a path, and what is there instead; `None` removes it.
pub type Edits<'a> = &'a [(&'a str, Option<&'a str>)];

const PORTREEVE_TOML: &str = "schema = 1\n";

const HOST_TOML: &str = "environments = [\"bakery/pro\"]\n";

const PROJECT_TOML: &str = r#"user = "foouser"
ports = "60000-60049"

[source]
git = "ssh://git@git.example.org/srv/git/bakery.git"

[web.gunicorn]
app = "bakery.wsgi:application"
workers = 2

[django]
settings = "bakery.settings"
"#;

const PRO_TOML: &str = r#"rev = "v1"
domains = ["bakery.example", "www.bakery.example"]

[health]
path = "/healthz"
status = 200
timeout = "2s"
deadline = "20s"
passes = 2
bake = "1s"
"#;

const AGENT_TOML: &str = r#"repo = "ssh://git@git.example.org/srv/git/deploy.git"
branch = "main"
host = "web1"
"#;

/// A host `web1`, and the two repositories that say what it runs.
#[derive(Debug)]
pub struct World {
    /// The machine.
    pub host: TestHost,
    /// What runs where.
    pub deploy: Repo,
    /// The bakery.
    pub app: Repo,
    /// By how much the program's clock is set wrong, as faketime(1) has it: `+3650d`.
    clock: RefCell<Option<String>>,
}

/// For faketime(1): files' times and the time since the boot are as they are on a machine whose clock is set.
pub const ONLY_THE_TIME_OF_DAY: [&str; 4] =
    ["env", "FAKETIME_DONT_FAKE_MONOTONIC=1", "DONT_FAKE_MONOTONIC=1", "NO_FAKE_STAT=1"];

impl World {
    /// A host with the program installed and configured, the bakery's `v1` pushed, and a deploy repository that wants it
    /// as `bakery/pro`. Nothing is released yet.
    #[track_caller]
    pub fn new(name: &str) -> Self {
        Self::stored(name, Storage::Shared)
    }

    /// The same on a host with a disk of its own.
    #[track_caller]
    pub fn on_its_own_disk(name: &str) -> Self {
        Self::stored(name, Storage::Own)
    }

    fn stored(name: &str, storage: Storage) -> Self {
        let host = TestHost::boot(name, storage);
        git::serve(&host);
        host.install_binary();
        host.put_file("/etc/portreeve/agent.toml", AGENT_TOML);
        let world = Self::on(host);
        world.push_app("v1", &[], "v1");
        world.push_deploy(&[
            ("portreeve.toml", Some(PORTREEVE_TOML)),
            ("hosts/web1.toml", Some(HOST_TOML)),
            ("projects/bakery/project.toml", Some(PROJECT_TOML)),
            ("projects/bakery/pro.toml", Some(PRO_TOML)),
        ]);
        world
    }

    /// A host that was another world's. To this one's people its repositories are empty.
    #[track_caller]
    pub fn on(host: TestHost) -> Self {
        let (deploy, app) = (Repo::new(&host, "deploy"), Repo::new(&host, "bakery"));
        Self { host, deploy, app, clock: RefCell::default() }
    }

    /// Pushes the bakery as it is in `tests/bakery`, with `version` as its release id and `edits` made, and tags it. What
    /// an earlier push edited is undone. Returns the commit.
    #[track_caller]
    pub fn push_app(&self, version: &str, edits: Edits<'_>, tag: &str) -> String {
        self.app.clear();
        copy_tree(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bakery"), &self.app.tree());
        self.app.write("bakery/__init__.py", format!("RELEASE = \"{version}\"\n"));
        edit(&self.app, edits);
        let commit = self.app.commit(version);
        self.app.tag(tag);
        self.app.push();
        commit
    }

    /// Edits the deploy repository and pushes it. Returns the commit.
    #[track_caller]
    pub fn push_deploy(&self, edits: Edits<'_>) -> String {
        edit(&self.deploy, edits);
        let commit = self.deploy.commit("deploy");
        self.deploy.push();
        commit
    }

    /// Changes the `rev` of `bakery/pro` and pushes: that is a release. Returns the deploy repository's commit.
    #[track_caller]
    pub fn set_rev(&self, rev: &str) -> String {
        let text = self.deploy.read("projects/bakery/pro.toml");
        let others = text.lines().filter(|line| !line.starts_with("rev = "));
        let lines: Vec<String> = std::iter::once(format!("rev = \"{rev}\"")).chain(others.map(str::to_owned)).collect();
        self.push_deploy(&[("projects/bakery/pro.toml", Some(&(lines.join("\n") + "\n")))])
    }

    /// Edits the file of `bakery/pro` and pushes it. Returns what it was.
    #[track_caller]
    pub fn edit_pro(&self, edit: impl FnOnce(&str) -> String) -> String {
        let path = "projects/bakery/pro.toml";
        let was = self.deploy.read(path);
        self.push_deploy(&[(path, Some(&edit(&was)))]);
        was
    }

    /// Gives `bakery/pro` a vhost that answers with the header `X-Vhost`, so that nginx must be reloaded, and pushes.
    #[track_caller]
    pub fn set_vhost(&self, value: &str) {
        self.edit_pro(|text| {
            let others = text.split("\n[nginx]").next().unwrap_or(text).trim_end();
            format!("{others}\n\n[nginx]\nheaders = {{ X-Vhost = \"{value}\" }}\n")
        });
    }

    /// One pass.
    #[track_caller]
    pub fn reconcile(&self) -> CmdResult {
        self.portreeve(&["reconcile"])
    }

    /// What runs of it, or is about to.
    #[track_caller]
    pub fn running(&self) -> String {
        self.host.sh("systemctl list-units --plain --no-legend --state=active,activating 'portreeve-bakery_pro@*'")
    }

    /// Any command of the program.
    #[track_caller]
    pub fn portreeve(&self, arguments: &[&str]) -> CmdResult {
        self.exec(&[&["portreeve"], arguments].concat())
    }

    /// The same of a command that runs it.
    pub fn exec(&self, argv: &[&str]) -> CmdResult {
        match &*self.clock.borrow() {
            Some(clock) => self.host.exec(&[&ONLY_THE_TIME_OF_DAY[..], &["faketime", "-f", clock], argv].concat()),
            None => self.host.exec(argv),
        }
    }

    /// Sets the clock that the program sees from now on. The kernel's is everybody's on this machine, so it is what programs ask
    /// the C library for that is set, and nothing else.
    #[track_caller]
    pub fn set_clock(&self, clock: Option<&str>) {
        self.clock.replace(clock.map(str::to_owned));
        let date = self.exec(&["date", "+%F"]).ok().stdout;
        assert_eq!(date == self.host.exec_ok(&["date", "+%F"]).stdout, clock.is_none(), "the clock is set: {date}");
    }

    /// Pushes `version` under a tag of its name, wants it, and runs a pass.
    #[track_caller]
    pub fn release(&self, version: &str, edits: Edits<'_>) -> CmdResult {
        self.push_app(version, edits, version);
        self.set_rev(version);
        self.reconcile()
    }

    /// What the site answers to `path` through nginx.
    #[track_caller]
    pub fn get(&self, path: &str) -> Response {
        http::get(&self.host, SITE, path).unwrap_or_else(|e| panic!("GET {path}: {e}"))
    }

    /// The release that answers on the site's front page, which must answer well.
    #[track_caller]
    pub fn serving(&self) -> String {
        let response = self.get("/");
        assert_eq!(response.status, 200, "{response:?}");
        response.release().expect("a release id").to_owned()
    }

    /// Visitors of the site.
    pub fn visitors(&self, connections: u64) -> Load {
        Load::start(&self.host, SITE, 80, connections)
    }

    /// As if what failed had failed so often that the next try is so many seconds away.
    #[track_caller]
    pub fn next_try_in(&self, seconds: u32) {
        self.host.sh(&format!(
            "python3 - <<'END'
import datetime, json
path = '/etc/portreeve/policy/bakery_pro.json'
record = json.load(open(path))
due = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds={seconds})
record['standing']['retry']['next'] = due.strftime('%Y-%m-%dT%H:%M:%SZ')
json.dump(record, open(path, 'w'))
END"
        ));
    }

    /// As which users code of the repository ran: lines such as `settings.py-998`.
    pub fn uids(&self) -> Vec<String> {
        self.host.sh("ls /srv/uids").lines().map(str::to_owned).collect()
    }
}

fn edit(repo: &Repo, edits: Edits<'_>) {
    for (path, content) in edits {
        match content {
            Some(content) => repo.write(path, content),
            None => repo.remove(path),
        }
    }
}

/// The world without the program: the bakery as a person would start it by hand, from the repository, offline.
#[test]
fn the_bakery_comes_from_git_installs_offline_and_answers_visitors() {
    let world = World::new("world");
    world.push_app("v2", &[], "v2");
    world.set_rev("v2");
    assert!(world.deploy.read("projects/bakery/pro.toml").starts_with("rev = \"v2\"\ndomains = "));

    world.host.sh(&format!(
        "git clone --quiet --branch v2 {} /srv/bakery; cd /srv/bakery
        python3 -m venv venv; venv/bin/pip install --quiet -r requirements.txt uidprobe
        venv/bin/python manage.py compilemessages >/dev/null; venv/bin/python manage.py migrate --verbosity=0
        sed -i 's/^ALLOWED_HOSTS = .*/ALLOWED_HOSTS = [\"*\"]/' bakery/settings.py
        systemd-run --quiet --unit=bakery --property=Type=notify --working-directory=/srv/bakery \
            venv/bin/gunicorn --no-control-socket --workers=2 --bind=unix:/run/bakery.sock bakery.wsgi",
        git::APP
    ));
    let proxy = "server { listen 80; server_name bakery.example; location / {
        proxy_pass http://unix:/run/bakery.sock; proxy_set_header Host $host; } }\n";
    world.host.put_file("/etc/nginx/sites-enabled/bakery.conf", proxy);
    world.host.exec_ok(&["systemctl", "restart", "nginx"]);
    crate::traces::until("the workers have the application", || world.get("/healthz").status == 200);

    let visitors = world.visitors(32);
    visitors.wait_for(1_000);
    let report = visitors.stop();
    println!("{report}");
    report.assert_none_failed();
    assert_eq!(world.serving(), "v2");
    assert!(!world.get("/").body.contains(" 0 orders"), "orders were written");
    assert_eq!(world.uids(), ["manage.py-0", "settings.py-0", "setup.py-0"], "by hand, all of it ran as root");
}
