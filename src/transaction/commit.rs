//! The rename, and the effects that follow it.

use std::time::Duration;

use super::lock::{self, Place};
use super::{Context, Failure, Intent, Phase, slot};
use crate::desired::Generation;
use crate::health::{Check, Through};
use crate::host::{Request, Target};
use crate::manifest::Health;
use crate::model::{EnvName, Found, GenerationNumber, Node, Slot};
use crate::policy::FailureClass;
use crate::resource::vhost;

/// How long nginx may take to read its configuration again.
const RELOAD: Duration = Duration::from_secs(10);
/// Old workers go on accepting for a moment after a reload: one good answer proves nothing.
const IN_A_ROW: u32 = 5;
/// Between two looks at what nginx serves.
const GLANCE: Duration = Duration::from_millis(25);

/// Commits the candidate: run flags for both slots (a serving slot whose master dies meanwhile must come back), the one rename,
/// and the socket's link, by which traffic moves.
pub fn switch(cx: &Context<'_>, generation: &Generation) -> Result<(), Failure> {
    let fail = Failure::on_host(Phase::Switch);
    let (name, files) = (&generation.name, cx.host.files());
    for slot in Slot::BOTH {
        files.raise_flag(&cx.layout.run_flag(name, slot)).map_err(&fail)?;
    }
    activate(cx, name, generation.number)?;
    move_socket(cx, name, generation.slot)
}

/// THE rename.
pub fn activate(cx: &Context<'_>, name: &EnvName, number: GenerationNumber) -> Result<(), Failure> {
    let target = Node::Link(Context::active_target(name, number));
    cx.host.files().put(&cx.layout.active_link(name), &target).map_err(Failure::on_host(Phase::Switch))
}

/// The same rename, to where the transaction began: also on a disk without room.
pub fn deactivate(cx: &Context<'_>, intent: &Intent) -> Result<(), Failure> {
    let (files, fail) = (cx.host.files(), Failure::on_host(Phase::Recover));
    let way_back = intent.way_back(cx);
    let target = Context::active_target(&intent.env, intent.from);
    let is_there = files.look(&way_back).map_err(&fail)? == Found::Link(target);
    if is_there && files.rename(&way_back, &cx.layout.active_link(&intent.env)).is_ok() {
        return Ok(());
    }
    activate(cx, &intent.env, intent.from)
}

/// Leads nginx to the slot: the kernel resolves the link at each connect, so no proxy is reloaded.
pub fn move_socket(cx: &Context<'_>, name: &EnvName, slot: Slot) -> Result<(), Failure> {
    let link = cx.layout.web_socket(name);
    let target = std::path::PathBuf::from(format!("{slot}/s"));
    let files = cx.host.files();
    if files.look(&link).map_err(Failure::on_host(Phase::Switch))? == Found::Link(target.clone()) {
        return Ok(());
    }
    files.put(&link, &Node::Link(target)).map_err(Failure::on_host(Phase::Switch))
}

/// Makes nginx serve the generation's vhost. Nothing is reloaded when it does so already; a reload is believed only when the new
/// vhost's own token is answered, because `reload` ends with 0 also when it was dropped.
pub fn front(cx: &Context<'_>, generation: &Generation) -> Result<(), Failure> {
    let fail = Failure::on_host(Phase::Switch);
    if slot::is_level(cx, &generation.name).map_err(&fail)? {
        return front_of(cx, generation, generation.number);
    }
    // nginx.conf names other workers than those that run: they are needed here, and the way back is to be theirs as well.
    reload(cx)?;
    Slot::BOTH.into_iter().try_for_each(|slot| slot::admit(cx, generation, slot))?;
    front_of(cx, generation, generation.number)
}

/// The same for the vhost of generation `number` of the same environment, of which nothing else may be known.
pub fn front_of(cx: &Context<'_>, generation: &Generation, number: GenerationNumber) -> Result<(), Failure> {
    let fail = Failure::on_host(Phase::Switch);
    let Some((token, port)) = token(cx, generation, number)? else { return Ok(()) };
    let ask = || serves_token(cx, generation, &token, port);
    if !cx.host.front().running().map_err(&fail)? || ask()? == Serves::This {
        return Ok(());
    }
    let _host = lock::shared(cx, Place::Host)?;
    // Another environment's reload may have read ours too.
    if ask()? == Serves::This {
        return Ok(());
    }
    cx.host.front().reload().map_err(&fail)?;
    believed(cx, generation, ask)
}

/// What nginx says of a vhost's token.
#[derive(PartialEq, Eq)]
enum Serves {
    This,
    Another,
    /// It keeps who asks waiting, and how.
    Nothing(String),
}

fn believed(
    cx: &Context<'_>,
    generation: &Generation,
    ask: impl Fn() -> Result<Serves, Failure>,
) -> Result<(), Failure> {
    let clock = cx.host.clock();
    let until = clock.monotonic() + RELOAD;
    let (mut streak, mut last) = (0, Serves::Another);
    while clock.monotonic() < until {
        // It reads what is there when it starts again.
        if !cx.host.front().running().map_err(Failure::on_host(Phase::Switch))? {
            return Ok(());
        }
        last = ask()?;
        streak = if last == Serves::This { streak + 1 } else { 0 };
        if streak == IN_A_ROW {
            return Ok(());
        }
        clock.sleep(GLANCE);
    }
    if let Serves::Nothing(why) = last {
        return Err(slot::cut_off(cx, generation, &why));
    }
    Err(Failure::new(FailureClass::Host, Phase::Switch, "nginx was reloaded, but goes on with its old configuration")
        .with_help("nginx -t and journalctl -u nginx say why; a port that another program holds is the usual cause"))
}

/// What the vhost of generation `number` of the same environment is known by, and where it listens.
fn token(
    cx: &Context<'_>,
    generation: &Generation,
    number: GenerationNumber,
) -> Result<Option<(String, u16)>, Failure> {
    let path = cx.layout.generation(&generation.name, number).join("nginx.conf");
    let bytes = cx.host.files().read(&path, 1024 * 1024).map_err(Failure::on_host(Phase::Switch))?.unwrap_or_default();
    Ok(vhost::token(&bytes).map(|token| (token, vhost::port(&bytes).unwrap_or(cx.facts.http_port))))
}

/// Makes nginx read its configuration again, whatever it serves now.
pub fn reload(cx: &Context<'_>) -> Result<(), Failure> {
    let _host = lock::shared(cx, Place::Host)?;
    cx.host.front().reload().map_err(Failure::on_host(Phase::Switch))
}

fn serves_token(cx: &Context<'_>, generation: &Generation, token: &str, port: u16) -> Result<Serves, Failure> {
    let request = about(generation, token, port);
    let begin = cx.host.clock().monotonic();
    let answer = cx.host.probe().get(&request).map_err(Failure::on_host(Phase::Switch))?;
    let took = cx.host.clock().monotonic().saturating_sub(begin);
    Ok(match answer {
        Ok(answer) if answer.status == 204 => Serves::This,
        // Refused at once, it does not listen there: a reload that was dropped looks like that, too.
        Err(why) if took >= request.timeout => Serves::Nothing(why),
        _ => Serves::Another,
    })
}

/// What nginx answers by itself.
fn about(generation: &Generation, token: &str, port: u16) -> Request {
    Request {
        path: vhost::token_path(token),
        timeout: Duration::from_secs(2),
        ..slot::request(generation, Target::Port(port), false)
    }
}

/// Asks through nginx, once and then for as long as the bake lasts; an nginx that is away is waited for with so much patience.
pub fn verify(cx: &Context<'_>, generation: &Generation, health: &Health, patience: Duration) -> Result<(), Failure> {
    let id = slot::id(&generation.name, generation.slot);
    let request = slot::request(generation, Target::Port(cx.facts.http_port), false);
    let itself = token(cx, generation, generation.number)?
        .map_or_else(|| request.clone(), |(token, port)| about(generation, &token, port));
    let check = Check { slot: Some(&id), request: &request, health };
    let through = Through { itself: &itself, behind: &slot::direct(cx, generation), patience };
    let verdict = slot::watcher(cx).bake(check, through).map_err(Failure::on_host(Phase::Verify))?;
    slot::judge(cx, generation, verdict, Phase::Verify).map(|_| ())
}
