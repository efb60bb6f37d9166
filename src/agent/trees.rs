//! The applications' committed files, out of our mirrors.

use crate::desired::Wanted;
use crate::model::{Identity, Layout};
use crate::policy::FailureClass;
use crate::source::{Export, ExportError, ExportLimits, Objects};
use crate::transaction::{Entry, Failure, Phase, Trees, chain};

/// Reads the mirrors below the state directory.
#[derive(Debug)]
pub struct GitTrees {
    layout: Layout,
}

impl GitTrees {
    /// The trees of this host.
    pub fn new(layout: Layout) -> Self {
        Self { layout }
    }
}

impl Trees for GitTrees {
    fn each(
        &self,
        wanted: &Wanted,
        owner: Identity,
        take: &mut dyn FnMut(&mut dyn Iterator<Item = Entry>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let objects = Objects::open(&self.layout.source_clone(&wanted.env.source));
        let objects = objects.map_err(|error| Failure::new(FailureClass::Host, Phase::Fetch, chain(&error)))?;
        let export =
            Export::check(&objects, &wanted.commit, ExportLimits::default()).map_err(|error| refused(&error))?;
        take(&mut export.nodes(owner))
    }
}

fn refused(error: &ExportError) -> Failure {
    let class = match error {
        ExportError::Source(_) => FailureClass::Host,
        ExportError::Refused { .. } | ExportError::TooLarge { .. } => FailureClass::Release,
    };
    Failure::new(class, Phase::Build, chain(error))
}
