//! The processes: none, the same again, new ones.

use super::{OrderError, Ordered};
use crate::desired::Why;
use crate::model::{Identity, Node, Slot, SlotId};
use crate::policy::HoldKind;
use crate::transaction::{self, Going, Released};

impl Ordered<'_> {
    pub(super) fn stop(&self) -> Result<String, OrderError> {
        self.serving()?;
        self.write(&self.standing.stopped(self.hold(HoldKind::Stopped)))?;
        let flag = Node::File { bytes: Vec::new(), mode: 0o644, owner: Identity::ROOT };
        let path = self.cx.layout.stopped_flag(self.name);
        if let Some(parent) = path.parent() {
            self.cx.host.files().make_directory(parent, 0o755, Identity::ROOT)?;
        }
        self.cx.host.files().put(&path, &flag)?;
        for slot in Slot::BOTH {
            self.cx.host.services().stop(&SlotId { env: self.name.clone(), slot })?;
        }
        Ok(format!("stopped; it stays so, over reboots, until portreeve start {}", self.name))
    }

    pub(super) fn start(&self) -> Result<String, OrderError> {
        let serving = self.serving()?;
        self.cx.host.files().remove(&self.cx.layout.stopped_flag(self.name))?;
        self.write(&self.standing.started())?;
        transaction::start(self.cx, serving)?;
        Ok(format!("{} serves", serving.wanted.title()))
    }

    pub(super) fn restart(&self) -> Result<String, OrderError> {
        let going = Going::Forward { wanted: Box::new(self.serving()?.wanted.clone()), why: Why::Restart };
        match transaction::go(self.cx, &self.installed, &going) {
            Released::Kept { generation, .. } => Ok(format!("new processes in slot {}", generation.slot)),
            Released::Refused { failure, .. } => Err(OrderError::Failed(*failure)),
        }
    }
}
