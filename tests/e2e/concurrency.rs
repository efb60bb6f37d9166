//! Several environments, programs and people at once: nobody waits for what is none of his business, and whoever waits is told
//! for whom.

use std::time::{Duration, Instant};

use crate::cmd::Background;
use crate::edits::{ASKED, HEALTH_GATED};
use crate::http;
use crate::traces::until_within;
use crate::world::{Edits, World};

/// A pass a minute, none of it by chance.
const AGENT_TOML: &str = r#"repo = "ssh://git@git.example.org/srv/git/deploy.git"
host = "web1"
schedule = "* * * * *"
jitter = "0s"
"#;

/// A minute until the pass, and a release on a busy machine.
const A_PASS: Duration = Duration::from_mins(3);

/// A release, or a step of one, on a busy machine.
const A_STEP: Duration = Duration::from_mins(1);

/// Far below any of the waits that are cut short here.
const PROMPTLY: Duration = Duration::from_secs(45);

const UNIT: &str = "portreeve.service";

const DEV: &str = "dev.bakery.example";

/// A release whose build stands at a gate: it says that it is there, and waits until the gate is open.
const GATED_BUILD: Edits<'static> = &[(
    "bakery/settings.py",
    Some(concat!(
        include_str!("../bakery/bakery/settings.py"),
        "\nimport os\nimport sys\nimport time\n\nif 'collectstatic' in sys.argv:\n    ",
        "open('/srv/gate/building', 'w').close()\n    ",
        "while not os.path.exists('/srv/gate/open'):\n        time.sleep(0.05)\n"
    )),
)];

/// An environment's file; a health check that fails is asked again for far longer than a test lasts.
fn env_toml(rev: &str, domain: &str) -> String {
    format!(
        "rev = \"{rev}\"\ndomains = [\"{domain}\"]\n\n[health]\npath = \"/healthz\"\nstatus = 200\ntimeout = \"2s\"\n\
         deadline = \"10m\"\npasses = 2\nbake = \"0s\"\n"
    )
}

/// A world with a gate, in which `bakery/pro` serves `v1`.
fn world(name: &str) -> World {
    let world = World::new(name);
    world.host.exec_ok(&["systemctl", "start", "nginx"]);
    world.host.sh("mkdir -m 777 /srv/gate");
    world.host.put_file("/etc/portreeve/agent.toml", AGENT_TOML);
    world.edit_pro(|_| env_toml("v1", "bakery.example"));
    world.reconcile().ok();
    assert_eq!(world.serving(), "v1");
    world
}

/// Wants `rev` of an environment.
fn want(world: &World, env: &str, rev: &str) {
    let domain = if env == "dev" { DEV } else { "bakery.example" };
    world.push_deploy(&[(&format!("projects/bakery/{env}.toml"), Some(&env_toml(rev, domain)))]);
}

fn dev_serves(world: &World, version: &str) -> bool {
    http::get(&world.host, DEV, "/").is_ok_and(|response| response.release() == Some(version))
}

fn pro_serves(world: &World, version: &str) -> bool {
    world.get("/").release() == Some(version)
}

/// Waits until a gated build stands at its gate.
#[track_caller]
fn until_building(world: &World) {
    until_within(A_PASS, "a build is under way", || world.host.has("/srv/gate/building"));
}

/// Waits until the gated candidate of `bakery/pro` is asked for its health, again if it was before.
#[track_caller]
fn until_asked(world: &World) {
    world.host.exec_ok(&["rm", "-f", ASKED]);
    until_within(A_PASS, "the candidate is asked for its health", || world.host.has(ASKED));
}

fn processes_at_the_gate(world: &World) -> String {
    world.host.exec(&["pgrep", "-f", "manage.py collectstatic"]).stdout
}

/// A command that goes on while others run.
fn begin(world: &World, arguments: &[&str]) -> Background {
    Background::start(world.host.command(&[&["portreeve"], arguments].concat()))
}

/// Who holds an environment's lock, as it is written there.
fn holder(world: &World, env: &str) -> String {
    world.host.read_file(&format!("/run/portreeve/locks/bakery_{env}.lock"))
}

fn pid_of(holder: &str) -> String {
    let pid = holder.split("(pid ").nth(1).and_then(|rest| rest.split(',').next());
    pid.unwrap_or_else(|| panic!("no pid: {holder}")).to_owned()
}

#[test]
fn a_slow_build_of_dev_delays_neither_a_release_nor_a_rollback_of_pro() {
    let world = world("slowdev");
    world.push_deploy(&[
        ("hosts/web1.toml", Some("environments = [\"bakery/dev\", \"bakery/pro\"]\n")),
        ("projects/bakery/dev.toml", Some(&env_toml("v1", DEV))),
    ]);
    world.reconcile().ok();
    assert!(dev_serves(&world, "v1"));
    within_one_pass(&world);
    world.host.exec_ok(&["systemctl", "start", UNIT]);
    across_passes(&world);
    let second = begin(&world, &["agent"]);
    by_command(&world);
    a_newer_commit_ends_the_build(&world);
    // An agent that is ended between the switch and the record leaves the record to the next pass.
    until_within(A_PASS, "it is recorded", || releases_of(&world, "dev", "v5") == 1);
    world.host.exec_ok(&["systemctl", "stop", UNIT]);
    let last = || world.host.sh("stat -c %y /run/portreeve/last-*");
    let before = last();
    until_within(A_PASS, "the second agent makes passes too", || last() != before);
    world.host.exec_ok(&["pkill", "-TERM", "-f", "portreeve agent"]);
    let said = second.end().ok();
    assert!(!said.stderr.contains("error"), "two agents are no trouble: {said}");
    each_was_released_once(&world);
}

/// `portreeve reconcile` of both: pro is done while dev stands at the gate.
#[track_caller]
fn within_one_pass(world: &World) {
    world.push_app("v2", GATED_BUILD, "v2");
    want(world, "dev", "v2");
    world.push_app("v3", &[], "v3");
    want(world, "pro", "v3");
    let pass = begin(world, &["reconcile"]);
    until_building(world);
    until_within(A_STEP, "pro is released meanwhile", || pro_serves(world, "v3"));
    let asked = Instant::now();
    let history = world.portreeve(&["history"]).ok();
    assert!(history.stdout.contains("bakery/dev") && history.stdout.contains("v1"), "{history}");
    assert!(asked.elapsed() < PROMPTLY, "{:?}", asked.elapsed());
    assert!(dev_serves(world, "v1") && !processes_at_the_gate(world).is_empty());
    let waits = "portreeve retry bakery/dev --wait 2m >/run/waits 2>&1";
    let waiter = Background::start(world.host.command(&["sh", "-c", waits]));
    let told = || world.host.exec(&["cat", "/run/waits"]).stdout.contains("waiting: portreeve reconcile (pid ");
    until_within(A_STEP, "it is told for whom it waits", told);
    world.host.sh("touch /srv/gate/open");
    let said = pass.end().ok();
    waiter.end().ok();
    assert!(dev_serves(world, "v2"), "{said}");
    assert!(said.stdout.contains("bakery/dev  build ") && said.stdout.contains("bakery/pro  build "), "{said}");
    world.host.sh("rm -r /srv/gate/*");
}

/// The agent: its later passes do not wait for the one that builds.
#[track_caller]
fn across_passes(world: &World) {
    world.push_app("v4", GATED_BUILD, "v4");
    want(world, "dev", "v4");
    until_building(world);
    world.push_app("v5", &[], "v5");
    want(world, "pro", "v5");
    until_within(A_PASS, "a later pass releases pro", || pro_serves(world, "v5"));
    assert!(dev_serves(world, "v2") && !processes_at_the_gate(world).is_empty());
    let status = world.portreeve(&["status"]).ok();
    let row = status.stdout.lines().find(|line| line.starts_with("bakery/dev")).unwrap_or_default();
    assert!(row.contains("releasing") && row.contains("now at build"), "{status}");
    let why = world.portreeve(&["why", "bakery/dev"]).ok();
    assert!(why.stdout.contains("by portreeve agent (pid "), "{why}");
}

#[track_caller]
fn by_command(world: &World) {
    let begun = Instant::now();
    let back = world.portreeve(&["rollback", "bakery/pro", "--reason", "cart broken"]).ok();
    assert!(back.stdout.contains("v3 serves again"), "{back}");
    assert!(begun.elapsed() < PROMPTLY, "{:?}", begun.elapsed());
    world.portreeve(&["resume", "bakery/pro"]).ok();
    world.portreeve(&["reconcile", "bakery/pro"]).ok();
    assert!(pro_serves(world, "v5"));
    let busy = world.portreeve(&["reconcile", "bakery/dev", "--wait", "1s"]).exits(4);
    let who = format!("portreeve agent (pid {}, since ", pid_of(&holder(world, "dev")));
    assert!(busy.stderr.contains(&format!("waiting: {who}")), "{busy}");
    assert!(busy.stderr.contains(&format!("bakery/dev is busy: {who}")), "{busy}");
    let busy = world.portreeve(&["restart", "bakery/dev", "--wait", "1s"]).exits(4);
    assert!(busy.stderr.contains(&who), "{busy}");
    assert!(dev_serves(world, "v2") && !processes_at_the_gate(world).is_empty());
}

/// The gate stays closed.
#[track_caller]
fn a_newer_commit_ends_the_build(world: &World) {
    want(world, "dev", "v5");
    until_within(A_PASS, "dev follows the newer commit", || dev_serves(world, "v5"));
    assert_eq!(processes_at_the_gate(world), "", "the build of the older one was killed");
    let status = world.portreeve(&["status", "--exit-code"]);
    assert!(!status.stdout.contains("quarantined"), "{status}");
}

/// Two agents and some commands, and nobody did what another had done.
#[track_caller]
fn each_was_released_once(world: &World) {
    for (env, version) in [("dev", "v2"), ("pro", "v3"), ("dev", "v5")] {
        assert_eq!(releases_of(world, env, version), 1, "{env} {version}: {}", history(world));
    }
    let history = history(world);
    assert!(!history.contains("not released") && !history.contains("v4"), "a cancelled attempt is no event: {history}");
}

#[track_caller]
fn history(world: &World) -> String {
    world.portreeve(&["history", "-n", "100"]).ok().stdout
}

/// How often the history says so.
#[track_caller]
fn releases_of(world: &World, env: &str, version: &str) -> usize {
    let released =
        |line: &&str| line.contains(&format!("bakery/{env} ")) && line.contains(&format!("released {version} after "));
    history(world).lines().filter(released).count()
}

#[test]
fn whoever_wants_a_release_not_to_happen_ends_it() {
    let world = world("giveway");
    world.release("v2", &[]).ok();
    a_rollback_ends_a_build(&world);
    a_suspension_ends_a_wait_for_health(&world);
    a_newer_commit_ends_a_wait_for_health(&world);
    a_revert_ends_a_wait_for_health(&world);
    a_suspension_ends_a_bake(&world);
    a_newer_commit_ends_a_bake(&world);
    a_rollback_after_the_switch_leaves_what_was_switched_to(&world);
    an_order_gives_way_to_another(&world);
    what_was_not_carried_out_says_so(&world);
    an_order_that_ends_a_killed_release_gives_way(&world);
    no_push_takes_an_order_back(&world);
}

/// What serves goes back, and what was being built does not come by itself.
#[track_caller]
fn a_rollback_ends_a_build(world: &World) {
    world.push_app("v3", GATED_BUILD, "v3");
    want(world, "pro", "v3");
    let pass = begin(world, &["reconcile"]);
    until_building(world);
    let begun = Instant::now();
    let back = world.portreeve(&["rollback", "bakery/pro"]).ok();
    assert!(begun.elapsed() < PROMPTLY, "{:?}", begun.elapsed());
    assert!(back.stdout.contains("v1 serves again"), "{back}");
    let said = pass.end().ok();
    let note = "note: bakery/pro: v3 not released: stopped for portreeve rollback bakery/pro (pid ";
    assert!(said.stderr.contains(note) && !said.stderr.contains("error: "), "{said}");
    assert!(said.stderr.contains("users still get v2"), "{said}");
    assert_eq!(processes_at_the_gate(world), "");
    world.host.sh("touch /srv/gate/open");
    let held = world.reconcile().ok();
    assert!(held.stdout.contains("held"), "{held}");
    assert!(pro_serves(world, "v1"));
    let status = world.portreeve(&["status"]).ok();
    assert!(status.stdout.contains("held") && !status.stdout.contains("quarantined"), "{status}");
    world.portreeve(&["resume", "bakery/pro"]).ok();
    world.reconcile().ok();
    assert!(pro_serves(world, "v3"), "a cancelled attempt is not a failed one");
    world.host.sh("rm -r /srv/gate/*");
}

#[track_caller]
fn a_suspension_ends_a_wait_for_health(world: &World) {
    world.push_app("v4", HEALTH_GATED, "v4");
    want(world, "pro", "v4");
    let pass = begin(world, &["reconcile"]);
    until_asked(world);
    world.portreeve(&["suspend", "bakery/pro", "--for", "2h", "--reason", "db move"]).ok();
    let said = pass.end().ok();
    assert!(said.stderr.contains("v4 not released: stopped for portreeve suspend bakery/pro"), "{said}");
    let held = world.reconcile().ok();
    assert!(held.stdout.contains("suspended"), "{held}");
    assert!(pro_serves(world, "v3"));
    world.portreeve(&["resume", "bakery/pro"]).ok();
}

#[track_caller]
fn a_newer_commit_ends_a_wait_for_health(world: &World) {
    let pass = begin(world, &["reconcile"]);
    until_asked(world);
    world.push_app("v5", &[], "v5");
    want(world, "pro", "v5");
    let newer = world.reconcile().ok();
    assert!(newer.stdout.contains("v5 released"), "{newer}");
    assert!(pro_serves(world, "v5"));
    let said = pass.end().ok();
    assert!(said.stderr.contains("v4 not released: stopped for portreeve reconcile"), "{said}");
}

/// What serves already is wanted again.
#[track_caller]
fn a_revert_ends_a_wait_for_health(world: &World) {
    world.push_app("v6", HEALTH_GATED, "v6");
    want(world, "pro", "v6");
    let pass = begin(world, &["reconcile"]);
    until_asked(world);
    want(world, "pro", "v5");
    world.reconcile().ok();
    let said = pass.end().ok();
    assert!(said.stderr.contains("v6 not released: stopped for portreeve reconcile"), "{said}");
    assert!(pro_serves(world, "v5") && !world.host.has("/var/lib/portreeve/journal/bakery_pro.json"));
}

/// A release of `version` that is watched for far longer than a test lasts, and has been switched to.
#[track_caller]
fn baking(world: &World, version: &str) -> Background {
    world.push_app(version, &[], version);
    let toml = env_toml(version, "bakery.example").replace("bake = \"0s\"", "bake = \"10m\"");
    world.edit_pro(|_| toml);
    let pass = begin(world, &["reconcile"]);
    until_within(A_STEP, "it is switched to", || pro_serves(world, version));
    pass
}

/// The older one is not baked once more by whoever comes for the newer one.
#[track_caller]
fn a_newer_commit_ends_a_bake(world: &World) {
    let pass = baking(world, "v8");
    let begun = Instant::now();
    world.push_app("v9", &[], "v9");
    world.edit_pro(|_| env_toml("v9", "bakery.example"));
    world.reconcile();
    world.reconcile().ok();
    assert!(pro_serves(world, "v9"));
    pass.end();
    assert!(begun.elapsed() < A_PASS, "{:?}", begun.elapsed());
}

#[track_caller]
fn a_suspension_ends_a_bake(world: &World) {
    let pass = baking(world, "v7");
    let begun = Instant::now();
    world.portreeve(&["suspend", "bakery/pro", "--for", "2h", "--reason", "db move"]).ok();
    assert!(begun.elapsed() < PROMPTLY, "{:?}", begun.elapsed());
    pass.end();
    assert!(pro_serves(world, "v7") && !world.host.has("/var/lib/portreeve/journal/bakery_pro.json"));
    world.portreeve(&["resume", "bakery/pro"]).ok();
}

/// While a release is watched after its switch, a rollback does not wait for the verdict, and goes back once.
#[track_caller]
fn a_rollback_after_the_switch_leaves_what_was_switched_to(world: &World) {
    let pass = baking(world, "v10");
    let back = world.portreeve(&["rollback", "bakery/pro"]).ok();
    assert!(back.stdout.contains("v9 serves again"), "{back}");
    assert!(pro_serves(world, "v9"));
    pass.end().ok();
    world.reconcile().ok();
    assert!(pro_serves(world, "v9"), "and stays there");
    assert!(!world.host.has("/var/lib/portreeve/journal/bakery_pro.json"));
}

/// What was gone back from is gone back to, and is watched for ten minutes as its release was.
#[track_caller]
fn an_order_gives_way_to_another(world: &World) {
    let first = begin(world, &["rollback", "bakery/pro", "--to", "v10"]);
    until_within(A_STEP, "it is switched to", || pro_serves(world, "v10"));
    let begun = Instant::now();
    let second = world.portreeve(&["rollback", "bakery/pro", "--to", "v9", "--reason", "the cart"]).ok();
    assert!(begun.elapsed() < PROMPTLY, "{:?}", begun.elapsed());
    assert!(second.stdout.contains("v9 serves again"), "{second}");
    // What it led to had its visitors, and the hold was its own.
    let first = first.end().ok();
    assert!(first.stdout.contains("v10 serves again") && first.stderr.contains("stopped on request"), "{first}");
    assert!(pro_serves(world, "v9") && !world.host.has("/var/lib/portreeve/journal/bakery_pro.json"));
}

/// An order that nobody saw anything of yet ends without a trace, and names who serves.
#[track_caller]
fn what_was_not_carried_out_says_so(world: &World) {
    world.host.sh("touch /srv/gate/open");
    world.portreeve(&["resume", "bakery/pro"]).ok();
    world.push_app("v11", HEALTH_GATED, "v11");
    want(world, "pro", "v11");
    world.reconcile().ok();
    world.push_app("v12", &[], "v12");
    want(world, "pro", "v12");
    world.reconcile().ok();
    world.host.sh("rm /srv/gate/open");
    let first = begin(world, &["rollback", "bakery/pro", "--to", "v11"]);
    until_asked(world);
    world.portreeve(&["suspend", "bakery/pro", "--for", "2h", "--reason", "db move"]).ok();
    let first = first.end();
    let words = ["stopped for portreeve suspend bakery/pro --for 2h ", "; v12 serves on"];
    assert!(first.code != 0 && words.iter().all(|words| first.stderr.contains(words)), "{first}");
    world.portreeve(&["resume", "bakery/pro"]).ok();
    world.reconcile().ok();
    let status = world.portreeve(&["status"]).ok();
    assert!(pro_serves(world, "v12") && !status.stdout.contains("held"), "{status}");
}

/// A release is killed after its switch; somebody's order watches it to its end, and somebody else does not want it.
#[track_caller]
fn an_order_that_ends_a_killed_release_gives_way(world: &World) {
    let pass = baking(world, "v13");
    world.host.exec_ok(&["kill", "-KILL", &pid_of(&holder(world, "pro"))]);
    assert_ne!(pass.end().code, 0);
    let retry = begin(world, &["retry", "bakery/pro"]);
    until_within(A_STEP, "it is watched again", || holder(world, "pro").starts_with("portreeve retry"));
    let begun = Instant::now();
    let back = world.portreeve(&["rollback", "bakery/pro"]).ok();
    assert!(begun.elapsed() < PROMPTLY, "{:?}", begun.elapsed());
    assert!(back.stdout.contains("v12 serves again"), "{back}");
    let retry = retry.end();
    assert!(retry.code != 0 && retry.stderr.contains("stopped for portreeve rollback bakery/pro"), "{retry}");
    assert!(pro_serves(world, "v12") && !world.host.has("/var/lib/portreeve/journal/bakery_pro.json"));
}

/// A pass that wants newer content stands before a person's order, as it does when it takes what that order met for what is under
/// way.
#[track_caller]
fn no_push_takes_an_order_back(world: &World) {
    let stands = ["flock", "/run/portreeve/locks/bakery_pro.newer.lock", "sleep", "infinity"];
    let pass = Background::start(world.host.command(&stands));
    until_within(A_STEP, "it stands there", || world.host.exec(&["pgrep", "-f", "^sleep infinity"]).code == 0);
    let back = world.portreeve(&["rollback", "bakery/pro", "--to", "v9"]).ok();
    assert!(back.stdout.contains("v9 serves again") && pro_serves(world, "v9"), "{back}");
    world.host.exec_ok(&["pkill", "-f", "^sleep infinity"]);
    pass.end();
}

#[test]
fn the_end_of_a_holder_is_the_end_of_his_lock() {
    let world = world("holders");
    a_stopped_agent_leaves_a_build_at_once(&world);
    a_killed_holder_blocks_nobody(&world);
}

#[track_caller]
fn a_stopped_agent_leaves_a_build_at_once(world: &World) {
    world.push_app("v2", GATED_BUILD, "v2");
    want(world, "pro", "v2");
    world.host.exec_ok(&["systemctl", "start", UNIT]);
    until_building(world);
    let begun = Instant::now();
    world.host.exec_ok(&["systemctl", "stop", UNIT]);
    assert!(begun.elapsed() < PROMPTLY, "{:?}", begun.elapsed());
    let result = world.host.exec_ok(&["systemctl", "show", "--value", "--property=Result", UNIT]);
    assert_eq!(result.stdout.trim(), "success", "{}", world.host.journal(UNIT));
    assert_eq!(processes_at_the_gate(world), "");
    assert!(!world.host.has("/var/lib/portreeve/journal/bakery_pro.json"), "{}", world.host.journal(UNIT));
    assert!(pro_serves(world, "v1"));
}

#[track_caller]
fn a_killed_holder_blocks_nobody(world: &World) {
    world.host.sh("rm -r /srv/gate/*");
    let pass = begin(world, &["reconcile"]);
    until_building(world);
    let who = holder(world, "pro");
    assert!(who.starts_with("portreeve reconcile (pid "), "{who}");
    world.host.exec_ok(&["kill", "-KILL", &pid_of(&who)]);
    assert_ne!(pass.end().code, 0);
    until_within(A_STEP, "its build has died with it", || processes_at_the_gate(world).is_empty());
    assert_eq!(holder(world, "pro"), who, "what it wrote is still there");
    world.host.sh("touch /srv/gate/open");
    let next = world.reconcile().ok();
    assert!(!next.stderr.contains("waiting") && next.stderr.contains("an interrupted release was undone"), "{next}");
    assert!(pro_serves(world, "v2"));
}

/// Whose group may go to the sockets is what the running nginx's workers have, until it is reloaded.
#[test]
fn a_candidate_of_another_web_group_leaves_what_serves_to_the_nginx_that_runs() {
    let world = world("webgroup");
    world
        .host
        .sh("sed -i 's/^user .*/user games;/' /etc/nginx/nginx.conf; grep -q '^user games;' /etc/nginx/nginx.conf");
    world.push_app("v2", HEALTH_GATED, "v2");
    want(&world, "pro", "v2");
    let pass = begin(&world, &["reconcile"]);
    until_asked(&world);
    assert_eq!(world.serving(), "v1", "nginx runs as it did");
    world.host.sh("touch /srv/gate/open");
    pass.end().ok();
    assert_eq!(world.serving(), "v2");
    world.portreeve(&["rollback", "bakery/pro", "--reason", "cart broken"]).ok();
    assert_eq!(world.serving(), "v1", "the slot that was left is open to the nginx of now");
}
