//! `hosts/NAME.toml`: what runs where.

use std::collections::{BTreeMap, BTreeSet};

use toml::de::DeTable;

use crate::model::EnvName;

use super::diagnostic::{Diagnostic, Diagnostics, Invalid};
use super::document::{At, Source};
use super::reader::Keys;
use super::suggest::nearest;
use super::unknown;

/// What runs on a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostEntry {
    /// Its environments, in the order of its file; all exist in the repository, some may be invalid.
    pub environments: Vec<EnvName>,
    /// The host's file has mistakes, so `environments` may lack some: nothing may be taken off the host.
    pub mistakes: Option<Invalid>,
    /// Environments with data of their own that other hosts name as well, and all of those hosts: it goes on where its data is.
    pub split: BTreeMap<EnvName, Vec<String>>,
}

/// The environments that each host names.
pub(super) type Hosts<'t> = BTreeMap<String, Vec<At<'t, EnvName>>>;

/// Reads one host's file.
pub(super) fn read<'t>(
    source: &'t Source<'t>,
    table: &'t DeTable<'t>,
    known: &BTreeSet<EnvName>,
    out: &mut Diagnostics,
) -> Vec<At<'t, EnvName>> {
    let mut keys = Keys::of_file(source, table, out);
    let named = keys.list("environments", EnvName::parse);
    unknown::complain(&mut keys);
    let Some(named) = named else {
        if keys.key_spot("environments").is_none() {
            out.push(names_nothing(source.start().error("this host names no environment")));
        }
        return Vec::new();
    };
    let empty =
        table.get("environments").and_then(|list| list.get_ref().as_array()).is_some_and(|list| list.is_empty());
    if empty {
        out.push(names_nothing(named.spot.error("this host names no environment")));
    }
    existing(named.value, known, out)
}

fn names_nothing(complaint: Diagnostic) -> Diagnostic {
    complaint.label("name one, like environments = [\"bakery/pro\"]").help("delete the file if the host is gone")
}

fn existing<'t>(named: Vec<At<'t, EnvName>>, known: &BTreeSet<EnvName>, out: &mut Diagnostics) -> Vec<At<'t, EnvName>> {
    let mut found: Vec<At<'t, EnvName>> = Vec::new();
    for item in named {
        if !known.contains(&item.value) {
            out.push(no_such(&item, known));
        } else if found.iter().any(|first| first.value == item.value) {
            out.push(item.spot.error(format!("{} is named twice", item.value)).label("remove it"));
        } else {
            found.push(item);
        }
    }
    found
}

fn no_such(item: &At<'_, EnvName>, known: &BTreeSet<EnvName>) -> Diagnostic {
    let complaint = item.spot.error(format!("there is no environment {}", item.value));
    let names: Vec<String> = known.iter().map(ToString::to_string).collect();
    match nearest(&item.value.to_string(), names.iter().map(String::as_str)) {
        Some(meant) => complaint.label(format!("did you mean {meant}?")),
        None => complaint.label(format!("expected in projects/{}.toml", item.value)),
    }
}
