//! What an environment stands on: its user, its directories, its secret key.

use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};

use super::{Context, Failure, Phase};
use crate::desired::Wanted;
use crate::host::HostError;
use crate::model::{Digest, EnvLayout, EnvName, Found, Identity, Manager, Node};
use crate::observed::Owners;
use crate::policy::FailureClass;
use crate::resource;

/// Characters of a generated `SECRET_KEY`: no quote, backslash, `$` or `%`, so that no syntax on its way has to escape it.
const ALPHABET: &[u8; 64] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
/// 64 characters of 6 bits: 384 bits.
const KEY_LENGTH: usize = 64;

/// The owners of an environment's files. Its user exists.
pub fn owners(cx: &Context<'_>, wanted: &Wanted) -> Result<Owners, Failure> {
    let fail = Failure::on_host(Phase::Build);
    let users = cx.host.users();
    let app = users.user(&wanted.env.user).map_err(&fail)?.ok_or_else(|| {
        let cause = format!("user {} does not exist on this host", wanted.env.user);
        Failure::new(FailureClass::Host, Phase::Build, cause)
    })?;
    let name = &cx.facts.web_group;
    let web_group = users.group(name).map_err(&fail)?.ok_or_else(|| {
        let cause = format!("nginx's workers run as the group {name}, which is not on this host");
        Failure::new(FailureClass::Host, Phase::Build, cause)
            .with_help(format!("correct `user` in {}, or groupadd --system {name}", cx.layout.nginx_conf().display()))
    })?;
    Ok(Owners { root: users.own(), app, web_group })
}

/// Makes the system's include directories that a slim host lacks; one that is there keeps its owner and mode.
pub fn ensure_includes(cx: &Context<'_>) -> Result<(), Failure> {
    let fail = Failure::on_host(Phase::Build);
    let (layout, files) = (cx.layout, cx.host.files());
    let wants = layout.systemd_units().join("multi-user.target.wants");
    let own = match cx.facts.manager {
        Manager::Systemd => vec![wants],
        Manager::Supervisor => vec![layout.supervisor_conf_d()],
    };
    let others =
        [layout.sysusers_d(), layout.sysctl_d(), layout.tmpfiles_d(), layout.logrotate_d(), layout.nginx_sites()];
    for directory in own.into_iter().chain(others) {
        if files.look(&directory).map_err(&fail)? == Found::Absent {
            files.make_directory(&directory, 0o755, Identity::ROOT).map_err(&fail)?;
        }
    }
    Ok(())
}

/// Makes the user (sysusers.d), if there is none yet.
pub fn ensure_user(cx: &Context<'_>, wanted: &Wanted) -> Result<(), Failure> {
    let fail = Failure::on_host(Phase::Build);
    if cx.host.users().user(&wanted.env.user).map_err(&fail)?.is_some() {
        return Ok(());
    }
    let text = resource::sysusers::render(&wanted.env.user, &cx.paths(wanted))?;
    let path = cx.layout.sysusers_d().join(format!("portreeve-{}.conf", wanted.env.user));
    let node = Node::File { bytes: text.into_bytes(), mode: 0o644, owner: Identity::ROOT };
    cx.host.files().put(&path, &node).map_err(&fail)?;
    cx.host.users().apply_sysusers(&path).map_err(&fail)
}

/// Makes the environment's directories and the links between them. What is there already keeps its contents.
pub fn ensure_directories(cx: &Context<'_>, wanted: &Wanted, owners: Owners) -> Result<(), Failure> {
    let paths = cx.paths(wanted);
    for (path, mode, owner) in directories(cx, &paths, &wanted.env.name, owners) {
        cx.host.files().make_directory(&path, mode, owner).map_err(Failure::on_host(Phase::Build))?;
    }
    Ok(())
}

fn directories(cx: &Context<'_>, paths: &EnvLayout, name: &EnvName, owners: Owners) -> Vec<(PathBuf, u32, Identity)> {
    let Owners { root, app, web_group } = owners;
    let layout = cx.layout;
    vec![
        (layout.config(), 0o755, root),
        (layout.state(), 0o700, root),
        (layout.attempts(), 0o700, root),
        (layout.env_generations(name), 0o755, root),
        (layout.slots().join(name.flat()), 0o755, root),
        (layout.active(), 0o755, root),
        (layout.local_nginx(name), 0o755, root),
        (layout.secrets(name), 0o700, root),
        (paths.user_home(), 0o755, root),
        (paths.project(), 0o755, root),
        (paths.home(), 0o755, root),
        (paths.releases(), 0o755, root),
        (paths.venvs(), 0o755, root),
        (paths.static_files(), 0o2750, Identity { gid: web_group, ..app }),
        (paths.static_releases(), 0o755, root),
        (paths.media(), 0o2750, Identity { gid: web_group, ..app }),
        (paths.data(), 0o700, app),
        (paths.log_dir(), 0o755, root),
        (paths.app_log_dir(), 0o750, app),
        (paths.backup_dir(), 0o700, app),
    ]
}

/// The environment's `SECRET_KEY`: made once on this host, kept for ever.
pub fn secret_key(cx: &Context<'_>, name: &EnvName) -> Result<SecretString, Failure> {
    let fail = Failure::on_host(Phase::Build);
    let path = secret_path(cx, name);
    if let Some(key) = read_secret(cx, &path).map_err(&fail)? {
        return Ok(key);
    }
    let random = cx.host.kernel().random(KEY_LENGTH).map_err(&fail)?;
    let key: String = random.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 64)])).collect();
    let files = cx.host.files();
    files.make_directory(&cx.layout.secrets(name), 0o700, Identity::ROOT).map_err(&fail)?;
    let secret = |text: &str| Node::File { bytes: text.as_bytes().to_vec(), mode: 0o600, owner: Identity::ROOT };
    files.put(&generated_path(cx, name), &secret(&Digest::of(key.as_bytes()).to_string())).map_err(&fail)?;
    files.put(&path, &secret(&key)).map_err(&fail)?;
    Ok(SecretString::from(key))
}

/// The key, if it was made already.
pub fn existing_secret(cx: &Context<'_>, name: &EnvName) -> Result<Option<SecretString>, HostError> {
    read_secret(cx, &secret_path(cx, name))
}

/// A fingerprint of the secrets that people gave the environment; empty while there are none.
///
/// A key that we made ourselves is none of those: it says nothing that wasn't true before the first release, and must not
/// make the second pass release again.
pub fn secret_fingerprint(cx: &Context<'_>, name: &EnvName) -> Result<Vec<u8>, HostError> {
    let Some(key) = existing_secret(cx, name)? else { return Ok(Vec::new()) };
    let digest = Digest::of(expose(&key)).to_string().into_bytes();
    let generated = cx.host.files().read(&generated_path(cx, name), 64 * 1024)?;
    Ok(if generated.as_ref() == Some(&digest) { Vec::new() } else { digest })
}

/// The digest of the key that we made, beside it.
fn generated_path(cx: &Context<'_>, name: &EnvName) -> PathBuf {
    cx.layout.secrets(name).join("SECRET_KEY.generated")
}

fn secret_path(cx: &Context<'_>, name: &EnvName) -> PathBuf {
    cx.layout.secrets(name).join("SECRET_KEY")
}

fn read_secret(cx: &Context<'_>, path: &Path) -> Result<Option<SecretString>, HostError> {
    let bytes = cx.host.files().read(path, 64 * 1024)?;
    let key = bytes.and_then(|bytes| String::from_utf8(bytes).ok()).map(|text| text.trim().to_owned());
    Ok(key.filter(|key| !key.is_empty()).map(SecretString::from))
}

/// A key's bytes, for its digest only.
pub fn expose(key: &SecretString) -> &[u8] {
    key.expose_secret().as_bytes()
}
