//! agent.toml, right and wrong.

use super::*;

fn parse(text: &str) -> Result<AgentSettings, String> {
    AgentSettings::parse("agent.toml", text).map_err(|error| error.to_string())
}

/// The messages for a file that has mistakes.
fn mistakes(text: &str) -> Vec<String> {
    parse(text).unwrap_err().lines().map(str::to_owned).collect()
}

/// The first fetch of a large repository takes its time, and begun again it would never end; a stop of the agent waits for it.
#[test]
fn a_fetch_has_two_minutes_where_nothing_is_said() {
    assert_eq!(AgentSettings::new("x").git.deadline, Span::secs(120));
}

#[test]
fn one_line_is_enough() {
    let settings = parse(r#"repo = "ssh://git@git.example.org/deploy.git""#).unwrap();
    assert_eq!(settings, AgentSettings::new("ssh://git@git.example.org/deploy.git"));
    assert_eq!((settings.branch.as_str(), settings.schedule.to_string()), ("main", "*/2 * * * *".to_owned()));
}

#[test]
fn everything_can_be_said() {
    let settings = parse(
        r#"
        repo = "file:///srv/deploy.git"
        branch = "live"
        host = "web1.example.org"
        schedule = "*/5 * * * *"
        jitter = "1m"
        manager = "supervisor"
        allow_local_git = true
        [git]
        key = "/etc/portreeve/ssh/key"
        known_hosts = "/etc/portreeve/ssh/known_hosts"
        deadline = "2m"
        [nginx]
        port = 8480
        [python]
        wheelhouse = "/srv/wheels"
        [prune]
        grace = "0s"
        "#,
    )
    .unwrap();
    assert_eq!(settings.manager, Some(Manager::Supervisor));
    assert_eq!((settings.nginx.port, settings.git.deadline), (8480, Span::secs(120)));
    assert_eq!(settings.prune.grace, Span::secs(0));
    assert_eq!(parse(&settings.to_toml()).unwrap(), settings);
}

#[test]
fn what_setup_writes_is_read_back() {
    let unsaid = AgentSettings::new("git@git.example.org:deploy.git");
    let text = unsaid.to_toml();
    assert_eq!(parse(&text).unwrap(), unsaid, "{text}");
    // Its commented-out lines are right as well.
    let uncommented: String = text
        .lines()
        .map(|line| line.strip_prefix("# ").filter(|rest| rest.contains(" = ")).unwrap_or(line))
        .fold(String::new(), |all, line| all + line + "\n");
    assert!(parse(&uncommented).is_ok(), "{uncommented}");
    let odd = AgentSettings { branch: "it's/\"odd\"".into(), ..unsaid };
    assert_eq!(parse(&odd.to_toml()).unwrap(), odd);
}

#[test]
fn all_mistakes_at_once_in_order_with_their_places() {
    let text = "brunch = \"live\"\nschedule = \"0 3 13 * fri\"\njitter = 30\nmanager = \"runit\"\n[git]\ndedline = \"1m\"\nkey = \"id\"\n[nginx]\nport = 70000\n[colour]\n";
    assert_eq!(
        mistakes(text),
        [
            "agent.toml:1:1: `repo` is missing: the deploy repository; add repo = \"ssh://git@git.example.org/deploy.git\" as its first line",
            "agent.toml:1:1: unknown key `brunch`; did you mean `branch`?",
            "agent.toml:2:12: `schedule`: a schedule restricts the day of the month or the weekday, not both: make one of them `*`",
            "agent.toml:3:10: `jitter` is a string, not a number",
            "agent.toml:4:11: `manager`: either \"systemd\" or \"supervisor\"",
            "agent.toml:6:1: unknown key `dedline` in [git]; did you mean `deadline`?",
            "agent.toml:7:7: `key`: a path here begins with `/`",
            "agent.toml:9:8: `port`: a port is a number from 1 to 65535",
            "agent.toml:10:2: unknown key `colour`; known here: repo, branch, host, schedule, jitter, manager, allow_local_git, git, nginx, python, prune",
        ]
    );
}

#[test]
fn syntax_errors_are_all_shown() {
    let found = mistakes("repo = \nbranch = \"a\nhost = = 1\n");
    assert!(found.len() >= 2, "{found:?}");
    assert!(found[0].starts_with("agent.toml:1:"), "{found:?}");
    assert!(found.iter().any(|line| line.starts_with("agent.toml:3:")), "{found:?}");
}

#[test]
fn columns_count_characters() {
    assert!(mistakes("repo = \"x\"\ngit = { é = 1, key = 2 }\n")[0].starts_with("agent.toml:2:9:"));
    assert!(mistakes("\"é\" = 1\nrepo = \"x\"; \n")[0].starts_with("agent.toml:2:11:"));
}

#[test]
fn values_that_would_become_options_or_leak_are_refused() {
    for repo in ["-uevil", "", "https://token@git.example.org/x", "https://a:b@git.example.org/x", "a b", "a\\nb"] {
        let found = mistakes(&format!("repo = \"{repo}\""));
        assert!(found[0].contains("`repo`: an address"), "{repo:?} {found:?}");
        assert!(!found[0].contains("token"), "{found:?}");
    }
    for branch in ["-x", "", "a..b", "a b", "/a", "a/", "a:b", "@{x"] {
        assert!(parse(&format!("repo = \"x\"\nbranch = \"{branch}\"")).is_err(), "{branch:?}");
    }
    for host in ["", "../web1", "Web1", "a..b", "-a", "a/b"] {
        assert!(parse(&format!("repo = \"x\"\nhost = \"{host}\"")).is_err(), "{host:?}");
    }
}

#[test]
fn a_flood_is_no_configuration() {
    assert!(mistakes(&"#".repeat(100_000))[0].contains("larger than 64 KiB"));
    let unknown: String = (0..500).fold(String::new(), |all, n| all + &format!("k{n} = 1\n"));
    assert_eq!(mistakes(&unknown).len(), 50);
}
