//! What a release asks of its host beyond files and processes of our own, and what of that is not here.

use std::fmt;

use super::{Action, EnvPlan};
use crate::model::{Capabilities, Capability, NotHere, PortRange, UserName};

/// One thing that a release asks of its host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// A user of its own.
    User(UserName),
    /// Ports that the kernel hands to nobody else.
    Ports(PortRange),
    /// Visitors from anywhere.
    Listen,
    /// To serve again after a reboot.
    Boot,
}

/// A need, and whether the host has what it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Row {
    /// It has, and the release uses it.
    Here(Need),
    /// It has not, and the release goes without.
    NotHere(Need, NotHere),
}

impl EnvPlan {
    /// What the release of this plan asks of a host, in an order that does not depend on the host; none without a release.
    pub fn needs(&self, host: &Capabilities) -> Vec<Row> {
        let (Action::Release, Some(wanted)) = (&self.action, &self.wants) else { return Vec::new() };
        let env = &wanted.env;
        let needs = [Need::User(env.user.clone()), Need::Ports(env.ports), Need::Listen, Need::Boot];
        let row = |need: Need| match host.lacks(need.capability()) {
            None => Row::Here(need),
            Some(why) => Row::NotHere(need, why),
        };
        needs.into_iter().map(row).collect()
    }
}

impl Need {
    /// What a host must be able to do for it.
    pub fn capability(&self) -> Capability {
        match self {
            Self::User(_) => Capability::Identities,
            Self::Ports(_) => Capability::Kernel,
            Self::Listen => Capability::Ports,
            Self::Boot => Capability::Boot,
        }
    }

    /// Its name in a plan.
    pub fn label(&self) -> &'static str {
        match self {
            Self::User(_) => "user",
            Self::Ports(_) => "ports",
            Self::Listen => "listen",
            Self::Boot => "boot",
        }
    }

    fn here(&self) -> String {
        match self {
            Self::User(user) => format!("{user}, made if there is none"),
            Self::Ports(ports) => format!("{ports}, which the kernel hands to nobody else"),
            Self::Listen => "on all addresses".to_owned(),
            Self::Boot => "serves again after a reboot".to_owned(),
        }
    }

    /// What is true where the host lacks it.
    fn instead(&self) -> String {
        match self {
            Self::User(_) => "files and processes are yours".to_owned(),
            Self::Ports(ports) => format!("the kernel may hand {ports} to others"),
            Self::Listen => "on 127.0.0.1 only".to_owned(),
            Self::Boot => "nothing starts it again".to_owned(),
        }
    }
}

impl Row {
    /// What is asked for.
    pub fn need(&self) -> &Need {
        let (Self::Here(need) | Self::NotHere(need, _)) = self;
        need
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here(need) => f.write_str(&need.here()),
            Self::NotHere(need, why) => write!(f, "not here: {why}; {}", need.instead()),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::desired::{Interpreter, Wanted, WantedInput};
    use crate::manifest::{self, Entry, Tree};
    use crate::model::{CommitId, EnvName};
    use crate::observed::Installed;
    use crate::plan::{Decision, Want, decide};
    use crate::policy::Standing;

    const FILES: [(&str, &str); 3] = [
        ("portreeve.toml", "schema = 1\n"),
        (
            "projects/bakery/project.toml",
            "user = \"foouser\"\nports = \"60000-60049\"\n[source]\ngit = \"https://git.example.org/b.git\"\n\
             [web.gunicorn]\napp = \"bakery.wsgi:application\"\n[django]\nsettings = \"bakery.settings\"\n",
        ),
        ("projects/bakery/pro.toml", "rev = \"v1\"\ndomains = [\"bakery.example\"]\n"),
    ];

    pub fn wanted(name: &EnvName) -> Wanted {
        wanted_on(name, "pip", 2)
    }

    /// The same on a host with this installer and so many processors.
    fn wanted_on(name: &EnvName, installer: &str, processors: u32) -> Wanted {
        let tree: Tree =
            FILES.iter().map(|(path, text)| ((*path).to_owned(), Entry::File(text.as_bytes().to_vec()))).collect();
        let (repository, diagnostics) = manifest::parse(&tree);
        assert_eq!(diagnostics.errors().count(), 0);
        let commit = CommitId::parse(&"a".repeat(40)).unwrap();
        Wanted::new(WantedInput {
            env: repository.unwrap().environments[name].as_ref().unwrap().clone(),
            commit: commit.clone(),
            deploy_commit: commit,
            python: Interpreter { program: "/usr/bin/python3".into(), version: "3.11.2".to_owned() },
            requirements: b"",
            installer,
            secrets: b"",
            processors,
        })
    }

    /// Another digest of the same content is one release of every environment of every host. A field that is new in what is
    /// serialised changes it, unless it is left out while it is as if unsaid (`skip_serializing_if`).
    #[test]
    fn the_same_content_has_the_digest_that_it_always_had() {
        let wanted = wanted(&EnvName::parse("bakery/pro").unwrap());
        assert_eq!(wanted.digest.to_string(), "b4128b500253ccef380e5dca9e838fd0ca97ef24d3f60ab55f6ffbcf79f5ebd4");
    }

    /// A hold until something changes would end, and quarantine be forgotten, when somebody installs uv or resizes the machine.
    #[test]
    fn neither_the_installer_nor_the_processors_are_content() {
        let name = EnvName::parse("bakery/pro").unwrap();
        let (here, there) = (wanted(&name), wanted_on(&name, "uv", 8));
        assert_eq!(here.digest, there.digest);
        assert!(here.venv != there.venv && here.workers != there.workers, "what is built next is as the host is");
    }

    fn plan() -> EnvPlan {
        let name = EnvName::parse("bakery/pro").unwrap();
        let (want, installed) = (Want::Wanted(Box::new(wanted(&name))), Installed::nothing(name));
        let (standing, now) = (&Standing::default(), jiff::Timestamp::UNIX_EPOCH);
        let (moved, foreign, renders_differently, grace) = (None, None, false, std::time::Duration::ZERO);
        decide(Decision { want, moved, installed: &installed, standing, foreign, renders_differently, grace, now })
    }

    /// What a host can't do leaves a row that says so; every other row is root's. Whatever the host lacks, all of it or some.
    #[test]
    fn the_plan_of_root_minus_what_is_not_here_is_the_rootless_plan() {
        let (plan, whole) = (plan(), Capabilities::default());
        let root = plan.needs(&whole);
        assert!(root.iter().all(|row| matches!(row, Row::Here(_))), "{root:?}");
        for lacks in 0..1 << Capability::OF_ROOT.len() {
            let lacks: Vec<_> = (0..).zip(Capability::OF_ROOT).filter(|(bit, _)| lacks & (1 << bit) != 0).collect();
            let lacks: Vec<_> = lacks.into_iter().map(|(_, capability)| capability).collect();
            let (not_here, rest): (Vec<_>, Vec<_>) = plan
                .needs(&Capabilities::without(lacks.clone(), NotHere::Directory))
                .into_iter()
                .partition(|row| matches!(row, Row::NotHere(..)));
            let named: Vec<_> = not_here.iter().map(|row| row.need().capability()).collect();
            assert_eq!(named, lacks, "each is named, and no other");
            let minus = root.iter().filter(|row| not_here.iter().all(|gone| gone.need() != row.need()));
            assert_eq!(minus.cloned().collect::<Vec<_>>(), rest);
        }
    }

    #[test]
    fn a_row_that_is_not_here_says_what_is_so_instead() {
        let rootless = plan().needs(&Capabilities::without(Capability::OF_ROOT, NotHere::NotRoot));
        let said: Vec<_> = rootless.iter().map(|row| format!("{}: {row}", row.need().label())).collect();
        assert_eq!(said[0], "user: not here: it takes root; files and processes are yours");
        assert_eq!(said[2], "listen: not here: it takes root; on 127.0.0.1 only");
        assert_eq!(EnvPlan { action: Action::Nothing, ..plan() }.needs(&Capabilities::default()), []);
    }
}
