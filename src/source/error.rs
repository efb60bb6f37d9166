//! What a repository, a network or the `git` program may refuse, told apart by what helps.

use std::path::PathBuf;
use std::time::Duration;

use crate::model::CommitId;

use super::{Address, NotRefs};

/// A refusal. `Display` says what is so; [`cure`](Self::cure) what to do.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The address itself is refused.
    #[error(transparent)]
    Address(#[from] super::AddressError),
    /// The branch is not there (any more).
    #[error("{address} has no branch `{branch}`")]
    NoSuchBranch {
        /// Where.
        address: Address,
        /// The branch.
        branch: String,
        /// What is there under such a name: `branch main`.
        near: Vec<String>,
    },
    /// A commit or ref that the server doesn't have.
    #[error("{address} has no {rev}")]
    NoSuchRev {
        /// Where.
        address: Address,
        /// What was asked for.
        rev: String,
    },
    /// Nothing was ever pushed.
    #[error("{address} is empty")]
    EmptyRepository {
        /// Where.
        address: Address,
    },
    /// There is something else, or nothing.
    #[error("{address} is not a git repository, or not one that this host may see")]
    NotARepository {
        /// Where.
        address: Address,
        /// The last words of git.
        stderr: String,
    },
    /// Name, route, connection or server failed.
    #[error("{address} can't be reached: {}", last_line(.stderr))]
    Unreachable {
        /// Where.
        address: Address,
        /// The last words of git.
        stderr: String,
    },
    /// The ssh server is not the one that this host knows.
    #[error("the host key of {address} is not the one in known_hosts, or not there at all")]
    HostKey {
        /// Where.
        address: Address,
    },
    /// Nobody whom this host trusts vouches for the https server.
    #[error("the certificate of {address} is not trusted here: {}", last_line(.stderr))]
    Certificate {
        /// Where.
        address: Address,
        /// The last words of git.
        stderr: String,
    },
    /// Our own disk takes no more.
    #[error("what {address} sends can't be written here: {}", last_line(.stderr))]
    Disk {
        /// Where.
        address: Address,
        /// The last words of git.
        stderr: String,
    },
    /// The server knows neither key nor credentials.
    #[error("{address} doesn't let this host in")]
    Denied {
        /// Where.
        address: Address,
        /// The last words of git.
        stderr: String,
    },
    /// The server sends elsewhere, where credentials must not follow.
    #[error("{address} redirects to another address")]
    Redirected {
        /// Where.
        address: Address,
    },
    /// The deadline passed; git was killed.
    #[error("{address} did not answer within {}s", .after.as_secs())]
    TimedOut {
        /// Where.
        address: Address,
        /// The deadline.
        after: Duration,
    },
    /// More than we are willing to read.
    #[error("{what} is larger than {limit} bytes")]
    TooLarge {
        /// What of it.
        what: String,
        /// The bound.
        limit: u64,
    },
    /// A format that libgit2 doesn't read.
    #[error("{address}: {why}")]
    UnsupportedFormat {
        /// Where.
        address: Address,
        /// Which.
        why: String,
    },
    /// The server sent objects that git refuses.
    #[error("{address} sent objects that fail git's own checks: {}", last_line(.stderr))]
    Corrupt {
        /// Where.
        address: Address,
        /// The last words of git.
        stderr: String,
    },
    /// A name that no ref may have.
    #[error("`{}` is no name for a branch or tag", .name.escape_debug())]
    RefName {
        /// The name.
        name: String,
    },
    /// `git ls-remote` printed something else than refs.
    #[error("{address} sent no list of refs")]
    Refs {
        /// Where.
        address: Address,
        /// What instead.
        source: NotRefs,
    },
    /// The `git` program failed in a way that we don't know.
    #[error("git failed on {address}: {}", last_line(.stderr))]
    Git {
        /// Where.
        address: Address,
        /// The last words of git.
        stderr: String,
    },
    /// The `git` program could not be run.
    #[error("can't run {}", .program.display())]
    Program {
        /// The program.
        program: PathBuf,
        /// The kernel's reason.
        source: std::io::Error,
    },
    /// Our own mirror can't be made, opened or read.
    #[error("can't {action} {}", .path.display())]
    Mirror {
        /// `make`, `replace`, `sweep`.
        action: &'static str,
        /// The mirror.
        path: PathBuf,
        /// The kernel's reason.
        source: std::io::Error,
    },
    /// Our own mirror does not hold, or can't read, what it should.
    #[error("can't read {what} in {}", .path.display())]
    Objects {
        /// A commit, tree or file.
        what: String,
        /// The mirror.
        path: PathBuf,
        /// libgit2's reason.
        source: git2::Error,
    },
    /// A commit that our mirror doesn't hold.
    #[error("commit {} is not in {}", .commit.short(), .path.display())]
    NoSuchCommit {
        /// The commit.
        commit: CommitId,
        /// The mirror.
        path: PathBuf,
    },
}

/// The sentence for people in what git printed: its last line that isn't advice.
fn last_line(stderr: &str) -> &str {
    let lines: Vec<_> = stderr.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = |words: &str| lines.iter().rev().find(|line| line.starts_with(words)).copied();
    let told = last("ssh: ").or_else(|| last("fatal: ")).or_else(|| lines.last().copied());
    let line = told.unwrap_or("git said nothing");
    line.strip_prefix("fatal: ").unwrap_or(line)
}

impl SourceError {
    /// Whether it may pass by itself, so that trying again soon is worth it.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::TimedOut { .. } | Self::Git { .. })
    }

    /// What to do, in one sentence.
    pub fn cure(&self) -> String {
        match self {
            Self::Address(_) => "correct `repo` in agent.toml".into(),
            Self::NoSuchBranch { near, .. } if !near.is_empty() => format!("did you mean {}?", near.join(", ")),
            Self::NoSuchBranch { branch, .. } => format!("push it (git push origin {branch}), or correct `branch`"),
            Self::NoSuchRev { .. } => "push the commit or tag, or correct `rev`".into(),
            Self::EmptyRepository { .. } => "push a first commit".into(),
            Self::NotARepository { .. } => "correct the address, or let this host's deploy key read it".into(),
            Self::TimedOut { .. } => {
                "nothing for users: what runs goes on, and it is tried again; where so much is to be fetched, \
                                      give it longer: `deadline` below [git] in agent.toml"
                    .into()
            }
            Self::Unreachable { .. } => "nothing for users: what runs goes on; it is tried again by itself".into(),
            Self::HostKey { address } => format!(
                "portreeve setup --trust {} asks for it, with its fingerprint to compare with what its keepers publish",
                server(address)
            ),
            Self::Certificate { .. } => {
                "see that it is valid, and that who signed it is in /etc/ssl/certs (update-ca-certificates)".into()
            }
            Self::Disk { .. } => {
                "df -h /var/lib/portreeve says whether there is room, dmesg what is wrong with the disk".into()
            }
            Self::Denied { .. } => "give this host's deploy key read access there".into(),
            Self::Redirected { .. } => {
                "write the address that it redirects to, mostly the same with `.git` at its end".into()
            }
            Self::TooLarge { .. } => "take it out of the repository, and out of its history".into(),
            Self::UnsupportedFormat { .. } => "make the repository anew with --object-format=sha1".into(),
            Self::Corrupt { .. } => "run `git fsck --strict` in the repository and push repaired history".into(),
            Self::RefName { .. } => "see git-check-ref-format(1)".into(),
            Self::Refs { .. } | Self::Git { .. } => "run `git ls-remote` with that address on this host".into(),
            Self::Program { .. } => "install git".into(),
            Self::Mirror { .. } => "see that the directory is root's and its disk has room".into(),
            Self::Objects { path, .. } => format!("remove {}; it is fetched again", path.display()),
            Self::NoSuchCommit { .. } => "fetch it; history may have been rewritten".into(),
        }
    }

    /// What a failed `git` meant, by its English words (`LC_ALL=C`), of which the telling line is kept.
    pub(super) fn from_stderr(address: &Address, stderr: &[u8], bound: u64) -> Self {
        let stderr = clean(stderr);
        let address = address.clone();
        let found = KINDS.iter().find_map(|(kind, words)| Some((kind, telling(&stderr, kind, words)?)));
        let Some((kind, line)) = found else { return Self::Git { address, stderr } };
        let stderr = line.to_owned();
        match kind {
            Kind::TooLarge => Self::TooLarge { what: format!("what {address} sent"), limit: bound },
            Kind::Disk => Self::Disk { address, stderr },
            Kind::HostKey => Self::HostKey { address },
            Kind::Certificate => Self::Certificate { address, stderr },
            Kind::Redirected => Self::Redirected { address },
            Kind::Denied => Self::Denied { address, stderr },
            Kind::Format => Self::UnsupportedFormat { address, why: "only SHA-1 repositories can be read".into() },
            Kind::NoSuchRev => Self::NoSuchRev { address, rev: missing(&stderr) },
            Kind::Corrupt => Self::Corrupt { address, stderr },
            Kind::Unreachable => Self::Unreachable { address, stderr },
            Kind::NotARepository => Self::NotARepository { address, stderr },
        }
    }
}

/// The first line with the first of these words that there is. The server may say of its own disk what git says of ours.
fn telling<'a>(stderr: &'a str, kind: &Kind, words: &[&str]) -> Option<&'a str> {
    let counts = |line: &&str| !(matches!(kind, Kind::Disk) && line.starts_with("remote: "));
    words.iter().find_map(|word| stderr.lines().filter(counts).find(|line| line.contains(word)))
}

/// The address's `host:port`, as `setup --trust` takes it.
fn server(address: &Address) -> String {
    let Some((host, port)) = address.ssh_server() else { return address.to_string() };
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    port.filter(|&port| port != 22).map_or_else(|| host.clone(), |port| format!("{host}:{port}"))
}

enum Kind {
    TooLarge,
    Disk,
    HostKey,
    Certificate,
    Redirected,
    Denied,
    Format,
    NoSuchRev,
    Corrupt,
    Unreachable,
    NotARepository,
}

/// Words of git and ssh, the telling ones first: git ends most failures with the same advice on access rights.
const KINDS: &[(Kind, &[&str])] = &[
    (Kind::TooLarge, &["signal 25", "File too large", "Out of memory", "out of memory"]),
    (Kind::Disk, &["No space left on device", "Disk quota exceeded", "Input/output error", "Read-only file system"]),
    (Kind::HostKey, &["Host key verification failed", "REMOTE HOST IDENTIFICATION HAS CHANGED"]),
    (Kind::Certificate, &["SSL certificate problem", "server certificate verification failed"]),
    (Kind::Redirected, &["returned error: 301", "returned error: 302", "returned error: 307", "returned error: 308"]),
    (
        Kind::Denied,
        &[
            "Permission denied (",
            "Authentication failed",
            "could not read Username",
            "could not read Password",
            "returned error: 401",
            "returned error: 403",
            "dubious ownership",
        ],
    ),
    (Kind::Format, &["mismatched algorithms", "unknown object format", "unsupported object format"]),
    (Kind::NoSuchRev, &["couldn't find remote ref", "not our ref", "does not allow request for unadvertised object"]),
    (Kind::Corrupt, &["fsck error", "did not send all necessary objects"]),
    (
        Kind::Unreachable,
        &[
            // A server that has too many connections ends this one before it says who it is.
            "kex_exchange_identification",
            "ssh_exchange_identification",
            "Could not resolve host",
            "Connection refused",
            "Connection timed out",
            "Network is unreachable",
            "No route to host",
            "Connection reset",
            "Connection closed",
            "Couldn't connect",
            "Failed to connect",
            "Empty reply from server",
            "Operation timed out",
            "hung up unexpectedly",
            "early EOF",
            "unresolved deltas",
            "index-pack failed",
            "bad pack",
            "returned error: 5",
            "returned error: 429",
        ],
    ),
    (
        Kind::NotARepository,
        &[
            "does not appear to be a git repository",
            "not found",
            "No such file or directory",
            "valid repository",
            "returned error: 404",
        ],
    ),
    // index-pack ended without a word: one of our limits killed it.
    (Kind::TooLarge, &["invalid index-pack output"]),
];

fn missing(stderr: &str) -> String {
    let name = ["remote ref ", "not our ref ", "unadvertised object "]
        .iter()
        .find_map(|words| stderr.split_once(words).and_then(|(_, rest)| rest.split_whitespace().next()));
    name.unwrap_or("such commit").to_owned()
}

/// Text from a server, for a terminal or log: without control characters but line ends.
fn clean(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let kept = text.chars().map(|c| if c == '\r' { '\n' } else { c }).filter(|c| *c == '\n' || !c.is_control());
    kept.collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::LocalPaths;

    fn error(stderr: &str) -> SourceError {
        let address = Address::parse("https://git.example.org/x", LocalPaths::Refused).unwrap();
        SourceError::from_stderr(&address, stderr.as_bytes(), 7)
    }

    #[test]
    fn failures_are_told_apart() {
        let advice = "fatal: Could not read from remote repository.\n\nPlease make sure you have the correct access rights\nand the repository exists.";
        assert!(matches!(error(&format!("Host key verification failed.\n{advice}")), SourceError::HostKey { .. }));
        assert!(matches!(
            error(&format!("git@h: Permission denied (publickey).\n{advice}")),
            SourceError::Denied { .. }
        ));
        let refused = error(&format!("ssh: connect to host h port 22: Connection refused\n{advice}"));
        assert!(matches!(refused, SourceError::Unreachable { .. }) && refused.is_transient());
        assert_eq!(
            refused.to_string(),
            "https://git.example.org/x can't be reached: ssh: connect to host h port 22: Connection refused"
        );
        assert!(matches!(
            error("remote: Repository not found.\nfatal: repository 'x' not found"),
            SourceError::NotARepository { .. }
        ));
        assert!(matches!(
            error("fatal: mismatched algorithms: client sha1; server sha256"),
            SourceError::UnsupportedFormat { .. }
        ));
        assert!(matches!(error("error: index-pack died of signal 25"), SourceError::TooLarge { limit: 7, .. }));
        let missing = error("fatal: remote error: upload-pack: not our ref 1234");
        assert!(matches!(missing, SourceError::NoSuchRev { rev, .. } if rev == "1234"));
        assert!(matches!(error("a riddle"), SourceError::Git { .. }));
    }

    /// Word for word what git 2.39 says.
    #[test]
    fn a_disk_of_ours_that_takes_no_more_is_not_the_servers_fault() {
        for words in [
            "write error: No space left on device",
            "write error: Input/output error",
            "Unable to create temporary file '/var/lib/x/objects/pack/tmp_pack_XXXXXX': Read-only file system",
        ] {
            let full = error(&format!("fatal: {words}\nfatal: fetch-pack: invalid index-pack output"));
            assert!(matches!(full, SourceError::Disk { .. }) && !full.is_transient(), "{full:?}");
            assert_eq!(
                full.to_string(),
                format!("what https://git.example.org/x sends can't be written here: {words}")
            );
            assert!(full.cure().contains("df -h"), "{}", full.cure());
        }
        let theirs = error("remote: fatal: write error: No space left on device\nfatal: early EOF");
        assert!(matches!(theirs, SourceError::Unreachable { .. }), "{theirs:?}");
    }

    /// Word for word what OpenSSH 9.2 says where `MaxStartups` is reached.
    #[test]
    fn a_server_that_has_no_time_is_tried_again() {
        let busy = error(
            "kex_exchange_identification: Connection closed by remote host\nConnection closed by 127.0.0.1 port 22\n\
             fatal: Could not read from remote repository.\n\nPlease make sure you have the correct access rights\nand the \
             repository exists.",
        );
        assert!(busy.is_transient(), "{busy:?}");
        let words = "can't be reached: kex_exchange_identification: Connection closed by remote host";
        assert!(busy.to_string().ends_with(words), "{busy}");
    }

    #[test]
    fn who_is_not_known_is_told_with_the_cure_for_him() {
        let failed = |address: &str, said: &str| {
            let address = Address::parse(address, LocalPaths::Refused).unwrap();
            SourceError::from_stderr(&address, said.as_bytes(), 7).cure()
        };
        let changed = "Host key verification failed.\nfatal: Could not read from remote repository.";
        assert!(failed("git@git.example.org:x", changed).starts_with("portreeve setup --trust git.example.org asks"));
        assert!(failed("ssh://git@[::1]:2222/x", changed).starts_with("portreeve setup --trust [::1]:2222 asks"));
        let expired = "fatal: unable to access 'https://h/x/': server certificate verification failed. CAfile: none";
        assert!(failed("https://h/x", expired).contains("/etc/ssl/certs"));
    }

    #[test]
    fn no_escape_sequence_of_a_server_reaches_a_terminal() {
        let text = error("remote: \u{1b}[2Jhello\u{9b}\u{7}\rfatal: over").to_string();
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }
}
