//! What can be seen of the environment from beside the host: what visitors get, where one link leads, what was started.

use crate::http;
use crate::world::{SITE, World};

/// What can be seen of the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Where `active` leads.
    pub active: String,
    /// The release that answers well on the front page.
    pub front: Option<String>,
    /// Whether its health check passes too, for visitors.
    pub healthy: bool,
    /// A killed pass has left something to end.
    pub open: bool,
}

impl Seen {
    /// Now.
    pub fn of(world: &World) -> Self {
        let links =
            world.host.sh("readlink /etc/portreeve/active/bakery_pro || echo; ls /var/lib/portreeve/journal || true");
        let (active, journal) = links.split_once('\n').unwrap_or_default();
        let get = |path| http::get(&world.host, SITE, path).ok().filter(|response| response.status == 200);
        let front = get("/").and_then(|response| response.release().map(str::to_owned));
        let healthy = get("/healthz").is_some_and(|response| response.release() == front.as_deref());
        Self { active: active.to_owned(), healthy: front.is_some() && healthy, front, open: !journal.trim().is_empty() }
    }
}

/// The journal from here on.
#[derive(Debug)]
pub struct Started(String);

impl Started {
    /// A sync returns when all that was written to the journal is in it.
    pub fn from_now(world: &World) -> Self {
        let last = "journalctl --sync; journalctl --quiet --lines=1 --show-cursor --output=cat";
        let told = world.host.sh(last);
        Self(told.lines().find_map(|line| line.strip_prefix("-- cursor: ")).expect("a cursor").to_owned())
    }

    /// The releases that were started since, by whomever.
    pub fn until_now(self, world: &World) -> Vec<String> {
        let read = ["journalctl", "--quiet", "--output=cat", "--after-cursor", &self.0, "--grep", "started RELEASE"];
        world.host.exec_ok(&["journalctl", "--sync"]);
        let told = world.host.exec(&read).stdout;
        told.lines().filter_map(|line| Some(line.split_once("RELEASE = \"")?.1.split('"').next()?.to_owned())).collect()
    }
}
