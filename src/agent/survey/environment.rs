//! One environment: what is here of it, whether the tip counts for it, and what is decided.

use std::collections::BTreeMap;

use super::deploy::Deploy;
use crate::agent::floor::{Floors, Followed, Renamed, diverged};
use crate::agent::standing::policy;
use crate::agent::{App, read_standing, standing_here};
use crate::host::{Listener, SlotId};
use crate::manifest::Environment;
use crate::model::{CommitId, EnvName, Service};
use crate::observed::Installed;
use crate::plan::{Decision, EnvPlan, Want, decide};
use crate::policy::Standing;
use crate::transaction::{self, Context, Failure, Phase};

/// What all environments share of the moment they are looked at: asked once, however many there are.
pub(super) struct Moment {
    services: BTreeMap<SlotId, Service>,
    listeners: Vec<Listener>,
}

impl Moment {
    pub(super) fn now(cx: &Context<'_>) -> Result<Self, Failure> {
        let services = cx.host.services().services().map_err(Failure::on_host(Phase::Recover))?;
        let listeners = cx.host.kernel().listeners().map_err(Failure::on_host(Phase::Validate))?;
        Ok(Self { services, listeners })
    }
}

/// Looks at one environment and decides about it; over which floor, where the tip counts for it.
pub(super) fn look(
    app: &App,
    cx: &Context<'_>,
    (name, want, moved): (&EnvName, Want, Option<String>),
    judge: Option<&Judge<'_>>,
    moment: &Moment,
) -> Result<(EnvPlan, Option<Followed>), Failure> {
    let installed = transaction::installed(cx, name, &moment.services)?;
    let wanted = if let Want::Wanted(wanted) = &want { Some(&**wanted) } else { None };
    let standing = standing_here(cx, read_standing(cx, name)?, wanted);
    let Some(judge) = judge else {
        return Ok((environment(app, cx, Seen { want, moved, installed, standing }, moment)?, None));
    };
    let over = judge.floors.of(cx, name)?;
    let refused = judge.refuses(&want, &installed, &standing, over.as_ref());
    let renamed = Renamed::of(&want, &installed);
    let follows = refused.is_none().then(|| Followed { name: name.clone(), over, renamed });
    let want = refused.map_or(want, Want::Diverged);
    Ok((environment(app, cx, Seen { want, moved, installed, standing }, moment)?, follows))
}

/// One environment with everything that is decided from.
struct Seen {
    want: Want,
    moved: Option<String>,
    installed: Installed,
    standing: Standing,
}

fn environment(app: &App, cx: &Context<'_>, seen: Seen, moment: &Moment) -> Result<EnvPlan, Failure> {
    let Seen { want, moved, installed, standing } = seen;
    let foreign = match &want {
        Want::Wanted(wanted) => foreign(cx, &moment.listeners, &wanted.env)?,
        _ => None,
    };
    let renders_differently = match (&want, &installed.generation) {
        (Want::Wanted(wanted), Some(generation)) if wanted.digest == generation.wanted.digest => {
            transaction::renders_differently(cx, generation)?
        }
        _ => false,
    };
    let (now, grace) = (cx.host.clock().now(), app.settings.prune.grace.duration());
    let (installed, standing) = (&installed, &standing);
    Ok(decide(Decision { want, moved, installed, standing, foreign, renders_differently, grace, now }))
}

/// Whether this tip counts for an environment.
pub(super) struct Judge<'a> {
    pub deploy: &'a Deploy,
    pub branch: &'a str,
    pub floors: Floors,
}

impl Judge<'_> {
    /// Why nothing that the tip says counts, also not that the environment is gone: it was not built on what was followed here.
    ///
    /// The rule is that of what is applied, so that a rewritten history can't loosen it.
    fn refuses(
        &self,
        want: &Want,
        installed: &Installed,
        standing: &Standing,
        floor: Option<&CommitId>,
    ) -> Option<String> {
        let policy = match (want, policy(installed)) {
            (_, Some(policy)) => policy,
            (Want::Wanted(wanted), None) => wanted.env.policy,
            (_, None) => return None,
        };
        let floor = floor?;
        let accepted = standing.accepted_over(floor);
        let refusal = self.deploy.objects.follow(floor, &self.deploy.tip, policy, accepted).err()?;
        Some(diverged(&installed.name, &refusal, self.branch, self.deploy.info.as_ref()))
    }
}

/// The first listener in the environment's ports that is not its own. The first port is the development server's.
fn foreign(cx: &Context<'_>, listeners: &[Listener], env: &Environment) -> Result<Option<String>, Failure> {
    let (fail, users, ports) = (Failure::on_host(Phase::Validate), cx.host.users(), env.ports);
    let own = users.user(&env.user).map_err(&fail)?.map(|identity| identity.uid);
    let found = listeners
        .iter()
        .find(|listener| ports.first <= listener.port && listener.port <= ports.last && Some(listener.uid) != own);
    let words = |listener: &Listener| {
        let user = users.user_name(listener.uid).map_err(&fail)?;
        Ok(held(listener, user.as_deref(), &env.name))
    };
    found.map(words).transpose()
}

fn held(listener: &Listener, user: Option<&str>, name: &EnvName) -> String {
    let Listener { port, uid, pid, command } = listener;
    let user = user.map_or_else(|| format!("uid {uid}"), |user| format!("user {user}"));
    let (who, stop) = match (command, pid) {
        (Some(command), Some(pid)) => (format!("{command} (pid {pid}, {user})"), format!("stop pid {pid}")),
        _ => (format!("a process of {user}"), "stop it".to_owned()),
    };
    format!("port {port} is held by {who}, not by us; {stop}, or change ports in projects/{name}.toml")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_a_port_is_named_as_people_know_him() {
        let node = Listener { port: 60001, uid: 1000, pid: Some(1432), command: Some("node".to_owned()) };
        let gone = Listener { pid: None, command: None, ..node.clone() };
        let name = EnvName::parse("project.baz/pro").unwrap();
        assert_eq!(
            held(&node, Some("marco"), &name),
            "port 60001 is held by node (pid 1432, user marco), not by us; stop pid 1432, or change ports in projects/project.baz/pro.toml"
        );
        assert_eq!(
            held(&gone, None, &name),
            "port 60001 is held by a process of uid 1000, not by us; stop it, or change ports in projects/project.baz/pro.toml"
        );
    }
}
