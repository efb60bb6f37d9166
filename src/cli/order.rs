//! Orders: rollback, suspend, resume, retry, accept, start, stop, restart.

use super::args::{AcceptArgs, Chosen, Global, RollbackArgs, SuspendArgs};
use super::{Fault, open, printer};
use crate::agent::{App, Given, Order, OrderError, Target, Witness, carry_out, names};
use crate::model::EnvName;
use crate::policy::Until;
use crate::transaction::{Failure, Phase};

/// `portreeve rollback`
pub fn rollback(args: &RollbackArgs, global: &Global) -> Result<u8, Fault> {
    let to = match &args.to {
        None => Target::Previous,
        Some(text) => {
            text.parse().map_or_else(|_| Target::Title(text.clone()), |number| Target::Digits(number, text.clone()))
        }
    };
    let until = if args.until_resume { Until::Resume } else { Until::Change };
    let only = std::slice::from_ref(&args.env);
    Ok(carry(&open::acting(global)?, only, global, &Order::Rollback { to, until }, args.reason.as_deref()))
}

/// `portreeve suspend`
pub fn suspend(args: &SuspendArgs, global: &Global) -> Result<u8, Fault> {
    let app = open::acting(global)?;
    let until = app.host.clock().now().checked_add(args.time.duration());
    let until = until.map_err(|_| Fault::usage(format!("--for {} ends after all calendars do", args.time)))?;
    let only = chosen(&app, &args.only)?;
    Ok(carry(&app, &only, global, &Order::Suspend { until: Some(until) }, args.reason.as_deref()))
}

/// `portreeve resume`
pub fn resume(args: &Chosen, global: &Global) -> Result<u8, Fault> {
    let app = open::acting(global)?;
    Ok(carry(&app, &chosen(&app, args)?, global, &Order::Resume, None))
}

/// `portreeve accept`
pub fn accept(args: &AcceptArgs, global: &Global) -> Result<u8, Fault> {
    let order = Order::Accept(args.commit.clone());
    Ok(carry(&open::acting(global)?, std::slice::from_ref(&args.env), global, &order, None))
}

/// The same order for each of these.
pub fn each(environments: &[EnvName], global: &Global, order: &Order) -> Result<u8, Fault> {
    if environments.is_empty() {
        return Err(Fault::usage("which environment? portreeve status lists them"));
    }
    Ok(carry(&open::acting(global)?, environments, global, order, None))
}

fn chosen(app: &App, chosen: &Chosen) -> Result<Vec<EnvName>, Fault> {
    if !chosen.all {
        return Ok(chosen.environments.clone());
    }
    names(app).map_err(|failure| super::reconcile::fault(&failure))
}

/// Each on its own; the worst exit code counts.
fn carry(app: &App, only: &[EnvName], global: &Global, order: &Order, reason: Option<&str>) -> u8 {
    let progress = printer::Progress::new(global);
    let witness = Witness::new(app, &progress);
    let cx = app.context(&witness);
    let given = Given {
        order: order.clone(),
        by: open::person(),
        reason: reason.map(str::to_owned),
        wait: open::patience(global),
    };
    let mut code = 0;
    for name in only {
        let carried = if app.host.clock().cancelled() {
            Err(Failure::cancelled(Phase::Recover).into())
        } else {
            carry_out(&cx, name, &given)
        };
        match carried {
            Ok(said) => printer::line(format!("{name}  {said}")),
            Err(error) => {
                let fault = fault(name, &error);
                printer::error(&fault);
                code = crate::agent::worst([code, fault.code]);
            }
        }
    }
    code
}

fn fault(name: &EnvName, error: &OrderError) -> Fault {
    match error {
        OrderError::NotHere(_) | OrderError::NoTarget(..) | OrderError::NoReason(_) | OrderError::Refused(_) => {
            Fault::blocked(error.to_string())
        }
        OrderError::Failed(failure) => {
            let fault = super::reconcile::fault(failure);
            let tail =
                failure.log.iter().skip(failure.log.len().saturating_sub(10)).map(|line| format!("  log   {line}"));
            let lines: Vec<String> = std::iter::once(format!("{name}: {}", fault.message)).chain(tail).collect();
            let help = fault.help.or_else(|| Some(format!("portreeve why {name}")));
            Fault { message: lines.join("\n"), help, ..fault }
        }
        OrderError::Host(error) => Fault::failed(error),
    }
}
