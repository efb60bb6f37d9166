//! What people type and read: one file a command; only here is anything printed.

mod adopt;
mod agent;
mod args;
mod check;
pub mod diagnostics;
mod elsewhere;
mod history;
mod init;
pub mod json;
mod launch;
mod logs;
mod open;
mod order;
mod outcome;
mod plan;
mod ports;
mod printer;
mod reconcile;
mod release;
mod reopened;
mod run;
mod setup;
mod signals;
mod since;
mod ssh_trust;
mod status;
mod takeover;
mod tour;
mod units;
mod wait;
mod wake;
mod why;

use std::process::ExitCode;

use clap::Parser as _;

use args::{Cli, Command};

/// Parses the arguments, runs the command, and says how it ended.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    printer::colour(cli.global.color);
    if cli.global.verbose {
        printer::tell_programs();
    }
    if let Some(host) = &cli.global.elsewhere {
        return finish(elsewhere::run(&cli, host));
    }
    finish(run(&cli))
}

fn finish(result: Result<u8, Fault>) -> ExitCode {
    match result {
        Ok(code) => ExitCode::from(code),
        Err(fault) => {
            printer::error(&fault);
            ExitCode::from(fault.code)
        }
    }
}

fn run(cli: &Cli) -> Result<u8, Fault> {
    let global = &cli.global;
    if global.dry_run {
        return Err(Fault::usage("there is no --dry-run").with_help("portreeve plan shows what would change"));
    }
    match &cli.command {
        Command::Try(args) => tour::run(args),
        Command::Init(args) => init::run(args),
        Command::Launch(args) => launch::run(args, global),
        Command::Check(args) => check::run(args, global),
        Command::Plan(args) => plan::run(args, global),
        Command::Reconcile(args) => reconcile::run(args, global),
        Command::Agent => agent::run(global),
        Command::Wait(args) => wait::run(args, global),
        Command::Status(args) => status::run(args, global),
        Command::Why(args) => why::run(args, global),
        Command::History(args) => history::run(args, global),
        Command::Rollback(args) => order::rollback(args, global),
        Command::Suspend(args) => order::suspend(args, global),
        Command::Start(args) => order::each(&args.environments, global, &crate::agent::Order::Start),
        Command::Stop(args) => order::each(&args.environments, global, &crate::agent::Order::Stop),
        Command::Restart(args) => order::each(&args.environments, global, &crate::agent::Order::Restart),
        Command::Resume(args) => order::resume(args, global),
        Command::Accept(args) => order::accept(args, global),
        Command::Adopt(args) => adopt::run(args, global),
        Command::Retry(args) => order::each(&args.environments, global, &crate::agent::Order::Retry),
        Command::Run(args) => run::run(args, global),
        Command::Logs(args) => logs::run(args, global),
        Command::Ports => ports::run(global),
        Command::Setup(args) => setup::run(args, global),
        Command::Deploy(_) | Command::Apply(_) | Command::Sync(_) => {
            Err(Fault::usage("there is one verb for this").with_help("portreeve reconcile"))
        }
    }
}

/// Why a command ended badly: what a person reads, and the exit code of the contract.
#[derive(Debug)]
pub struct Fault {
    /// 1, 2, 3 or 4.
    pub code: u8,
    /// The sentence after `error:`.
    pub message: String,
    /// What to do, after `help:`.
    pub help: Option<String>,
}

impl Fault {
    fn failed(error: &dyn std::error::Error) -> Self {
        Self { code: 1, message: crate::transaction::chain(error), help: None }
    }

    fn usage(message: impl Into<String>) -> Self {
        Self { code: 2, message: message.into(), help: None }
    }

    fn blocked(message: impl Into<String>) -> Self {
        Self { code: 4, message: message.into(), help: None }
    }

    fn with_help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}
