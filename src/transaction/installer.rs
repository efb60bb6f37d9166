//! What makes a virtual environment and installs packages into it: `uv` or pip, both without a cache, offline where a directory
//! of wheels is all that there is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What installs packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tool {
    /// This `uv`.
    Uv(PathBuf),
    /// The virtual environment's own pip.
    Pip,
}

/// How packages are installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installer {
    /// By what.
    pub tool: Tool,
    /// A directory of wheels to use instead of the index.
    pub wheelhouse: Option<PathBuf>,
    /// Environment of the installer: certificates and proxies of a machine that needs them.
    pub env: BTreeMap<String, String>,
}

/// Variables by which pip is told where packages come from; `uv` reads none of them, and would ask the public index.
const PLACES: [&str; 5] = ["PIP_CONFIG_FILE", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_INDEX_URL", "PIP_NO_INDEX"];

/// Those by which `uv` is told.
const PLACES_OF_UV: [&str; 6] =
    ["UV_DEFAULT_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_INDEX", "UV_INDEX_URL", "UV_NO_INDEX"];

/// A program and its arguments.
pub type Command = (PathBuf, Vec<String>);

impl Installer {
    /// Decides, with the requirements and the interpreter, what a virtual environment holds.
    pub fn key(&self) -> String {
        let name = match self.tool {
            Tool::Uv(_) => "uv",
            Tool::Pip => "pip",
        };
        let wheels = self.wheelhouse.as_ref().map(|path| path.display().to_string());
        format!("{name} {}", wheels.unwrap_or_default())
    }

    /// A variable that says in vain where packages come from.
    pub fn unheeded(&self) -> Option<&'static str> {
        let told = || self.wheelhouse.is_some() || PLACES_OF_UV.iter().any(|&name| self.env.contains_key(name));
        if matches!(self.tool, Tool::Pip) || told() {
            return None;
        }
        PLACES.into_iter().find(|&name| self.env.get(name).is_some_and(|value| value != "/dev/null"))
    }

    /// Makes the virtual environment in an empty directory.
    pub fn make(&self, python: &Path, venv: &Path) -> Command {
        match &self.tool {
            Tool::Uv(uv) => {
                let args = ["venv", "--no-config", "--no-cache", "--no-project", "--no-python-downloads", "--python"];
                (uv.clone(), words(&args, &[python, venv]))
            }
            Tool::Pip => (python.to_owned(), words(&["-m", "venv"], &[venv])),
        }
    }

    /// Installs the requirements, and one more package where they lack it.
    pub fn install(&self, venv: &Path, requirements: &Path, more: Option<&str>) -> Command {
        let (program, mut args) = match &self.tool {
            Tool::Uv(uv) => {
                // pip compiles by itself; the first request must not wait for it.
                let args = ["pip", "install", "--no-config", "--no-cache", "--link-mode=copy", "--compile-bytecode"];
                (uv.clone(), [words(&args, &[]), words(&["--python"], &[&venv.join("bin/python")])].concat())
            }
            Tool::Pip => {
                let args = ["install", "--no-input", "--no-cache-dir", "--disable-pip-version-check"];
                (venv.join("bin/pip"), words(&args, &[]))
            }
        };
        if let Some(wheels) = &self.wheelhouse {
            args.extend(words(&["--no-index", "--find-links"], &[wheels]));
        }
        args.extend(words(&["-r"], &[requirements]));
        args.extend(more.map(str::to_owned));
        (program, args)
    }
}

fn words(args: &[&str], paths: &[&Path]) -> Vec<String> {
    let paths = paths.iter().map(|path| path.to_string_lossy().into_owned());
    args.iter().map(|&arg| arg.to_owned()).chain(paths).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_installer_or_another_source_makes_another_environment() {
        let installer = |tool, wheels: Option<&str>| Installer {
            tool,
            wheelhouse: wheels.map(PathBuf::from),
            env: BTreeMap::new(),
        };
        let uv = || Tool::Uv("/usr/local/bin/uv".into());
        let keys = [
            installer(Tool::Pip, None).key(),
            installer(uv(), None).key(),
            installer(Tool::Pip, Some("/w")).key(),
            installer(uv(), Some("/w")).key(),
        ];
        assert_eq!(keys, ["pip ", "uv ", "pip /w", "uv /w"]);
        assert_eq!(installer(Tool::Uv("/usr/bin/uv".into()), None).key(), "uv ", "wherever it is");
    }

    #[test]
    fn a_variable_for_pip_is_heeded_by_pip_alone() {
        let uv = || Tool::Uv("/usr/bin/uv".into());
        let unheeded = |tool, wheels: Option<&str>, name: &str| {
            let env = BTreeMap::from([(name.to_owned(), "x".to_owned())]);
            Installer { tool, wheelhouse: wheels.map(PathBuf::from), env }.unheeded()
        };
        assert_eq!(unheeded(uv(), None, "PIP_INDEX_URL"), Some("PIP_INDEX_URL"));
        assert_eq!(unheeded(Tool::Pip, None, "PIP_INDEX_URL"), None);
        assert_eq!(unheeded(uv(), Some("/w"), "PIP_INDEX_URL"), None, "no index is asked");
        assert_eq!(unheeded(uv(), None, "PIP_CERT"), None);
        let both = ["PIP_INDEX_URL", "UV_INDEX_URL"].map(|name| (name.to_owned(), "x".to_owned()));
        assert_eq!(Installer { tool: uv(), wheelhouse: None, env: both.into() }.unheeded(), None, "told itself");
        let nowhere = BTreeMap::from([("PIP_CONFIG_FILE".to_owned(), "/dev/null".to_owned())]);
        assert_eq!(Installer { tool: uv(), wheelhouse: None, env: nowhere }.unheeded(), None);
    }
}
