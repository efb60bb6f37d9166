//! The tables whose keys are the user's: `[settings]`, `[env]` and `[nginx.headers]`.

use std::collections::BTreeMap;

use toml::de::DeValue;

use crate::model::is_ours;

use super::document::{At, Spot};
use super::environment::Literal;
use super::kind::{Kind, weakened};
use super::reader::{Keys, Raw, as_integer, wrong_type};
use super::unknown::lower_case;
use super::value::{header_name, is_upper, line};

/// What Portreeve sets itself; a release whose effective value differs is refused (design.md §4).
const OURS: [&str; 5] = ["SECRET_KEY", "DATABASES", "DATABASE_URL", "REDIS_URL", "DJANGO_SETTINGS_MODULE"];

/// `[settings]`: Django settings.
pub(super) fn settings<'t>(keys: &mut Keys<'_, 't>, kind: Kind) -> BTreeMap<String, At<'t, Literal>> {
    let mut settings = BTreeMap::new();
    for (key, raw) in keys.all() {
        if !usable(keys, &key) {
            continue;
        }
        if key.value.starts_with('_') {
            let complaint = key.spot.error(format!("`{}` is no Django setting", key.value));
            keys.out.push(complaint.label("it begins with a letter"));
            continue;
        }
        let name = keys.full_name(key.value);
        if let Some(value) = literal(&name, raw, key.spot, keys) {
            settings.insert(key.value.to_owned(), At { value, spot: raw.spot });
        }
    }
    if kind != Kind::Environment {
        let debug = settings.get("DEBUG").is_some_and(|debug| matches!(debug.value, Literal::Bool(true)));
        weakened(keys, "DEBUG", debug);
        settings.remove("DEBUG");
    }
    settings
}

/// `[env]`: environment variables.
pub(super) fn env<'t>(keys: &mut Keys<'_, 't>) -> BTreeMap<String, At<'t, String>> {
    let mut env = BTreeMap::new();
    for (key, raw) in keys.all() {
        if is_ours(key.value) {
            set_by_us(keys, &key);
        } else if usable(keys, &key) {
            env.extend(one_line(keys, &key, raw).map(|value| (key.value.to_owned(), value)));
        }
    }
    env
}

/// `[nginx.headers]`: response headers.
pub(super) fn headers<'t>(keys: &mut Keys<'_, 't>) -> BTreeMap<String, At<'t, String>> {
    let mut headers = BTreeMap::new();
    for (key, raw) in keys.all() {
        if let Err(rule) = header_name(key.value) {
            keys.out.push(key.spot.error(format!("`{}` is no header", key.value)).label(rule));
            continue;
        }
        let Some(value) = one_line(keys, &key, raw) else { continue };
        if value.value.contains('$') {
            let complaint = raw.spot.error(format!("`{}` has a `$`", keys.full_name(key.value)));
            let complaint = complaint.label("nginx takes it for a variable, and knows no other way to write it");
            keys.out.push(
                complaint.help("say this header in a file of the host's: /etc/portreeve/local/PROJECT_ENV/nginx.d/"),
            );
            continue;
        }
        headers.insert(key.value.to_owned(), value);
    }
    headers
}

fn one_line<'t>(keys: &mut Keys<'_, 't>, key: &At<'t, &'t str>, raw: Raw<'t>) -> Option<At<'t, String>> {
    let name = keys.full_name(key.value);
    let Some(text) = raw.value.as_str() else {
        wrong_type(&name, "a string", raw, keys.out);
        return None;
    };
    line(text)
        .map_err(|rule| keys.out.push(raw.spot.error(format!("`{name}` is more than a line")).label(rule)))
        .ok()
        .map(|value| At { value, spot: raw.spot })
}

/// Whether a key of `[settings]` or `[env]` may stand there; complains if not.
fn usable(keys: &mut Keys<'_, '_>, key: &At<'_, &str>) -> bool {
    if !is_upper(key.value) {
        lower_case(keys, key);
        return false;
    }
    let ours = OURS.contains(&key.value);
    if ours {
        set_by_us(keys, key);
    }
    !ours
}

fn set_by_us(keys: &mut Keys<'_, '_>, key: &At<'_, &str>) {
    let complaint = key.spot.error(format!("`{}` is set by portreeve, on the host", key.value));
    keys.out.push(complaint.label("remove it"));
}

fn literal<'t>(name: &str, raw: Raw<'t>, spot: Spot<'t>, keys: &mut Keys<'_, '_>) -> Option<Literal> {
    match raw.value {
        DeValue::String(text) => Some(Literal::Text(text.clone().into_owned())),
        DeValue::Boolean(value) => Some(Literal::Bool(*value)),
        DeValue::Integer(_) => number(
            as_integer(raw.value).and_then(|number| i64::try_from(number).ok()).map(Literal::Int),
            name,
            raw,
            keys,
        ),
        DeValue::Float(float) => {
            let float = float.as_str().parse().ok().filter(|float: &f64| float.is_finite());
            number(float.map(Literal::Float), name, raw, keys)
        }
        DeValue::Datetime(_) => {
            let complaint = raw.spot.error(format!("`{name}` is a date, and Python has no literal for one"));
            keys.out.push(complaint.label("write it in quotes, and parse it in your settings"));
            None
        }
        DeValue::Array(items) => {
            let spot_of = |span| spot.source.spot(span);
            let read = |item: &'t toml::Spanned<DeValue<'t>>| {
                literal(name, At { value: item.get_ref(), spot: spot_of(item.span()) }, spot, keys)
            };
            Some(Literal::List(items.iter().filter_map(read).collect()))
        }
        DeValue::Table(table) => {
            let mut entries = BTreeMap::new();
            for (key, value) in table {
                let raw = At { value: value.get_ref(), spot: spot.source.spot(value.span()) };
                entries.extend(literal(name, raw, spot, keys).map(|value| (key.get_ref().to_string(), value)));
            }
            Some(Literal::Table(entries))
        }
    }
}

fn number(value: Option<Literal>, name: &str, raw: Raw<'_>, keys: &mut Keys<'_, '_>) -> Option<Literal> {
    if value.is_none() {
        let complaint = raw.spot.error(format!("`{name}` is out of bounds"));
        keys.out.push(complaint.label("a 64-bit integer, or a finite float"));
    }
    value
}
