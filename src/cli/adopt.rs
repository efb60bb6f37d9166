//! `portreeve adopt PATH`: a file that was there before, out of our way.

use std::path::{Path, PathBuf};

use super::args::{AdoptArgs, Global};
use super::{Fault, json, open, printer, reconcile};
use crate::agent::{AdoptError, Adopted, adopt};

/// Takes over the file and says where the copy is.
pub fn run(args: &AdoptArgs, global: &Global) -> Result<u8, Fault> {
    let app = open::app(global)?;
    let progress = printer::Progress::new(global);
    let path = whole(&open::directory(), &args.path);
    let adopted = adopt(&app, &app.context(&progress), &path, &open::person()).map_err(|error| fault(&error))?;
    drop(progress);
    let Adopted { env, copy } = adopted;
    if global.json {
        printer::json(&json::Adopted { environment: env, path, copy });
        return Ok(0);
    }
    printer::line(format!("{env}  {} is out of the way; what it was: {}", path.display(), copy.display()));
    printer::help(&format!("portreeve reconcile {env}, or wait for the next pass"));
    Ok(0)
}

/// As it is compared with what we put there: from the root, and without a `/` at its end.
fn whole(here: &Path, path: &Path) -> PathBuf {
    here.join(path).components().collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_meant_however_it_is_written() {
        let home = Path::new("/home/foouser/bakery");
        for path in ["pro/current", "./pro/current/", "/home/foouser/bakery/pro/current/", "pro//current"] {
            assert_eq!(whole(home, Path::new(path)).as_os_str(), home.join("pro/current").as_os_str(), "{path}");
        }
    }
}
