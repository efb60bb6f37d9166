//! Everything that can refuse the candidate before anything live changes.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::blame::{START_NGINX, succeed};
use super::build::Build;
use super::{Context, Event, Failure, Phase, ground, render};
use crate::desired::Generation;
use crate::host::Run;
use crate::manifest::{Django, Web};
use crate::model::{Digest, Identity};
use crate::policy::FailureClass;
use crate::resource;

/// The application, by Django's own checks and by what its settings really are.
pub fn application(cx: &Context<'_>, build: &Build<'_>, generation: &Generation) -> Result<(), Failure> {
    let Some(django) = &generation.wanted.env.django else { return Ok(()) };
    effective(cx, build, generation, django)?;
    let env = render::command_env(cx, generation)?;
    let exit = build.manage_exit(&env, &["check", "--deploy"])?;
    succeed(exit, Phase::Validate, "manage.py check --deploy failed")
}

fn effective(cx: &Context<'_>, build: &Build<'_>, generation: &Generation, django: &Django) -> Result<(), Failure> {
    let env = render::command_env(cx, generation)?;
    let Web::Gunicorn(gunicorn) = &generation.wanted.env.web;
    let exit = build.python(&env, &["-c", include_str!("effective.py"), &gunicorn.app, &django.settings])?;
    let said = String::from_utf8_lossy(&exit.stdout).into_owned();
    succeed(exit, Phase::Validate, "the application can't be imported")?;
    let line = said.lines().rev().find_map(|line| line.strip_prefix("PORTREEVE "));
    let effective: Option<Effective> = line.and_then(|line| serde_json::from_str(line).ok());
    let effective = effective
        .ok_or_else(|| Failure::release(Phase::Validate, "the application ended python while it was imported"))?;
    if effective.redirects {
        let text = format!("SECURE_SSL_REDIRECT of {} is off here: this environment has no [tls]", django.settings);
        cx.report.event(&Event::Note { text: &text });
    }
    effective.judge(cx, generation, django, &gunicorn.app)
}

/// What Django sees once every settings file has had its say.
#[derive(Debug, Deserialize)]
struct Effective {
    debug: bool,
    secret: Digest,
    database: String,
    /// The settings module that Django ended up with.
    module: String,
    /// The project sends plain requests to https, which is switched off where there is none.
    redirects: bool,
}

impl Effective {
    fn judge(&self, cx: &Context<'_>, generation: &Generation, django: &Django, app: &str) -> Result<(), Failure> {
        let Some(differs) = self.difference(cx, generation, django.debug)? else { return Ok(()) };
        let module = app.split(':').next().unwrap_or(app);
        let failure = |cause: String| Failure::release(Phase::Validate, cause);
        if self.module != resource::SETTINGS_MODULE {
            return Err(failure(format!("{module} sets DJANGO_SETTINGS_MODULE to {}: {differs}", self.module))
                .with_help(format!(
                    "in {module}: os.environ.setdefault(\"DJANGO_SETTINGS_MODULE\", \"{}\")",
                    self.module
                )));
        }
        Err(failure(format!("the settings that Django ends up with are not ours: {differs}"))
            .with_help(format!("{module} must not change settings after Django has read them")))
    }

    /// The first value that is not what we set.
    fn difference(&self, cx: &Context<'_>, generation: &Generation, debug: bool) -> Result<Option<String>, Failure> {
        let key = ground::secret_key(cx, &generation.name)?;
        let database = cx.paths(&generation.wanted).data().join("db.sqlite3");
        Ok(if self.debug != debug {
            Some(format!("DEBUG is {}, not {}", python(self.debug), python(debug)))
        } else if self.secret != Digest::of(ground::expose(&key)) {
            Some("SECRET_KEY is not the host's".to_owned())
        } else if Path::new(&self.database) != database {
            Some(format!("the database is {}, not {}", self.database, database.display()))
        } else {
            None
        })
    }
}

fn python(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}

/// The web server, with the real configuration as it would be after the switch.
pub fn front(cx: &Context<'_>, generation: &Generation) -> Result<(), Failure> {
    let fail = Failure::on_host(Phase::Validate);
    let front = cx.host.front();
    if !front.running().map_err(&fail)? {
        return Err(Failure::new(FailureClass::Host, Phase::Validate, "nginx is not running").with_help(START_NGINX));
    }
    if let Err(words) = front.test_live().map_err(&fail)? {
        return Err(Failure::new(
            FailureClass::Host,
            Phase::Validate,
            format!("nginx refuses its present configuration: {words}"),
        )
        .with_help("nginx -t; correct the file that it names"));
    }
    let active = cx.layout.active_link(&generation.name);
    match front.test(&active, &cx.directory(generation)).map_err(&fail)? {
        Ok(()) => Ok(()),
        Err(words) => Err(Failure::release(Phase::Validate, format!("nginx refuses the new vhost: {words}"))),
    }
}

/// logrotate; it ends with 0 for a file that it ignores, so what it says counts.
pub fn logrotate(cx: &Context<'_>, generation: &Generation) -> Result<(), Failure> {
    let Some(program) = cx.host.processes().find(&["logrotate"]) else { return Ok(()) };
    let file = cx.directory(generation).join("logrotate");
    let run = Run {
        program,
        args: vec!["-d".to_owned(), file.to_string_lossy().into_owned()],
        env: std::iter::once(("PATH".to_owned(), "/usr/sbin:/usr/bin:/sbin:/bin".to_owned())).collect(),
        directory: PathBuf::from("/"),
        identity: Identity::ROOT,
        deadline: std::time::Duration::from_secs(30),
        log: None,
        interactive: false,
    };
    let exit = cx.host.processes().run(&run).map_err(Failure::on_host(Phase::Validate))?;
    match exit.tail.iter().find(|line| line.starts_with("error:")) {
        Some(line) => Err(Failure::release(Phase::Validate, format!("logrotate refuses its file: {line}"))),
        None => Ok(()),
    }
}
