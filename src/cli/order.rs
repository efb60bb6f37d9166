//! Orders: rollback, suspend, resume, retry, start, stop, restart.

use super::args::{Global, RollbackArgs, SuspendArgs};
use super::{Fault, open, printer};
use crate::agent::{Given, Order, OrderError, Target, carry_out};
use crate::model::EnvName;
use crate::policy::Until;

/// `portreeve rollback`
pub fn rollback(args: &RollbackArgs, global: &Global) -> Result<u8, Fault> {
    let to = match &args.to {
        None => Target::Previous,
        Some(text) => text.parse().map_or_else(|_| Target::Title(text.clone()), Target::Generation),
    };
    let until = if args.until_resume { Until::Resume } else { Until::Change };
    carry(std::slice::from_ref(&args.env), global, &Order::Rollback { to, until }, args.reason.as_deref())
}

/// `portreeve suspend`
pub fn suspend(args: &SuspendArgs, global: &Global) -> Result<u8, Fault> {
    let app = open::app(global)?;
    let until = app.host.clock().now().checked_add(args.time.duration()).ok();
    drop(app);
    carry(&args.only.environments, global, &Order::Suspend { until }, args.reason.as_deref())
}

/// The same order for each of these.
pub fn each(environments: &[EnvName], global: &Global, order: &Order) -> Result<u8, Fault> {
    carry(environments, global, order, None)
}

fn carry(environments: &[EnvName], global: &Global, order: &Order, reason: Option<&str>) -> Result<u8, Fault> {
    if environments.is_empty() {
        return Err(Fault::usage("which environment? portreeve status lists them"));
    }
    let app = open::app(global)?;
    let progress = printer::Progress::new(global);
    let cx = app.context(&progress);
    let given = Given {
        order: order.clone(),
        by: open::person(),
        reason: reason.map(str::to_owned),
        wait: open::patience(global),
    };
    let mut code = 0;
    for name in environments {
        match carry_out(&cx, name, &given) {
            Ok(said) => printer::line(format!("{name}  {said}")),
            Err(error) => {
                let fault = fault(name, &error);
                printer::error(&fault);
                code = crate::agent::worst([code, fault.code]);
            }
        }
    }
    Ok(code)
}

fn fault(name: &EnvName, error: &OrderError) -> Fault {
    match error {
        OrderError::NotHere(_) | OrderError::NoTarget(..) => Fault::blocked(error.to_string()),
        OrderError::Failed(failure) => {
            let fault = super::reconcile::fault(failure);
            let tail =
                failure.log.iter().skip(failure.log.len().saturating_sub(10)).map(|line| format!("  log   {line}"));
            let lines: Vec<String> = std::iter::once(format!("{name}: {}", fault.message)).chain(tail).collect();
            Fault { message: lines.join("\n"), ..fault }
        }
        OrderError::Host(error) => Fault::failed(error),
    }
}
