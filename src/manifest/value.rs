//! Values that are written as strings. Each function takes the text to what it means, or says the rule that it breaks.

use std::path::{Component, PathBuf};

use crate::model::{CommitId, Span};

use super::environment::{Policy, Rev};

/// What is wrong with a value: the rule, in words.
pub(super) type Refused = String;

fn check<T>(ok: bool, value: impl FnOnce() -> T, rule: &str) -> Result<T, Refused> {
    if ok { Ok(value()) } else { Err(rule.to_owned()) }
}

/// Text on one line, for values that end up in files of other grammars.
pub(super) fn line(text: &str) -> Result<String, Refused> {
    check(!text.chars().any(char::is_control), || text.to_owned(), "a line has no control characters")
}

fn reference(text: &str) -> Result<String, Refused> {
    let odd = |c: char| c.is_whitespace() || c.is_control() || "~^:?*[\\".contains(c);
    let ok = !text.is_empty()
        && text.len() <= 200
        && !text.starts_with(['-', '/', '.'])
        && !text.ends_with(['/', '.'])
        && !["..", "@{", "//", "/."].iter().any(|part| text.contains(part))
        && !text.split('/').any(|part| part.to_ascii_lowercase().ends_with(".lock"))
        && !text.contains(odd);
    check(ok, || text.to_owned(), "git takes no such name for a branch or a tag")
}

/// `rev = "…"`: a commit if it looks like one.
pub(super) fn rev(text: &str) -> Result<Rev, Refused> {
    CommitId::parse(text).map(Rev::Commit).or_else(|_| reference(text).map(Rev::Named))
}

/// `tag = "…"`
pub(super) fn tag(text: &str) -> Result<Rev, Refused> {
    reference(text).map(Rev::Tag)
}

/// `branch = "…"`
pub(super) fn branch(text: &str) -> Result<Rev, Refused> {
    reference(text).map(Rev::Branch)
}

/// `commit = "…"`
pub(super) fn commit(text: &str) -> Result<Rev, Refused> {
    CommitId::parse(text).map(Rev::Commit).map_err(|_| "a commit is written with all its 40 digits".to_owned())
}

/// `like = "…"`
pub(super) fn policy(text: &str) -> Result<Policy, Refused> {
    match text {
        "pro" => Ok(Policy::Pro),
        "stage" => Ok(Policy::Stage),
        "dev" => Ok(Policy::Dev),
        _ => Err("the policies are \"pro\", \"stage\" and \"dev\"".to_owned()),
    }
}

/// A path within the application's tree.
pub(super) fn inner_path(text: &str) -> Result<PathBuf, Refused> {
    let path = PathBuf::from(text);
    let below = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    let ok = !text.is_empty() && !text.starts_with('-') && below && line(text).is_ok();
    check(ok, || path, "a path within the application's repository, without `..`")
}

/// A directory of the host.
pub(super) fn absolute_path(text: &str) -> Result<PathBuf, Refused> {
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(&b));
    let clean = !text.split('/').any(|part| part == ".." || part == ".") && text.len() > 1;
    let ok = text.starts_with('/') && plain && clean;
    check(ok, || PathBuf::from(text), "a directory begins with `/` and has letters, digits, `.`, `_` and `-` only")
}

fn is_dotted(text: &str) -> bool {
    text.split('.').all(|part| {
        part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    })
}

/// A Python module.
pub(super) fn module(text: &str) -> Result<String, Refused> {
    check(is_dotted(text), || text.to_owned(), "a Python module, like bakery.settings")
}

/// A WSGI callable.
pub(super) fn callable(text: &str) -> Result<String, Refused> {
    let ok = text.split_once(':').is_some_and(|(module, name)| is_dotted(module) && is_dotted(name));
    check(ok, || text.to_owned(), "a module and a callable, like bakery.wsgi:application")
}

/// A Python version of two numbers.
pub(super) fn python(text: &str) -> Result<String, Refused> {
    let number = |part: &str| !part.is_empty() && part.len() <= 3 && part.bytes().all(|b| b.is_ascii_digit());
    let ok = text.split_once('.').is_some_and(|(major, minor)| number(major) && number(minor));
    check(ok, || text.to_owned(), "a Python version has two numbers, like 3.11")
}

/// The path of a health request.
pub(super) fn url_path(text: &str) -> Result<String, Refused> {
    let ok = text.starts_with('/') && text.len() <= 1000 && text.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
    check(ok, || text.to_owned(), "a path begins with `/` and has no spaces, like /healthz")
}

/// A length of time, `0s` included.
pub(super) fn span(text: &str) -> Result<Span, Refused> {
    Span::parse(text).map_err(|error| error.to_string())
}

/// A length of time above nothing, and at most a day.
pub(super) fn wait(text: &str) -> Result<Span, Refused> {
    let wait = span(text)?;
    check(wait > Span::secs(0) && wait <= Span::secs(86400), || wait, "more than 0s and at most 24h")
}

/// Bytes: `20M`, `20MB` (1024-based, as nginx counts).
pub(super) fn size(text: &str) -> Result<u64, Refused> {
    const RULE: &str = "a size is a number of bytes, or a string like \"20M\"";
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim_start().to_ascii_uppercase().as_str() {
        "" | "B" => 1,
        "K" | "KB" => 1 << 10,
        "M" | "MB" => 1 << 20,
        "G" | "GB" => 1 << 30,
        _ => return Err(RULE.to_owned()),
    };
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    bytes.ok_or_else(|| RULE.to_owned()).and_then(size_in_range)
}

/// From 1 byte (nginx takes 0 for "no limit") to 1 TiB.
pub(super) fn size_in_range(bytes: u64) -> Result<u64, Refused> {
    check((1..=1 << 40).contains(&bytes), || bytes, "a size is at least 1 byte and at most 1024G")
}

/// The name of a response header.
pub(super) fn header_name(text: &str) -> Result<(), Refused> {
    let ok = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    check(ok, || (), "a header's name has letters, digits and `-` only")
}

/// Whether a key of `[settings]` or `[env]` is upper-case.
pub(super) fn is_upper(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_')
        && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_that_git_would_misread_are_refused() {
        for text in ["v1.4.2", "main", "feature/x", "release-1"] {
            assert_eq!(rev(text), Ok(Rev::Named(text.to_owned())));
        }
        for text in ["", "-x", "a..b", "a b", "a\n", "a~1", "a^", "@{u}", "x@{1}", "a.lock", "a/", "/a", ".a", "a:b"] {
            assert!(rev(text).is_err(), "{text:?}");
        }
        assert!(matches!(rev(&"a".repeat(40)), Ok(Rev::Commit(_))));
        assert!(commit("abcdef1").is_err());
    }

    #[test]
    fn paths_stay_below_their_root() {
        assert!(inner_path("requirements/pro.txt").is_ok());
        for text in ["", "/etc/passwd", "../x", "a/../../x", "-r", "a\nb"] {
            assert!(inner_path(text).is_err(), "{text:?}");
        }
        assert!(absolute_path("/srv/web").is_ok());
        for text in ["", "/", "srv", "/srv/../etc", "/srv/$x", "/srv/a b"] {
            assert!(absolute_path(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn sizes_are_counted_as_nginx_counts() {
        assert_eq!(size("20M"), Ok(20 << 20));
        assert_eq!(size("20 MB"), Ok(20 << 20));
        assert_eq!(size("512k"), Ok(512 << 10));
        for text in ["", "0", "M", "-1", "1.5M", "20X", "99999999999999999999", "2048G"] {
            assert!(size(text).is_err(), "{text:?}");
        }
    }
}
