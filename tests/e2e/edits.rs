//! The bakery as others write it, and as it should never have been pushed.

use crate::world::Edits;

/// What the site asks for as it is.
macro_rules! requirements {
    () => {
        include_str!("../bakery/requirements.txt")
    };
}

/// The settings as they are, and then these lines.
macro_rules! settings {
    ($lines:literal) => {
        ("bakery/settings.py", Some(concat!(include_str!("../bakery/bakery/settings.py"), "\n", $lines)))
    };
}

/// The server's module as it is, and then these lines about the settings.
macro_rules! wsgi {
    ($lines:literal) => {
        (
            "bakery/wsgi.py",
            Some(concat!(include_str!("../bakery/bakery/wsgi.py"), "\nfrom django.conf import settings\n\n", $lines)),
        )
    };
}

/// A second migration with this one operation.
macro_rules! migration {
    ($operation:literal) => {
        concat!(
            "from django.db import migrations, models\n\n\nclass Migration(migrations.Migration):\n",
            "    dependencies = [('shop', '0001_initial')]\n    operations = [",
            $operation,
            "]\n"
        )
    };
}

/// The site's addresses with another health check.
macro_rules! health {
    ($body:literal) => {
        concat!(
            "from django.http import HttpResponse\nfrom django.urls import path\n\nfrom shop import views\n\n\n",
            "def healthz(request):\n    ",
            $body,
            "\n\n\nurlpatterns = [path('', views.index), path('healthz', healthz), path('order', views.order)]\n"
        )
    };
}

pub(crate) use health;

/// A release that must not be kept.
#[derive(Debug)]
pub struct Broken {
    /// Its release id and tag, and what is wrong with it.
    pub name: &'static str,
    /// What makes it so.
    pub edits: Edits<'static>,
    /// What the message must say: the cause, in the words of whatever met it.
    pub cause: &'static str,
}

/// Static files get names with a hash of their content.
pub const HASHED: (&str, Option<&str>) = settings!(
    "STORAGES = {'default': {'BACKEND': 'django.core.files.storage.FileSystemStorage'}, 'staticfiles': \
     {'BACKEND': 'django.contrib.staticfiles.storage.ManifestStaticFilesStorage'}}\n"
);

/// Releases that fail on their way, each in another place.
pub const BROKEN: &[Broken] = &[
    Broken { name: "import-error", edits: IMPORT_ERROR, cause: "No module named 'breda'" },
    Broken { name: "syntax-error", edits: SYNTAX_ERROR, cause: "SyntaxError" },
    Broken { name: "check-deploy", edits: FAILING_CHECK, cause: "manage.py check --deploy failed" },
    Broken { name: "failing-migration", edits: FAILING_MIGRATION, cause: "duplicate column name: item" },
    Broken { name: "health-500", edits: &[HEALTH_500[0], HASHED], cause: "health answered 500, expected 200" },
    Broken { name: "health-hangs", edits: HEALTH_HANGS, cause: "health got no answer" },
    Broken { name: "never-binds", edits: NEVER_BINDS, cause: "socket" },
    Broken { name: "no-such-package", edits: NO_SUCH_PACKAGE, cause: "No matching distribution found" },
    Broken { name: "no-requirements", edits: NO_REQUIREMENTS, cause: "requirements.txt" },
];

/// The application can't be imported: gunicorn's master starts, its workers don't.
pub const IMPORT_ERROR: Edits<'static> =
    &[("bakery/wsgi.py", Some(concat!(include_str!("../bakery/bakery/wsgi.py"), "\nimport breda\n")))];

/// The application loads, but not in gunicorn: only the start can show it.
pub const IMPORT_ERROR_AT_START: Edits<'static> = &[(
    "bakery/wsgi.py",
    Some(concat!(
        include_str!("../bakery/bakery/wsgi.py"),
        "\nimport sys\nif 'gunicorn.app.wsgiapp' in sys.modules:\n    import breda\n"
    )),
)];

/// The project's own check before a deployment says no.
pub const FAILING_CHECK: Edits<'static> = &[settings!(
    "from django.core.checks import Error, register\n\n\n@register(deploy=True)\n\
     def tastes(app_configs, **kwargs):\n    return [Error('too salty', id='bakery.E001')]\n"
)];

/// No manage.py command runs.
pub const SYNTAX_ERROR: Edits<'static> = &[settings!("def (:\n")];

/// Additive by its words, refused by the database.
pub const FAILING_MIGRATION: Edits<'static> = &[(
    "shop/migrations/0002_again.py",
    Some(migration!("migrations.AddField('order', 'item', models.CharField(max_length=100, null=True))")),
)];

/// All is well but the health check, which fails.
pub const HEALTH_500: Edits<'static> =
    &[("bakery/urls.py", Some(health!("return HttpResponse('cache: connection refused', status=500)")))];

/// All is well but the health check, which fails for those who come through a web server.
pub const HEALTH_500_IN_FRONT: Edits<'static> = &[(
    "bakery/urls.py",
    Some(health!("return HttpResponse(status=500 if 'HTTP_X_REAL_IP' in request.META else 200)")),
)];

/// All is well but the health check, which fails from when `/srv/gate/ill` is there.
pub const HEALTH_GOES: Edits<'static> = &[(
    "bakery/urls.py",
    Some(health!("import os\n    return HttpResponse(status=500 if os.path.exists('/srv/gate/ill') else 200)")),
)];

/// All is well but the health check, which fails until `/srv/gate/open` is there. Whoever asks before that adds to [`ASKED`].
pub const HEALTH_GATED: Edits<'static> = &[(
    "bakery/urls.py",
    Some(health!(
        "import os
    opened = os.path.exists('/srv/gate/open')
    opened or open('/home/foouser/bakery/pro/data/asked', 'a').write('x')
    return HttpResponse(status=200 if opened else 503)"
    )),
)];

/// A letter for each time that the gated health check failed.
pub const ASKED: &str = "/home/foouser/bakery/pro/data/asked";

/// All is well but the health check, which takes a minute.
pub const HEALTH_HANGS: Edits<'static> =
    &[("bakery/urls.py", Some(health!("import time; time.sleep(60); return HttpResponse()")))];

/// gunicorn reads this file in its working directory, and waits here before it opens its socket.
pub const NEVER_BINDS: Edits<'static> =
    &[("gunicorn.conf.py", Some("import time\n\n\ndef on_starting(server):\n    time.sleep(3600)\n"))];

/// The virtual environment can't be built.
pub const NO_SUCH_PACKAGE: Edits<'static> =
    &[("requirements.txt", Some(concat!(requirements!(), "no-such-package==1.0\n")))];

/// Nothing says what to install.
pub const NO_REQUIREMENTS: Edits<'static> = &[("requirements.txt", None)];

/// A migration that the release before it can live with.
pub const ADDITIVE_MIGRATION: Edits<'static> = &[(
    "shop/migrations/0002_note.py",
    Some(migration!("migrations.AddField('order', 'note', models.CharField(max_length=200, null=True))")),
)];

/// The same, and before it is whole it waits for the gate.
pub const GATED_MIGRATION: Edits<'static> = &[(
    "shop/migrations/0002_note.py",
    Some(migration!(
        "migrations.AddField('order', 'note', models.CharField(max_length=200, null=True)), migrations.RunPython(
        lambda apps, editor: __import__('subprocess').run(
            'touch /home/foouser/bakery/pro/data/migrating; until test -e /srv/gate/open; do sleep 0.1; done',
            shell=True, check=True))"
    )),
)];

/// There while the gated migration waits.
pub const MIGRATING: &str = "/home/foouser/bakery/pro/data/migrating";

/// A migration that breaks the release before it.
pub const REMOVING_MIGRATION: Edits<'static> =
    &[("shop/migrations/0002_no_item.py", Some(migration!("migrations.RemoveField('order', 'item')")))];

/// A package that has to be built on the host, which runs its setup.py.
pub const SOURCE_PACKAGE: Edits<'static> = &[("requirements.txt", Some(concat!(requirements!(), "uidprobe==1.0\n")))];

/// A site that relies on whoever deploys it for its server.
pub const WITHOUT_GUNICORN: Edits<'static> = &[("requirements.txt", Some("Django>=5.2,<5.3\n"))];

/// A site that looks for local settings by itself.
pub const IMPORTS_LOCAL: Edits<'static> =
    &[settings!("try:\n    from settings_local import *\nexcept ImportError:\n    pass\n")];

/// A site that will not start without a key in its environment.
pub const KEY_FROM_ENVIRONMENT: Edits<'static> = &[settings!("import os\nSECRET_KEY = os.environ[\"SECRET_KEY\"]\n")];

/// A site that sends plain requests elsewhere; behind a proxy it must be told which are plain.
pub const SSL_REDIRECT: Edits<'static> = &[settings!("SECURE_SSL_REDIRECT = True\n")];

/// As small as a Django project can be: each of its commands is the sooner done.
pub const SMALL: Edits<'static> = &[
    settings!(
        "INSTALLED_APPS = ['django.contrib.staticfiles', 'shop']\nMIDDLEWARE = ['bakery.middleware.release']\n\
         TEMPLATES[0]['OPTIONS']['context_processors'] = []\n"
    ),
    (
        "bakery/urls.py",
        Some(
            "from django.urls import path\n\nfrom shop import views\n\n\
             urlpatterns = [path('', views.index), path('healthz', views.healthz), path('order', views.order)]\n",
        ),
    ),
    ("shop/locale/it/LC_MESSAGES/django.po", None),
];

/// Each of them breaks where it says, by hand and in one host; so a test of a broken release fails for its own reason.
#[test]
fn each_edit_does_what_it_says() {
    let world = crate::world::World::new("edits");
    world.host.sh("python3 -m venv /srv/venv; /srv/venv/bin/pip install --quiet 'Django>=5.2,<5.3' gunicorn==27.0.1");
    let attempt = |edits: Edits<'_>, script: &str| {
        let commit = world.push_app("v9", edits, "v9");
        let clone = format!(
            "rm -rf /srv/try; git clone --quiet {} /srv/try; cd /srv/try; git checkout --quiet {commit}",
            crate::git::APP
        );
        world.host.exec(&["sh", "-euc", &format!("PATH=/srv/venv/bin:$PATH; {clone}; {script}")])
    };
    let migrate = "python manage.py migrate --verbosity=0";
    let load = "DJANGO_SETTINGS_MODULE=bakery.settings python -c 'import bakery.wsgi'";
    let health = "python manage.py shell --verbosity=0 -c 'from django.test import Client
print(Client(headers={\"Host\": \"localhost\"}).get(\"/healthz\").status_code)'";
    let says = |edits, script: &str, words: &str| {
        let result = attempt(edits, script);
        assert!(result.said().contains(words), "{result}");
    };
    says(IMPORT_ERROR, load, "No module named 'breda'");
    says(SYNTAX_ERROR, "python manage.py check", "SyntaxError");
    says(FAILING_MIGRATION, migrate, "duplicate column name: item");
    says(HEALTH_500, &format!("{migrate}; {health}"), "500");
    says(HEALTH_HANGS, &format!("{migrate}; timeout 2 {health} || echo \"ended by $?\""), "ended by 124");
    let gunicorn = "gunicorn --no-control-socket --bind=unix:/run/never.sock bakery.wsgi";
    says(
        NEVER_BINDS,
        &format!("timeout 2 {gunicorn} || test -e /run/never.sock || echo nothing bound"),
        "nothing bound",
    );
    says(NO_SUCH_PACKAGE, "pip install -r requirements.txt", "no-such-package");
    says(NO_REQUIREMENTS, "test -e requirements.txt || echo gone", "gone");
    for good in [ADDITIVE_MIGRATION, REMOVING_MIGRATION, IMPORTS_LOCAL, SSL_REDIRECT, SOURCE_PACKAGE, SMALL] {
        attempt(good, &format!("pip install --quiet -r requirements.txt; {migrate}; {load}")).ok();
    }
    says(KEY_FROM_ENVIRONMENT, load, "KeyError");
    attempt(KEY_FROM_ENVIRONMENT, &format!("export SECRET_KEY=key; {load}")).ok();
}

/// The same packages in other words: the virtual environment is built anew.
pub const OTHER_REQUIREMENTS: Edits<'static> = &[("requirements.txt", Some(concat!("# new\n", requirements!())))];

/// A `pip.conf` with a package index where nobody answers.
pub const NO_INDEX: &str =
    "[global]\nindex-url = http://127.0.0.1:9/simple\nretries = 1\ndisable-pip-version-check = true\n";

/// What the application does to the settings once Django has read them, and how that differs from what is ours.
pub const CHANGED_LATER: [(&str, Edits<'static>, &str); 2] = [
    ("own-key", &[wsgi!("settings.SECRET_KEY = 'mine'\n")], "SECRET_KEY is not the host's"),
    (
        "own-database",
        &[wsgi!("settings.DATABASES['default']['NAME'] = '/srv/other.sqlite3'\n")],
        "the database is /srv/other.sqlite3, not /home/foouser/bakery/pro/data/db.sqlite3",
    ),
];
