//! Reads one layer: `[defaults]`, a project.toml or an environment's own file.

use std::collections::BTreeSet;

use crate::model::{Address, Domain, LocalPaths, PortRange, RepoAddressError, UserName};

use super::document::At;
use super::environment::{Migrations, Rev};
use super::kind::{Kind, weakened};
use super::later;
use super::layer::{DjangoLayer, GunicornLayer, HealthLayer, Layer, LogsLayer, NginxLayer, Section};
use super::literal;
use super::reader::{Keys, wrong_type};
use super::unknown;
use super::value;

/// Reads all keys of a layer, and complains about those that it doesn't know; what `kind` may not say is complained about and left out.
pub(super) fn read<'t>(keys: &mut Keys<'_, 't>, kind: Kind) -> Layer<'t> {
    out_of_place(keys, kind);
    let layer = Layer {
        rev: revision(keys, kind),
        domains: keys.list("domains", Domain::parse),
        ports: keys.parse("ports", PortRange::parse),
        user: keys.parse("user", UserName::parse),
        removed: keys.boolean("removed"),
        like: keys.parse("like", value::policy),
        base_dir: keys.parse("base_dir", value::absolute_path),
        keep_releases: keys.integer("keep_releases", 2..=1000),
        warm: keys.time("warm", value::span),
        git: keys.table("source", git).flatten(),
        gunicorn: keys.table("web", web).unwrap_or_default(),
        django: keys.section("django", |keys| django(keys, kind)),
        health: keys.section("health", health),
        nginx: keys.section("nginx", nginx),
        logs: keys.section("logs", logs),
        settings: keys.open_table("settings", |keys| literal::settings(keys, kind)).unwrap_or_default(),
        env: keys.open_table("env", literal::env).unwrap_or_default(),
        ..python(keys)
    };
    later::top_level(keys);
    unknown::complain(keys);
    let spoiled = spoiled(keys, &layer);
    allowed(Layer { spoiled, ..layer }, kind)
}

/// Keys that must be said somewhere, and that this layer says wrongly.
fn spoiled(keys: &Keys<'_, '_>, layer: &Layer<'_>) -> BTreeSet<&'static str> {
    let said = |key: &str| keys.mentions(key) || keys.is_meant(key);
    let (rev, web) = (layer.rev.is_none(), matches!(layer.gunicorn, Section::Unsaid));
    let app = matches!(&layer.gunicorn, Section::On(gunicorn) if gunicorn.app.is_none());
    let settings = matches!(&layer.django, Section::On(django) if django.settings.is_none());
    [
        ("rev", rev && ["rev", "tag", "commit", "branch"].iter().any(|key| said(key))),
        ("domains", layer.domains.is_none() && said("domains")),
        ("ports", layer.ports.is_none() && said("ports")),
        ("user", layer.user.is_none() && said("user")),
        ("source.git", layer.git.is_none() && said("source.git")),
        ("web", web && later::WEB.iter().chain(&["web.gunicorn"]).any(|key| said(key))),
        ("web.gunicorn.app", app && said("web.gunicorn.app")),
        ("django.settings", settings && said("django.settings")),
    ]
    .into_iter()
    .filter_map(|(key, spoiled)| spoiled.then_some(key))
    .collect()
}

/// The layer without what `kind` may not say.
fn allowed(layer: Layer<'_>, kind: Kind) -> Layer<'_> {
    match kind {
        Kind::Environment => layer,
        Kind::Project => Layer { removed: None, like: None, ..layer },
        Kind::Defaults => {
            Layer { rev: None, domains: None, ports: None, user: None, removed: None, like: None, ..layer }
        }
    }
}

fn out_of_place(keys: &mut Keys<'_, '_>, kind: Kind) {
    let (forbidden, place, cure): (&[&str], _, _) = match kind {
        Kind::Environment => return,
        Kind::Project => (&["removed", "like"], "project.toml", "say it in the environment's own file"),
        Kind::Defaults => (
            &["rev", "tag", "commit", "branch", "domains", "ports", "user", "removed", "like"],
            "[defaults]",
            "say it in the project's or the environment's own file",
        ),
    };
    for key in forbidden {
        if let Some(spot) = keys.key_spot(key) {
            keys.out.push(spot.error(format!("`{key}` can't stand in {place}")).label(cure));
        }
    }
}

fn revision<'t>(keys: &mut Keys<'_, 't>, kind: Kind) -> Option<At<'t, Rev>> {
    let said: Vec<_> =
        ["rev", "tag", "commit", "branch"].into_iter().filter(|key| keys.key_spot(key).is_some()).collect();
    if let [first, second, ..] = said[..]
        && kind != Kind::Defaults
    {
        let spot = keys.key_spot(second).unwrap_or(keys.header);
        let complaint = spot.error(format!("`{first}` and `{second}` at once"));
        keys.out.push(complaint.label("which one is released?").help(format!("keep one of {}", said.join(", "))));
    }
    let rev = keys.parse("rev", value::rev);
    let tag = keys.parse("tag", value::tag);
    let commit = keys.parse("commit", value::commit);
    let branch = keys.parse("branch", value::branch);
    rev.or(tag).or(commit).or(branch)
}

fn python<'t>(keys: &mut Keys<'_, 't>) -> Layer<'t> {
    let read = keys.table("python", |keys| Layer {
        python_version: keys.parse("version", value::python),
        requirements: keys.parse("requirements", value::inner_path),
        ..Layer::default()
    });
    read.unwrap_or_default()
}

/// What a host fetches from. It is not repeated in the message, because there may be a password in it; a directory, which hosts
/// fetch from only where their own configuration allows it, is theirs to refuse.
fn git<'t>(keys: &mut Keys<'_, 't>) -> Option<At<'t, String>> {
    let text = keys.text("git")?;
    let refused = |rule: RepoAddressError| {
        keys.out
            .push(text.spot.error("`source.git` is no repository that a host fetches from").label(rule.to_string()));
    };
    let address = Address::parse(text.value, LocalPaths::Allowed).map_err(refused).ok()?;
    Some(At { value: address.as_str().to_owned(), spot: text.spot })
}

fn web<'t>(keys: &mut Keys<'_, 't>) -> Section<GunicornLayer<'t>> {
    later::web(keys);
    keys.section("gunicorn", gunicorn)
}

fn gunicorn<'t>(keys: &mut Keys<'_, 't>) -> GunicornLayer<'t> {
    GunicornLayer {
        header: Some(keys.header),
        app: keys.parse("app", value::callable),
        workers: keys.integer("workers", 1..=1024),
        threads: keys.integer("threads", 1..=1024),
        timeout: keys.time("timeout", value::wait),
        graceful_timeout: keys.time("graceful_timeout", value::wait),
        max_requests: keys.integer("max_requests", 0..=i64::from(u32::MAX)),
    }
}

fn django<'t>(keys: &mut Keys<'_, 't>, kind: Kind) -> DjangoLayer<'t> {
    let layer = DjangoLayer {
        header: Some(keys.header),
        settings: keys.parse("settings", value::module),
        dir: keys.parse("dir", value::inner_path),
        debug: keys.boolean("debug"),
        compilemessages: keys.boolean("compilemessages"),
        collectstatic: keys.boolean("collectstatic"),
        migrate: keys.parse("migrate", migrations),
    };
    if kind == Kind::Environment {
        return layer;
    }
    weakened(keys, "debug", layer.debug.is_some_and(|debug| debug.value));
    weakened(keys, "migrate", layer.migrate.is_some_and(|migrate| migrate.value == Migrations::Any));
    DjangoLayer { debug: None, migrate: None, ..layer }
}

fn migrations(text: &str) -> Result<Migrations, &'static str> {
    match text {
        "additive" => Ok(Migrations::Additive),
        "any" => Ok(Migrations::Any),
        _ => Err("either \"additive\" or \"any\""),
    }
}

fn health<'t>(keys: &mut Keys<'_, 't>) -> HealthLayer<'t> {
    HealthLayer {
        path: keys.parse("path", value::url_path),
        status: keys.integer("status", 100..=599),
        timeout: keys.time("timeout", value::wait),
        deadline: keys.time("deadline", value::wait),
        passes: keys.integer("passes", 1..=100),
        bake: keys.time("bake", value::span),
    }
}

fn nginx<'t>(keys: &mut Keys<'_, 't>) -> NginxLayer<'t> {
    later::nginx(keys);
    NginxLayer {
        max_body: size(keys, "max_body"),
        headers: keys.open_table("headers", literal::headers).unwrap_or_default(),
    }
}

fn logs<'t>(keys: &mut Keys<'_, 't>) -> LogsLayer<'t> {
    LogsLayer { max_size: size(keys, "max_size"), keep: keys.integer("keep", 1..=1000) }
}

/// A size: an integer of bytes, or a string with a unit.
fn size<'t>(keys: &mut Keys<'_, 't>, key: &'static str) -> Option<At<'t, u64>> {
    let raw = keys.raw(key)?;
    if raw.value.is_integer() {
        return keys.integer(key, 1..=1 << 40);
    }
    if raw.value.is_str() {
        return keys.parse(key, value::size);
    }
    let name = keys.full_name(key);
    wrong_type(&name, "a size, like \"20M\"", raw, keys.out);
    None
}
