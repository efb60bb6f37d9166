//! Users and groups, as the machine's name service knows them.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::{Group, User, getgrouplist};

use super::tmpfiles::{self, Line};
use super::{Authority, Files, Found, HostError, Node, Processes, RealFiles, RealProcesses, Result, Run};
use crate::model::{Identity, UserName};

/// What is known of a user beside his ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// His ids.
    pub identity: Identity,
    /// His home directory.
    pub home: PathBuf,
    /// The groups that he is in, by name.
    pub groups: Vec<String>,
}

/// Users and groups.
pub trait Users {
    /// Whose our own files are: root's, or everything is ours.
    fn own(&self) -> Identity;
    /// A user's ids; under `--root` without privileges, our own. `None` when there is no such user.
    fn user(&self, name: &UserName) -> Result<Option<Identity>>;
    /// A user as the machine knows him, under any root. `None` when there is no such user.
    fn account(&self, name: &UserName) -> Result<Option<Account>>;
    /// A user's name; `None` where his number has none.
    fn user_name(&self, uid: u32) -> Result<Option<String>>;
    /// The name of the group with this number.
    fn group_name(&self, gid: u32) -> Result<String>;
    /// A group's number; under `--root` without privileges, our own. `None` when there is no such group.
    fn group(&self, name: &str) -> Result<Option<u32>>;
    /// Makes the users that `/etc/sysusers.d/<name>` describes (`systemd-sysusers(8)`).
    fn apply_sysusers(&self, file: &Path) -> Result<()>;
    /// Directories and links of a tmpfiles.d file (`systemd-tmpfiles --create`), but not what is at or below `except`.
    fn apply_tmpfiles(&self, file: &Path, except: Option<&Path>) -> Result<()>;
}

/// Largest tmpfiles.d file that is read.
const TMPFILES_BYTES: u64 = 64 * 1024;

/// How long systemd's helpers may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// The real users.
#[derive(Debug, Clone)]
pub struct RealUsers {
    files: RealFiles,
    processes: RealProcesses,
}

impl RealUsers {
    /// Users of the machine that `files` and `processes` are on.
    pub fn new(files: RealFiles, processes: RealProcesses) -> Self {
        Self { files, processes }
    }

    fn helper(&self, program: PathBuf, args: &[&str], file: &Path) -> Result<()> {
        let words = args.iter().map(|&arg| arg.to_owned()).chain([file.to_string_lossy().into_owned()]);
        let run = Run {
            program,
            args: words.collect(),
            env: BTreeMap::new(),
            directory: PathBuf::from("/"),
            identity: Identity::ROOT,
            deadline: DEADLINE,
            log: None,
            interactive: false,
        };
        let exit = self.processes.run(&run)?;
        if exit.ok() { Ok(()) } else { Err(failed(&run.program, file, &exit.tail)) }
    }

    fn create(&self, line: &Line) -> Result<()> {
        match line {
            Line::Directory { path, mode, user, group } => {
                let owner = self.owner(user.as_deref(), group.as_deref())?;
                self.files.make_directory(path, *mode, owner)
            }
            Line::Link { path, text } => match self.files.look(path)? {
                Found::Absent => self.files.put(path, &Node::Link(text.clone())),
                _ => Ok(()),
            },
        }
    }

    fn owner(&self, user: Option<&str>, group: Option<&str>) -> Result<Identity> {
        if let Authority::Own(own) = self.files.authority() {
            return Ok(own);
        }
        let uid = user.map_or(Ok(Some(0)), |name| uid(name).map(|user| user.map(|user| user.uid)))?;
        let gid = group.map_or(Ok(Some(0)), gid)?;
        match (uid, gid) {
            (Some(uid), Some(gid)) => Ok(Identity { uid, gid }),
            _ => Err(HostError::Program {
                program: "tmpfiles".to_owned(),
                why: format!("no such user or group: {} {}", user.unwrap_or("root"), group.unwrap_or("root")),
            }),
        }
    }
}

impl Users for RealUsers {
    fn own(&self) -> Identity {
        self.files.authority().own()
    }

    fn user(&self, name: &UserName) -> Result<Option<Identity>> {
        match self.files.authority() {
            Authority::Own(own) => Ok(Some(own)),
            Authority::Machine => uid(name.as_str()),
        }
    }

    fn account(&self, name: &UserName) -> Result<Option<Account>> {
        let name = name.as_str();
        let Some(user) = User::from_name(name).map_err(|errno| unanswered(name, errno))? else { return Ok(None) };
        let words = CString::new(name).map_err(|_| unanswered(name, nix::errno::Errno::EINVAL))?;
        let gids = getgrouplist(&words, user.gid).map_err(|errno| unanswered(name, errno))?;
        let mut groups = Vec::new();
        for gid in gids {
            let group = Group::from_gid(gid).map_err(|errno| unanswered(&format!("group {gid}"), errno))?;
            groups.extend(group.map(|group| group.name));
        }
        let identity = Identity { uid: user.uid.as_raw(), gid: user.gid.as_raw() };
        Ok(Some(Account { identity, home: user.dir, groups }))
    }

    fn user_name(&self, uid: u32) -> Result<Option<String>> {
        let user = User::from_uid(uid.into()).map_err(|errno| unanswered(&format!("user {uid}"), errno))?;
        Ok(user.map(|user| user.name))
    }

    fn group_name(&self, gid: u32) -> Result<String> {
        let group = Group::from_gid(gid.into()).map_err(|errno| unanswered(&format!("group {gid}"), errno))?;
        match (group, self.files.authority()) {
            (Some(group), _) => Ok(group.name),
            // Of a user of a container; what is given to groups by their names is root's to give.
            (None, Authority::Own(_)) => Ok(gid.to_string()),
            (None, Authority::Machine) => Err(HostError::Program {
                program: "getent".to_owned(),
                why: format!("no group has the number {gid}: groupadd --gid {gid} NAME gives it a name"),
            }),
        }
    }

    fn group(&self, name: &str) -> Result<Option<u32>> {
        match self.files.authority() {
            Authority::Own(own) => Ok(Some(own.gid)),
            Authority::Machine => gid(name),
        }
    }

    fn apply_sysusers(&self, file: &Path) -> Result<()> {
        let refuse =
            |why: &str| Err(HostError::Program { program: "systemd-sysusers".to_owned(), why: why.to_owned() });
        if self.files.authority() != Authority::Machine {
            return refuse("users are made by root on a whole machine only");
        }
        match self.processes.find(&["systemd-sysusers"]) {
            Some(program) => self.helper(program, &[], file),
            None => refuse("not on this machine: apt-get install systemd-standalone-sysusers"),
        }
    }

    /// By `systemd-tmpfiles` where root has it, because that is what runs at boot; otherwise by our own reading of the two
    /// line types that we render.
    fn apply_tmpfiles(&self, file: &Path, except: Option<&Path>) -> Result<()> {
        if self.files.authority() == Authority::Machine
            && let Some(program) = self.processes.find(&["systemd-tmpfiles"])
        {
            let except = except.map(|path| format!("--exclude-prefix={}", path.display()));
            let args: Vec<&str> = ["--create"].into_iter().chain(except.as_deref()).collect();
            return self.helper(program, &args, file);
        }
        // Permanent names in tmpfiles.d are links into the active generation.
        let real = file.canonicalize().map_err(HostError::at("open", file))?;
        let bytes = self.files.read(&real, TMPFILES_BYTES)?.unwrap_or_default();
        let lines = tmpfiles::parse(&String::from_utf8_lossy(&bytes));
        let lines = lines.map_err(|why| HostError::Unsafe { path: file.to_owned(), why })?;
        let together = self.files.together();
        let meant = |line: &&Line| except.is_none_or(|except| !line.path().starts_with(except));
        lines.iter().filter(meant).try_for_each(|line| self.create(line))?;
        together.finish()
    }
}

fn uid(name: &str) -> Result<Option<Identity>> {
    let user = User::from_name(name).map_err(|errno| unanswered(name, errno))?;
    Ok(user.map(|user| Identity { uid: user.uid.as_raw(), gid: user.gid.as_raw() }))
}

fn gid(name: &str) -> Result<Option<u32>> {
    let group = Group::from_name(name).map_err(|errno| unanswered(name, errno))?;
    Ok(group.map(|group| group.gid.as_raw()))
}

/// Not the same as *no such user*: a directory service may be down, and then nobody is to be made.
fn unanswered(name: &str, errno: nix::errno::Errno) -> HostError {
    HostError::Program { program: "getent".to_owned(), why: format!("can't look up {name}: {}", errno.desc()) }
}

fn failed(program: &Path, file: &Path, tail: &[String]) -> HostError {
    let said = tail.last().map_or("failed without a word", String::as_str);
    HostError::Program { program: program.display().to_string(), why: format!("{}: {said}", file.display()) }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests lay out a host by hand")]
mod tests {
    use std::os::unix::fs::symlink;
    use std::sync::Arc;

    use super::*;
    use crate::host::Parts;
    use crate::model::{Layout, Root};

    const OWN: Identity = Identity { uid: 0, gid: 0 };

    fn users(root: &Path, authority: Authority) -> RealUsers {
        Parts::with_authority(&Layout::new(Root::at(root)), authority, Arc::default()).unwrap().users
    }

    #[test]
    fn users_are_the_machines_or_below_a_root_ourselves() {
        let root = tempfile::tempdir().unwrap();
        let (real, own) = (users(root.path(), Authority::Machine), users(root.path(), Authority::Own(OWN)));
        let (daemon, nobody) = (UserName::parse("daemon").unwrap(), UserName::parse("nobody-of-ours").unwrap());
        assert_eq!(real.user(&daemon).unwrap(), Some(Identity { uid: 1, gid: 1 }));
        assert_eq!(real.user(&nobody).unwrap(), None);
        assert_eq!(own.user(&nobody).unwrap(), Some(OWN));
        assert_eq!((own.group("www-data").unwrap(), real.group("www-data").unwrap()), (Some(0), Some(33)));
        assert_eq!(
            (real.group("nobody-of-ours").unwrap(), real.group_name(33).unwrap()),
            (None, "www-data".to_owned())
        );
        assert_eq!((real.user_name(1).unwrap(), real.user_name(3_999_999).unwrap()), (Some("daemon".to_owned()), None));
        let account = real.account(&daemon).unwrap().unwrap();
        assert_eq!((account.identity.uid, account.groups), (1, vec!["daemon".to_owned()]));
        assert_eq!(real.account(&nobody).unwrap(), None);
        let nameless = real.group_name(3_999_999).unwrap_err().to_string();
        assert!(nameless.contains("groupadd --gid 3999999"), "{nameless}");
        let anna = Identity { uid: 1000, gid: 1000 };
        assert_eq!((real.own(), users(root.path(), Authority::Own(anna)).own()), (Identity::ROOT, anna));
        own.apply_sysusers(&root.path().join("x")).unwrap_err();
    }

    #[test]
    fn both_readings_of_a_tmpfiles_file_make_the_same() {
        for authority in [Authority::Machine, Authority::Own(OWN)] {
            let root = tempfile::tempdir().unwrap();
            let top = root.path().canonicalize().unwrap().join("run");
            let text = format!("d {0} 0755 - - -\nd {0}/a 0750 - - -\nL {0}/web.sock - - - - a/s\n", top.display());
            std::fs::write(root.path().join("real.conf"), text).unwrap();
            let conf = root.path().join("link.conf");
            symlink("real.conf", &conf).unwrap();
            let users = users(root.path(), authority);
            users.apply_tmpfiles(&conf, Some(&top.join("a"))).unwrap();
            assert_eq!(users.files.look(&top.join("a")).unwrap(), Found::Absent);
            users.apply_tmpfiles(&conf, None).unwrap();
            users.apply_tmpfiles(&conf, None).unwrap();
            assert_eq!(users.files.look(&top.join("a")).unwrap(), Found::Directory { mode: 0o750, owner: OWN });
            assert_eq!(users.files.look(&top.join("web.sock")).unwrap(), Found::Link("a/s".into()));
        }
    }

    #[test]
    fn a_bad_tmpfiles_file_is_told() {
        let root = tempfile::tempdir().unwrap();
        let conf = root.path().join("bad.conf");
        std::fs::write(&conf, "x y z\n").unwrap();
        for authority in [Authority::Machine, Authority::Own(OWN)] {
            users(root.path(), authority).apply_tmpfiles(&conf, None).unwrap_err();
        }
    }
}
