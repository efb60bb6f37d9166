//! A git server inside the host, reached by ssh with a deploy key, and the two people who push to it.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::cmd::{self, CmdResult};
use crate::host::{Storage, TestHost};

/// The address that the host knows the deploy repository by.
pub const DEPLOY: &str = "ssh://git@git.example.org/srv/git/deploy.git";

/// The address that the host knows the application's repository by.
pub const APP: &str = "ssh://git@git.example.org/srv/git/bakery.git";

/// The server: a user who can do nothing but git, a host key of its own, and two empty repositories.
///
/// `UsePAM no` and a password that is `*`, not `!`: sshd takes an account without PAM and with `!` for a locked one.
/// The host keeps the key that may fetch, and the server's own key, as `/etc/portreeve/{deploy_key,known_hosts}`;
/// root's ssh config names them, as an operator would write it who has several.
const SERVER: &str = r#"
useradd --system --home-dir /srv/git --create-home --shell /usr/bin/git-shell git
usermod --password '*' git
for name in deploy bakery; do
    git init --quiet --bare --initial-branch=main "/srv/git/$name.git"
done

rm -f /etc/ssh/ssh_host_*
ssh-keygen -q -t ed25519 -N '' -C git.example.org -f /etc/ssh/ssh_host_ed25519_key
install -d -m 0755 /etc/portreeve
ssh-keygen -q -t ed25519 -N '' -C portreeve -f /etc/portreeve/deploy_key
install -d -m 0700 /srv/git/.ssh
printf 'restrict %s\n' "$(cat /etc/portreeve/deploy_key.pub)" >/srv/git/.ssh/authorized_keys
chown -R git:git /srv/git
printf '%s\n' 'UsePAM no' 'StrictModes no' 'PasswordAuthentication no' >/etc/ssh/sshd_config.d/git.conf
systemctl restart ssh

echo '127.0.0.1 git.example.org' >>/etc/hosts
printf 'git.example.org %s\n' "$(cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub)" >/etc/portreeve/known_hosts
install -d -m 0700 /root/.ssh
cat >/root/.ssh/config <<'CONFIG'
Host git.example.org
    IdentityFile /etc/portreeve/deploy_key
    UserKnownHostsFile /etc/portreeve/known_hosts
CONFIG
"#;

/// Starts the git server of `host`.
#[track_caller]
pub fn serve(host: &TestHost) {
    host.sh(SERVER);
}

/// A person's clone of one of the server's repositories, on the outside.
#[derive(Debug)]
pub struct Repo {
    work: TempDir,
    bare: PathBuf,
}

impl Repo {
    /// A clone of `/srv/git/NAME.git`, still without a commit.
    #[track_caller]
    pub fn new(host: &TestHost, name: &str) -> Self {
        let work = tempfile::tempdir().expect("a directory is made");
        fs::write(work.path().join(".git-config"), GIT_CONFIG).expect("git's configuration is written");
        let repo = Self { work, bare: host.path(&format!("/srv/git/{name}.git")) };
        fs::create_dir(repo.tree()).expect("the tree is made");
        repo.git(&["init", "--quiet", "--initial-branch=main"]);
        repo
    }

    /// The directory with the files.
    pub fn tree(&self) -> PathBuf {
        self.work.path().join("tree")
    }

    /// Writes a file, and the directories above it.
    #[track_caller]
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.tree().join(path);
        fs::create_dir_all(path.parent().expect("a file has a directory")).expect("its directory is made");
        fs::write(path, content).expect("the file is written");
    }

    /// The content of a file.
    #[track_caller]
    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.tree().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    /// Removes a file, or a directory with all below it.
    #[track_caller]
    pub fn remove(&self, path: &str) {
        let path = self.tree().join(path);
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }

    /// Removes all files, but no history.
    pub fn clear(&self) {
        self.git(&["rm", "-r", "--quiet", "--force", "--ignore-unmatch", "."]);
    }

    /// Commits everything as it is, a commit without changes too, and returns its id.
    #[track_caller]
    pub fn commit(&self, message: &str) -> String {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message", message]);
        self.git(&["rev-parse", "HEAD"]).stdout.trim().to_owned()
    }

    /// Names the last commit; a tag of that name moves.
    pub fn tag(&self, name: &str) {
        self.git(&["tag", "--force", name]);
    }

    /// Pushes the branch and all tags; a tag that has moved moves there too.
    #[track_caller]
    pub fn push(&self) {
        self.push_with(&[]);
    }

    /// The same, whatever is there.
    #[track_caller]
    pub fn push_forced(&self) {
        self.push_with(&["--force"]);
    }

    fn push_with(&self, flags: &[&str]) {
        let bare = self.bare.display().to_string();
        self.git(&[&["push", "--quiet"], flags, &[&bare, "HEAD:refs/heads/main", "+refs/tags/*:refs/tags/*"]].concat());
    }

    /// Any git command in the clone; it must succeed.
    #[track_caller]
    pub fn git(&self, arguments: &[&str]) -> CmdResult {
        let mut command = cmd::command(&[&["git"], arguments].concat());
        command.current_dir(self.tree()).env("GIT_CONFIG_GLOBAL", self.work.path().join(".git-config"));
        cmd::run(command).ok()
    }
}

/// The server's repositories belong to another user than the one who pushes through the file system.
const GIT_CONFIG: &str = "[safe]\n\tdirectory = *\n[user]\n\tname = Anna\n\temail = anna@example.org\n";

/// Copies the tree below `from` to `to`.
pub fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory is made");
    for entry in fs::read_dir(from).expect("the directory is read").flatten() {
        let place = to.join(entry.file_name());
        if entry.file_type().expect("a kind of file").is_dir() {
            copy_tree(&entry.path(), &place);
        } else {
            fs::copy(entry.path(), place).expect("a file is copied");
        }
    }
}

#[test]
fn the_host_fetches_with_its_deploy_key_and_can_do_nothing_else() {
    let host = TestHost::boot("git", Storage::Shared);
    serve(&host);
    let repo = Repo::new(&host, "deploy");
    repo.write("portreeve.toml", "schema = 1\n");
    let commit = repo.commit("first");
    repo.push();

    let seen = host.sh(&format!("git ls-remote {DEPLOY} refs/heads/main"));
    assert!(seen.starts_with(&commit), "{seen}");
    let shell = host.exec(&["ssh", "git@git.example.org", "id"]);
    assert_ne!(shell.code, 0, "{shell}");
    host.sh("ssh-keygen -q -t ed25519 -N '' -f /root/other");
    let stranger = host.exec(&["ssh", "-F/dev/null", "-oBatchMode=yes", "-i/root/other", "git@git.example.org", "id"]);
    assert_eq!(stranger.code, 255, "{stranger}");
}
