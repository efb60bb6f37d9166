//! What all paths begin with.

use std::path::{Path, PathBuf};

/// The directory that stands for `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root(PathBuf);

impl Root {
    /// The machine itself.
    pub fn system() -> Self {
        Self(PathBuf::from("/"))
    }

    /// A host below `directory`, which must be absolute.
    pub fn at(directory: impl Into<PathBuf>) -> Self {
        Self(directory.into())
    }

    /// Whether this is the machine itself.
    pub fn is_system(&self) -> bool {
        self.0 == Path::new("/")
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// `path` (absolute, as seen from this root) as the kernel knows it.
    pub fn join(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.0.join(path.strip_prefix("/").unwrap_or(path))
    }
}
