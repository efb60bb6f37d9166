//! What the commands print, on a real host: the order, the brevity and the next command of a good night's message.

use crate::world::World;

/// Everything that `plan` must leave as it is, with what it holds.
const STATE: &str = "find /etc/portreeve /etc/nginx /etc/systemd/system /home /var/log/foouser ! -name '*.lock' \
                     -printf '%p %i %m %u %T@\\n' 2>/dev/null | sort";

#[test]
fn plan_says_what_a_pass_will_do_and_status_what_it_did() {
    let world = World::new("words");
    world.host.exec_ok(&["systemctl", "start", "nginx"]);

    let first = world.portreeve(&["plan", "--exit-code"]);
    println!("{}", first.said());
    assert_eq!(first.code, 5);
    says(
        &first.stdout,
        &[
            "deploy commit ",
            "bakery/pro: release nothing -> v1",
            "slot a, generation 1",
            "1 to release, 0 unchanged, 0 blocked",
        ],
    );
    assert_eq!(world.reconcile().code, 0);
    println!("{}", world.portreeve(&["status"]).said());

    world.push_app("v2", &[], "v2");
    let text = world.deploy.read("projects/bakery/pro.toml").replace("\"v1\"", "\"v2\"");
    let text = format!("{text}\n[settings]\nEMAIL_HOST_PASSWORD = \"hunter2\"\n");
    world.push_deploy(&[("projects/bakery/pro.toml", Some(&text))]);
    let before = world.host.sh(STATE);
    let plan = world.portreeve(&["plan", "--exit-code"]);
    println!("{}", plan.said());
    assert_eq!((plan.code, world.host.sh(STATE)), (5, before), "a plan writes nothing");
    says(
        &plan.stdout,
        &[
            "deploy commit ",
            " -> ",
            "bakery/pro: release v1 -> v2",
            "  --- projects/bakery/pro.toml",
            "  -rev = \"v1\"",
            "  +rev = \"v2\"",
            "  +EMAIL_HOST_PASSWORD = …",
            "  source   ",
            ", 1 commit",
            "  venv     reused",
            "  files    ",
            "unit",
            "settings_local.py",
            "; vhost, ",
            "vhost",
            "unchanged",
            "  switch   slot a -> b; generation 1 stays for rollback",
            "1 to release, 0 unchanged, 0 blocked",
        ],
    );
    assert!(!plan.said().contains("hunter2"), "a secret is never shown");
    assert!(plan.said().contains("help: portreeve reconcile bakery/pro, or wait for "), "{}", plan.said());

    assert_eq!(world.reconcile().code, 0);
    assert_eq!(
        world
            .host
            .sh("basename $(readlink /etc/portreeve/active/bakery_pro); ls /etc/portreeve/active/bakery_pro/slot-b"),
        "2\n/etc/portreeve/active/bakery_pro/slot-b\n",
        "as it was planned"
    );
    let status = world.portreeve(&["status", "--exit-code"]);
    println!("{}", status.said());
    assert_eq!(status.code, 0);
    says(
        &status.stdout,
        &[
            "web1: 1 of 1 environment answers\n",
            "repo  main ",
            ", fetched ",
            "s ago, next pass ",
            " UTC\n\nENVIRONMENT  SERVES  HTTP  WANTS  STATE\nbakery/pro   v2      200   v2     ok\n",
        ],
    );
    let calm = world.portreeve(&["plan", "--exit-code"]);
    println!("{}", calm.said());
    assert_eq!(calm.code, 0);
    says(&calm.stdout, &["0 to release, 1 unchanged, 0 blocked"]);

    broken(&world);
}

fn broken(world: &World) {
    let broken = world.release("v3", &[("bakery/wsgi.py", Some("import breda\n"))]);
    println!("{}", broken.said());
    assert_eq!(broken.code, 3);
    let status = world.portreeve(&["status", "--exit-code"]);
    println!("{}", status.said());
    assert_eq!(status.code, 4);
    says(
        &status.stdout,
        &[
            "web1: 1 of 1 environment answers; 1 needs you\n",
            "v2      200   v3     quarantined",
            "next: portreeve logs bakery/pro --release 3",
        ],
    );
    println!("{}", world.portreeve(&["plan"]).said());
    println!("{}", world.portreeve(&["history"]).said());
    println!("{}", world.portreeve(&["logs", "bakery/pro", "--release", "3"]).said());
    println!("{}", world.portreeve(&["ports"]).said());
    println!("{}", world.portreeve(&["rollback", "bakery/pro", "--reason", "cart broken"]).said());
    println!("{}", world.portreeve(&["status"]).said());
    println!("{}", world.portreeve(&["plan"]).said());
    println!("{}", world.portreeve(&["stop", "bakery/pro"]).said());
    println!("{}", world.portreeve(&["status"]).said());
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
