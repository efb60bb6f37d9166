//! `env.conf`: the variables of an environment's processes, and what scripts of people want to know.

use std::fmt::Write as _;
use std::path::Path;

use secrecy::ExposeSecret as _;

use super::Subject;
use crate::emit::env::EnvFile;
use crate::emit::{EmitError, Grammar};
use crate::model::is_ours;

/// The text of `env.conf`.
pub fn render(subject: &Subject<'_>) -> Result<String, EmitError> {
    let mut file = EnvFile::new();
    defaults(&mut file, subject)?;
    // A generation of a time when `check` let them pass.
    for (name, value) in subject.env.env.iter().filter(|(name, _)| !is_ours(name)) {
        file.set(name, value)?;
    }
    ours(&mut file, subject)?;
    Ok(file.render())
}

/// What `[env]` may say otherwise.
fn defaults(file: &mut EnvFile, subject: &Subject<'_>) -> Result<(), EmitError> {
    let bin = subject.venv.join("bin");
    file.set("LANG", "C.UTF-8")?;
    file.set("PATH", &format!("{}:/usr/local/bin:/usr/bin:/bin", member("PATH", &bin)?))?;
    file.set("PYTHONDONTWRITEBYTECODE", "1")?;
    file.set("PYTHONUNBUFFERED", "1")?;
    // gunicorn's control socket: in the home, which both slots have, the second would take the first one's.
    let runtime = subject.layout.host().slot_runtime(&subject.env.name, subject.slot);
    file.set("XDG_RUNTIME_DIR", path("XDG_RUNTIME_DIR", &runtime)?)
}

fn ours(file: &mut EnvFile, subject: &Subject<'_>) -> Result<(), EmitError> {
    let (env, layout) = (subject.env, subject.layout);
    let slot = layout.host().slot_link(&env.name, subject.slot);
    let python_path = format!("{}:{}", member("PYTHONPATH", &slot)?, member("PYTHONPATH", &subject.code_dir)?);
    if env.django.is_some() {
        file.set("DJANGO_SETTINGS_MODULE", super::SETTINGS_MODULE)?;
    }
    file.set("BASE_PORT", &env.ports.first.to_string())?;
    file.set("DATABASE_URL", &database_url(&layout.data().join("db.sqlite3"))?)?;
    file.set("HOME", path("HOME", &layout.data())?)?;
    file.set("PORTREEVE_ENV", &env.name.to_string())?;
    file.set("PORTREEVE_RELEASE", &subject.release.file_name().unwrap_or_default().to_string_lossy())?;
    file.set("PROJECT_PATH", path("PROJECT_PATH", &layout.home())?)?;
    file.set("PYTHONPATH", &python_path)?;
    file.set("SECRET_KEY", subject.secret_key.expose_secret())?;
    file.set("VIRTUALENV", path("VIRTUALENV", &subject.venv)?)?;
    file.set("VIRTUAL_ENV", path("VIRTUAL_ENV", &subject.venv)?)
}

/// `sqlite:////absolute/path`, with what a URL gives another meaning to in percent-encoding.
fn database_url(file: &Path) -> Result<String, EmitError> {
    let mut url = String::from("sqlite:///");
    for byte in path("DATABASE_URL", file)?.bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-~".contains(&byte) {
            url.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _infallible = write!(url, "%{byte:02X}");
        }
    }
    Ok(url)
}

fn path<'a>(variable: &str, path: &'a Path) -> Result<&'a str, EmitError> {
    path.to_str().ok_or_else(|| not_a_path(variable, path))
}

/// A member of a search path, which `:` would split.
fn member<'a>(variable: &str, member: &'a Path) -> Result<&'a str, EmitError> {
    let text = path(variable, member)?;
    if text.contains(':') { Err(not_a_path(variable, member)) } else { Ok(text) }
}

fn not_a_path(variable: &str, path: &Path) -> EmitError {
    let what = format!("a path in {variable}");
    EmitError::Name { grammar: Grammar::Env, what, text: path.display().to_string() }
}
