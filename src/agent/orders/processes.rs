//! The processes: none, the same again, new ones.

use super::{OrderError, Ordered};
use crate::desired::Why;
use crate::policy::HoldKind;
use crate::transaction::{self, Failure, Going, Phase, Released};

impl Ordered<'_> {
    pub(super) fn stop(&self) -> Result<String, OrderError> {
        self.serving()?;
        self.write(&self.standing.stopped(self.hold(HoldKind::Stopped)))?;
        transaction::stop(self.cx, self.name).map_err(|error| {
            let name = self.name;
            let stands =
                format!("the order stands, and each pass tries to carry it out; portreeve start {name} ends it");
            OrderError::Failed(Failure::host(Phase::Start, &error).with_help(stands))
        })?;
        Ok(format!("stopped; it stays so, over reboots, until portreeve start {}", self.name))
    }

    pub(super) fn start(&self) -> Result<String, OrderError> {
        let serving = self.serving()?;
        self.cx.host.files().remove(&self.cx.layout.stopped_flag(self.name))?;
        let started = self.standing.started();
        // A disk that takes nothing is no reason not to start what nobody has stopped.
        if started != self.standing {
            self.write(&started)?;
        }
        transaction::start(self.cx, serving)?;
        Ok(format!("{} serves", serving.wanted.title()))
    }

    pub(super) fn restart(&self) -> Result<String, OrderError> {
        let wanted = &self.serving()?.wanted;
        let going = Going::Forward { wanted: Box::new(wanted.clone()), why: Why::Restart };
        match transaction::go(self.cx, &self.installed, &going) {
            Released::Kept { generation, .. } => Ok(format!("new processes in slot {}", generation.slot)),
            Released::Refused { number, failure, seen } => {
                self.failed(number, wanted, &failure, seen);
                Err(OrderError::Failed(*failure))
            }
            Released::Open(failure) => Err(OrderError::Failed(*failure)),
        }
    }
}
