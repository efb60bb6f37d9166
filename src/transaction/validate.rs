//! Everything that can refuse the candidate before anything live changes.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::blame::{START_NGINX, by_words, succeed};
use super::build::{Build, answer};
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
    let effective: Option<Effective> = answer(&exit);
    succeed(exit, Phase::Validate, "the application can't be imported")?;
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
    let before = front.test_live().map_err(&fail)?.map_err(|words| {
        let cause = format!("nginx refuses its present configuration: {words}");
        Failure::new(FailureClass::Host, Phase::Validate, cause).with_help("nginx -t; correct the file that it names")
    })?;
    let active = cx.layout.active_link(&generation.name);
    match front.test(&active, &cx.directory(generation)).map_err(&fail)? {
        Ok(twice) => taken(&twice, &before, generation).map_or(Ok(()), Err),
        Err(words) => Err(refused(&words, &[cx.layout.nginx_link(&generation.name), active, cx.directory(generation)])),
    }
}

/// nginx only warns of a name that two vhosts have, and goes by the first: visitors of one site would see the other. What was so
/// before is no news, and keeps nobody from his release.
fn taken(twice: &[String], before: &[String], generation: &Generation) -> Option<Failure> {
    let ours = |name: &&String| generation.wanted.env.domains.iter().any(|domain| domain.as_str() == name.as_str());
    let name = twice.iter().filter(|name| !before.contains(name)).find(ours)?;
    let cause = format!("another vhost of this host's nginx has the name {name} already");
    let cure = format!(
        "grep -r {name} /etc/nginx says where: take it out there, without a reload, which the release makes, or out of projects/{}.toml",
        generation.name
    );
    Some(Failure::new(FailureClass::Host, Phase::Validate, cause).with_help(cure))
}

/// Without the new vhost nginx takes all that there is: what it names in another file than `ours` is read because of it, and is
/// the host's own.
fn refused(words: &str, ours: &[PathBuf]) -> Failure {
    if words.contains("server_names_hash_bucket_size") {
        let cause = "a domain of this environment is longer than nginx has room for";
        return Failure::new(FailureClass::Host, Phase::Validate, cause).with_help(
            "echo 'server_names_hash_bucket_size 512;' >/etc/nginx/conf.d/server_names_hash.conf, which is read in the http block",
        );
    }
    let elsewhere = place(words).filter(|(_, file, _)| !ours.iter().any(|own| Path::new(file).starts_with(own)));
    let Some((what, file, line)) = elsewhere else {
        return by_words(Phase::Validate, format!("nginx refuses the new vhost: {words}"), vec![words.to_owned()]);
    };
    Failure::new(FailureClass::Host, Phase::Validate, format!("nginx refuses {file}:{line}: {what}"))
        .with_help("that file is this host's own, and no release changes it: correct that line")
}

/// `unexpected "}"`, `/etc/nginx/conf.d/own.conf` and `3`, where nginx says them so: `unexpected "}" in /etc/nginx/conf.d/own.conf:3`.
fn place(words: &str) -> Option<(&str, &str, &str)> {
    let (what, place) = words.lines().next()?.rsplit_once(" in ")?;
    let (file, line) = place.rsplit_once(':')?;
    (file.starts_with('/') && line.bytes().all(|b| b.is_ascii_digit())).then_some((what, file, line))
}

/// logrotate; it ends with 0 for a file that it ignores, so what it says counts.
pub fn logrotate(cx: &Context<'_>, generation: &Generation) -> Result<(), Failure> {
    let Some(program) = cx.host.processes().find(&["logrotate"]) else { return Ok(()) };
    let file = cx.directory(generation).join("logrotate");
    let run = Run {
        program,
        // What it remembers of other runs may be damaged, which says nothing of this file.
        args: ["-d", "-s", "/dev/null", &file.to_string_lossy()].map(str::to_owned).to_vec(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transaction::FailureKind;

    fn judged(words: &str) -> (FailureKind, String) {
        let ours = ["/etc/nginx/sites-enabled/portreeve-bakery_pro.conf", "/etc/portreeve/active/bakery_pro"];
        let failure = refused(words, &ours.map(PathBuf::from));
        (failure.kind, failure.cause)
    }

    #[test]
    fn a_file_of_the_hosts_own_is_not_the_releases_fault() {
        let (host, release) = (FailureKind::Class(FailureClass::Host), FailureKind::Class(FailureClass::Release));
        let local = judged("unknown directive \"frob\" in /etc/portreeve/local/bakery_pro/nginx.d/own.conf:3");
        let cause = "nginx refuses /etc/portreeve/local/bakery_pro/nginx.d/own.conf:3: unknown directive \"frob\"";
        assert_eq!(local, (host, cause.to_owned()));
        let word = "unknown directive \"x in y:z\" in /etc/nginx/sites-enabled/portreeve-bakery_pro.conf:12";
        for ours in [word, "a duplicate in /etc/portreeve/active/bakery_pro/nginx.conf:1", "no port in upstream \"x\""]
        {
            assert_eq!(judged(ours), (release, format!("nginx refuses the new vhost: {ours}")));
        }
    }

    #[test]
    fn a_domain_that_is_too_long_for_nginx_is_told_with_its_cure() {
        let words = "could not build server_names_hash, you should increase server_names_hash_bucket_size: 64";
        let failure = refused(words, &[]);
        assert_eq!(failure.kind, FailureKind::Class(FailureClass::Host));
        assert!(failure.help.is_some_and(|help| help.contains("server_names_hash_bucket_size 512;")));
    }

    #[test]
    fn a_name_that_another_vhost_has_is_refused_unless_it_was_so_before() {
        let wanted = crate::plan::wanted(&crate::model::EnvName::parse("bakery/pro").unwrap());
        let generation = Generation {
            format: Generation::FORMAT,
            name: wanted.env.name.clone(),
            number: 1,
            slot: crate::model::Slot::A,
            at: jiff::Timestamp::UNIX_EPOCH,
            boot: None,
            why: crate::desired::Why::Push,
            wanted,
        };
        let names = |list: &[&str]| list.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let of = |twice: &[&str], before: &[&str]| taken(&names(twice), &names(before), &generation);
        let failure = of(&["other.example", "bakery.example"], &["other.example"]).unwrap();
        assert_eq!(failure.kind, FailureKind::Class(FailureClass::Host));
        assert!(failure.cause.contains("bakery.example"), "{failure}");
        assert!(of(&["bakery.example"], &["bakery.example"]).is_none(), "it is released for its own changes");
        assert!(of(&["other.example"], &[]).is_none(), "others' quarrels");
    }

    #[test]
    fn a_disk_of_logs_that_is_full_is_not_the_releases_fault() {
        let words = "open() \"/var/log/foouser/bakery/pro/nginx-error.log\" failed (28: No space left on device)";
        assert_eq!(judged(words).0, FailureKind::Class(FailureClass::Host));
    }
}
