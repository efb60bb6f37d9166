//! Where everything of one environment lives.

use std::path::PathBuf;

use super::{Digest, EnvName, Layout, ReleaseId, UserName};

/// The directories of one environment, `/home/USER/PROJECT/ENV` and beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvLayout {
    pub(super) layout: Layout,
    pub(super) name: EnvName,
    pub(super) user: UserName,
    pub(super) base: PathBuf,
}

impl EnvLayout {
    /// The host's layout.
    pub fn host(&self) -> &Layout {
        &self.layout
    }

    /// `/home/USER`
    pub fn user_home(&self) -> PathBuf {
        self.base.join(&self.user)
    }

    /// `/home/USER/PROJECT`
    pub fn project(&self) -> PathBuf {
        self.user_home().join(&self.name.project)
    }

    /// `/home/USER/PROJECT/ENV`: root's, with leaves of the application.
    pub fn home(&self) -> PathBuf {
        self.project().join(&self.name.environment)
    }

    /// Built trees.
    pub fn releases(&self) -> PathBuf {
        self.home().join("releases")
    }

    /// One built tree.
    pub fn release(&self, id: &ReleaseId) -> PathBuf {
        self.releases().join(id.as_str())
    }

    /// Virtual environments, shared by releases.
    pub fn venvs(&self) -> PathBuf {
        self.home().join("venvs")
    }

    /// The link for people to the release that serves.
    pub fn current(&self) -> PathBuf {
        self.home().join("current")
    }

    /// Settings and `env.conf` of the generation that serves, for people.
    pub fn etc(&self) -> PathBuf {
        self.home().join("etc")
    }

    /// Collected static files of all releases together, for pages of another than the one that serves.
    pub fn static_files(&self) -> PathBuf {
        self.home().join("static")
    }

    /// Static files release by release: what is served stays as it is until the switch.
    pub fn static_releases(&self) -> PathBuf {
        self.home().join("static-releases")
    }

    /// One release's own static files. Settings say which those are, so that `digest` is that of all that it is made from.
    pub fn static_of(&self, id: &ReleaseId, digest: &Digest) -> PathBuf {
        self.static_releases().join(format!("{}-{}", id.as_str(), digest.short(6)))
    }

    /// Uploads; never touched by a release.
    pub fn media(&self) -> PathBuf {
        self.home().join("media")
    }

    /// The application's data; never touched by a release.
    pub fn data(&self) -> PathBuf {
        self.home().join("data")
    }

    /// `logs` in the environment's directory: a link to [`log_dir`](Self::log_dir).
    pub fn logs_link(&self) -> PathBuf {
        self.home().join("logs")
    }

    /// `backups` in the environment's directory: a link to [`backup_dir`](Self::backup_dir).
    pub fn backups_link(&self) -> PathBuf {
        self.home().join("backups")
    }

    /// `/var/log/USER/PROJECT/ENV`
    pub fn log_dir(&self) -> PathBuf {
        self.below("/var/log")
    }

    /// The leaf of [`log_dir`](Self::log_dir) in which the application writes logs of its own. The directory above is
    /// root's: nginx opens its logs there as root, and would follow a link that the application planted.
    pub fn app_log_dir(&self) -> PathBuf {
        self.log_dir().join("app")
    }

    /// `/var/backups/USER/PROJECT/ENV`
    pub fn backup_dir(&self) -> PathBuf {
        self.below("/var/backups")
    }

    fn below(&self, top: &str) -> PathBuf {
        self.layout.root().join(top).join(&self.user).join(&self.name.project).join(&self.name.environment)
    }
}
