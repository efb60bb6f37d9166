//! systemd's D-Bus interface (`org.freedesktop.systemd1(5)`): one connection a question, bounded waits, jobs to their end.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::runtime::Runtime;
use zbus::connection::Builder;
use zbus::export::ordered_stream::OrderedStreamExt as _;
use zbus::{Connection, Error};
use zbus_systemd::systemd1::ManagerProxy;

use super::{HostError, Result, http};

/// For what systemd answers at once. A `Reload` of a machine with many units takes seconds.
pub(super) const PROMPT: Duration = Duration::from_mins(1);
/// systemd's own name for a unit that is not loaded.
pub(super) const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";

const UNIT_MASKED: &str = "org.freedesktop.systemd1.UnitMasked";

/// Where a machine has it ([D-Bus Specification](https://dbus.freedesktop.org/doc/dbus-specification.html), well-known instances).
const SYSTEM_BUS: &str = "/run/dbus/system_bus_socket";

/// The way to systemd. A connection takes a millisecond or two and lives for one question, so that an idle pass has none, and a
/// restarted bus breaks nothing.
#[derive(Debug)]
pub(super) struct Bus {
    runtime: Runtime,
    socket: PathBuf,
}

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Job {
    /// `StartUnit`
    Start,
    /// `RestartUnit`
    Restart,
    /// `StopUnit`
    Stop,
    /// `ReloadUnit`
    Reload,
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum JobEnd {
    /// `done`; also after a failed condition.
    Done,
    /// `failed`: it was tried, and did not work.
    Failed,
    /// `invalid`: the unit does not run, as far as systemd knows.
    Invalid,
    /// It was not tried, or not to the end, for reasons outside of the unit: `dependency`, `canceled`, `timeout`, or another of
    /// systemd's words.
    Prevented(String),
    /// We stopped waiting.
    Underway,
}

impl JobEnd {
    /// By the word in systemd's `JobRemoved`.
    fn of(word: String) -> Self {
        match word.as_str() {
            "done" => Self::Done,
            "failed" => Self::Failed,
            "invalid" => Self::Invalid,
            _ => Self::Prevented(word),
        }
    }

    /// What it means that something kept the job from its end.
    pub(super) fn words(word: &str) -> String {
        match word {
            "dependency" => "a unit that it requires did not start (systemctl list-dependencies names them)".to_owned(),
            "canceled" => "somebody else's order came between (systemctl stop, or a host that goes down)".to_owned(),
            "timeout" => "systemd gave up waiting for its turn".to_owned(),
            other => format!("systemd says: {other}"),
        }
    }
}

impl Bus {
    /// The system's bus.
    pub(super) fn system() -> Result<Self> {
        Self::at(SYSTEM_BUS.into())
    }

    /// The bus behind `socket`.
    pub(super) fn at(socket: PathBuf) -> Result<Self> {
        Ok(Self { runtime: http::runtime()?, socket })
    }

    /// Connects, does `work` within `limit`, and closes. `what` that is, for messages: `stop x.service`.
    pub(super) fn with<T>(
        &self,
        limit: Duration,
        what: &str,
        work: impl AsyncFnOnce(&Connection) -> zbus::Result<T>,
    ) -> Result<T> {
        if self.socket == Path::new(SYSTEM_BUS) && !booted_with_systemd() {
            return Err(refused(
                "this machine was not started by systemd; install supervisor, which serves here too".into(),
            ));
        }
        let failed = |error: Error| refused(format!("{what}: {}", self.words(&error)));
        self.runtime.block_on(async {
            let all = async {
                let address = format!("unix:path={}", self.socket.display());
                let connection =
                    Builder::address(address.as_str()).build().await.map_err(|error| self.unreachable(&error))?;
                let outcome = work(&connection).await.map_err(failed);
                connection.close().await.map_err(failed)?;
                outcome
            };
            let late = || refused(format!("{what}: no answer within {}", http::words(limit)));
            tokio::time::timeout(limit, all).await.unwrap_or_else(|_| Err(late()))
        })
    }

    fn unreachable(&self, error: &Error) -> HostError {
        refused(format!("can't reach its bus: {}; is dbus installed and running?", self.words(error)))
    }

    fn words(&self, error: &Error) -> String {
        match error {
            Error::MethodError(name, Some(text), _) if name.as_str() == UNIT_MASKED => {
                format!("{text} Allow it with `systemctl unmask`.")
            }
            Error::MethodError(_, Some(text), _) => text.clone(),
            Error::InputOutput(error) => format!("{error}: {}", self.socket.display()),
            other => other.to_string(),
        }
    }
}

/// Enqueues a job and waits for its end. We listen before we ask: a short job could end in between.
pub(super) async fn run(connection: &Connection, job: Job, unit: &str, wait: Duration) -> zbus::Result<JobEnd> {
    let manager = ManagerProxy::new(connection).await?;
    manager.subscribe().await?;
    let mut removed = manager.receive_job_removed().await?;
    let (unit, mode) = (unit.to_owned(), "replace".to_owned());
    let path = match job {
        Job::Start => manager.start_unit(unit, mode).await?,
        Job::Restart => manager.restart_unit(unit, mode).await?,
        Job::Stop => manager.stop_unit(unit, mode).await?,
        Job::Reload => manager.reload_unit(unit, mode).await?,
    };
    let end = async {
        while let Some(signal) = removed.next().await {
            let ended = signal.args()?;
            if ended.job == path {
                return Ok(JobEnd::of(ended.result));
            }
        }
        Err(Error::Failure("the bus closed the connection".into()))
    };
    tokio::time::timeout(wait, end).await.unwrap_or(Ok(JobEnd::Underway))
}

/// Turns the named refusal into `None`.
pub(super) fn unless<T>(name: &str, answer: zbus::Result<T>) -> zbus::Result<Option<T>> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(Error::MethodError(found, ..)) if found.as_str() == name => Ok(None),
        Err(error) => Err(error),
    }
}

/// For whatever went wrong with systemd.
pub(super) fn refused(why: String) -> HostError {
    HostError::Service { manager: "systemd", why }
}

/// Whether systemd is this machine's init (`sd_booted(3)`).
pub(super) fn booted_with_systemd() -> bool {
    Path::new("/run/systemd/system").is_dir()
}
