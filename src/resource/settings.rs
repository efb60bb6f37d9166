//! Django's settings: `settings_local.py`, which holds our values and those of `[settings]`, and
//! `portreeve_settings.py`, which puts them behind the project's own.

use std::path::Path;

use secrecy::ExposeSecret as _;

use super::Subject;
use crate::emit::python::{Value, assignment, module};
use crate::emit::{EmitError, Grammar, NOTICE};
use crate::manifest::{Django, Literal};
use crate::model::Domain;

/// What comes behind the project's own settings.
const ENTRY_TAIL: &str = include_str!("entry.py");

/// The settings module of the environment's processes; holds no secret.
pub(super) fn entry(django: &Django) -> Result<String, EmitError> {
    let project = module(&django.settings)?;
    Ok(format!("# {NOTICE}\nfrom {project} import *  # noqa: F401,F403\n{ENTRY_TAIL}"))
}

/// Our values, then those of `[settings]`.
pub(super) fn local(subject: &Subject<'_>, django: &Django) -> Result<String, EmitError> {
    let mut text = format!("# {NOTICE}\n");
    for (name, value) in ours(subject, django)? {
        text += &assignment(name, &value)?;
    }
    if !subject.env.settings.is_empty() {
        text += "\n# [settings]\n";
    }
    for (name, literal) in &subject.env.settings {
        text += &assignment(name, &value(literal))?;
    }
    Ok(text)
}

fn ours(subject: &Subject<'_>, django: &Django) -> Result<Vec<(&'static str, Value)>, EmitError> {
    let (env, layout) = (subject.env, subject.layout);
    Ok(vec![
        ("DEBUG", Value::Bool(django.debug)),
        ("SECRET_KEY", Value::text(subject.secret_key.expose_secret())),
        ("ALLOWED_HOSTS", Value::List(env.domains.iter().map(allowed_host).collect())),
        ("CSRF_TRUSTED_ORIGINS", Value::List(env.domains.iter().flat_map(|domain| origins(subject, domain)).collect())),
        // Without [tls] there is nothing at the other end of such a redirect.
        ("SECURE_SSL_REDIRECT", Value::Bool(false)),
        ("STATIC_URL", Value::text("/static/")),
        ("STATIC_ROOT", path(&layout.static_files())?),
        ("MEDIA_URL", Value::text("/media/")),
        ("MEDIA_ROOT", path(&layout.media())?),
        ("DATABASES", database(&layout.data().join("db.sqlite3"))?),
    ])
}

/// Django writes `.bakery.example` for what DNS calls `*.bakery.example`.
fn allowed_host(domain: &Domain) -> Value {
    Value::text(domain.as_str().strip_prefix('*').unwrap_or(domain.as_str()))
}

/// Ours, and that of whatever ends TLS in front of us: without it every form that is sent there is refused with 403.
fn origins(subject: &Subject<'_>, domain: &Domain) -> [Value; 2] {
    let plain = match subject.http_port {
        80 => format!("http://{domain}"),
        port => format!("http://{domain}:{port}"),
    };
    [Value::text(plain), Value::text(format!("https://{domain}"))]
}

fn database(file: &Path) -> Result<Value, EmitError> {
    // Several workers write: wait for the lock rather than answer 500 after five seconds.
    let options = Value::Dict(vec![("timeout".to_owned(), Value::Int(20))]);
    let default = Value::Dict(vec![
        ("ENGINE".to_owned(), Value::text("django.db.backends.sqlite3")),
        ("NAME".to_owned(), path(file)?),
        ("OPTIONS".to_owned(), options),
    ]);
    Ok(Value::Dict(vec![("default".to_owned(), default)]))
}

fn path(path: &Path) -> Result<Value, EmitError> {
    let text = path.to_str().ok_or_else(|| EmitError::Name {
        grammar: Grammar::Python,
        what: "a path".to_owned(),
        text: path.display().to_string(),
    })?;
    Ok(Value::text(text))
}

fn value(literal: &Literal) -> Value {
    match literal {
        Literal::Bool(flag) => Value::Bool(*flag),
        Literal::Int(number) => Value::Int(*number),
        Literal::Float(number) => Value::Float(*number),
        Literal::Text(text) => Value::text(text),
        Literal::List(items) => Value::List(items.iter().map(value).collect()),
        Literal::Table(items) => Value::Dict(items.iter().map(|(key, item)| (key.clone(), value(item))).collect()),
    }
}
