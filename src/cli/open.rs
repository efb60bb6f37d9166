//! What a command finds around it: the environment, the root, the host.
#![expect(clippy::disallowed_methods, reason = "the environment is read here, once")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::args::Global;
use super::{Fault, signals};
use crate::agent::{App, AppError, Surroundings};
use crate::model::{Identity, Layout, Root};

/// Variables that reach what installs packages: certificates, proxies, its own.
const FOR_INSTALLER: [&str; 8] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
];

/// The layout of `--root`, or of the machine.
pub fn layout(global: &Global) -> Result<Layout, Fault> {
    let root = match &global.root {
        None => Root::system(),
        Some(directory) => {
            let whole = std::path::absolute(directory).map_err(|error| Fault::usage(format!("--root: {error}")))?;
            // By its real name, so that everybody who means it finds the same sockets.
            Root::at(whole.canonicalize().unwrap_or(whole))
        }
    };
    let layout = layout_at(root);
    let Some(config) = &global.config else { return Ok(layout) };
    let config = std::path::absolute(config).map_err(|error| Fault::usage(format!("--config: {error}")))?;
    Ok(layout.with_agent_toml(config))
}

/// The layout of this root, for whoever we are.
pub fn layout_at(root: Root) -> Layout {
    Layout::for_root(root, rustix::process::geteuid().as_raw())
}

/// What is around us.
pub fn surroundings(wait: Option<Duration>, cancel: Arc<AtomicBool>) -> Surroundings {
    let own = |name: &str| name.starts_with("PIP_") || name.starts_with("UV_");
    let installer = variables().into_iter().filter(|(name, _)| own(name) || FOR_INSTALLER.contains(&name.as_str()));
    Surroundings {
        path: std::env::var("PATH").unwrap_or_else(|_| "/usr/bin:/bin".to_owned()),
        installer: installer.collect::<BTreeMap<_, _>>(),
        program: std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/usr/bin/portreeve")),
        wait,
        cancel,
    }
}

/// The host that the command acts on.
pub fn app(global: &Global) -> Result<App, Fault> {
    app_with(global, Arc::new(AtomicBool::new(false)))
}

/// The same, for a command that a signal ends at its next safe point.
pub fn acting(global: &Global) -> Result<App, Fault> {
    app_with(global, signals::cancelled()?)
}

/// The same, with a flag that ends a pass at its next safe point.
pub fn app_with(global: &Global, cancel: Arc<AtomicBool>) -> Result<App, Fault> {
    app_in(global, &surroundings(patience(global), cancel))
}

/// The same in surroundings that were looked at before.
pub fn app_in(global: &Global, surroundings: &Surroundings) -> Result<App, Fault> {
    App::open(layout(global)?, surroundings).map_err(|error| match &error {
        AppError::Settings(_) => Fault::usage(error.to_string()),
        AppError::NotSetUp(_) | AppError::Missing(_) => Fault::blocked(error.to_string()),
        AppError::Host(_) => Fault::failed(&error),
    })
}

/// What was said about waiting.
pub fn patience(global: &Global) -> Option<Duration> {
    global.wait.map(crate::model::Span::duration)
}

/// Who types: for holds and the history.
pub fn person() -> String {
    ["SUDO_USER", "LOGNAME", "USER"]
        .iter()
        .find_map(|name| std::env::var(name).ok())
        .unwrap_or_else(|| "root".to_owned())
}

/// As whom we run.
pub fn ourselves() -> Identity {
    Identity { uid: rustix::process::getuid().as_raw(), gid: rustix::process::getgid().as_raw() }
}

/// Our own arguments, for whoever takes our place.
pub fn arguments() -> Vec<String> {
    std::env::args().skip(1).collect()
}

/// Our own variables; what is no text is nobody's.
pub fn variables() -> BTreeMap<String, String> {
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(text).collect()
}

/// Where we run; relative arguments mean this.
pub fn directory() -> PathBuf {
    std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"))
}

/// What a person's terminal needs.
pub fn terminal() -> BTreeMap<String, String> {
    ["TERM", "LANG", "COLUMNS", "LINES"]
        .iter()
        .filter_map(|&name| Some((name.to_owned(), std::env::var(name).ok()?)))
        .collect()
}
