//! nginx: a tree of directives.
//!
//! The rules are those of `ngx_conf_read_token`: inside double quotes only `\` and `"` are special. A `$` interpolates in
//! most directives and cannot be escaped, so values from a repository may not hold one.

use std::fmt::Write as _;
use std::path::Path;

use super::{EmitError, Grammar, NOTICE, double_quoted, is_plain, path_text, refuse};

/// One argument of a directive, quoted as needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arg(String);

impl Arg {
    /// A keyword or pattern of ours, written as it stands.
    pub fn word(text: &'static str) -> Self {
        Self(text.to_owned())
    }

    /// A text of ours in which `$name` is a variable.
    pub fn variable(text: &'static str) -> Self {
        Self(text.to_owned())
    }

    /// A number.
    pub fn number(number: u64) -> Self {
        Self(number.to_string())
    }

    /// A text that means itself; `what` names it in the error.
    pub fn literal(what: &str, text: &str) -> Result<Self, EmitError> {
        refuse(Grammar::Nginx, what, text, b"$")?;
        Ok(Self(if is_plain(text) { text.to_owned() } else { double_quoted(text, &['"', '\\']) }))
    }

    /// `prefix` of ours and a text that means itself, as one argument: `unix:/run/…`.
    pub fn prefixed(prefix: &'static str, what: &str, text: &str) -> Result<Self, EmitError> {
        Self::literal(what, &format!("{prefix}{text}"))
    }

    /// An absolute path.
    pub fn path(what: &str, path: &Path) -> Result<Self, EmitError> {
        Self::path_after("", what, path)
    }

    /// `prefix` of ours and an absolute path, as one argument: `from=/home/…`.
    pub fn path_after(prefix: &'static str, what: &str, path: &Path) -> Result<Self, EmitError> {
        Self::prefixed(prefix, what, path_text(Grammar::Nginx, what, path, b"")?)
    }

    /// The files of a directory that match our pattern, for `include`; the directory itself is no pattern.
    pub fn files(what: &str, directory: &Path, pattern: &'static str) -> Result<Self, EmitError> {
        let directory = path_text(Grammar::Nginx, what, directory, br"*?[]\{}~")?;
        Self::literal(what, &format!("{directory}/{pattern}"))
    }

    /// The name of a response header: letters, digits, `-` and `_`.
    pub fn header(name: &str) -> Result<Self, EmitError> {
        let ok = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if ok {
            return Ok(Self(name.to_owned()));
        }
        Err(EmitError::Name { grammar: Grammar::Nginx, what: "the name of a header".to_owned(), text: name.to_owned() })
    }
}

/// A directive, or a block of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directive {
    name: &'static str,
    args: Vec<Arg>,
    body: Option<Vec<Directive>>,
}

impl Directive {
    /// `name args;`
    pub fn simple(name: &'static str, args: impl IntoIterator<Item = Arg>) -> Self {
        Self { name, args: args.into_iter().collect(), body: None }
    }

    /// A directive whose arguments are all ours.
    pub fn fixed(name: &'static str, args: &[&'static str]) -> Self {
        Self::simple(name, args.iter().map(|arg| Arg::word(arg)))
    }

    /// `name args { body }`
    pub fn block(name: &'static str, args: impl IntoIterator<Item = Arg>, body: Vec<Self>) -> Self {
        Self { name, args: args.into_iter().collect(), body: Some(body) }
    }

    fn write(&self, out: &mut String, depth: usize) {
        let indent = "    ".repeat(depth);
        let head = std::iter::once(self.name).chain(self.args.iter().map(|arg| arg.0.as_str()));
        out.push_str(&indent);
        out.push_str(&head.collect::<Vec<_>>().join(" "));
        let Some(body) = &self.body else {
            out.push_str(";\n");
            return;
        };
        out.push_str(" {\n");
        for directive in body {
            directive.write(out, depth + 1);
        }
        out.push_str(&indent);
        out.push_str("}\n");
    }
}

/// The text of a file.
pub fn render(directives: &[Directive]) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _infallible = writeln!(out, "# {NOTICE}");
    for directive in directives {
        directive.write(&mut out, 0);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emit::proof;

    /// Tokens as `ngx_conf_read_token` reads them; `;`, `{` and `}` outside quotes are tokens of their own.
    fn parse(text: &str) -> Vec<String> {
        let mut tokens = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                ' ' | '\t' | '\r' | '\n' => {}
                '#' => while chars.next_if(|&c| c != '\n').is_some() {},
                ';' | '{' | '}' => tokens.push(format!("<{c}>")),
                '"' | '\'' => tokens.push(quoted(&mut chars, c)),
                _ => {
                    let mut word = c.to_string();
                    while let Some(c) = chars.next_if(|c| !" \t\r\n;{".contains(*c)) {
                        word.push(c);
                    }
                    tokens.push(word);
                }
            }
        }
        tokens
    }

    fn quoted(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, quote: char) -> String {
        let mut word = String::new();
        while let Some(c) = chars.next() {
            match c {
                c if c == quote => break,
                '\\' => match chars.next().unwrap() {
                    c @ ('"' | '\'' | '\\') => word.push(c),
                    't' => word.push('\t'),
                    'r' => word.push('\r'),
                    'n' => word.push('\n'),
                    c => word.extend(['\\', c]),
                },
                c => word.push(c),
            }
        }
        assert!(chars.peek().is_none_or(|c| " \t\r\n;{)".contains(*c)), "nginx wants a space after a quote");
        word
    }

    #[test]
    fn no_value_is_ever_structure() {
        let mut all = Vec::new();
        for text in proof::values() {
            let Ok(arg) = Arg::literal("value", &text) else { continue };
            let body = vec![Directive::simple("add_header", [Arg::word("X-A"), arg, Arg::word("always")])];
            let block = Directive::block("server", [], body);
            let expected = ["server", "<{>", "add_header", "X-A", &text, "always", "<;>", "<}>"];
            assert_eq!(parse(&render(std::slice::from_ref(&block))), expected, "{text:?}");
            all.push(block);
        }
        assert!(all.len() > 150, "too much is refused: {} left", all.len());
        let conf = format!("events {{}}\n{}", render(&[Directive::block("http", [], all)]));
        proof::nginx_takes(&conf);
    }

    #[test]
    fn what_nginx_cannot_carry_is_refused() {
        for bad in ["a$b", "a\nb", "a\0b", "\x7f"] {
            assert!(Arg::literal("value", bad).is_err(), "{bad:?}");
        }
        for bad in ["/a*", "/a[b]", "/a?", "relative"] {
            assert!(Arg::files("include", Path::new(bad), "*.conf").is_err(), "{bad:?}");
        }
        for bad in ["", "X A", "X:A", "X;A", "X\"", "É"] {
            assert!(Arg::header(bad).is_err(), "{bad:?}");
        }
        for path in proof::raw_paths() {
            assert!(Arg::path("path", &path).is_err(), "{path:?}");
        }
    }
}
