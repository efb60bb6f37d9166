//! What people push and write by mistake: a clear error, the exit code of the contract, and nothing changed.

use std::os::unix::fs::symlink;

use crate::cmd::CmdResult;
use crate::world::World;

/// Everything of the host that a mistake must not touch, as one text. Since when something is wrong is written down, and how far
/// the repository was followed, so that the directories where that is, and where every file is made, have another time.
fn state(world: &World) -> String {
    world.host.sh("cd /; find etc home/foouser var/lib/portreeve/attempts ! -path '*/__pycache__*' ! -path '*/data/*' \
             ! -path etc/portreeve ! -path etc/portreeve/floors.json ! -path etc/portreeve/staging              -printf '%p %y %m %U %l %T@\\n' | sort
        systemctl show --property=MainPID portreeve-bakery_pro@a.service portreeve-bakery_pro@b.service
        cat /proc/sys/net/ipv4/ip_local_reserved_ports")
}

/// A host that serves v1, and what must not change on it.
struct Good {
    world: World,
    before: String,
}

impl Good {
    fn new(name: &str) -> Self {
        let world = World::new(name);
        world.host.exec_ok(&["systemctl", "start", "nginx"]);
        world.reconcile().ok();
        world.reconcile().ok();
        let before = state(&world);
        Self { world, before }
    }

    /// A pass ends with `code`, says all of `words`, and has changed nothing.
    #[track_caller]
    fn refuses(&self, code: i32, words: &[&str]) -> CmdResult {
        let pass = self.world.reconcile().exits(code);
        for word in words {
            assert!(pass.said().contains(word), "`{word}` is not in\n{pass}");
        }
        assert!(!pass.said().contains("panicked"), "{pass}");
        self.unchanged(&pass);
        pass
    }

    #[track_caller]
    fn unchanged(&self, pass: &CmdResult) {
        let after = state(&self.world);
        let before: Vec<&str> = self.before.lines().collect();
        let new: Vec<&str> = after.lines().filter(|line| !before.contains(line)).collect();
        assert!(after == self.before, "changed:\n{}\nby\n{pass}", new.join("\n"));
        assert_eq!(self.world.serving(), "v1");
    }

    /// The deploy repository with one file of these bytes, pushed, and put back after the pass.
    #[track_caller]
    fn refuses_file(&self, path: &str, content: &[u8], code: i32, words: &[&str]) {
        let there = self.world.deploy.tree().join(path);
        let old = std::fs::read(&there).ok();
        self.world.deploy.write(path, content);
        self.world.push_deploy(&[]);
        self.refuses(code, words);
        match old {
            Some(old) => self.world.deploy.write(path, old),
            None => self.world.deploy.remove(path),
        }
        self.world.push_deploy(&[]);
    }

    /// The host's own configuration with another repository or branch; it is put back after the pass.
    #[track_caller]
    fn refuses_agent(&mut self, lines: &str, code: i32, words: &[&str]) {
        const PATH: &str = "/etc/portreeve/agent.toml";
        let old = self.world.host.read_file(PATH);
        self.world.host.put_file(PATH, format!("{lines}\nhost = \"web1\"\n"));
        self.before = state(&self.world);
        self.refuses(code, words);
        self.world.host.put_file(PATH, old);
        self.before = state(&self.world);
    }
}

const PROJECT: &str = "projects/bakery/project.toml";
const PRO: &str = "projects/bakery/pro.toml";

#[test]
fn a_mistake_in_the_deploy_repository_changes_nothing() {
    let good = Good::new("badfiles");
    let project = good.world.deploy.read(PROJECT);
    let pro = good.world.deploy.read(PRO);
    let with = |text: &str, from: &str, to: &str| {
        assert!(text.contains(from), "{text}");
        text.replace(from, to).into_bytes()
    };
    good.refuses_file(PRO, &with(&pro, "\"v1\"", "\"v77\""), 4, &["v77", "projects/bakery/pro.toml"]);
    good.refuses_file(PRO, &with(&pro, "\"v1\"", "\"main\""), 4, &["main", "tag"]);
    good.refuses_file(PRO, b"rev = \"v1\xff\"\n", 2, &["projects/bakery/pro.toml:1:", "UTF-8"]);
    good.refuses_file(
        PRO,
        &vec![b'#'; 100 << 20],
        2,
        &["projects/bakery/pro.toml", "102400 KiB is too large", "the limit is 1024 KiB"],
    );
    good.refuses_file(PRO, &vec![b'#'; 2 << 20], 2, &["projects/bakery/pro.toml", "is too large"]);
    good.refuses_file(PROJECT, &with(&project, "60000-60049", "70000-70009"), 2, &["70000", "65535"]);
    good.refuses_file(PROJECT, &with(&project, "foouser", "root"), 2, &["root", "projects/bakery/project.toml:1:"]);
    good.refuses_file("projects/..x/pro.toml", pro.as_bytes(), 2, &["..x"]);
    good.refuses_file("projects/B@d/pro.toml", pro.as_bytes(), 2, &["B@d"]);
    good.refuses_file("portreeve.toml", b"schema = 99\n", 2, &["schema", "portreeve.toml:1:"]);

    let link = good.world.deploy.tree().join(PRO);
    good.world.deploy.remove(PRO);
    symlink("../../../../etc/passwd", &link).expect("a link is made");
    good.world.push_deploy(&[]);
    let pass = good.refuses(2, &["projects/bakery/pro.toml", "link"]);
    assert!(!pass.said().contains("root:x:"), "{pass}");
    std::fs::remove_file(&link).expect("the link is removed");
    good.world.push_deploy(&[(PRO, Some(&pro))]);
    good.world.reconcile().ok();
}

#[test]
fn a_wrong_address_or_branch_changes_nothing() {
    let mut good = Good::new("badrepo");
    let world = &good.world;
    world.host.sh("git init --quiet --bare /srv/git/empty.git; mkdir -p /srv/git/plain/x; chown -R git:git /srv/git");
    let at = |path: &str| format!("repo = \"ssh://git@git.example.org/srv/git/{path}\"\nbranch = \"main\"");
    good.refuses_agent(&at("empty.git"), 4, &["is empty", "push a first commit"]);
    good.refuses_agent(&at("plain"), 4, &["is not a git repository"]);
    good.refuses_agent(&at("deploy.git").replace("\"main\"", "\"mian\""), 4, &["no branch `mian`", "did you mean"]);
    good.refuses_agent(&at("deploy.git").replace("git@git.", "git@nowhere."), 1, &["can't be reached"]);
    good.refuses_agent("repo = \"ssh://git@git.example.org/srv/git/deploy.git", 2, &["agent.toml:1:"]);
    good.refuses_agent("repo = \"file:///srv/git/plain\"", 4, &["agent.toml"]);
    good.refuses_agent("repo = \"file:///srv/git/plain\"\nallow_local_git = true", 4, &["is not a git repository"]);

    // The same of the application's repository: its environment alone is blocked.
    let source = |path: &str| good.world.deploy.read(PROJECT).replace("bakery.git", path).into_bytes();
    good.refuses_file(PROJECT, &source("empty.git"), 4, &["bakery/pro", "is empty"]);
    good.refuses_file(PROJECT, &source("plain"), 4, &["bakery/pro", "is not a git repository"]);
    good.world.reconcile().ok();
    a_link_out_of_the_application_is_not_followed(&good.world);
}

#[track_caller]
fn a_link_out_of_the_application_is_not_followed(world: &World) {
    symlink("../../../../../etc/shadow", world.app.tree().join("shadow")).expect("a link is made");
    world.app.commit("a way out");
    world.app.tag("v6");
    world.app.push();
    world.set_rev("v6");
    let pass = world.reconcile().exits(3);
    assert!(pass.stderr.contains("shadow"), "{pass}");
    assert_eq!(world.serving(), "v1");
    assert_eq!(world.host.sh("find /home -name shadow"), "");
}
