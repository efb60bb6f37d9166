//! One message, in the order of every message about trouble: who is served by what, the cause, what we do next, what you type.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::state::{Active, Sight, State};
use crate::model::EnvName;

/// The shape of what a webhook is sent.
const SCHEMA: u32 = 1;
/// The longest cause, in characters.
const LONGEST: usize = 500;

/// A message. Its JSON is what a webhook is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Version of this shape.
    pub schema: u32,
    /// The same for each attempt to send it.
    pub id: String,
    /// When it was seen.
    pub at: Timestamp,
    /// The host.
    pub host: String,
    /// Which environment; `None`: the host as a whole.
    pub environment: Option<EnvName>,
    /// The state now.
    pub state: State,
    /// The state that was told before.
    pub was: State,
    /// What its users get.
    pub serves: Option<String>,
    /// What is wanted.
    pub wants: Option<String>,
    /// Why, in one line.
    pub cause: String,
    /// What happens without anybody's doing.
    pub next: Option<String>,
    /// What a person may do.
    pub you: Vec<String>,
    /// All of it, for people.
    pub text: String,
}

/// What a message is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct About<'a> {
    pub at: Timestamp,
    pub host: &'a str,
    pub environment: Option<&'a EnvName>,
    pub was: State,
    pub active: Option<&'a Active>,
    /// Of a host as a whole: who is served by what.
    pub served: &'a [String],
}

/// Who is served by what, in one line.
pub(super) fn served(who: &str, active: Option<&Active>) -> String {
    match active {
        Some(Active { title, runs: true }) => format!("{who} serves {title}"),
        Some(Active { title, runs: false }) => format!("{who} serves nothing; {title} does not run"),
        None => format!("{who} serves nothing"),
    }
}

impl Message {
    pub(super) fn new(about: About<'_>, sight: &Sight) -> Self {
        let About { at, host, environment, was, active, served: of_host } = about;
        let serves = active.filter(|active| active.runs);
        let (next, mut you) = advice(environment, sight);
        you.splice(..0, sight.help.clone());
        let who = environment.map_or_else(|| host.to_owned(), |name| format!("{}-{host}", name.flat()));
        let mut message = Self {
            schema: SCHEMA,
            id: format!("{who}-{}-{}", sight.state, at.as_microsecond()),
            at,
            host: host.to_owned(),
            environment: environment.cloned(),
            state: sight.state,
            was,
            serves: serves.map(|active| active.title.clone()),
            wants: sight.wants.clone(),
            cause: one_line(&sight.cause),
            next: sight.next.clone().or(next.map(str::to_owned)),
            you,
            text: String::new(),
        };
        let lines = match environment {
            Some(_) => served(&message.who(), active),
            None if of_host.is_empty() => host.to_owned(),
            None => format!("{host}:\n{}", of_host.join("\n")),
        };
        message.text = message.lines(&lines);
        message
    }

    /// The subject of a mail: `bakery/pro on web1: quarantined; v1.4.2 (generation 42) serves`.
    pub fn subject(&self) -> String {
        let serves = match (&self.environment, &self.serves) {
            (None, _) => String::new(),
            (Some(_), Some(serves)) => format!("; {serves} serves"),
            (Some(_), None) => "; nothing serves".to_owned(),
        };
        format!("{}: {}{serves}", self.who(), self.state)
    }

    fn who(&self) -> String {
        self.environment.as_ref().map_or_else(|| self.host.clone(), |name| format!("{name} on {}", self.host))
    }

    fn lines(&self, served: &str) -> String {
        let mut text = format!("{served}\n\n");
        let rule = match (self.state, self.cause.as_str()) {
            (State::Ok, "") => format!("ok again; it was {}", self.was),
            (state, "") => state.to_string(),
            (state, cause) => format!("{state}: {cause}"),
        };
        let wanted = self.wants.iter().map(String::as_str).filter(|_| self.state != State::Ok);
        let labelled = wanted.map(|wants| ("wanted", wants)).chain([("rule", rule.as_str())]);
        let labelled = labelled.chain(self.next.as_deref().map(|next| ("next", next)));
        let you = self.you.iter().enumerate().map(|(n, line)| (if n == 0 { "you" } else { "" }, line.as_str()));
        for (label, line) in labelled.chain(you) {
            // Writing to a String can't fail.
            let _written = writeln!(text, "{label:<7} {line}");
        }
        text
    }
}

/// What happens next by itself, and what a person may do.
fn advice(environment: Option<&EnvName>, sight: &Sight) -> (Option<&'static str>, Vec<String>) {
    let Some(name) = environment else { return advice_of_host(sight.state) };
    let why = format!("portreeve why {name}");
    match sight.state {
        State::Ok | State::Removed => (None, Vec::new()),
        State::Quarantined => {
            let logs = sight.attempt.map(|number| format!("portreeve logs {name} --release {number}"));
            let retry = format!("push a fix, or, if the cause lay outside: portreeve retry {name}");
            let next = "not tried again until its content changes; drift is still corrected";
            (Some(next), logs.into_iter().chain([retry]).collect())
        }
        State::Held => (Some("stays there"), vec![format!("push other content, or go on: portreeve resume {name}")]),
        State::Suspended => (Some("nothing is changed until it ends"), vec![format!("portreeve resume {name}")]),
        State::Stopped => (Some("stays stopped, over reboots"), vec![format!("portreeve start {name}")]),
        State::Blocked => (Some("looked at again by each pass, and goes on once this is put right"), vec![why]),
        State::Diverged => (Some("refused at every pass"), vec![why]),
        State::Stale => (
            Some("tried at every pass; newer pushes are unknown here"),
            vec!["nothing for users; rollback and restart work without git".to_owned()],
        ),
    }
}

fn advice_of_host(state: State) -> (Option<&'static str>, Vec<String>) {
    match state {
        State::Ok => (None, Vec::new()),
        State::Stale => (
            Some("tried at every pass; newer pushes are unknown here"),
            vec!["nothing for users; rollback and restart work without git".to_owned()],
        ),
        _ => {
            (Some("looked at again at every pass; until then nothing is released"), vec!["portreeve status".to_owned()])
        }
    }
}

/// Text of others on one line, without what a terminal or a mail program would obey.
fn one_line(text: &str) -> String {
    let words = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    words.chars().filter(|c| !c.is_control()).take(LONGEST).collect()
}
