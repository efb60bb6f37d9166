//! What the commands print, on a real host: the order, the brevity and the next command of a good night's message.

use crate::world::World;

/// Everything that `plan` must leave as it is, with what it holds.
const STATE: &str = "find /etc/portreeve /etc/nginx /etc/systemd/system /home /var/log/foouser ! -name '*.lock' \
                     -printf '%p %i %m %u %T@\\n' 2>/dev/null | sort";

#[test]
fn plan_says_what_a_pass_will_do_and_status_what_it_did() {
    let world = World::new("words");
    world.host.exec_ok(&["systemctl", "start", "nginx"]);
    first(&world);
    second(&world);
    calm(&world);
    broken(&world);
    in_short(&world);
    held(&world);
}

fn first(world: &World) {
    let plan = world.portreeve(&["plan", "--exit-code"]).exits(5);
    let parts =
        ["deploy commit ", "bakery/pro: release nothing -> v1", "slot a, generation 1", "1 to release, 0 unchanged"];
    says(&plan.stdout, &parts);
    world.reconcile().ok();
}

fn second(world: &World) {
    world.push_app("v2", crate::edits::ADDITIVE_MIGRATION, "v2");
    world.edit_pro(|pro| pro.replace("\"v1\"", "\"v2\"") + "\n[settings]\nEMAIL_HOST_PASSWORD = \"hunter2\"\n");
    let before = world.host.sh(STATE);
    let plan = world.portreeve(&["plan", "--exit-code"]).exits(5);
    assert_eq!(world.host.sh(STATE), before, "a plan writes nothing");
    let manifest =
        ["  --- projects/bakery/pro.toml", "  -rev = \"v1\"", "  +rev = \"v2\"", "  +EMAIL_HOST_PASSWORD = …"];
    let source = ["  source   ", ", 1 commit", "  venv     reused"];
    let migrate = ["  migrate  1 new file, shop/migrations/0002_note.py; dump first"];
    let files = ["  files    ", "unit, ", "settings, ", "; vhost, ", "unchanged"];
    let switch = ["  switch   slot a -> b; generation 1 stays for rollback", "1 to release, 0 unchanged, 0 blocked"];
    says(&plan.stdout, &["deploy commit ", " -> ", "bakery/pro: release v1 -> v2"]);
    says(&plan.stdout, &[&manifest[..], &source, &migrate, &files, &switch].concat());
    says(&plan.stderr, &["help: portreeve reconcile bakery/pro, or wait for "]);
    assert!(!plan.said().contains("hunter2"), "a secret is never shown");
    world.reconcile().ok();
    let active = world.host.sh("cd -P /etc/portreeve/active/bakery_pro; basename $PWD; ls slot-*");
    assert_eq!(active, "2\nslot-b\n", "as it was planned");
}

fn calm(world: &World) {
    let status = world.portreeve(&["status", "--exit-code"]).ok();
    let repo = ["web1: 1 of 1 environment answers\n", "repo  main ", ", fetched ", "s ago, next pass "];
    let table = " UTC\n\nENVIRONMENT  SERVES  HTTP  WANTS  STATE\nbakery/pro   v2      200   v2     ok\n";
    says(&status.stdout, &[&repo[..], &[table]].concat());
    assert!(!status.stdout.contains("next:"), "{status}");
    assert_eq!(world.portreeve(&["status", "-q"]).ok().stdout, "");
    let plan = world.portreeve(&["plan", "--exit-code"]).ok();
    says(&plan.stdout, &["0 to release, 1 unchanged, 0 blocked"]);
}

fn broken(world: &World) {
    let broken = world.release("v3", &[("bakery/wsgi.py", Some("import breda\n"))]);
    assert_eq!(broken.code, 3, "{broken}");
    let status = world.portreeve(&["status", "--exit-code"]).exits(4);
    says(
        &status.stdout,
        &[
            "web1: 1 of 1 environment answers; 1 needs you\n",
            "v2      200   v3     quarantined",
            "next: portreeve why bakery/pro",
        ],
    );
}

fn in_short(world: &World) {
    let status = world.portreeve(&["status", "--exit-code", "-q"]).exits(4);
    assert!(status.stdout.starts_with("ENVIRONMENT ") && status.stdout.lines().count() == 2, "{status}");
    says(&status.stdout, &["v2      200   v3     quarantined"]);
}

fn held(world: &World) {
    world.portreeve(&["rollback", "bakery/pro", "--reason", "cart broken"]).ok();
    let status = world.portreeve(&["status", "--exit-code"]).ok();
    says(
        &status.stdout,
        &["web1: 1 of 1 environment answers\n", "v1      200   v3     held   by root, ", " ago: \"cart broken\""],
    );
    let why = world.portreeve(&["why", "bakery/pro"]).ok();
    says(
        &why.stdout,
        &[
            "\nchanged  rev v1 -> v3; ",
            "ends by itself when this environment's content differs from v3's and v2's\n",
            "portreeve retry bakery/pro, which tries v3 again: resume alone leaves it quarantined\n",
        ],
    );
    let plan = world.portreeve(&["plan", "--exit-code"]).ok();
    says(
        &plan.stdout,
        &["bakery/pro: held by root", "portreeve resume bakery/pro", "0 to release, 0 unchanged, 1 held, 0 blocked"],
    );
    let history = world.portreeve(&["history", "bakery/pro"]).ok();
    says(&history.stdout, &["WHEN (UTC)", "cart broken", "not-released", "released v2", "released v1"]);
    world.portreeve(&["stop", "bakery/pro"]).ok();
    says(&world.portreeve(&["status"]).stdout, &["0 of 1 environment answers\n", "stopped  by root, "]);
}

/// `parts` in this order.
#[track_caller]
fn says(text: &str, parts: &[&str]) {
    let mut rest = text;
    for part in parts {
        let at = rest.find(part).unwrap_or_else(|| panic!("`{part}` is not said, or not there:\n{text}"));
        rest = &rest[at + part.len()..];
    }
}
