//! `portreeve ports`: who holds which ports.

use comfy_table::{Table, presets};

use super::args::Global;
use super::{Fault, json, open, printer, reconcile};
use crate::transaction::{self, Quiet};

/// Prints the blocks of this host's environments and who listens in them.
pub fn run(global: &Global) -> Result<u8, Fault> {
    let app = open::app(global)?;
    let cx = app.context(&Quiet);
    let listeners = cx.host.kernel().listeners().map_err(|error| Fault::failed(&error))?;
    let mut rows = Vec::new();
    for name in transaction::installed_names(&cx).map_err(|error| Fault::failed(&error))? {
        let installed = transaction::installed(&cx, &name, &std::collections::BTreeMap::new())
            .map_err(|failure| reconcile::fault(&failure))?;
        let Some(generation) = installed.generation else { continue };
        let ports = generation.wanted.env.ports;
        let inside = listeners.iter().filter(|listener| (ports.first..=ports.last).contains(&listener.port));
        let inside: Vec<String> = inside
            .map(|listener| format!("{} {}", listener.port, listener.command.as_deref().unwrap_or("?")))
            .collect();
        rows.push((ports, name, inside));
    }
    rows.sort_by_key(|(ports, _, _)| *ports);
    if global.json {
        let row = |(ports, environment, listeners)| json::Ports { ports, environment, listeners };
        printer::json(&rows.into_iter().map(row).collect::<Vec<_>>());
        return Ok(0);
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["PORTS", "ENVIRONMENT", "LISTENING"]);
    for (ports, name, inside) in rows {
        table.add_row([ports.to_string(), name.to_string(), inside.join(", ")]);
    }
    printer::table(&table);
    Ok(0)
}
