//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::setup::SetupArgs;
use crate::model::{CommitId, EnvName, Slot};

/// Keeps Django sites running on plain Linux servers.
///
/// Push to a deploy repository; each host builds the release beside the live one, proves it healthy, and switches by one rename.
#[derive(Debug, Parser)]
#[command(
    version,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done · 1 failed · 2 wrong usage or manifest · 3 not released, the old one serves · 4 blocked or refused · 5 plan with changes"
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct Global {
    /// Run the same command on HOST, over ssh
    #[arg(short = 'H', global = true, value_name = "HOST")]
    pub elsewhere: Option<String>,
    /// For those who look for it: `plan` does this
    #[arg(long, global = true, hide = true)]
    pub dry_run: bool,
    /// How to say what is under way
    #[arg(long, global = true, hide = true, value_name = "HOW", default_value = "auto")]
    pub progress: Telling,
    /// Prefix for every path
    #[arg(long, global = true, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// The host's configuration, in place of /etc/portreeve/agent.toml
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Tables and results as JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// How long to wait for whoever is at work on the environment
    #[arg(long, global = true, value_name = "30s")]
    pub wait: Option<crate::model::Span>,
    /// Say less
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Say more: each program that is run, git too, and how long it took
    #[arg(short, long, global = true, conflicts_with = "quiet")]
    pub verbose: bool,
    /// Colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: Colour,
}

/// When to use colours. `auto`: on a terminal, unless `NO_COLOR` is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Colour {
    Auto,
    Always,
    Never,
}

/// How to say what is under way. `auto`: a spinner on a terminal, nothing in a pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Telling {
    Auto,
    /// For the tour, which reads our lines and has the terminal.
    Lines,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The tour: real nginx, Supervisor and Django below one directory, through four releases
    #[command(after_help = "Examples:\n  portreeve try\n  portreeve try --once /tmp/tour")]
    Try(TryArgs),
    /// A new deploy repository from the template
    #[command(after_help = "Example:\n  portreeve init deploy")]
    Init(InitArgs),
    /// What Supervisor runs for a slot
    #[command(hide = true)]
    Launch(LaunchArgs),
    /// First install on a host: checks what is missing, writes agent.toml, shows the plan, applies nothing
    #[command(
        after_help = "Examples:\n  portreeve setup ssh://git@git.example.org/deploy.git --host web1\n  portreeve setup --trust apps.example.org"
    )]
    Setup(SetupArgs),
    /// Everything that can be known of a deploy repository without a host
    #[command(after_help = "Examples:\n  portreeve check\n  portreeve check deploy --json")]
    Check(CheckArgs),
    /// What would change here
    #[command(
        after_help = "Examples:\n  portreeve plan bakery/pro\n  portreeve plan --exit-code\n  portreeve plan --since origin/main      # in a clone, before a push"
    )]
    Plan(PlanArgs),
    /// One pass now
    #[command(
        after_help = "Examples:\n  portreeve reconcile\n  portreeve reconcile bakery/pro\n  portreeve -H web1 reconcile"
    )]
    Reconcile(Environments),
    /// Passes on schedule
    #[command(after_help = "Example:\n  systemctl enable --now portreeve.service")]
    Agent,
    /// Until a commit is live, or known not to be
    #[command(after_help = "Example:\n  git push && portreeve -H web1 wait bakery/pro --commit $(git rev-parse HEAD)")]
    Wait(WaitArgs),
    /// Where each environment stands
    #[command(
        after_help = "Examples:\n  portreeve status\n  portreeve status --exit-code -q || echo somebody should look"
    )]
    Status(StatusArgs),
    /// Why an environment stands there: who is served by what, the cause, what happens next, what you can do
    #[command(after_help = "Examples:\n  portreeve why bakery/pro\n  portreeve why bakery/pro --json")]
    Why(WhyArgs),
    /// How an environment got there
    #[command(after_help = "Example:\n  portreeve history bakery/pro -n 50")]
    History(HistoryArgs),
    /// Back, now, and stay there
    #[command(
        after_help = "Examples:\n  portreeve rollback bakery/pro --reason 'cart broken'\n  portreeve rollback bakery/pro --to v1.4.1 --until-resume"
    )]
    Rollback(RollbackArgs),
    /// Hold still for a while
    #[command(
        after_help = "Examples:\n  portreeve suspend bakery/pro --for 2h --reason 'db move'\n  portreeve suspend --all --for 30m --reason 'kernel update'"
    )]
    Suspend(SuspendArgs),
    /// Go on after a rollback or a suspension
    #[command(after_help = "Examples:\n  portreeve resume bakery/pro\n  portreeve resume --all")]
    Resume(Chosen),
    /// Try a quarantined release again
    #[command(after_help = "Example:\n  portreeve retry bakery/pro")]
    Retry(Environments),
    /// Take over a file that was there before; says where it keeps the copy
    #[command(after_help = "Example:\n  portreeve adopt /home/foouser/bakery/pro/current")]
    Adopt(AdoptArgs),
    /// Agree to a rewritten deploy branch, for one environment
    #[command(after_help = "Example:\n  portreeve accept bakery/pro 3be7710")]
    Accept(AcceptArgs),
    /// Start the processes of environments
    #[command(after_help = "Example:\n  portreeve start bakery/pro")]
    Start(Environments),
    /// Stop the processes of environments, over reboots
    #[command(after_help = "Example:\n  portreeve stop bakery/pro")]
    Stop(Environments),
    /// New processes, by a switch of slots
    #[command(after_help = "Example:\n  portreeve restart bakery/pro")]
    Restart(Environments),
    /// A command as the application's user, in its environment; alone: a shell
    #[command(
        after_help = "Examples:\n  portreeve run bakery/pro manage.py createsuperuser\n  portreeve run bakery/pro"
    )]
    Run(RunArgs),
    /// What its processes printed
    #[command(
        after_help = "Examples:\n  portreeve logs bakery/pro -n 100\n  portreeve logs bakery/pro -f\n  portreeve logs bakery/pro --since '10 min ago'\n  portreeve logs bakery/pro --release 43"
    )]
    Logs(LogsArgs),
    /// Who holds which ports
    #[command(after_help = "Example:\n  portreeve ports")]
    Ports,
    #[command(hide = true)]
    Deploy(Whatever),
    #[command(hide = true)]
    Apply(Whatever),
    #[command(hide = true)]
    Sync(Whatever),
}

/// What follows a word that is not ours.
#[derive(Debug, Args)]
pub struct Whatever {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    words: Vec<String>,
}

/// Environments to act on.
#[derive(Debug, Clone, Args)]
pub struct Environments {
    /// Environments, like bakery/pro
    #[arg(value_name = "ENV")]
    pub environments: Vec<EnvName>,
}

/// Environments to act on, or all of this host.
#[derive(Debug, Clone, Args)]
pub struct Chosen {
    /// Environments, like bakery/pro
    #[arg(value_name = "ENV", required_unless_present = "all")]
    pub environments: Vec<EnvName>,
    /// All environments of this host
    #[arg(long, conflicts_with = "environments")]
    pub all: bool,
}

#[derive(Debug, Args)]
pub struct TryArgs {
    /// Where everything goes; new, or of an earlier tour
    #[arg(default_value = "try")]
    pub dir: PathBuf,
    /// End when the story has ended, also on a terminal
    #[arg(long)]
    pub once: bool,
}

#[derive(Debug, Args)]
pub struct InitArgs {
    /// The directory; new or empty
    pub dir: PathBuf,
}

#[derive(Debug, Args)]
pub struct LaunchArgs {
    /// The environment
    pub env: EnvName,
    /// `a` or `b`
    pub slot: Slot,
}

#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The deploy repository's directory
    #[arg(default_value = ".")]
    pub dir: PathBuf,
}

#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    pub only: Environments,
    /// End with 5 when there are changes
    #[arg(long)]
    pub exit_code: bool,
    /// In a clone of the deploy repository: what has changed since REV, without a host
    #[arg(long, value_name = "REV")]
    pub since: Option<String>,
}

/// A variable that was not set makes an empty argument, which must not count as an answer.
fn said(text: &str) -> Result<String, String> {
    if text.trim().is_empty() { Err("it is empty".to_owned()) } else { Ok(text.to_owned()) }
}

/// A commit, or the beginning of one.
fn commit(text: &str) -> Result<String, String> {
    if CommitId::may_begin(text) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("a commit has 7 to 40 hexadecimal digits".to_owned())
    }
}

#[derive(Debug, Args)]
pub struct WaitArgs {
    /// The environment
    pub env: EnvName,
    /// The deploy repository's commit, 7 digits at least; unless said, its present tip
    #[arg(long, value_parser = commit)]
    pub commit: Option<String>,
    /// Longest time to wait
    #[arg(long, default_value = "10m")]
    pub timeout: crate::model::Span,
}

#[derive(Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    pub only: Environments,
    /// End with 4 when an environment needs somebody
    #[arg(long)]
    pub exit_code: bool,
}

#[derive(Debug, Args)]
pub struct WhyArgs {
    /// The environment
    pub env: EnvName,
}

#[derive(Debug, Args)]
pub struct AcceptArgs {
    /// The environment
    pub env: EnvName,
    /// The deploy repository's commit, as portreeve why says it; at least 7 digits
    #[arg(value_parser = commit)]
    pub commit: String,
}

#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// The environment; all unless said
    pub env: Option<EnvName>,
    /// How many events
    #[arg(short, default_value_t = 20)]
    pub n: u32,
}

#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// The environment
    pub env: EnvName,
    /// A generation's number, or a tag, branch or commit
    #[arg(long, value_name = "41|v1.4.1", value_parser = said)]
    pub to: Option<String>,
    /// Stay until portreeve resume, whatever is pushed
    #[arg(long)]
    pub until_resume: bool,
    /// Why, for the history
    #[arg(long, value_parser = said)]
    pub reason: Option<String>,
}

#[derive(Debug, Args)]
pub struct SuspendArgs {
    #[command(flatten)]
    pub only: Chosen,
    /// For how long; then it ends by itself
    #[arg(long = "for", value_name = "2h")]
    pub time: crate::model::Span,
    /// Why, for those who wonder; pro is not suspended without it
    #[arg(long, value_parser = said)]
    pub reason: Option<String>,
}

#[derive(Debug, Args)]
pub struct AdoptArgs {
    /// The path that is not ours
    pub path: PathBuf,
}

#[derive(Debug, Args)]
pub struct RunArgs {
    /// The environment
    pub env: EnvName,
    /// The command; `manage.py …` runs with its Python; alone: a shell
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,
}

#[derive(Debug, Args)]
pub struct LogsArgs {
    /// The environment
    pub env: EnvName,
    /// Then whatever comes, until Ctrl-C
    #[arg(short, long)]
    pub follow: bool,
    /// The last so many lines; unless said 50, or with --since all
    #[arg(short)]
    pub n: Option<usize>,
    /// Since when, as journalctl takes it
    #[arg(long, value_name = "-1h", allow_hyphen_values = true)]
    pub since: Option<String>,
    /// One process; unless said, all of them
    #[arg(short, long, value_name = "PROCESS")]
    pub process: Option<String>,
    /// The build and start of a generation that failed
    #[arg(long, value_name = "GENERATION", conflicts_with_all = ["follow", "since", "process"])]
    pub release: Option<u64>,
}
