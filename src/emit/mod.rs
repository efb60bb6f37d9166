//! The only places that write the syntax of other programs.
//!
//! Names of directives and keys are `&'static str`: only values come from a repository. An emitter quotes what its
//! grammar can carry and refuses the rest, so that no byte of a value is ever read as structure. The programs' own
//! validators are no security filter: an injected `ExecStartPre=+/bin/sh` is a perfectly valid unit.

pub mod env;
mod error;
pub mod logrotate;
pub mod nginx;
#[cfg(test)]
pub(crate) mod proof;
pub mod python;
pub mod supervisor;
pub mod sysusers;
pub mod tmpfiles;
pub mod unit;

pub use error::{EmitError, Grammar};

use std::path::Path;

/// The first line of every rendered file that people may open in an editor.
pub const NOTICE: &str = "rendered by portreeve; changes here are undone by its next pass";

fn is_control(byte: u8) -> bool {
    byte < 0x20 || byte == 0x7f
}

/// Refuses `text` if it holds a byte that `bad` names, or a control character.
fn refuse(grammar: Grammar, what: &str, text: &str, bad: &[u8]) -> Result<(), EmitError> {
    match text.bytes().find(|&byte| is_control(byte) || bad.contains(&byte)) {
        Some(byte) => Err(EmitError::Byte { grammar, what: what.to_owned(), byte }),
        None => Ok(()),
    }
}

/// A path as text: absolute, UTF-8, without control characters and the bytes of `bad`.
fn path_text<'a>(grammar: Grammar, what: &str, path: &'a Path, bad: &[u8]) -> Result<&'a str, EmitError> {
    let text = utf8(grammar, what, path)?;
    if !text.starts_with('/') {
        return Err(EmitError::Name { grammar, what: what.to_owned(), text: text.to_owned() });
    }
    refuse(grammar, what, text, bad)?;
    Ok(text)
}

fn utf8<'a>(grammar: Grammar, what: &str, path: &'a Path) -> Result<&'a str, EmitError> {
    let bytes = path.as_os_str().as_encoded_bytes();
    std::str::from_utf8(bytes).map_err(|error| EmitError::Byte {
        grammar,
        what: what.to_owned(),
        byte: bytes.get(error.valid_up_to()).copied().unwrap_or_default(),
    })
}

/// A name of letters, digits, `_`, `-` and `.` that begins with a letter, a digit or `_`: it means itself in every grammar.
fn plain_name<'a>(grammar: Grammar, what: &str, text: &'a str) -> Result<&'a str, EmitError> {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    let ok = text.bytes().all(inner) && text.bytes().next().is_some_and(|b| b != b'-' && b != b'.');
    if ok { Ok(text) } else { Err(EmitError::Name { grammar, what: what.to_owned(), text: text.to_owned() }) }
}

/// Whether a word means itself in every grammar without quotes, so that people read it more easily.
fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-=:+,@".contains(&byte))
}

/// `text` in double quotes, with a backslash before each byte of `escaped`.
fn double_quoted(text: &str, escaped: &[char]) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        if escaped.contains(&c) {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}
