//! The vhost: plain HTTP, static and media files, everything else to the slot behind the environment's socket.

use std::path::Path;

use super::Subject;
use super::exec::whole_seconds;
use crate::emit::EmitError;
use crate::emit::nginx::{Arg, Directive, render as text};
use crate::manifest::Web;
use crate::model::{Capability, Digest};

const TOKEN_DIGITS: usize = 16;
const TOKEN_PLACE: &str = "/.portreeve/";

/// How long visitors keep a static file, and what the location of those of all releases is called for it.
const BRIEF: (&str, &str) = ("0", "static");
const LASTING: (&str, &str) = ("1y", "hashed");

/// How much longer than gunicorn nginx waits, so that gunicorn's own verdict on a slow worker comes first.
const GRACE_SECONDS: u64 = 5;

/// The token of a rendered vhost: nginx answers 204 at `/.portreeve/TOKEN` to 127.0.0.1 once it serves this very file.
/// `None` when the file holds no such location.
pub fn token(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    let start = text.rfind(TOKEN_PLACE)? + TOKEN_PLACE.len();
    let token = text.get(start..start + TOKEN_DIGITS)?;
    token.bytes().all(|b| b.is_ascii_hexdigit()).then(|| token.to_owned())
}

/// The port that a rendered vhost listens on; another version of the settings may say another.
pub fn port(bytes: &[u8]) -> Option<u16> {
    ports(&String::from_utf8_lossy(bytes)).next()
}

/// The ports in the `listen` directives of a configuration, whoever wrote it
/// (<https://nginx.org/en/docs/http/ngx_http_core_module.html#listen>). A socket has none, and an address alone means 80.
pub fn ports(text: &str) -> impl Iterator<Item = u16> {
    let statements = text.lines().flat_map(|line| line.split('#').next().unwrap_or_default().split([';', '{', '}']));
    statements.filter_map(|statement| {
        let mut words = statement.split_whitespace().skip_while(|word| *word != "listen");
        let address = words.nth(1)?.trim_matches(['"', '\'']);
        if address.starts_with("unix:") {
            return None;
        }
        let number = address.rsplit(':').next().unwrap_or(address);
        Some(number.parse().unwrap_or(80))
    })
}

/// Where nginx answers for this token.
pub fn token_path(token: &str) -> String {
    format!("{TOKEN_PLACE}{token}")
}

/// The file's text.
pub(super) fn render(subject: &Subject<'_>) -> Result<String, EmitError> {
    let draft = text(&vhost(subject, &"0".repeat(TOKEN_DIGITS))?);
    let token = Digest::of(draft.as_bytes()).short(TOKEN_DIGITS);
    Ok(text(&vhost(subject, &token)?))
}

fn vhost(subject: &Subject<'_>, token: &str) -> Result<Vec<Directive>, EmitError> {
    let name = &subject.env.name;
    let socket = Arg::path_after("unix:", "the socket", &subject.layout.host().web_socket(name))?;
    // No `keepalive`: an idle connection would go on leading to the old slot after the socket has moved.
    let upstream = vec![Directive::simple("server", [socket, Arg::word("fail_timeout=0")])];
    Ok(vec![
        Directive::block("upstream", [Arg::literal("the upstream", &name.system())?], upstream),
        Directive::block("server", [], server(subject, token)?),
    ])
}

fn server(subject: &Subject<'_>, token: &str) -> Result<Vec<Directive>, EmitError> {
    let mut body = listen(subject)?;
    body.extend(names(subject)?);
    body.push(Directive::simple("client_max_body_size", [Arg::number(subject.env.nginx.max_body)]));
    body.extend(logs(subject)?);
    body.extend(headers(subject)?);
    // By the one link that moves: with the release that serves come its files.
    let active = subject.layout.host().active_link(&subject.env.name).join("static");
    body.push(files(subject, "/static/", &active, static_files(subject)?)?);
    for (lifetime, suffix) in [BRIEF, LASTING] {
        body.push(of_all_releases(subject, lifetime, suffix)?);
    }
    body.push(files(subject, "/media/", &subject.layout.media(), vec![])?);
    body.push(application(subject)?);
    let local = subject.layout.host().local_nginx(&subject.env.name);
    body.push(Directive::simple("include", [Arg::files("the local includes", &local, "*.conf")?]));
    body.push(verification(token)?);
    Ok(body)
}

fn listen(subject: &Subject<'_>) -> Result<Vec<Directive>, EmitError> {
    let port = subject.http_port;
    let has = |capability| subject.capabilities.has(capability);
    let addresses = match (has(Capability::Ports), has(Capability::Ipv6)) {
        (true, true) => vec![format!("{port}"), format!("[::]:{port}")],
        (true, false) => vec![format!("{port}")],
        (false, _) => vec![format!("127.0.0.1:{port}")],
    };
    let one = |address: &String| Ok(Directive::simple("listen", [Arg::literal("an address", address)?]));
    addresses.iter().map(one).collect()
}

fn names(subject: &Subject<'_>) -> Result<Option<Directive>, EmitError> {
    let names: Result<Vec<_>, _> = subject.env.domains.iter().map(|d| Arg::literal("a domain", d.as_str())).collect();
    let names = names?;
    Ok((!names.is_empty()).then(|| Directive::simple("server_name", names)))
}

fn logs(subject: &Subject<'_>) -> Result<[Directive; 2], EmitError> {
    let log = |name: &str| Arg::path("a log", &subject.layout.log_dir().join(name));
    Ok([
        Directive::simple("access_log", [log("nginx-access.log")?]),
        Directive::simple("error_log", [log("nginx-error.log")?]),
    ])
}

/// The headers of `[nginx] headers`.
fn headers(subject: &Subject<'_>) -> Result<Vec<Directive>, EmitError> {
    let one = |(name, value): (&String, &String)| {
        let value = Arg::literal(&format!("header {name}"), value)?;
        Ok(Directive::simple("add_header", [Arg::header(name)?, value, Arg::word("always")]))
    };
    subject.env.nginx.headers.iter().map(one).collect()
}

/// Files that nginx serves by itself.
fn files(
    subject: &Subject<'_>,
    prefix: &'static str,
    directory: &Path,
    more: Vec<Directive>,
) -> Result<Directive, EmitError> {
    let root = format!("{}/", directory.display());
    let mut body =
        vec![Directive::simple("alias", [Arg::path("a directory", Path::new(&root))?]), own_links(directory)?];
    body.extend(plain_headers(subject)?);
    let hidden = vec![Directive::fixed("return", &["404"])];
    body.push(Directive::block("location", [Arg::word("~"), Arg::word(r#""/\.""#)], hidden));
    body.extend(more);
    Ok(Directive::block("location", [Arg::word("^~"), Arg::word(prefix)], body))
}

/// A block with an `add_header` inherits none, so all are said again; Django says `nosniff` for its own answers.
fn plain_headers(subject: &Subject<'_>) -> Result<Vec<Directive>, EmitError> {
    let mut body = headers(subject)?;
    if !subject.env.nginx.headers.keys().any(|name| name.eq_ignore_ascii_case("x-content-type-options")) {
        body.push(Directive::fixed("add_header", &["X-Content-Type-Options", "nosniff", "always"]));
    }
    Ok(body)
}

/// Names with a hash of the content (as Django's `ManifestStaticFilesStorage` makes them) never change; others are asked for anew,
/// so that no release is seen with the assets of the one before. What the release that serves does not have may be asked for by a
/// page of another.
fn static_files(subject: &Subject<'_>) -> Result<Vec<Directive>, EmitError> {
    let kept = |(lifetime, suffix): (&'static str, &str)| {
        let elsewhere = Arg::prefixed("@", "the location", &elsewhere(subject, suffix))?;
        let places = Directive::simple("try_files", [Arg::variable("$uri"), elsewhere]);
        Ok([Directive::fixed("expires", &[lifetime]), places])
    };
    let (mut body, hashed) = (Vec::from(kept(BRIEF)?), Vec::from(kept(LASTING)?));
    body.push(Directive::block("location", [Arg::word("~"), Arg::word(r#""\.[0-9a-f]{12}\.[^/]+$""#)], hashed));
    Ok(body)
}

/// The files of all releases lie in a directory that is called as it is in their addresses.
fn together(subject: &Subject<'_>) -> Result<[Directive; 2], EmitError> {
    Ok([
        Directive::simple("root", [Arg::path("a directory", &subject.layout.home())?]),
        own_links(&subject.layout.static_files())?,
    ])
}

/// The application writes there: a link to another's file must not make it public.
fn own_links(directory: &Path) -> Result<Directive, EmitError> {
    let from = Arg::path_after("from=", "a directory", directory)?;
    Ok(Directive::simple("disable_symlinks", [Arg::word("if_not_owner"), from]))
}

fn elsewhere(subject: &Subject<'_>, suffix: &str) -> String {
    format!("{}_{suffix}", subject.env.name.system())
}

fn of_all_releases(subject: &Subject<'_>, lifetime: &'static str, suffix: &str) -> Result<Directive, EmitError> {
    let mut body = Vec::from(together(subject)?);
    body.extend(plain_headers(subject)?);
    body.push(Directive::fixed("expires", &[lifetime]));
    Ok(Directive::block("location", [Arg::prefixed("@", "the location", &elsewhere(subject, suffix))?], body))
}

fn application(subject: &Subject<'_>) -> Result<Directive, EmitError> {
    let Web::Gunicorn(gunicorn) = &subject.env.web;
    let wait = whole_seconds(gunicorn.timeout.duration()) + GRACE_SECONDS;
    let header = |name: &'static str, value: &'static str| {
        Directive::simple("proxy_set_header", [Arg::word(name), Arg::variable(value)])
    };
    let body = vec![
        Directive::simple("proxy_pass", [Arg::prefixed("http://", "the upstream", &subject.env.name.system())?]),
        // HTTP/1.0 could not tell an answer that was cut off from one that has ended.
        Directive::fixed("proxy_http_version", &["1.1"]),
        Directive::fixed("proxy_redirect", &["off"]),
        // A request is sent once, whatever becomes of it.
        Directive::fixed("proxy_next_upstream", &["off"]),
        Directive::simple("proxy_read_timeout", [Arg::number(wait)]),
        header("Host", "$http_host"),
        header("X-Real-IP", "$remote_addr"),
        header("X-Forwarded-For", "$proxy_add_x_forwarded_for"),
        header("X-Forwarded-Proto", "$scheme"),
    ];
    Ok(Directive::block("location", [Arg::word("/")], body))
}

/// An exit code of 0 from nginx says nothing about what it serves; an answer here does.
fn verification(token: &str) -> Result<Directive, EmitError> {
    let elsewhere = vec![Directive::fixed("return", &["404"])];
    let body = vec![
        Directive::fixed("access_log", &["off"]),
        Directive::block("if", [Arg::variable("($remote_addr != 127.0.0.1)")], elsewhere),
        Directive::fixed("return", &["204"]),
    ];
    let place = Arg::prefixed(TOKEN_PLACE, "the token", token)?;
    Ok(Directive::block("location", [Arg::word("="), place], body))
}
