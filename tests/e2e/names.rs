//! Users and groups as other distributions, and people, name them.

use crate::world::World;

/// As Fedora has nginx: its workers are `nginx`, and nobody is `www-data`. As `useradd -g users` makes a user: without a group of
/// his name.
#[test]
fn groups_are_asked_for_and_not_guessed_from_names() {
    let world = World::new("names");
    world.host.sh(
        "systemctl stop nginx; userdel www-data; useradd --system --user-group nginx; sed -i 's/^user .*/user nginx;/' /etc/nginx/nginx.conf
        useradd --no-create-home --home-dir /home/foouser -g users foouser; systemctl start nginx",
    );
    world.host.sh("! getent group www-data foouser");
    world.reconcile().ok();
    assert_eq!(world.serving(), "v1");
    let groups = world.host.sh("stat -c '%U:%G' /run/portreeve/bakery_pro/a /home/foouser/bakery/pro/media");
    assert_eq!(groups, "foouser:nginx\nfoouser:nginx\n");
    let running = world.host.sh("systemctl show --value --property=Group 'portreeve-bakery_pro@a'");
    assert_eq!(running.trim(), "users");
    let rotated = world.host.exec(&["logrotate", "--force", "/etc/logrotate.d/portreeve-bakery_pro"]).ok();
    assert!(!rotated.said().contains("error:"), "{rotated}");
    world.host.sh("systemd-tmpfiles --create /etc/tmpfiles.d/portreeve-bakery_pro.conf");
    let again = world.reconcile().ok();
    assert!(again.stdout.contains("unchanged"), "{again}");
}
