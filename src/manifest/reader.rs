//! A typed reader of one TOML table that goes on after each mistake, so that one run finds them all.

use std::fmt::Display;
use std::ops::RangeInclusive;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::model::Span;

use super::diagnostic::Diagnostics;
use super::document::{At, Source, Spot};
use super::layer::Section;
use super::unknown;

/// One table of a manifest, and which of its keys were asked for.
pub(super) struct Keys<'d, 't> {
    /// Its name, `web.gunicorn`; empty for the file itself.
    pub name: String,
    /// Where it begins.
    pub header: Spot<'t>,
    pub out: &'d mut Diagnostics,
    table: &'t DeTable<'t>,
    known: Vec<&'static str>,
    /// Full names of keys that an unknown key stands for.
    meant: Vec<String>,
}

const TIME: &str = "a length of time, like \"5s\"";

/// A value that has not been looked at yet.
pub(super) type Raw<'t> = At<'t, &'t DeValue<'t>>;

impl<'d, 't> Keys<'d, 't> {
    /// The tables and keys of a whole file.
    pub fn of_file(source: &'t Source<'t>, table: &'t DeTable<'t>, out: &'d mut Diagnostics) -> Self {
        Self { name: String::new(), header: source.start(), out, table, known: Vec::new(), meant: Vec::new() }
    }

    /// The place of a key's name.
    pub fn key_spot(&self, key: &str) -> Option<Spot<'t>> {
        self.table.get_key_value(key).map(|(key, _)| self.spot(key))
    }

    fn spot<T>(&self, spanned: &Spanned<T>) -> Spot<'t> {
        self.header.source.spot(spanned.span())
    }

    /// Whether there is a table of this name, or several.
    pub fn holds_table(&self, key: &str) -> bool {
        self.table.get(key).is_some_and(|value| value.get_ref().is_table() || value.get_ref().is_array())
    }

    /// Whether the table says something of `web.gunicorn.app`, right or wrong.
    pub fn mentions(&self, path: &str) -> bool {
        let (first, rest) = path.split_once('.').unwrap_or((path, ""));
        let Some(mut value) = self.table.get(first) else { return false };
        for part in rest.split('.').filter(|part| !part.is_empty()) {
            let Some(table) = value.get_ref().as_table() else { return true };
            let Some(inner) = table.get(part) else { return false };
            value = inner;
        }
        true
    }

    /// The name of a key as people write it: `web.gunicorn.app`.
    pub fn full_name(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    /// The value of a known key, whatever it is.
    pub fn raw(&mut self, key: &'static str) -> Option<Raw<'t>> {
        self.known.push(key);
        self.table.get(key).map(|value| At { value: value.get_ref(), spot: self.spot(value) })
    }

    /// All keys and values, for tables whose keys are the user's.
    pub fn all(&mut self) -> Vec<(At<'t, &'t str>, Raw<'t>)> {
        let at = |key: &'t Spanned<_>, value: &'t Spanned<DeValue<'t>>| {
            let key: &'t Spanned<std::borrow::Cow<'t, str>> = key;
            let name = At { value: key.get_ref().as_ref(), spot: self.spot(key) };
            (name, At { value: value.get_ref(), spot: self.spot(value) })
        };
        self.table.iter().map(|(key, value)| at(key, value)).collect()
    }

    /// A string.
    pub fn text(&mut self, key: &'static str) -> Option<At<'t, &'t str>> {
        let raw = self.raw(key)?;
        let name = self.full_name(key);
        as_text(&name, raw, self.out)
    }

    /// A string with a meaning.
    pub fn parse<T, E: Display>(&mut self, key: &'static str, meaning: fn(&str) -> Result<T, E>) -> Option<At<'t, T>> {
        let text = self.text(key)?;
        let name = self.full_name(key);
        as_meaning(&name, text, meaning, self.out)
    }

    /// A length of time.
    pub fn time(&mut self, key: &'static str, meaning: fn(&str) -> Result<Span, String>) -> Option<At<'t, Span>> {
        let raw = self.raw(key)?;
        if raw.value.is_str() {
            return self.parse(key, meaning);
        }
        let name = self.full_name(key);
        wrong_type(&name, TIME, raw, self.out);
        None
    }

    /// An array of strings with a meaning; those without one are left out, and said.
    pub fn list<T, E: Display>(
        &mut self,
        key: &'static str,
        meaning: fn(&str) -> Result<T, E>,
    ) -> Option<At<'t, Vec<At<'t, T>>>> {
        let raw = self.raw(key)?;
        let name = self.full_name(key);
        let Some(array) = raw.value.as_array() else {
            wrong_type(&name, "an array of strings", raw, self.out);
            return None;
        };
        let mut items = Vec::new();
        for item in array {
            let item = At { value: item.get_ref(), spot: self.spot(item) };
            if let Some(value) = item.value.as_str() {
                items.extend(as_meaning(&name, At { value, spot: item.spot }, meaning, self.out));
            } else {
                let complaint = item.spot.error(format!("`{name}` takes strings, not {}", type_name(item.value)));
                self.out.push(complaint.label("expected a string"));
            }
        }
        // Of a list in which nothing was right, it isn't known that it is empty.
        (array.is_empty() || !items.is_empty()).then_some(At { value: items, spot: raw.spot })
    }

    /// An integer within bounds.
    pub fn integer<T: TryFrom<i64>>(&mut self, key: &'static str, bounds: RangeInclusive<i64>) -> Option<At<'t, T>> {
        let raw = self.raw(key)?;
        let name = self.full_name(key);
        let Some(number) = as_integer(raw.value) else {
            wrong_type(&name, "an integer", raw, self.out);
            return None;
        };
        let number = i64::try_from(number).ok().filter(|number| bounds.contains(number));
        let value = number.and_then(|number| T::try_from(number).ok());
        if value.is_none() {
            let label = format!("from {} to {}", bounds.start(), bounds.end());
            self.out.push(raw.spot.error(format!("`{name}` is out of bounds")).label(label));
        }
        value.map(|value| At { value, spot: raw.spot })
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, key: &'static str) -> Option<At<'t, bool>> {
        let raw = self.raw(key)?;
        let name = self.full_name(key);
        let value = raw.value.as_bool();
        if value.is_none() {
            wrong_type(&name, "true or false", raw, self.out);
        }
        value.map(|value| At { value, spot: raw.spot })
    }

    /// A table, read by `read`; keys that it doesn't ask for are unknown.
    pub fn table<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Keys<'_, 't>) -> T) -> Option<T> {
        self.open_table(key, |keys| {
            let value = read(keys);
            unknown::complain(keys);
            value
        })
    }

    /// A table whose keys are the user's own: nothing in it is unknown.
    pub fn open_table<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Keys<'_, 't>) -> T) -> Option<T> {
        let raw = self.raw(key)?;
        let name = self.full_name(key);
        let Some(table) = raw.value.as_table() else {
            wrong_type(&name, "a table", raw, self.out);
            return None;
        };
        let mut keys = Keys { name, header: raw.spot, out: self.out, table, known: Vec::new(), meant: Vec::new() };
        let value = read(&mut keys);
        let meant = keys.meant;
        self.meant.extend(meant);
        Some(value)
    }

    /// A table that `enabled = false` removes.
    pub fn section<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Keys<'_, 't>) -> T) -> Section<T> {
        let section = self.table(key, |keys| {
            let enabled = keys.boolean("enabled");
            let value = read(keys);
            if enabled.is_some_and(|enabled| !enabled.value) { Section::Off } else { Section::On(value) }
        });
        section.unwrap_or_default()
    }

    /// Notes that an unknown key was complained about in place of this one.
    pub fn mean(&mut self, full_name: String) {
        self.meant.push(full_name);
    }

    /// Whether an unknown key stands for this one, or for a table above it.
    pub fn is_meant(&self, path: &str) -> bool {
        let within = |meant: &String| {
            path.strip_prefix(meant.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.meant.iter().any(within)
    }

    /// The keys that were asked for.
    pub fn known(&self) -> &[&'static str] {
        &self.known
    }
}

fn as_text<'t>(name: &str, raw: Raw<'t>, out: &mut Diagnostics) -> Option<At<'t, &'t str>> {
    let text = raw.value.as_str();
    if text.is_none() {
        wrong_type(name, "a string", raw, out);
    }
    text.map(|value| At { value, spot: raw.spot })
}

fn as_meaning<'t, T, E: Display>(
    name: &str,
    text: At<'t, &'t str>,
    meaning: fn(&str) -> Result<T, E>,
    out: &mut Diagnostics,
) -> Option<At<'t, T>> {
    match meaning(text.value) {
        Ok(value) => Some(At { value, spot: text.spot }),
        Err(rule) => {
            out.push(text.spot.error(format!("`{name}` can't be {}", shown(text.value))).label(rule.to_string()));
            None
        }
    }
}

/// A value within a message: in quotes, and not longer than a line takes.
pub(super) fn shown(text: &str) -> String {
    let head: String = text.chars().take(40).collect();
    if head.len() < text.len() { format!("\"{head}…\"") } else { format!("\"{head}\"") }
}

/// The number, if it is an integer; those that nothing could hold are all the same to us.
pub(super) fn as_integer(value: &DeValue<'_>) -> Option<i128> {
    value.as_integer().map(|number| i128::from_str_radix(number.as_str(), number.radix()).unwrap_or(i128::MAX))
}

/// Complains about a value of the wrong type, with the cure that fits the two.
pub(super) fn wrong_type(name: &str, expected: &str, raw: Raw<'_>, out: &mut Diagnostics) {
    let found = type_name(raw.value);
    let complaint =
        raw.spot.error(format!("`{name}` must be {expected}, not {found}")).label(format!("expected {expected}"));
    out.push(match cure(expected, raw.value) {
        Some(cure) => complaint.help(cure),
        None => complaint,
    });
}

fn cure(expected: &str, value: &DeValue<'_>) -> Option<String> {
    let plain = |text: &str| text.len() <= 20 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.');
    match (expected, value) {
        ("a string", DeValue::Integer(number)) => Some(format!("write \"{}\"", number.as_str())),
        (TIME, DeValue::Integer(number)) => Some(format!("write \"{}s\"", number.as_str())),
        ("a table", DeValue::Array(_)) => Some("write the table's name in single brackets".to_owned()),
        ("a string", DeValue::Float(number)) => Some(format!("write \"{}\"", number.as_str())),
        ("a string", DeValue::Boolean(value)) => Some(format!("write \"{value}\"")),
        ("an array of strings", DeValue::String(text)) if plain(text) => Some(format!("write [\"{text}\"]")),
        ("an integer", DeValue::String(text)) if text.parse::<i64>().is_ok() => Some(format!("write {text}")),
        ("true or false", DeValue::String(text)) if matches!(text.as_ref(), "true" | "false") => {
            Some(format!("write {text}"))
        }
        _ => None,
    }
}

fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}
