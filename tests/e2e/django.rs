//! Django and Python without surprises: projects as people write them, released as they are.

use std::path::Path;

use crate::cmd::CmdResult;
use crate::edits;
use crate::git::copy_tree;
use crate::world::{Edits, World};

const ENV: &str = "bakery/pro";

/// Held to be hard on shells, systemd and nginx alike.
const GREETING: &str = r#"it's $HOME, "`id`" \ $(id) % {} #;"#;

const PRO: &str = r#"warm = "0s"
domains = ["bakery.example", "www.bakery.example"]

[health]
path = "/healthz"
status = 200
timeout = "5s"
deadline = "30s"
passes = 1
bake = "0s"

[env]
GREETING = '''it's $HOME, "`id`" \ $(id) % {} #;'''
"#;

/// Its module insists on the project's own settings, whatever the environment says.
const OVERWRITES_MODULE: Edits<'static> = &[(
    "bakery/wsgi.py",
    Some(
        "import os\n\nfrom django.core.wsgi import get_wsgi_application\n\n\
         os.environ['DJANGO_SETTINGS_MODULE'] = 'bakery.settings'\n\napplication = get_wsgi_application()\n",
    ),
)];

/// A world with `v1` as `startproject` made it, released.
#[track_caller]
fn released(name: &str) -> World {
    let world = World::new(name);
    world.host.exec_ok(&["systemctl", "start", "nginx"]);
    world.edit_pro(|_| format!("rev = \"v1\"\n{PRO}"));
    world.reconcile().ok();
    assert_eq!(world.serving(), "v1");
    world
}

/// Releases `version`, which must be served then.
#[track_caller]
fn release(world: &World, version: &str, edits: Edits<'_>) -> CmdResult {
    let result = world.release(version, edits).ok();
    assert_eq!(world.serving(), version, "{result}");
    result
}

/// What Python says in the environment, as `portreeve run` gives it.
#[track_caller]
fn python(world: &World, code: &str) -> String {
    world.portreeve(&["run", ENV, "python", "-c", code]).ok().stdout.trim().to_owned()
}

#[test]
fn an_untouched_project_is_served_as_it_should_be() {
    let world = released("untouched");
    settings_are_ours(&world);
    let missing = world.get("/no-such-page");
    assert_eq!(missing.status, 404);
    assert!(!missing.body.contains("DEBUG"), "{missing:?}");
    static_files_come_from_nginx(&world);
    messages_are_compiled(&world);
    logs_are_rotated(&world);
    variables_can_be_sourced(&world);
    settings_are_secret(&world);
}

#[track_caller]
fn settings_are_ours(world: &World) {
    let said = python(
        world,
        "import django; django.setup()
from django.conf import settings as s
print(s.DEBUG, s.ALLOWED_HOSTS, s.CSRF_TRUSTED_ORIGINS, s.STATIC_ROOT, s.MEDIA_ROOT, s.DATABASES['default']['NAME'])",
    );
    let home = "/home/foouser/bakery/pro";
    let statics = world.host.sh("readlink -f /etc/portreeve/active/bakery_pro/static");
    assert!(statics.starts_with(&format!("{home}/static-releases/")), "{statics}");
    assert_eq!(
        said,
        format!(
            "False ['bakery.example', 'www.bakery.example'] ['http://bakery.example', 'https://bakery.example', 'http://www.bakery.example', 'https://www.bakery.example'] \
             {} {home}/media {home}/data/db.sqlite3",
            statics.trim()
        )
    );
    let key =
        python(world, "import django; django.setup()\nfrom django.conf import settings; print(settings.SECRET_KEY)");
    assert!(key.len() >= 50 && !key.contains("insecure"), "the project's own key is public");
    assert_eq!(python(world, "import os; print(os.environ['SECRET_KEY'])"), key);
    assert_eq!(
        python(world, "import os; print(os.environ['DATABASE_URL'])"),
        format!("sqlite:///{home}/data/db.sqlite3")
    );
}

#[track_caller]
fn static_files_come_from_nginx(world: &World) {
    let css = world.get("/static/shop/bakery.css");
    assert_eq!(css.status, 200, "{css:?}");
    assert_eq!(css.body, include_str!("../bakery/shop/static/shop/bakery.css"));
    assert_eq!(css.release(), None, "Django was not asked");
}

#[track_caller]
fn messages_are_compiled(world: &World) {
    let page = world
        .host
        .sh("curl --silent --fail --header 'Host: bakery.example' --header 'Accept-Language: it' http://127.0.0.1/");
    assert!(page.contains("Pane fresco") && page.contains("Il panificio"), "{page}");
}

#[track_caller]
fn logs_are_rotated(world: &World) {
    let log = "/var/log/foouser/bakery/pro/nginx-access.log";
    world.host.sh("systemctl start logrotate.service");
    let said = world.host.exec(&["logrotate", "--force", "/etc/logrotate.d/portreeve-bakery_pro"]).ok();
    assert!(!said.said().contains("error:"), "{said}");
    assert!(world.host.read_file(&format!("{log}.1")).contains("GET / "));
    crate::traces::until("nginx writes into the new log", || {
        world.get("/after-rotation");
        world.host.read_file(log).contains("/after-rotation")
    });
    assert!(!world.host.read_file(&format!("{log}.1")).contains("never"), "it is readable");
}

#[track_caller]
fn variables_can_be_sourced(world: &World) {
    let sourced = world.host.sh("set -a; . /home/foouser/bakery/pro/etc/env.conf; printenv GREETING");
    assert_eq!(sourced.trim_end(), GREETING);
    assert_eq!(python(world, "import os; print(os.environ['GREETING'])"), GREETING);
    let process = world.host.sh(
        "tr '\\0' '\\n' </proc/$(systemctl show --value --property=MainPID portreeve-bakery_pro@a)/environ | grep ^GREETING=",
    );
    assert_eq!(process.trim_end(), format!("GREETING={GREETING}"));
}

#[track_caller]
fn settings_are_secret(world: &World) {
    for file in ["settings_local.py", "env.conf"] {
        let path = format!("/home/foouser/bakery/pro/etc/{file}");
        assert_eq!(world.host.sh(&format!("stat -L -c '%a %U:%G' {path}")).trim(), "440 root:foouser");
        let read_as = |user: &str| {
            world.host.exec(&["setpriv", &format!("--reuid={user}"), "--regid=nogroup", "--clear-groups", "cat", &path])
        };
        let nobody = read_as("nobody");
        assert_ne!(nobody.code, 0, "nobody reads {file}");
        assert!(nobody.stdout.is_empty() && nobody.stderr.contains("Permission denied"), "{nobody}");
    }
}

#[test]
fn projects_with_habits_of_their_own_are_served_too() {
    let world = released("habits");
    release(&world, "imports-local", edits::IMPORTS_LOCAL);
    assert_eq!(
        python(&world, "import bakery.settings as s; print(s.DEBUG, s.ALLOWED_HOSTS[0])"),
        "False bakery.example"
    );
    release(&world, "key-from-environment", edits::KEY_FROM_ENVIRONMENT);
    let redirecting = release(&world, "ssl-redirect", edits::SSL_REDIRECT);
    assert!(redirecting.stderr.contains("note: SECURE_SSL_REDIRECT of bakery.settings is off here"), "{redirecting}");
    in_a_subdirectory(&world);
    refused_for_its_module(&world);
    let added = release(&world, "without-gunicorn", edits::WITHOUT_GUNICORN);
    assert!(added.stderr.contains("note: the requirements name no gunicorn; gunicorn==27.0.1 is added"), "{added}");
    assert_eq!(python(&world, "import gunicorn; print(gunicorn.__version__)"), "27.0.1");
    requirements_in_several_files(&world);
    assert!(world.uids().iter().all(|line| !line.ends_with("-0")), "{:?}", world.uids());
}

/// manage.py and all that goes with it is one level down; the requirements are at the top.
#[track_caller]
fn in_a_subdirectory(world: &World) {
    world.app.clear();
    copy_tree(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bakery"), &world.app.tree().join("site"));
    world.app.write("requirements.txt", world.app.read("site/requirements.txt"));
    world.app.remove("site/requirements.txt");
    world.app.write("site/bakery/__init__.py", "RELEASE = \"subdirectory\"\n");
    world.app.commit("subdirectory");
    world.app.tag("subdirectory");
    world.app.push();
    world.set_rev("subdirectory");
    let result = world.reconcile().ok();
    assert_eq!(world.serving(), "subdirectory", "{result}");
    which_of_several(world);
}

/// Only a person knows.
#[track_caller]
fn which_of_several(world: &World) {
    world.app.write("tools/manage.py", "raise SystemExit('not this one')\n");
    world.app.write("site/bakery/__init__.py", "RELEASE = \"several\"\n");
    world.app.commit("several");
    world.app.tag("several");
    world.app.push();
    world.set_rev("several");
    let which = world.reconcile().exits(4);
    let words = "there are several manage.py (site/manage.py, tools/manage.py); say which: [django] dir = ";
    assert!(which.stderr.contains(words), "{which}");
    assert_eq!(world.serving(), "subdirectory");
    let pro = world.edit_pro(|pro| format!("{pro}\n[django]\ndir = \"site\"\n"));
    world.reconcile().ok();
    assert_eq!(world.serving(), "several");

    world.edit_pro(|_| format!("{pro}\n[python]\nversion = \"3.99\"\n"));
    let lacks = world.reconcile().exits(4);
    assert!(lacks.stderr.contains("python3.99 is not on this host: apt-get install python3.99-venv"), "{lacks}");
    assert_eq!(world.serving(), "several");
    world.edit_pro(|_| pro);
}

/// The main file includes one, which includes another, which pins the server: that is the one that is installed.
#[track_caller]
fn requirements_in_several_files(world: &World) {
    let split = |base| {
        [
            ("requirements.txt", Some("-r ./requirements/pro.txt # all of them\n")),
            ("requirements/pro.txt", Some("--requirement=../base.txt\n")),
            ("base.txt", Some(base)),
        ]
    };
    let first = release(world, "split", &split("Django>=5.2,<5.3\ngunicorn==27.0.1\n"));
    assert!(!first.stderr.contains("gunicorn==27.0.1 is added"), "{first}");
    let changed = release(world, "split-changed", &split("Django>=5.2\ngunicorn==27.0.1\n"));
    assert!(changed.stdout.contains("venv built"), "{changed}");
    let lacks = world.release("split-lacks", &split("")[..2]).exits(3);
    let cause = "requirements/pro.txt:1 includes base.txt, which is not a regular file of the application's repository";
    assert!(lacks.stderr.contains(cause) && lacks.stderr.contains("correct requirements/pro.txt:1"), "{lacks}");
    assert_eq!(world.serving(), "split-changed");
}

#[track_caller]
fn refused_for_its_module(world: &World) {
    let serving = world.serving();
    let result = world.release("overwrites", OVERWRITES_MODULE).exits(3);
    let cause = "bakery.wsgi sets DJANGO_SETTINGS_MODULE to bakery.settings: DEBUG is True, not False";
    assert!(result.stderr.contains(cause), "{result}");
    for (name, edits, differs) in edits::CHANGED_LATER {
        let result = world.release(name, edits).exits(3);
        let cause = format!("the settings that Django ends up with are not ours: {differs}");
        assert!(result.stderr.contains(&cause), "{result}");
    }
    assert_eq!(world.serving(), serving);
}
