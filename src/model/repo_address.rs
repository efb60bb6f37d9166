//! Where a repository is.

use std::fmt;

/// A repository's address that is safe to hand to `git`: never an option, never a command, without credentials.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    text: String,
    transport: Transport,
}

/// How a repository is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// `ssh://…` or `git@host:path`.
    Ssh,
    /// `https://…`
    Https,
    /// `file:///…` or an absolute path.
    Local,
}

impl Transport {
    /// The name under which git allows it (`GIT_ALLOW_PROTOCOL`, `git(1)`).
    pub fn protocol(self) -> &'static str {
        match self {
            Self::Ssh => "ssh",
            Self::Https => "https",
            Self::Local => "file",
        }
    }
}

/// Whether a repository may be a directory of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalPaths {
    /// For `try`, a root of one's own, and tests.
    Allowed,
    /// On a host: whoever writes the deploy repository must not choose which of its directories root reads.
    Refused,
}

/// Why an address is refused; each says the cure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Nothing, or too much.
    #[error("a repository's address has 1 to {MAX_LEN} characters; this one has {0}")]
    Length(usize),
    /// Control characters, spaces, backslashes or anything outside ASCII.
    #[error("{0:?} may not be in a repository's address; write it percent-encoded, or rename the repository")]
    Character(char),
    /// It would be read as an option.
    #[error("a repository's address may not begin with `-`, nor may its user, host or path")]
    Dash,
    /// `https://user:password@host/`: it would end up in logs and process lists.
    #[error("credentials don't belong in an address; use a deploy key over ssh")]
    Credentials,
    /// A scheme that can't prove whom it talks to.
    #[error("{0}:// proves neither server nor content; use ssh:// or https://")]
    Insecure(String),
    /// A scheme that is not one of ours; git's `ext::` would run a command.
    #[error("`{0}` is no way to reach a repository; use ssh://, https:// or git@host:path")]
    Scheme(String),
    /// A directory where only servers are accepted.
    #[error("a directory of this machine is accepted only under --root and in `try`; use ssh:// or https://")]
    Local,
    /// Neither a URL nor `git@host:path`.
    #[error("not a repository's address; write ssh://git@host/path, git@host:path or https://host/path")]
    Shape,
    /// The part between `//` and the next `/`.
    #[error("`{0}` is no host; write host, user@host or host:port")]
    Host(String),
    /// A query or fragment, which may hold a token and means nothing to git.
    #[error("a repository's address has no `?` or `#`; leave out what follows it")]
    Query,
}

/// Longest address in bytes.
const MAX_LEN: usize = 1024;

impl Address {
    /// The address in `text`.
    pub fn parse(text: &str, local: LocalPaths) -> Result<Self, AddressError> {
        check_text(text)?;
        let transport = transport(text)?;
        if transport == Transport::Local && local == LocalPaths::Refused {
            return Err(AddressError::Local);
        }
        Ok(Self { text: text.to_owned(), transport })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its server, with the port if one is named; nothing where it is a directory of this machine.
    pub fn server(&self) -> &str {
        let authority = match (self.transport, self.text.split_once("://")) {
            (Transport::Local, _) => None,
            (_, Some((_, rest))) => rest.split_once('/'),
            (_, None) => self.text.split_once(':'),
        };
        authority.map_or("", |(authority, _)| split_user(authority).1)
    }

    /// Host and port of the ssh server; `None` for other transports. An IPv6 address comes without its brackets.
    pub fn ssh_server(&self) -> Option<(&str, Option<u16>)> {
        if self.transport != Transport::Ssh {
            return None;
        }
        let (host, port) = split_port(self.server());
        Some((host.trim_matches(['[', ']']), port.and_then(|port| port.parse().ok())))
    }

    /// How it is reached.
    pub fn transport(&self) -> Transport {
        self.transport
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

fn check_text(text: &str) -> Result<(), AddressError> {
    if text.is_empty() || text.len() > MAX_LEN {
        return Err(AddressError::Length(text.len()));
    }
    if text.starts_with('-') {
        return Err(AddressError::Dash);
    }
    match text.chars().find(|c| !c.is_ascii_graphic() || "\\\"'`<>|^{}$;*".contains(*c)) {
        Some(character) => Err(AddressError::Character(character)),
        None if text.contains(['?', '#']) => Err(AddressError::Query),
        None => Ok(()),
    }
}

fn transport(text: &str) -> Result<Transport, AddressError> {
    if let Some((scheme, rest)) = text.split_once("://") {
        return url(scheme, rest);
    }
    if text.starts_with('/') {
        return local_path(text);
    }
    let (authority, path) = text.split_once(':').ok_or(AddressError::Shape)?;
    if path.starts_with(':') {
        return Err(AddressError::Scheme(format!("{authority}::")));
    }
    if authority.contains('/') {
        return Err(AddressError::Shape);
    }
    let (user, host) = split_user(authority);
    check_user(user)?;
    check_host(host)?;
    check_path(path)?;
    Ok(Transport::Ssh)
}

fn url(scheme: &str, rest: &str) -> Result<Transport, AddressError> {
    match scheme {
        "ssh" => {
            let (user, path) = server(rest)?;
            check_user(user)?;
            check_path(path)?;
            Ok(Transport::Ssh)
        }
        "https" => match server(rest)? {
            (None, path) => check_path(path).map(|()| Transport::Https),
            (Some(_), _) => Err(AddressError::Credentials),
        },
        "file" => local_path(rest),
        "http" | "git" | "ftp" | "ftps" => Err(AddressError::Insecure(scheme.to_owned())),
        other => Err(AddressError::Scheme(format!("{other}://"))),
    }
}

/// User and path of `user@host:port/path`, once host and port are known to be some.
fn server(rest: &str) -> Result<(Option<&str>, &str), AddressError> {
    let (authority, path) = rest.split_once('/').ok_or(AddressError::Shape)?;
    let (user, host_and_port) = split_user(authority);
    let (host, port) = split_port(host_and_port);
    check_host(host)?;
    match port.map(str::parse::<u16>) {
        None | Some(Ok(1..)) => Ok((user, path)),
        Some(_) => Err(AddressError::Host(host_and_port.to_owned())),
    }
}

fn split_user(authority: &str) -> (Option<&str>, &str) {
    match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    }
}

/// An IPv6 address has colons of its own, between brackets.
fn split_port(host_and_port: &str) -> (&str, Option<&str>) {
    match host_and_port.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (host_and_port, None),
    }
}

fn check_user(user: Option<&str>) -> Result<(), AddressError> {
    match user {
        None => Ok(()),
        Some(user) if user.contains(':') => Err(AddressError::Credentials),
        Some(user) if user.starts_with('-') => Err(AddressError::Dash),
        Some(user) if is_word(user, "._+-") => Ok(()),
        Some(user) => Err(AddressError::Host(format!("{user}@"))),
    }
}

fn check_host(host: &str) -> Result<(), AddressError> {
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match bracketed {
        Some(inner) if is_word(inner, ":.") => Ok(()),
        None if host.starts_with('-') => Err(AddressError::Dash),
        None if is_word(host, ".-") && !host.starts_with('.') => Ok(()),
        _ => Err(AddressError::Host(host.to_owned())),
    }
}

fn check_path(path: &str) -> Result<(), AddressError> {
    match path.trim_start_matches('/') {
        "" => Err(AddressError::Shape),
        rest if rest.starts_with('-') => Err(AddressError::Dash),
        _ => Ok(()),
    }
}

fn local_path(path: &str) -> Result<Transport, AddressError> {
    if path.starts_with('/') && path.len() > 1 { Ok(Transport::Local) } else { Err(AddressError::Shape) }
}

fn is_word(text: &str, also: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || also.contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Transport, AddressError> {
        Address::parse(text, LocalPaths::Refused).map(|address| address.transport())
    }

    #[test]
    fn an_ssh_server_is_found_in_both_forms() {
        let server = |text: &str| {
            let address = Address::parse(text, LocalPaths::Refused).unwrap();
            address.ssh_server().map(|(host, port)| (host.to_owned(), port))
        };
        assert_eq!(server("ssh://git@git.example.org:2222/a.git"), Some(("git.example.org".to_owned(), Some(2222))));
        assert_eq!(server("ssh://git.example.org/a.git"), Some(("git.example.org".to_owned(), None)));
        assert_eq!(server("git@git.example.org:team/a.git"), Some(("git.example.org".to_owned(), None)));
        assert_eq!(server("ssh://git@[::1]:22/a.git"), Some(("::1".to_owned(), Some(22))));
        assert_eq!(server("https://git.example.org/a.git"), None);
    }

    #[test]
    fn repositories_of_one_server_have_one_name() {
        let server = |text: &str| Address::parse(text, LocalPaths::Allowed).unwrap().server().to_owned();
        for text in ["ssh://git@git.example.org/a.git", "git@git.example.org:b.git", "https://git.example.org/c.git"] {
            assert_eq!(server(text), "git.example.org");
        }
        assert_eq!(server("ssh://git@[::1]:2222/srv/a.git"), "[::1]:2222");
        assert_eq!(server("file:///srv/a.git"), "");
    }

    #[test]
    fn servers_are_accepted() {
        for (text, transport) in [
            ("ssh://git@git.example.org/deploy.git", Transport::Ssh),
            ("ssh://git@git.example.org:2222/~anna/deploy.git", Transport::Ssh),
            ("ssh://git@[::1]:2222/srv/deploy.git", Transport::Ssh),
            ("ssh://[2001:db8::1]/srv/deploy.git", Transport::Ssh),
            ("git@git.example.org:team/deploy.git", Transport::Ssh),
            ("git.example.org:/srv/deploy.git", Transport::Ssh),
            ("https://git.example.org/bakery.git", Transport::Https),
            ("https://git.example.org:8443/a/b%20c", Transport::Https),
        ] {
            assert_eq!(parse(text), Ok(transport), "{text}");
        }
    }

    #[test]
    fn options_and_commands_are_refused() {
        for text in [
            "--upload-pack=/bin/sh",
            "-oProxyCommand=x",
            "ssh://-oProxyCommand=x/path",
            "ssh://-oProxyCommand=x@host/path",
            "-oProxyCommand=x:path",
            "git@-oProxyCommand=x:path",
            "git@host:-x",
            "ssh://git@host/-x",
            "https://-host/x",
        ] {
            assert_eq!(parse(text), Err(AddressError::Dash), "{text}");
        }
        for text in ["ext::sh", "fd::17/foo", "foo::https://host/x", "rsync://host/x", "HTTPS://host/x"] {
            assert!(matches!(parse(text), Err(AddressError::Scheme(_) | AddressError::Shape)), "{text}");
        }
        assert_eq!(parse("ext::sh -c id"), Err(AddressError::Character(' ')));
    }

    #[test]
    fn credentials_and_weak_schemes_are_refused() {
        assert_eq!(parse("https://anna:secret@host/x"), Err(AddressError::Credentials));
        assert_eq!(parse("https://token@host/x"), Err(AddressError::Credentials));
        assert_eq!(parse("ssh://git:secret@host/x"), Err(AddressError::Credentials));
        assert_eq!(parse("https://host/x?private_token=y"), Err(AddressError::Query));
        assert_eq!(parse("http://host/x"), Err(AddressError::Insecure("http".into())));
        assert_eq!(parse("git://host/x"), Err(AddressError::Insecure("git".into())));
    }

    #[test]
    fn odd_characters_are_refused() {
        for c in ['\n', '\r', '\0', '\u{1b}', ' ', ';', '$', '`', '\'', '"', '\\', 'é', '\u{202e}'] {
            assert_eq!(parse(&format!("https://host/a{c}b")), Err(AddressError::Character(c)));
        }
        for text in [
            "ssh://%2doProxyCommand=x/y",
            "ssh://ho%20st/x",
            "https://host:0/x",
            "https://host:70000/x",
            "https://.host/x",
        ] {
            assert!(matches!(parse(text), Err(AddressError::Host(_))), "{text}");
        }
    }

    #[test]
    fn what_leads_nowhere_is_refused() {
        for text in ["deploy", "../deploy.git", "./x:y", "host:", "https://host", "https://host/", "ssh:///x"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(parse(""), Err(AddressError::Length(0)));
        assert_eq!(parse(&"a".repeat(1025)), Err(AddressError::Length(1025)));
    }

    #[test]
    fn directories_only_where_allowed() {
        for text in ["/srv/deploy.git", "file:///srv/deploy.git"] {
            assert_eq!(parse(text), Err(AddressError::Local), "{text}");
            assert_eq!(Address::parse(text, LocalPaths::Allowed).unwrap().transport(), Transport::Local);
        }
        assert_eq!(Address::parse("file://host/x", LocalPaths::Allowed), Err(AddressError::Shape));
    }
}
