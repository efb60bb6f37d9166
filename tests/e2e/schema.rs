//! Migrations: an additive one goes out by itself, any other asks a person first, and going back never meets a schema that it
//! does not know.

use crate::edits::{ADDITIVE_MIGRATION, HEALTH_500, IMPORT_ERROR};
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
    let plan = world.portreeve(&["plan"]).ok();
    let again = "  migrate  1 new file, shop/migrations/0002_note.py; the database has it already";
    assert!(plan.stdout.contains(again), "{plan}");
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

    world.edit_pro(|pro| format!("{pro}[django]\nmigrate = \"any\"\n"));
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

    // What the refusal says is the way.
    world.portreeve(&["run", "bakery/pro", "manage.py", "migrate", "shop", "0002_note"]).ok();
    world.portreeve(&["rollback", "bakery/pro"]).ok();
    assert_eq!(world.serving(), "v2");
}

/// Additive, and good.
const SIZE: (&str, Option<&str>) = (
    "shop/migrations/0002_size.py",
    Some(
        "from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [('shop', '0001_initial')]
    operations = [migrations.AddField('order', 'size', models.IntegerField(null=True))]
",
    ),
);

/// Additive by its words, refused by the database.
const SIZE_AGAIN: (&str, Option<&str>) = (
    "shop/migrations/0003_size_again.py",
    Some(
        "from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [('shop', '0002_size')]
    operations = [migrations.AddField('order', 'size', models.IntegerField(null=True))]
",
    ),
);

/// The release before it writes this column.
const NO_ITEM: (&str, Option<&str>) = (
    "shop/migrations/0003_no_item.py",
    Some(
        "from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [('shop', '0002_size')]
    operations = [migrations.RemoveField('order', 'item')]
",
    ),
);

/// A release that is refused after its migrations: what is told of the database is what the database says.
#[test]
fn a_refused_release_says_what_became_of_the_database() {
    let world = World::new("migrated");
    world.host.exec_ok(&["systemctl", "start", "nginx"]);
    world.edit_pro(|pro| pro.replace("\"20s\"", "\"8s\"") + "[django]\nmigrate = \"any\"\n");
    let first = world.reconcile().ok();
    assert!(!first.said().contains("without a migration"), "{first}");

    let half = world.release("half", &[SIZE, SIZE_AGAIN]).exits(3);
    let unwritten = "note: the models of shop have changes without a migration (Remove field size from order)";
    assert!(half.stderr.contains(unwritten), "{half}");
    let said = "  users still get v1; its database is migrated (shop.0002_size), which v1 can live with\n";
    assert!(half.stderr.contains(said), "{half}");
    has(&world, "size");

    let late = world.release("late", &[&[SIZE, NO_ITEM], HEALTH_500].concat()).exits(3);
    let said = "  users still get v1; its database is migrated (shop.0003_no_item), which v1 was not made for: \
                Remove field item from order\n";
    assert!(late.stderr.contains(said), "{late}");
    assert!(!late.said().contains("nothing live was changed"), "{late}");
    assert!(late.stderr.contains("  dump  /var/backups/foouser/bakery/pro/before-3.sqlite3, from before\n"), "{late}");
    assert!(late.stderr.contains("help: push a release that has these migrations"), "{late}");

    let neither = world.release("neither", IMPORT_ERROR).exits(3);
    assert!(neither.stderr.contains("  users still get v1; nothing live was changed\n"), "{neither}");
}

#[track_caller]
fn has(world: &World, column: &str) {
    let schema = world.host.sh("sqlite3 /home/foouser/bakery/pro/data/db.sqlite3 .schema");
    assert!(schema.contains(&format!("\"{column}\"")), "{schema}");
}

/// A migration that asks somebody over a network that is away.
const ASKS: (&str, Option<&str>) = (
    "shop/migrations/0002_asks.py",
    Some(
        "from django.db import migrations


def ask(apps, editor):
    raise OSError('[Errno -3] Temporary failure in name resolution')


class Migration(migrations.Migration):
    dependencies = [('shop', '0001_initial')]
    operations = [migrations.RunPython(ask)]
",
    ),
);

/// One database a try would fill the disk in a night.
#[test]
fn a_migration_that_is_tried_again_and_again_keeps_its_first_dump_and_its_last() {
    let world = World::new("dumps");
    world.host.exec_ok(&["systemctl", "start", "nginx"]);
    world.edit_pro(|pro| format!("{pro}[django]\nmigrate = \"any\"\n"));
    world.reconcile().ok();
    world.host.sh("touch /var/backups/foouser/bakery/pro/before-4.sqlite3.own");
    world.release("v2", &[ASKS]).exits(1);
    for _ in 0..3 {
        world.next_try_in(0);
        world.reconcile().exits(1);
    }
    let dumps = world.host.sh("ls /var/backups/foouser/bakery/pro");
    let dumps: Vec<&str> = dumps.split_whitespace().collect();
    assert_eq!(dumps, ["before-2.sqlite3", "before-4.sqlite3.own", "before-5.sqlite3"]);
    assert_eq!(world.serving(), "v1");
}
