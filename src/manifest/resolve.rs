//! Merged layers → [`Environment`]: defaults for what is unsaid, complaints about what must be said.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::model::{Domain, PortRange, Span, UserName};

use super::candidate::Candidate;
use super::diagnostic::{Diagnostic, Diagnostics};
use super::document::At;
use super::environment::{
    Django, Environment, Expect, Gunicorn, Health, Literal, Logs, Migrations, Nginx, Policy, Python, Rev, Web,
};
use super::layer::{DjangoLayer, GunicornLayer, HealthLayer, Layer, LogsLayer, NginxLayer, Section};

const MB: u64 = 1 << 20;

/// Reads merged values; each that is missing is complained about.
struct Resolver<'c, 't, 'd> {
    candidate: &'c Candidate<'t>,
    out: &'d mut Diagnostics,
}

/// The environment, or complaints. What is shared with others, ports and user, was settled before.
pub(super) fn environment(
    candidate: &Candidate<'_>,
    ports: Option<PortRange>,
    user: Option<UserName>,
    out: &mut Diagnostics,
) -> Option<Environment> {
    let layer = &candidate.layer;
    let mut resolver = Resolver { candidate, out };
    let rev = resolver.rev();
    let source = resolver.source();
    let domains = resolver.domains();
    let web = resolver.web();
    let django = resolver.django();
    let health = resolver.health();
    let settings = said(layer.settings.clone());
    Some(Environment {
        name: candidate.name.clone(),
        policy: candidate.policy,
        user: user?,
        base_dir: value(layer.base_dir.as_ref(), PathBuf::from("/home")),
        ports: ports?,
        source: source?,
        rev: rev?,
        domains: domains?,
        python: python(layer),
        web: web?,
        migrations: migrations(layer),
        django: django?,
        health,
        settings: without_debug(settings),
        env: said(layer.env.clone()),
        nginx: nginx(layer),
        logs: logs(layer),
        keep_releases: value(layer.keep_releases.as_ref(), 5),
        warm: value(layer.warm.as_ref(), Span::secs(300)),
        removed: value(layer.removed.as_ref(), false),
    })
}

/// What was said, or else this.
fn value<T: Clone>(said: Option<&At<'_, T>>, otherwise: T) -> T {
    said.map_or(otherwise, |at| at.value.clone())
}

fn maybe<T: Clone>(said: Option<&At<'_, T>>) -> Option<T> {
    said.map(|at| at.value.clone())
}

fn said<T>(map: BTreeMap<String, At<'_, T>>) -> BTreeMap<String, T> {
    map.into_iter().map(|(key, at)| (key, at.value)).collect()
}

/// `DEBUG` has one place, [`Django::debug`], wherever it was said.
fn without_debug(mut settings: BTreeMap<String, Literal>) -> BTreeMap<String, Literal> {
    settings.remove("DEBUG");
    settings
}

fn python(layer: &Layer<'_>) -> Python {
    Python {
        version: maybe(layer.python_version.as_ref()),
        requirements: value(layer.requirements.as_ref(), PathBuf::from("requirements.txt")),
    }
}

fn nginx(layer: &Layer<'_>) -> Nginx {
    let NginxLayer { max_body, headers } = layer.nginx.clone().on().unwrap_or_default();
    Nginx { max_body: value(max_body.as_ref(), 20 * MB), headers: said(headers) }
}

fn logs(layer: &Layer<'_>) -> Logs {
    let LogsLayer { max_size, keep } = layer.logs.clone().on().unwrap_or_default();
    Logs { max_size: value(max_size.as_ref(), 20 * MB), keep: value(keep.as_ref(), 20) }
}

fn migrations(layer: &Layer<'_>) -> Migrations {
    let django = layer.django.clone().on().unwrap_or_default();
    value(django.migrate.as_ref(), Migrations::Additive)
}

impl Resolver<'_, '_, '_> {
    /// Complains of a missing key, unless a layer has it, and wrongly.
    fn missing(&mut self, key: &str, complaint: Diagnostic) {
        if !self.candidate.is_spoiled(key) {
            self.out.push(complaint.concerning(self.candidate.concern()));
        }
    }

    fn lacks(&self, what: &str, cure: &str) -> Diagnostic {
        self.candidate.missing(format!("{} has no {what}", self.candidate.name)).label(cure)
    }

    fn rev(&mut self) -> Option<Rev> {
        let Some(At { value, spot }) = &self.candidate.layer.rev else {
            self.missing("rev", self.lacks("rev", "write `rev = \"v1.4.2\"` here"));
            return None;
        };
        if let (Policy::Pro, Rev::Branch(_)) = (self.candidate.policy, value) {
            let complaint = spot.error(format!("{} releases commits and tags, no branches", self.candidate.name));
            let complaint = complaint.label("name a tag: `rev = \"v1.4.2\"`");
            self.out.push(complaint.concerning(self.candidate.concern()));
        }
        Some(value.clone())
    }

    fn source(&mut self) -> Option<String> {
        let git = maybe(self.candidate.layer.git.as_ref());
        if git.is_none() {
            let file = format!("it goes below [source] in projects/{}/project.toml", self.candidate.name.project);
            self.missing("source.git", self.lacks("source", "say `git = \"https://…\"`").help(file));
        }
        git
    }

    fn domains(&mut self) -> Option<Vec<Domain>> {
        let Some(list) = &self.candidate.layer.domains else {
            self.missing("domains", self.lacks("domains", "write `domains = [\"www.bakery.example\"]` here"));
            return None;
        };
        if list.value.is_empty() {
            let complaint = list.spot.error(format!("{} has no domains", self.candidate.name));
            self.out.push(complaint.label("name at least one").concerning(self.candidate.concern()));
        }
        let mut domains: Vec<Domain> = Vec::new();
        for domain in &list.value {
            if domains.contains(&domain.value) {
                self.out.push(domain.spot.error(format!("`{}` is named twice", domain.value)).label("remove it"));
            }
            domains.push(domain.value.clone());
        }
        Some(domains)
    }

    fn web(&mut self) -> Option<Web> {
        let Section::On(layer) = self.candidate.layer.gunicorn.clone() else {
            let cure = "add [web.gunicorn] with `app = \"bakery.wsgi:application\"`";
            self.missing("web", self.lacks("web process", cure));
            return None;
        };
        let GunicornLayer { header, app, workers, threads, timeout, graceful_timeout, max_requests } = layer;
        let Some(app) = app else {
            let complaint = header.unwrap_or(self.candidate.source.start()).error("[web.gunicorn] has no `app`");
            self.missing("web.gunicorn.app", complaint.label("below it, write `app = \"bakery.wsgi:application\"`"));
            return None;
        };
        Some(Web::Gunicorn(Gunicorn {
            app: app.value,
            workers: maybe(workers.as_ref()),
            threads: value(threads.as_ref(), 1),
            timeout: value(timeout.as_ref(), Span::secs(30)),
            graceful_timeout: value(graceful_timeout.as_ref(), Span::secs(30)),
            max_requests: value(max_requests.as_ref(), 0),
        }))
    }

    /// `None`: complained about; `Some(None)`: not a Django site.
    #[expect(clippy::option_option, reason = "the two say different things, and the function is private")]
    fn django(&mut self) -> Option<Option<Django>> {
        let debug = self.debug();
        let Section::On(layer) = self.candidate.layer.django.clone() else {
            return Some(None);
        };
        let DjangoLayer { header, settings, dir, compilemessages, collectstatic, .. } = layer;
        let Some(settings) = settings else {
            let complaint = header.unwrap_or(self.candidate.source.start()).error("[django] has no `settings`");
            self.missing("django.settings", complaint.label("below it, write `settings = \"bakery.settings\"`"));
            return None;
        };
        Some(Some(Django {
            settings: settings.value,
            dir: maybe(dir.as_ref()),
            debug,
            compilemessages: value(compilemessages.as_ref(), true),
            collectstatic: value(collectstatic.as_ref(), true),
        }))
    }

    /// Whether `DEBUG` is on, by either of its two keys; only dev may.
    fn debug(&mut self) -> bool {
        let layer = &self.candidate.layer;
        let key = layer.django.clone().on().and_then(|django| django.debug);
        let setting = layer.settings.get("DEBUG");
        if let Some(odd) = setting.filter(|setting| !matches!(setting.value, Literal::Bool(_))) {
            self.out.push(odd.spot.error("`DEBUG` is neither true nor false").label("expected true or false"));
        }
        let setting = setting.map(|at| at.clone().map(|value| matches!(value, Literal::Bool(true))));
        let on = [key, setting].into_iter().flatten().find(|debug| debug.value);
        if let (Some(on), false) = (&on, self.candidate.policy == Policy::Dev) {
            let complaint = on.spot.error(format!("DEBUG is refused on {}", self.candidate.name));
            self.out.push(complaint.label("only dev may").concerning(self.candidate.concern()));
        }
        on.is_some()
    }

    fn health(&mut self) -> Health {
        let candidate = self.candidate;
        let said = candidate.layer.health.clone().on();
        if said.is_none() && candidate.policy == Policy::Pro && !value(candidate.layer.removed.as_ref(), false) {
            let warning = candidate.missing(format!("{} has no [health]", candidate.name)).warning();
            self.out.push(warning.label("any page below 400 counts").help("add [health] with `path = \"/healthz\"`"));
        }
        let HealthLayer { path, status, timeout, deadline, passes, bake } = said.unwrap_or_default();
        let bake_default = if candidate.policy == Policy::Pro { 10 } else { 2 };
        let health = Health {
            path: value(path.as_ref(), "/".to_owned()),
            expect: status.map_or(Expect::Answer, |status| Expect::Status(status.value)),
            timeout: value(timeout.as_ref(), Span::secs(5)),
            deadline: value(deadline.as_ref(), Span::secs(60)),
            passes: value(passes.as_ref(), 2),
            bake: value(bake.as_ref(), Span::secs(bake_default)),
        };
        if let Some(spot) = deadline.or(timeout).filter(|_| health.deadline < health.timeout).map(|at| at.spot) {
            let complaint =
                spot.error(format!("the deadline {} is shorter than one timeout {}", health.deadline, health.timeout));
            self.out.push(complaint.label("the deadline is for all requests together").concerning(candidate.concern()));
        }
        health
    }
}
