//! The two keys of a first contact: this host's own, and the git server's, which a person confirms. Never trust on first use.

use std::collections::BTreeMap;
use std::io::{BufRead as _, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Fault, printer};
use crate::host::{Exit, Files as _, Parts, Processes as _, Run};
use crate::model::{Identity, Node};

/// A git server answers within this, or not at all.
const PATIENCE: Duration = Duration::from_secs(30);

/// The public half of the deploy key at `path`, which is made unless it is there.
pub fn deploy_key(parts: &Parts, path: &Path, host: &str) -> Result<String, Fault> {
    let public = path.with_extension("pub");
    if read(parts, path)?.is_none() {
        let (file, comment) = (path.display().to_string(), format!("portreeve@{host}"));
        let made = ssh_tool(parts, "ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", &comment, "-f", &file])?;
        succeed(&made, "the deploy key can't be made")?;
    }
    let text = read(parts, &public)?;
    text.map(|text| text.trim().to_owned())
        .ok_or_else(|| Fault::blocked(format!("{} is missing beside its private key", public.display())))
}

/// Writes the server's host key into `known_hosts`, once a person has confirmed its fingerprint. A key that is there counts
/// as confirmed, as long as the server shows it; a server that is away shows none.
pub fn pin(
    parts: &Parts,
    known_hosts: &Path,
    (host, port): (&str, Option<u16>),
    expected: Option<&str>,
) -> Result<(), Fault> {
    let before = read(parts, known_hosts)?.unwrap_or_default();
    let known = if before.is_empty() { Vec::new() } else { known(parts, known_hosts, host, port)? };
    let shown = match scan(parts, known_hosts, host, port) {
        Err(_) if !known.is_empty() => Vec::new(),
        shown => shown?,
    };
    if !known.is_empty() && !has_changed(&known, &shown) {
        printer::line(format!("the host key of {host} is in {}", known_hosts.display()));
        return Ok(());
    }
    if !known.is_empty() {
        printer::line(format!("{host} shows another host key than the one in {}", known_hosts.display()));
    }
    let confirmed = confirm(&shown, host, expected)?;
    let kept = before.lines().filter(|line| !known.iter().any(|old| old == line.trim()));
    let lines: String =
        kept.chain(confirmed.iter().map(|key| key.line.as_str())).flat_map(|line| [line, "\n"]).collect();
    write(parts, known_hosts, lines.into_bytes())?;
    printer::line(format!("wrote {}", known_hosts.display()));
    Ok(())
}

/// Whether the server shows another key of a kind that is known, or none of the kinds. An authority's signature stands for any.
fn has_changed(known: &[String], shown: &[HostKey]) -> bool {
    let words = |line: &str| line.split_whitespace().skip(1).take(2).map(str::to_owned).collect::<Vec<_>>();
    let known_keys: Vec<_> = known.iter().map(|line| words(line)).collect();
    let others = shown.iter().map(|key| words(&key.line)).filter(|key| !known_keys.contains(key));
    let others: Vec<_> = others.collect();
    let replaced = others.iter().any(|key| known_keys.iter().any(|old| old.first() == key.first()));
    let none_left = !shown.is_empty() && others.len() == shown.len();
    !known.iter().any(|line| line.starts_with('@')) && (replaced || none_left)
}

/// A host key that a server showed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct HostKey {
    /// As `known_hosts` has it.
    line: String,
    /// `SHA256:…`
    fingerprint: String,
    /// `ED25519`
    kind: String,
}

/// The server's lines in the file.
fn known(parts: &Parts, known_hosts: &Path, host: &str, port: Option<u16>) -> Result<Vec<String>, Fault> {
    let name = port.filter(|&port| port != 22).map_or_else(|| host.to_owned(), |port| format!("[{host}]:{port}"));
    let file = known_hosts.display().to_string();
    let found = ssh_tool(parts, "ssh-keygen", &["-F", &name, "-f", &file])?;
    let text = String::from_utf8_lossy(&found.stdout).into_owned();
    Ok(text.lines().filter(|line| !line.starts_with('#')).map(|line| line.trim().to_owned()).collect())
}

/// What the server shows now; anybody on the way could show it.
fn scan(parts: &Parts, known_hosts: &Path, host: &str, port: Option<u16>) -> Result<Vec<HostKey>, Fault> {
    let port = port.unwrap_or(22).to_string();
    let scanned = ssh_tool(parts, "ssh-keyscan", &["-T", "10", "-t", "ed25519,ecdsa,rsa", "-p", &port, "--", host])?;
    let text = String::from_utf8_lossy(&scanned.stdout).into_owned();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let keys: Vec<HostKey> = lines.map(|line| host_key(parts, known_hosts, line)).collect::<Result<_, _>>()?;
    if keys.is_empty() {
        return Err(Fault { code: 1, message: format!("{host} shows no host key at port {port}"), help: None }
            .with_help(format!("see that {host} is the git server's name and that this host reaches it")));
    }
    Ok(keys)
}

fn host_key(parts: &Parts, known_hosts: &Path, line: &str) -> Result<HostKey, Fault> {
    let scratch = known_hosts.with_extension("shown");
    write(parts, &scratch, format!("{line}\n").into_bytes())?;
    let told = ssh_tool(parts, "ssh-keygen", &["-l", "-f", &scratch.display().to_string()]);
    parts.files.remove(&scratch).map_err(|error| Fault::failed(&error))?;
    let told = succeed(&told?, "ssh-keygen can't read the host key")?;
    let words: Vec<&str> = told.split_whitespace().collect();
    let fingerprint = words.get(1).copied().unwrap_or_default().to_owned();
    let kind = words.last().copied().unwrap_or_default().trim_matches(['(', ')']).to_owned();
    Ok(HostKey { line: line.to_owned(), fingerprint, kind })
}

/// Those of the keys that a person stands for: by `--fingerprint`, or by a yes on a terminal.
fn confirm<'a>(keys: &'a [HostKey], host: &str, expected: Option<&str>) -> Result<Vec<&'a HostKey>, Fault> {
    let shown: String = keys.iter().flat_map(|key| ["\n  ", &key.fingerprint, " ", &key.kind]).collect();
    let title = format!("{host} shows these host keys:{shown}");
    if let Some(expected) = expected {
        let confirmed: Vec<_> = keys.iter().filter(|key| key.fingerprint == expected).collect();
        if confirmed.is_empty() {
            return Err(Fault::blocked(format!("{title}\nnone of them is {expected}"))
                .with_help("somebody may be in between: compare with what the server's keepers publish"));
        }
        return Ok(confirmed);
    }
    if std::io::stdin().is_terminal() {
        printer::line(format!("{title}\ncompare with what its keepers publish. is it the right server? [y/N]"));
        let mut answer = String::new();
        let read = std::io::stdin().lock().read_line(&mut answer);
        if read.is_ok() && answer.trim().eq_ignore_ascii_case("y") {
            return Ok(keys.iter().collect());
        }
        return Err(Fault::blocked(format!("the host key of {host} was not confirmed; nothing was trusted")));
    }
    Err(Fault::blocked(format!("{title}\nnobody has confirmed them"))
        .with_help("compare with what its keepers publish, then add --fingerprint SHA256:…"))
}

fn read(parts: &Parts, path: &Path) -> Result<Option<String>, Fault> {
    let bytes = parts.files.read(path, 1024 * 1024).map_err(|error| Fault::failed(&error))?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

fn write(parts: &Parts, path: &Path, bytes: Vec<u8>) -> Result<(), Fault> {
    let node = Node::File { bytes, mode: 0o644, owner: Identity::ROOT };
    parts.files.put(path, &node).map_err(|error| Fault::failed(&error))
}

fn ssh_tool(parts: &Parts, name: &str, args: &[&str]) -> Result<Exit, Fault> {
    let program = parts.processes.find(&[name]).ok_or_else(|| {
        Fault::blocked(format!("{name} is not installed")).with_help("apt-get install openssh-client")
    })?;
    let run = Run {
        program,
        args: args.iter().map(|&arg| arg.to_owned()).collect(),
        env: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
        directory: PathBuf::from("/"),
        identity: Identity::ROOT,
        deadline: PATIENCE,
        log: None,
        interactive: false,
    };
    parts.processes.run(&run).map_err(|error| Fault::failed(&error))
}

fn succeed(exit: &Exit, cause: &str) -> Result<String, Fault> {
    if exit.ok() {
        return Ok(String::from_utf8_lossy(&exit.stdout).into_owned());
    }
    Err(Fault { code: 1, message: format!("{cause}: {}", exit.tail.join("; ")), help: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(fingerprint: &str) -> HostKey {
        HostKey {
            line: format!("git.example.org {fingerprint}"),
            fingerprint: fingerprint.to_owned(),
            kind: "RSA".into(),
        }
    }

    #[test]
    fn another_key_of_a_known_kind_is_a_change_and_one_more_kind_is_none() {
        let shown = |lines: &[&str]| -> Vec<HostKey> {
            lines.iter().map(|line| HostKey { line: (*line).to_owned(), ..key("") }).collect()
        };
        let both = shown(&["h ssh-ed25519 AAAA", "h ssh-rsa BBBB"]);
        let changed = |known: &[&str], shown: &[HostKey]| {
            has_changed(&known.iter().map(|&line| line.to_owned()).collect::<Vec<_>>(), shown)
        };
        assert!(!changed(&["h ssh-ed25519 AAAA"], &both));
        assert!(!changed(&["h,10.0.0.1 ssh-ed25519 AAAA ours"], &both));
        assert!(changed(&["h ssh-ed25519 XXXX", "h ssh-rsa BBBB"], &both), "ssh asks for the first kind that it knows");
        assert!(changed(&["h ecdsa-sha2-nistp256 CCCC"], &both));
        assert!(!changed(&["h ssh-ed25519 XXXX"], &[]), "nobody answers");
        assert!(!changed(&["@cert-authority h ssh-ed25519 XXXX"], &both));
    }

    #[test]
    fn only_the_confirmed_key_is_trusted() {
        let keys = [key("SHA256:one"), key("SHA256:two")];
        assert_eq!(confirm(&keys, "git.example.org", Some("SHA256:two")).unwrap(), [&keys[1]]);
        let refused = confirm(&keys, "git.example.org", Some("SHA256:other")).unwrap_err();
        assert_eq!(refused.code, 4);
        assert!(refused.message.contains("SHA256:one") && refused.message.contains("none of them"), "{refused:?}");
    }
}
