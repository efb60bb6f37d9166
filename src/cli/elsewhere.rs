//! `-H HOST`: the same command on another host, over ssh.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser as _;

use super::args::{Cli, Command, Global};
use super::{Fault, open, printer};
use crate::host::{Parts, Processes as _, Run};
use crate::model::{Layout, Root};

/// What ssh needs of our variables.
const FOR_SSH: [&str; 5] = ["HOME", "PATH", "SSH_AUTH_SOCK", "TERM", "LANG"];

/// Passes the other side's exit code on.
pub fn run(cli: &Cli, host: &str) -> Result<u8, Fault> {
    if host.starts_with('-') || host.is_empty() {
        return Err(Fault::usage("-H takes a host's name"));
    }
    let words = without_host(&open::arguments()).ok_or_else(|| {
        Fault::usage("-H can't be told apart from the words around it").with_help("write it first: portreeve -H HOST …")
    })?;
    let layout = Layout::new(Root::system());
    let parts = Parts::open(&layout, Arc::default()).map_err(|error| Fault::failed(&error))?;
    let ssh = parts.processes.find(&["ssh"]).ok_or_else(|| Fault::blocked("ssh is not installed"))?;
    let terminal = converses(&cli.command) && printer::converses();
    let run = Run {
        program: ssh,
        args: arguments(host, &words, terminal),
        env: open::variables().into_iter().filter(|(name, _)| FOR_SSH.contains(&name.as_str())).collect(),
        directory: PathBuf::from("/"),
        identity: open::ourselves(),
        deadline: Duration::from_hours(24),
        log: None,
        interactive: true,
    };
    let exit = parts.processes.run(&run).map_err(|error| Fault::failed(&error))?;
    match exit.code.and_then(|code| u8::try_from(code).ok()) {
        // ssh's own word for having failed itself (ssh(1)); it has said why.
        None | Some(255) => Err(Fault { code: 1, message: format!("{host} was not reached"), help: None }),
        Some(code) => Ok(code),
    }
}

/// What somebody types into, if only Ctrl-C. All else keeps its two streams apart, which a terminal on the other side would mix.
fn converses(command: &Command) -> bool {
    match command {
        Command::Run(_) => true,
        Command::Logs(args) => args.follow,
        _ => false,
    }
}

fn arguments(host: &str, words: &[String], terminal: bool) -> Vec<String> {
    let before = ["-oBatchMode=yes"].into_iter().chain(terminal.then_some("-t"));
    let before = before.chain(["--", host, "portreeve"]).map(str::to_owned);
    before.chain(words.iter().map(|word| quoted(word))).collect()
}

/// The arguments without the `-H` that sent us here, however it was written: `-H web1`, `-Hweb1`, `-qH=web1`. What is left must
/// mean the same command on this very host, or the other side would call itself without end: the parser decides that, not we.
fn without_host(words: &[String]) -> Option<Vec<String>> {
    let meant = Cli { global: Global { elsewhere: None, ..parsed(words)?.global }, ..parsed(words)? };
    let same = |left: &Vec<String>| parsed(left).is_some_and(|cli| format!("{cli:?}") == format!("{meant:?}"));
    let flags = words.iter().enumerate().filter(|(_, word)| word.starts_with('-') && !word.starts_with("--"));
    let places = flags.flat_map(|(at, word)| word.match_indices('H').map(move |(letter, _)| (at, letter)));
    places.map(|(at, letter)| taken_out(words, at, letter)).find(same)
}

fn parsed(words: &[String]) -> Option<Cli> {
    Cli::try_parse_from(std::iter::once("portreeve").chain(words.iter().map(String::as_str))).ok()
}

/// The words without the letter `H` of one of them, and without the value behind it.
fn taken_out(words: &[String], at: usize, letter: usize) -> Vec<String> {
    let (cluster, host) = words[at].split_at(letter);
    let next = if host == "H" { at + 2 } else { at + 1 };
    let cluster = (cluster != "-").then(|| cluster.to_owned());
    words[..at].iter().cloned().chain(cluster).chain(words.iter().skip(next).cloned()).collect()
}

/// One word for the shell that sshd runs on the other side (POSIX 2.2.2).
fn quoted(arg: &str) -> String {
    format!("'{}'", arg.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn the_host_is_taken_out_however_it_was_written() {
        for (typed, sent) in [
            ("-H web1 status", "status"),
            ("-Hweb1 status", "status"),
            ("-H=web1 status", "status"),
            ("-qH web1 status", "-q status"),
            ("-qHweb1 status", "-q status"),
            ("-qH=web1 status bakery/pro", "-q status bakery/pro"),
            ("status -qH web1 --json", "status -q --json"),
            ("logs bakery/pro -n5 -H web1", "logs bakery/pro -n5"),
            ("-HwebH status", "status"),
            ("suspend bakery/pro --for 2h --reason H -H web1", "suspend bakery/pro --for 2h --reason H"),
            // What follows the command of `run` is that command's.
            ("-H web1 run bakery/pro curl -H Host:x", "run bakery/pro curl -H Host:x"),
            ("-qH web1 run bakery/pro curl -sH Host:x", "-q run bakery/pro curl -sH Host:x"),
        ] {
            assert_eq!(without_host(&words(typed)), Some(words(sent)), "{typed}");
        }
    }

    #[test]
    fn what_would_call_itself_again_is_not_sent() {
        for typed in ["-H web1 status -H web2", "status", "-H web1 no-such-command"] {
            assert_eq!(without_host(&words(typed)), None, "{typed}");
        }
    }

    #[test]
    fn a_shell_gets_a_terminal_and_nothing_else_does() {
        let command = |line: &str| parsed(&words(line)).unwrap().command;
        assert!(converses(&command("run bakery/pro")) && !converses(&command("status")));
        assert!(converses(&command("logs bakery/pro -f")) && !converses(&command("logs bakery/pro")));
        let sent = |terminal| arguments("web1", &words("run it's"), terminal).join(" ");
        assert_eq!(sent(true), r"-oBatchMode=yes -t -- web1 portreeve 'run' 'it'\''s'");
        assert_eq!(sent(false), r"-oBatchMode=yes -- web1 portreeve 'run' 'it'\''s'");
    }
}
