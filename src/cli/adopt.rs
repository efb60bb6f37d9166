//! `portreeve adopt PATH`: a file that was there before, out of our way.

use super::args::{AdoptArgs, Global};
use super::{Fault, open, printer, reconcile};
use crate::agent::{AdoptError, adopt};
use crate::transaction::Quiet;

/// Takes over the file and says where the copy is.
pub fn run(args: &AdoptArgs, global: &Global) -> Result<u8, Fault> {
    let app = open::app(global)?;
    let adopted = adopt(&app, &app.context(&Quiet), &args.path, &open::person()).map_err(|error| fault(&error))?;
    let (path, copy, env) = (args.path.display(), adopted.copy.display(), &adopted.env);
    if global.json {
        printer::json(&serde_json::json!({ "environment": env, "path": args.path, "copy": adopted.copy }));
        return Ok(0);
    }
    printer::line(format!("{env}  {path} is out of the way; what it was: {copy}"));
    printer::help(&format!("portreeve reconcile {env}, or wait for the next pass"));
    Ok(0)
}

fn fault(error: &AdoptError) -> Fault {
    match error {
        AdoptError::Elsewhere(_) => Fault::usage(error.to_string())
            .with_help("name the path that `portreeve reconcile` calls not ours; nothing was moved"),
        AdoptError::Nothing(_) | AdoptError::Ours(_) | AdoptError::Odd(_) => Fault::blocked(error.to_string()),
        AdoptError::Unread(trouble) => Fault { code: trouble.exit_code(), message: error.to_string(), help: None },
        AdoptError::Failed(failure) => reconcile::fault(failure),
        AdoptError::Host(error) => Fault::failed(error),
    }
}
