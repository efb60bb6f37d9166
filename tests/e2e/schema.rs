//! Migrations: an additive one goes out by itself, any other asks a person first, and going back never meets a schema that it
//! does not know.

use crate::edits::ADDITIVE_MIGRATION;
use crate::world::{Edits, World};

/// After the additive one: the release before it writes a column that is gone.
const AND_THEN_ANOTHER: Edits<'static> = &[(
    "shop/migrations/0003_no_item.py",
    Some(
        "from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [('shop', '0002_note')]
    operations = [migrations.RemoveField('order', 'item')]
",
    ),
)];

#[test]
fn the_release_that_serves_can_always_live_with_the_schema() {
    let world = World::new("schema");
    world.host.exec_ok(&["systemctl", "start", "nginx"]);
    world.reconcile().ok();

    world.release("v2", ADDITIVE_MIGRATION).ok();
    assert_eq!(world.serving(), "v2");
    let dumps = world.host.sh("ls -l /var/backups/foouser/bakery/pro");
    assert!(dumps.contains("-rw------- 1 foouser") && dumps.contains("before-2.sqlite3"), "{dumps}");
    world.portreeve(&["rollback", "bakery/pro"]).ok();
    assert_eq!(world.serving(), "v1", "an additive migration is no obstacle");
    world.portreeve(&["resume", "bakery/pro"]).ok();
    world.reconcile().ok();
    assert_eq!(world.serving(), "v2");

    let both = [ADDITIVE_MIGRATION, AND_THEN_ANOTHER].concat();
    let blocked = world.release("v3", &both).exits(4);
    assert!(
        blocked.said().contains("not additive") && blocked.said().contains("migrate = \"any\""),
        "{}",
        blocked.said()
    );
    assert_eq!(world.serving(), "v2");

    let pro = world.deploy.read("projects/bakery/pro.toml") + "[django]\nmigrate = \"any\"\n";
    world.push_deploy(&[("projects/bakery/pro.toml", Some(&pro))]);
    world.reconcile().ok();
    assert_eq!(world.serving(), "v3");
    let refused = world.portreeve(&["rollback", "bakery/pro"]).exits(4);
    let said = refused.said();
    assert!(
        said.contains("v2 does not know migration") && said.contains("portreeve run bakery/pro manage.py migrate"),
        "{said}"
    );
    assert!(said.contains("before-"), "{said}");
    assert_eq!(world.serving(), "v3");
}
