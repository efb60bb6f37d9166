//! TOML to settings. Each key is taken out of its table as it is read, so what is left over is unknown.

use std::fmt::Display;
use std::ops::Range;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::mistake::{Mistake, SettingsError, nearest};
use super::{AgentSettings, Git, Manager, Nginx, Prune, Python};
use crate::agent::schedule::Schedule;
use crate::model::Span;

/// Longer files are no configuration.
const LONGEST: usize = 64 * 1024;
/// More mistakes help nobody.
const MOST_MISTAKES: usize = 50;

pub(super) fn settings(file: &str, text: &str) -> Result<AgentSettings, SettingsError> {
    let mut reader = Reader { text, mistakes: Vec::new() };
    let settings = reader.document();
    if reader.mistakes.is_empty() {
        return Ok(settings);
    }
    let mut mistakes = reader.mistakes;
    mistakes.sort_by_key(|mistake| (mistake.line, mistake.column));
    mistakes.truncate(MOST_MISTAKES);
    Err(SettingsError { file: file.to_owned(), mistakes })
}

/// A table that is being emptied, with the keys that were asked for.
struct Table<'t> {
    name: &'static str,
    left: DeTable<'t>,
    known: Vec<&'static str>,
}

struct Reader<'t> {
    text: &'t str,
    mistakes: Vec<Mistake>,
}

impl<'t> Reader<'t> {
    fn document(&mut self) -> AgentSettings {
        let unsaid = AgentSettings::new("");
        if self.text.len() > LONGEST {
            self.mistake(0..0, format!("the file is larger than {} KiB", LONGEST / 1024), None);
            return unsaid;
        }
        let (document, errors) = DeTable::parse_recoverable(self.text);
        if !errors.is_empty() {
            // What a broken line meant is not known, so the keys around it are not judged.
            for error in errors {
                self.mistake(error.span().unwrap_or(0..0), error.message().to_owned(), None);
            }
            return unsaid;
        }
        self.settings(Table { name: "", left: document.into_inner(), known: Vec::new() }, unsaid)
    }

    fn settings(&mut self, mut top: Table<'t>, unsaid: AgentSettings) -> AgentSettings {
        let settings = AgentSettings {
            repo: self.repo(&mut top),
            branch: self.text(&mut top, "branch", branch).unwrap_or(unsaid.branch),
            host: self.text(&mut top, "host", host),
            schedule: self.text(&mut top, "schedule", Schedule::parse).unwrap_or(unsaid.schedule),
            jitter: self.text(&mut top, "jitter", Span::parse).unwrap_or(unsaid.jitter),
            manager: self.text(&mut top, "manager", manager),
            allow_local_git: self.boolean(&mut top, "allow_local_git").unwrap_or(unsaid.allow_local_git),
            git: self.git(&mut top, unsaid.git),
            nginx: self.nginx(&mut top, unsaid.nginx),
            python: self.python(&mut top),
            prune: self.prune(&mut top, unsaid.prune),
        };
        self.finish(&top);
        settings
    }

    fn repo(&mut self, top: &mut Table<'t>) -> String {
        let missing = !top.left.contains_key("repo");
        let repo = self.text(top, "repo", repo).unwrap_or_default();
        if missing {
            let help = "add repo = \"ssh://git@git.example.org/deploy.git\" as its first line".to_owned();
            self.mistake(0..0, "`repo` is missing: the deploy repository".to_owned(), Some(help));
        }
        repo
    }

    fn git(&mut self, top: &mut Table<'t>, unsaid: Git) -> Git {
        let Some(mut table) = self.table(top, "git") else { return unsaid };
        let git = Git {
            key: self.text(&mut table, "key", absolute),
            known_hosts: self.text(&mut table, "known_hosts", absolute),
            deadline: self.text(&mut table, "deadline", deadline).unwrap_or(unsaid.deadline),
        };
        self.finish(&table);
        git
    }

    fn nginx(&mut self, top: &mut Table<'t>, unsaid: Nginx) -> Nginx {
        let Some(mut table) = self.table(top, "nginx") else { return unsaid };
        let port = self.port(&mut table, "port").unwrap_or(unsaid.port);
        self.finish(&table);
        Nginx { port }
    }

    fn python(&mut self, top: &mut Table<'t>) -> Python {
        let Some(mut table) = self.table(top, "python") else { return Python { wheelhouse: None } };
        let wheelhouse = self.text(&mut table, "wheelhouse", absolute);
        self.finish(&table);
        Python { wheelhouse }
    }

    fn prune(&mut self, top: &mut Table<'t>, unsaid: Prune) -> Prune {
        let Some(mut table) = self.table(top, "prune") else { return unsaid };
        let grace = self.text(&mut table, "grace", Span::parse).unwrap_or(unsaid.grace);
        self.finish(&table);
        Prune { grace }
    }

    fn text<T, E: Display>(
        &mut self,
        table: &mut Table<'t>,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        let value = table.take(key)?;
        let DeValue::String(text) = value.get_ref() else { return self.wrong_type(key, "a string", &value) };
        parse(text).map_err(|error| self.mistake(value.span(), format!("`{key}`: {error}"), None)).ok()
    }

    fn boolean(&mut self, table: &mut Table<'t>, key: &'static str) -> Option<bool> {
        let value = table.take(key)?;
        let DeValue::Boolean(boolean) = value.get_ref() else { return self.wrong_type(key, "true or false", &value) };
        Some(*boolean)
    }

    fn port(&mut self, table: &mut Table<'t>, key: &'static str) -> Option<u16> {
        let value = table.take(key)?;
        let DeValue::Integer(number) = value.get_ref() else { return self.wrong_type(key, "a number", &value) };
        let port = u16::from_str_radix(number.as_str(), number.radix()).ok().filter(|&port| port > 0);
        if port.is_none() {
            self.mistake(value.span(), format!("`{key}`: a port is a number from 1 to 65535"), None);
        }
        port
    }

    fn table(&mut self, top: &mut Table<'t>, name: &'static str) -> Option<Table<'t>> {
        let value = top.take(name)?;
        let span = value.span();
        match value.into_inner() {
            DeValue::Table(left) => Some(Table { name, left, known: Vec::new() }),
            other => self.wrong_type(name, "a table", &Spanned::new(span, other)),
        }
    }

    fn finish(&mut self, table: &Table<'t>) {
        for key in table.left.keys() {
            let place = if table.name.is_empty() { String::new() } else { format!(" in [{}]", table.name) };
            let help = match nearest(key.get_ref(), &table.known) {
                Some(known) => format!("did you mean `{known}`?"),
                None => format!("known here: {}", table.known.join(", ")),
            };
            self.mistake(key.span(), format!("unknown key `{}`{place}", key.get_ref().escape_debug()), Some(help));
        }
    }

    fn wrong_type<T>(&mut self, key: &str, wanted: &str, value: &Spanned<DeValue<'_>>) -> Option<T> {
        self.mistake(value.span(), format!("`{key}` is {wanted}, not {}", kind(value.get_ref())), None);
        None
    }

    fn mistake(&mut self, span: Range<usize>, message: String, help: Option<String>) {
        self.mistakes.push(Mistake::at(self.text, span.start, message, help));
    }
}

impl<'t> Table<'t> {
    fn take(&mut self, key: &'static str) -> Option<Spanned<DeValue<'t>>> {
        self.known.push(key);
        self.left.remove(key)
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn repo(text: &str) -> Result<String, &'static str> {
    let plain = !text.is_empty() && !text.starts_with('-') && !text.chars().any(|c| c.is_control() || c == ' ');
    if !plain {
        return Err("an address is ssh://…, https://… or user@host:path, without spaces");
    }
    let secret = text.split_once("://").is_some_and(|(scheme, rest)| {
        let authority = rest.split('/').next().unwrap_or_default();
        scheme.starts_with("http") && authority.contains('@')
    });
    if secret { Err("an address holds no name or password: use a deploy key over ssh") } else { Ok(text.to_owned()) }
}

/// The rules of git-check-ref-format(1) that matter before git itself sees the name.
fn branch(text: &str) -> Result<String, &'static str> {
    let plain = |c: char| !c.is_control() && !" ~^:?*[\\".contains(c);
    let ok = !text.is_empty()
        && !text.starts_with(['-', '/', '.'])
        && !text.ends_with(['/', '.'])
        && !text.contains("..")
        && !text.contains("@{")
        && text.chars().all(plain);
    if ok { Ok(text.to_owned()) } else { Err("not a branch's name") }
}

fn host(text: &str) -> Result<String, &'static str> {
    let ok = (1..=253).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.')
        && text.split('.').all(|label| !label.is_empty() && !label.starts_with('-'));
    if ok { Ok(text.to_owned()) } else { Err("a host's name is lower-case letters, digits, `-` and `.`, like web1") }
}

fn manager(text: &str) -> Result<Manager, &'static str> {
    let known = [Manager::Systemd, Manager::Supervisor];
    known.into_iter().find(|one| one.as_str() == text).ok_or("either \"systemd\" or \"supervisor\"")
}

fn absolute(text: &str) -> Result<PathBuf, &'static str> {
    let path = PathBuf::from(text);
    if path.is_absolute() && !text.chars().any(char::is_control) {
        Ok(path)
    } else {
        Err("a path here begins with `/`")
    }
}

fn deadline(text: &str) -> Result<Span, String> {
    let span = Span::parse(text).map_err(|error| error.to_string())?;
    if span < Span::secs(1) { Err("at least 1s".to_owned()) } else { Ok(span) }
}
