//! Whether the user of an environment is one for us to take: a manifest may name whom it likes, and root would run it as him.

use std::path::Path;

use super::{Context, Failure, Phase};
use crate::desired::Wanted;
use crate::host::Account;
use crate::model::{Capability, Found, UserName};
use crate::observed::Installed;
use crate::policy::FailureClass;

/// Who is in one of these is root in all but name, or reads what only root should.
const PRIVILEGED: [&str; 12] =
    ["root", "adm", "disk", "docker", "incus-admin", "kmem", "libvirt", "lxd", "shadow", "staff", "sudo", "wheel"];
/// Debian's group of those who read logs: what is root's and this group's is no service's.
const ADM: u32 = 4;
/// Debian's and systemd's first number of a person; below it are the accounts of services.
const FIRST_OF_PEOPLE: u32 = 1000;

/// Refuses the account of another service, one that can do more than an application may, and the logs of others.
///
/// What serves as this user already is not kept from its releases: nothing is gained by that.
pub fn ensure_ours(cx: &Context<'_>, installed: &Installed, wanted: &Wanted) -> Result<(), Failure> {
    let serves = installed.generation.as_ref().is_some_and(|it| it.wanted.env.user == wanted.env.user);
    if serves || !cx.host.capabilities().has(Capability::Identities) {
        return Ok(());
    }
    let fail = Failure::on_host(Phase::Build);
    let user = &wanted.env.user;
    let account = cx.host.users().account(user).map_err(&fail)?;
    if let Some(account) = &account {
        let made = cx.layout.sysusers_d().join(format!("portreeve-{user}.conf"));
        let by_us = cx.host.files().look(&made).map_err(&fail)? != Found::Absent;
        refuse_account(user, account, by_us).map_or(Ok(()), |cause| Err(refused(cause, wanted)))?;
    }
    let logs = cx.paths(wanted).log_dir();
    let Some(logs) = logs.ancestors().nth(2) else { return Ok(()) };
    let found = cx.host.files().look(logs).map_err(&fail)?;
    refuse_logs(logs, &found, account.as_ref()).map_or(Ok(()), |cause| Err(refused(cause, wanted)))
}

fn refused(cause: String, wanted: &Wanted) -> Failure {
    let cure = format!(
        "give the application a user of its own: `user` in projects/{}.toml or its project.toml",
        wanted.env.name
    );
    Failure::new(FailureClass::Host, Phase::Build, cause).with_help(cure)
}

fn refuse_account(user: &UserName, account: &Account, by_us: bool) -> Option<String> {
    if let Some(group) = account.groups.iter().find(|group| PRIVILEGED.contains(&group.as_str())) {
        return Some(format!("{user} is in the group {group} on this host, and no application may do what that may"));
    }
    let of_a_service = account.identity.uid < FIRST_OF_PEOPLE && !account.home.starts_with("/home");
    (of_a_service && !by_us)
        .then(|| format!("{user} is the account of a service of this host (home {})", account.home.display()))
}

/// What stands there becomes root's at each boot, and its owner could not write there any more.
fn refuse_logs(logs: &Path, found: &Found, account: Option<&Account>) -> Option<String> {
    let Found::Directory { owner, .. } = found else { return None };
    let roots = owner.uid == 0 && [0, ADM].contains(&owner.gid);
    let ours = roots || account.is_some_and(|account| account.identity.uid == owner.uid);
    (!ours).then(|| format!("{} belongs to another service (uid {}, gid {})", logs.display(), owner.uid, owner.gid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Identity;

    fn account(uid: u32, home: &str, groups: &[&str]) -> Account {
        let groups = groups.iter().map(|&group| group.to_owned()).collect();
        Account { identity: Identity { uid, gid: uid }, home: home.into(), groups }
    }

    fn words(account: &Account, by_us: bool) -> Option<String> {
        refuse_account(&UserName::parse("someone").unwrap(), account, by_us)
    }

    #[test]
    fn the_account_of_a_service_is_not_taken() {
        for (uid, home) in [(33, "/var/www"), (114, "/var/lib/postgresql"), (999, "/var/lib/redis")] {
            assert!(words(&account(uid, home, &["someone"]), false).is_some(), "{home}");
        }
        assert_eq!(words(&account(998, "/srv/someone", &["someone"]), true), None, "we made it");
        assert_eq!(words(&account(998, "/home/someone", &["someone"]), false), None, "useradd --system of a person");
        assert_eq!(words(&account(1001, "/srv/someone", &["users"]), false), None);
    }

    #[test]
    fn no_application_runs_as_one_who_may_become_root() {
        for group in ["docker", "sudo", "wheel", "disk", "adm", "shadow"] {
            let refused = words(&account(1001, "/home/someone", &["someone", group]), true).unwrap();
            assert!(refused.contains(group), "{refused}");
        }
    }

    #[test]
    fn the_logs_of_another_service_stay_its_own() {
        let directory = |uid, gid| Found::Directory { mode: 0o755, owner: Identity { uid, gid } };
        let refused = |found: &Found, account: Option<&Account>| refuse_logs(Path::new("/var/log/x"), found, account);
        assert!(refused(&directory(0, 114), None).is_some(), "as Debian's /var/log/postgresql");
        assert!(refused(&directory(33, 4), None).is_some());
        let own = account(1001, "/home/x", &[]);
        assert_eq!(refused(&directory(1001, 1001), Some(&own)), None, "as people made it by hand");
        assert!(refused(&directory(0, 114), None).is_some(), "as Debian's /var/log/postgresql is, too");
        assert_eq!((refused(&directory(0, 0), None), refused(&directory(0, ADM), None)), (None, None));
        assert_eq!(refused(&Found::Absent, None), None);
    }
}
