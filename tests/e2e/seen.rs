//! What can be seen of the environment from beside the host: what visitors get, where one link leads, what was started.

use crate::http;
use crate::ledger::Seen;
use crate::world::{SITE, World};

/// Now.
pub fn see(world: &World) -> Seen {
    let links =
        world.host.sh("readlink /etc/portreeve/active/bakery_pro || echo; ls /var/lib/portreeve/journal || true");
    let (active, journal) = links.split_once('\n').unwrap_or_default();
    let get = |path| {
        let answer = http::get(&world.host, SITE, path).ok()?;
        Some((answer.status == 200, answer.release()?.to_owned()))
    };
    let (answer, health) = (get("/"), get("/healthz"));
    let healthy = answer == health && answer.as_ref().is_some_and(|(well, _)| *well);
    let answers = answer.is_some();
    let front = answer.and_then(|(well, release)| well.then_some(release));
    Seen { active: active.to_owned(), answers, front, healthy, open: !journal.trim().is_empty() }
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
