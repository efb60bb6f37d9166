//! `portreeve check [DIR]`: all mistakes of a deploy repository, without a host.

use std::path::Path;

use super::args::{CheckArgs, Global};
use super::{Fault, diagnostics, json, printer};
use crate::manifest::{self, Tree};
use crate::source::read_directory_tree;

/// Prints every mistake; 2 when there is an error.
pub fn run(args: &CheckArgs, global: &Global) -> Result<u8, Fault> {
    let tree = tree(&args.dir)?;
    let (_, found) = manifest::parse(&tree);
    let errors = found.errors().next().is_some();
    if global.json {
        printer::json(&found.iter().map(as_json).collect::<Vec<_>>());
    } else if !(global.quiet && found.iter().next().is_none()) {
        printer::raw(&diagnostics::render(&found, &tree, printer::colours()));
    }
    Ok(if errors { 2 } else { 0 })
}

fn tree(dir: &Path) -> Result<Tree, Fault> {
    let files = read_directory_tree(dir, manifest::LARGEST_FILE, &Tree::wants)
        .map_err(|error| Fault { code: 2, ..Fault::failed(&error) })?;
    Ok(files.into_iter().collect())
}

fn as_json(diagnostic: &manifest::Diagnostic) -> json::Complaint {
    let severity = match diagnostic.severity {
        manifest::Severity::Error => "error",
        manifest::Severity::Warning => "warning",
    };
    json::Complaint {
        severity: severity.to_owned(),
        file: diagnostic.file.clone(),
        line: diagnostic.line(),
        column: diagnostic.column(),
        message: diagnostic.message.clone(),
        help: diagnostic.help.clone(),
    }
}
