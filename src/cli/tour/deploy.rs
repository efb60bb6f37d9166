//! The deploy repository of the tour: the template's files, cut down to one environment on one host.

use super::super::init::TEMPLATE;
use super::TourError;
use super::git::Repository;
use super::place::Place;
use crate::settings::{AgentSettings, Manager, Nginx};

/// The host's name in the deploy repository.
const HOST: &str = "here";

/// Where the environment's file is.
pub(super) const PRO: &str = "projects/bakery/pro.toml";

/// The deploy repository, with v1 wanted.
pub(super) fn create<'a>(place: &'a Place, site: &Repository<'_>) -> Result<Repository<'a>, TourError> {
    let repository = Repository::create(place, "deploy")?;
    let template = |name: &str| TEMPLATE.iter().find(|(file, _)| *file == name).map_or("", |(_, text)| text);
    for file in ["README.md", "portreeve.toml"] {
        repository.write(file, template(file))?;
    }
    repository.write(format!("hosts/{HOST}.toml").as_str(), "environments = [\"bakery/pro\"]\n")?;
    repository.write("projects/bakery/project.toml", project(&site.address()))?;
    want(&repository, "v1")?;
    Ok(repository)
}

/// Changes `rev`, commits and pushes: a release.
pub(super) fn want(repository: &Repository<'_>, rev: &str) -> Result<(), TourError> {
    repository.write(PRO, environment(rev))?;
    repository.commit(&format!("release {rev}"))?;
    repository.push()
}

/// Tells the host where its deploy repository is.
pub(super) fn set_up(place: &Place, repository: &Repository<'_>, port: u16) -> Result<(), TourError> {
    let settings = AgentSettings {
        host: Some(HOST.to_owned()),
        manager: Some(Manager::Supervisor),
        allow_local_git: true,
        nginx: Nginx { port },
        ..AgentSettings::new(repository.address())
    };
    Ok(place.files.write(place.layout.agent_toml(), settings.to_toml())?)
}

fn project(address: &str) -> String {
    let address = toml::Value::String(address.to_owned());
    format!(
        r#"# What the environments of bakery share. Here there is one: pro.

user = "baker"                    # in the tour everything runs as you
ports = "60000-60049"

[source]
git = {address}

[web.gunicorn]
app = "bakery.wsgi:application"   # module:callable
workers = 2
graceful_timeout = "5s"

[django]
settings = "bakery.settings"
"#
    )
}

fn environment(rev: &str) -> String {
    format!(
        r#"# Production, on this machine.

rev = "{rev}"                        # change this line, commit and push: that is a release
domains = ["localhost"]

[health]                          # asked before a release goes live, and after
path = "/healthz"
status = 200
deadline = "30s"
bake = "2s"                       # how long it is watched after it went live
"#
    )
}
