//! What a repository means as a whole: layers, defaults, hosts, and how far a mistake reaches.

use portreeve::cli::diagnostics::render;
use portreeve::manifest::{
    Entry, Environment, Expect, Literal, Migrations, Policy, Repository, Rev, Severity, Tree, Version, Web, parse,
};
use portreeve::model::{EnvName, Span};
use proptest::prelude::*;

use super::{SOUND, file, lines, sound};

fn name(text: &str) -> EnvName {
    EnvName::parse(text).unwrap()
}

fn with(files: &[(&str, &str)]) -> Tree {
    let mut tree = sound();
    for (path, text) in files {
        tree.insert(*path, file(text));
    }
    tree
}

fn usable(tree: &Tree) -> Repository {
    let (repository, diagnostics) = parse(tree);
    assert!(!diagnostics.has_errors(), "{:#?}", lines(&diagnostics));
    repository.unwrap()
}

fn environment(tree: &Tree, environment: &str) -> Environment {
    usable(tree).environments.remove(&name(environment)).unwrap().unwrap()
}

const STAGE: (&str, &str) = ("projects/bakery/stage.toml", "branch = \"main\"\ndomains = [\"stage.bakery.example\"]\n");
const DEV: (&str, &str) = ("projects/bakery/dev.toml", "rev = \"main\"\ndomains = [\"dev.bakery.example\"]\n");

#[test]
fn a_first_environment_has_a_default_for_everything_else() {
    let (_, diagnostics) = parse(&sound());
    assert_eq!(lines(&diagnostics), Vec::<String>::new());
    let pro = environment(&sound(), "bakery/pro");
    assert_eq!(
        (pro.policy, pro.user.as_str(), pro.ports.to_string().as_str()),
        (Policy::Pro, "foouser", "60000-60009")
    );
    assert_eq!(pro.rev, Rev::Named("v1.4.2".to_owned()));
    assert_eq!((pro.base_dir.to_str(), pro.keep_releases, pro.warm), (Some("/home"), 5, Span::secs(300)));
    assert_eq!((pro.health.expect, pro.health.passes, pro.health.bake), (Expect::Answer, 2, Span::secs(10)));
    assert_eq!((pro.nginx.max_body, pro.logs.max_size, pro.logs.keep), (20 << 20, 20 << 20, 20));
    assert_eq!((pro.python.version, pro.python.requirements.to_str()), (None, Some("requirements.txt")));
    assert_eq!((pro.migrations, pro.removed), (Migrations::Additive, false));
    let Web::Gunicorn(gunicorn) = pro.web;
    assert_eq!((gunicorn.workers, gunicorn.threads, gunicorn.timeout), (None, 1, Span::secs(30)));
    let django = pro.django.unwrap();
    assert!(!django.debug && django.collectstatic && django.compilemessages);
}

#[test]
fn the_other_environments_have_users_and_ports_of_their_own() {
    let repository = usable(&with(&[STAGE, DEV]));
    let of = |text| {
        let environment = repository.environments[&name(text)].as_ref().unwrap();
        (environment.policy, environment.user.to_string(), environment.ports.to_string())
    };
    assert_eq!(of("bakery/stage"), (Policy::Stage, "foouser-stage".to_owned(), "60010-60019".to_owned()));
    assert_eq!(of("bakery/dev"), (Policy::Dev, "foouser-dev".to_owned(), "60020-60029".to_owned()));
}

#[test]
fn an_alias_has_the_policy_and_place_of_its_name_and_any_other_says_both() {
    let tree = with(&[
        ("projects/bakery/staging.toml", STAGE.1),
        (
            "projects/bakery/qa.toml",
            "rev = \"main\"\nlike = \"dev\"\nports = \"60030-60039\"\ndomains = [\"qa.example\"]\n",
        ),
    ]);
    let staging = environment(&tree, "bakery/staging");
    assert_eq!((staging.policy, staging.ports.first), (Policy::Stage, 60010));
    let qa = environment(&tree, "bakery/qa");
    assert_eq!((qa.policy, qa.user.as_str()), (Policy::Dev, "foouser-qa"));
}

#[test]
fn later_layers_win_key_by_key() {
    let fleet = "schema = 1\n[defaults]\nkeep_releases = 7\n[defaults.settings]\nA = 1\nNESTED = { x = 1, y = 1 }\n\
                 [defaults.health]\npath = \"/d\"\npasses = 9\n[defaults.nginx.headers]\nX-A = \"1\"\n[defaults.logs]\nkeep = 3\n";
    let project = format!(
        "keep_releases = 8\n{}[settings]\nB = [1]\nNESTED = {{ y = 2 }}\n[health]\npath = \"/p\"\n",
        SOUND[2].1
    );
    let pro = "rev = \"v1\"\ndomains = [\"a.example\"]\n[settings]\nB = [2, 3]\n[health]\nstatus = 204\n\
               [nginx.headers]\nX-B = \"2\"\n[logs]\nenabled = false\n";
    let pro = environment(
        &with(&[
            ("portreeve.toml", fleet),
            ("projects/bakery/project.toml", &project),
            ("projects/bakery/pro.toml", pro),
        ]),
        "bakery/pro",
    );
    assert_eq!((pro.keep_releases, pro.health.path.as_str(), pro.health.passes), (8, "/p", 9));
    assert_eq!(pro.health.expect, Expect::Status(204));
    assert_eq!(pro.settings["A"], Literal::Int(1));
    assert_eq!(pro.settings["B"], Literal::List(vec![Literal::Int(2), Literal::Int(3)]), "arrays replace");
    let Literal::Table(nested) = &pro.settings["NESTED"] else { panic!() };
    assert_eq!((&nested["x"], &nested["y"]), (&Literal::Int(1), &Literal::Int(2)));
    assert_eq!(pro.nginx.headers.keys().collect::<Vec<_>>(), ["X-A", "X-B"]);
    assert_eq!(pro.logs.keep, 20, "a table that was taken away has its defaults");
}

#[test]
fn a_later_rev_replaces_an_earlier_branch() {
    let project = format!("branch = \"main\"\n{}", SOUND[2].1);
    let tree = with(&[("projects/bakery/project.toml", &project), DEV]);
    assert_eq!(environment(&tree, "bakery/pro").rev, Rev::Named("v1.4.2".to_owned()));
    let commit = "a".repeat(40);
    let tree = with(&[("projects/bakery/pro.toml", &SOUND[3].1.replace("v1.4.2", &commit))]);
    assert_eq!(environment(&tree, "bakery/pro").rev.display(), "aaaaaaa");
}

#[test]
fn dev_may_debug_by_either_key_and_it_has_one_place() {
    for more in ["[django]\ndebug = true\n", "[settings]\nDEBUG = true\n"] {
        let dev = environment(&with(&[(DEV.0, &format!("{}{more}", DEV.1))]), "bakery/dev");
        assert!(dev.django.unwrap().debug, "{more}");
        assert!(dev.settings.is_empty(), "{more}");
    }
}

#[test]
fn a_mistake_stops_what_it_concerns_and_nothing_else() {
    let tree = with(&[
        (STAGE.0, "rev = \n"),
        DEV,
        ("projects/cafe/project.toml", "user = 3\n"),
        ("projects/cafe/pro.toml", SOUND[3].1),
        ("hosts/web1.toml", "environments = [\"bakery/pro\", \"bakery/stage\", \"bakery/nope\"]\n"),
        ("hosts/web2.toml", "environments = [\n"),
    ]);
    let (repository, diagnostics) = parse(&tree);
    let repository = repository.unwrap();
    let sound: Vec<_> = repository.environments.iter().map(|(name, it)| (name.to_string(), it.is_ok())).collect();
    let expected = [("bakery/dev", true), ("bakery/pro", true), ("bakery/stage", false), ("cafe/pro", false)];
    assert_eq!(sound, expected.map(|(name, ok)| (name.to_owned(), ok)), "{:#?}", lines(&diagnostics));
    let stage = repository.environments[&name("bakery/stage")].as_ref().unwrap_err();
    assert_eq!(stage.to_string(), "projects/bakery/stage.toml:1:7: not TOML");
    let web1 = &repository.hosts["web1"];
    assert_eq!(web1.environments, [name("bakery/pro"), name("bakery/stage")], "invalid is not absent");
    assert!(web1.mistakes.is_some(), "something that it names is unknown");
    let web2 = &repository.hosts["web2"];
    assert!(web2.environments.is_empty() && web2.mistakes.is_some(), "a parse error is not absence");
}

#[test]
fn a_mistake_of_a_project_stops_its_environments_even_if_they_could_do_without() {
    let project = format!("colour = 1\n{}", SOUND[2].1);
    let (repository, _) = parse(&with(&[("projects/bakery/project.toml", &project)]));
    let invalid = repository.unwrap().environments.remove(&name("bakery/pro")).unwrap().unwrap_err();
    assert_eq!(invalid.to_string(), "projects/bakery/project.toml:1:1: unknown key `colour`");
}

#[test]
fn without_a_usable_portreeve_toml_there_is_no_repository() {
    for text in ["schema = ", "schema = 2\n", "schema = 1\ncolour = 1\n", "schema = 1\nrequires = \">=99\"\n"] {
        let (repository, diagnostics) = parse(&with(&[("portreeve.toml", text)]));
        assert!(repository.is_none() && diagnostics.has_errors(), "{text}");
    }
    let (repository, _) = parse(&Tree::new());
    assert!(repository.is_none());
}

#[test]
fn a_requirement_that_is_met_is_kept() {
    let repository = usable(&with(&[("portreeve.toml", "schema = 1\nrequires = \">= 0.1\"\n")]));
    assert_eq!(repository.requires, Version(0, 1, 0));
    assert_eq!(Version::current().to_string(), env!("CARGO_PKG_VERSION"));
}

#[test]
fn a_dev_that_claims_ports_of_pro_does_not_stop_pro() {
    let dev = format!("ports = \"60000-60009\"\n{}", DEV.1);
    let (repository, _) = parse(&with(&[(DEV.0, &dev)]));
    let environments = repository.unwrap().environments;
    assert!(environments[&name("bakery/pro")].is_ok());
    assert!(environments[&name("bakery/dev")].is_err());
}

#[test]
fn two_hosts_of_a_database_both_know_of_each_other() {
    let (repository, _) = parse(&with(&[("hosts/web2.toml", "environments = [\"bakery/pro\"]\n")]));
    let repository = repository.unwrap();
    assert!(repository.environments[&name("bakery/pro")].is_ok());
    for host in ["web1", "web2"] {
        let entry = &repository.hosts[host];
        assert_eq!(entry.environments, [name("bakery/pro")], "what serves is taken off no list");
        assert!(entry.mistakes.is_none());
        assert_eq!(entry.split[&name("bakery/pro")], ["web1", "web2"]);
    }
}

/// Who has it on a host, the host knows: neither is a mistake by itself.
#[test]
fn a_domain_of_two_environments_makes_neither_unusable() {
    let stage = ("projects/bakery/stage.toml", "rev = \"main\"\ndomains = [\"bakery.example\"]\n");
    let host = ("hosts/web1.toml", "environments = [\"bakery/pro\", \"bakery/stage\"]\n");
    let (repository, diagnostics) = parse(&with(&[stage, host]));
    assert_eq!(diagnostics.errors().count(), 2);
    assert!(repository.unwrap().environments.values().all(Result::is_ok));
}

#[test]
fn a_host_is_found_by_its_whole_name_then_by_its_first_label() {
    let repository = usable(&with(&[STAGE, ("hosts/web2.example.org.toml", "environments = [\"bakery/stage\"]\n")]));
    assert_eq!(repository.for_host("web1.example.org").unwrap().0, "web1");
    let (file, entry) = repository.for_host("web2.example.org").unwrap();
    assert_eq!(file, "web2.example.org");
    let here: Vec<_> = repository.environments_of(entry).map(|(name, it)| (name.to_string(), it.is_ok())).collect();
    assert_eq!(here, [("bakery/stage".to_owned(), true)]);
    assert!(repository.for_host("web2").is_none());
    assert_eq!(repository.for_host("WEB1.Example.org").unwrap().0, "web1", "hostnames have no case");
}

#[test]
fn no_host_takes_the_file_of_another() {
    let repository = usable(&with(&[STAGE, ("hosts/web1.b.example.toml", "environments = [\"bakery/stage\"]\n")]));
    assert!(repository.for_host("web1.a.example").is_none(), "whose web1 is, can't be known");
    assert_eq!(repository.for_host("web1").unwrap().0, "web1");
}

#[test]
fn what_is_no_manifest_is_not_read() {
    let mut tree = sound();
    tree.insert("projects/bakery/stage.toml", Entry::Link);
    tree.insert("projects/bakery/dev.toml", Entry::TooLarge(100 << 20));
    tree.insert("hosts/web2.toml", Entry::File(b"# ok\nenvironments = [\"\xff\"]\n".to_vec()));
    tree.insert("projects/cafe", Entry::Link);
    tree.insert("README.md", Entry::File(vec![0xff]));
    tree.insert("projects/notes", Entry::File(vec![0xff]));
    let (repository, diagnostics) = parse(&tree);
    assert_eq!(
        lines(&diagnostics),
        [
            "hosts/web2.toml:2:18: error: not UTF-8 | byte 0xff is no character | save the file as UTF-8",
            "projects/bakery/dev.toml:1:1: error: 102400 KiB is too large for a manifest | - | the limit is 1024 KiB",
            "projects/bakery/stage.toml:1:1: error: a link is never followed | - | put the file itself here",
            "projects/cafe:1:1: error: a link is never followed | - | put the file itself here",
        ]
    );
    let environments = repository.unwrap().environments;
    let sound = |text| environments[&name(text)].is_ok();
    assert!(sound("bakery/pro") && !sound("bakery/stage") && !sound("bakery/dev"));
    tree.insert("big.toml", Entry::File(vec![b'#'; 2 << 20]));
    assert_eq!(tree.get("big.toml"), Some(&Entry::TooLarge(2 << 20)), "the bytes are not kept");
}

#[test]
fn an_environment_survives_its_generation() {
    let pro = environment(&sound(), "bakery/pro");
    let text = serde_json::to_string(&pro).unwrap();
    assert_eq!(serde_json::from_str::<Environment>(&text).unwrap(), pro);
}

fn golden() -> Tree {
    let environment = |first: &str, domains: &str| format!("{first}\n{domains}\nports = \"60000-60009\"\n[health]\n");
    let project = SOUND[2].1.replace("bakery", "baz");
    let pro = environment("rev = \"v1.4.2\"", "domain = [\"project.baz\", \"www.project.baz\"]");
    let stage = environment("rev = \"main\"", "domains = [\"stage.project.baz\"]");
    [
        ("portreeve.toml", "schema = 1\n".to_owned()),
        ("hosts/web1.toml", "environments = [\"project.baz/pro\", \"project.baz/stage\"]\n".to_owned()),
        ("projects/project.baz/project.toml", project),
        ("projects/project.baz/pro.toml", pro),
        ("projects/project.baz/stage.toml", stage),
    ]
    .into_iter()
    .map(|(path, text)| (path, file(&text)))
    .collect()
}

/// golden.md, `portreeve check`.
#[test]
fn check_speaks_as_it_should() {
    let tree = golden();
    let expected = "\
error: unknown key `domain`
 --> projects/project.baz/pro.toml:2:1
  |
2 | domain = [\"project.baz\", \"www.project.baz\"]
  | ^^^^^^ did you mean `domains`?

error: ports 60000-60009 belong to project.baz/pro
 --> projects/project.baz/stage.toml:3:9
  |
3 | ports = \"60000-60009\"
  |         ^^^^^^^^^^^^^ first claimed in projects/project.baz/pro.toml:3
  |
  = help: the next free block is 60010-60019

2 errors in 5 files
";
    assert_eq!(render(&parse(&tree).1, &tree, false), expected);
}

#[test]
fn warnings_come_first_and_files_without_a_line_have_their_path() {
    let mut tree = with(&[("projects/bakery/pro.toml", "rev = \"v1\"\ndomains = [\"a.example\"]\n")]);
    tree.insert("hosts/web2.toml", Entry::Link);
    let expected = "\
warning: bakery/pro has no [health]
 --> projects/bakery/pro.toml:1:1
  |
1 | rev = \"v1\"
  | ^ any page below 400 counts
  |
  = help: add [health] with `path = \"/healthz\"`

error: a link is never followed
--> hosts/web2.toml
 = help: put the file itself here

1 error and 1 warning in 5 files
";
    assert_eq!(render(&parse(&tree).1, &tree, false), expected);
    assert!(render(&parse(&tree).1, &tree, true).contains("\u{1b}["), "in colour for a terminal");
    assert_eq!(render(&parse(&sound()).1, &sound(), false), "no mistakes in 4 files\n");
}

#[test]
fn no_control_character_of_the_repository_reaches_the_terminal() {
    let odd = "\"\\u001b[31mred\\u202e\" = 1\nuser = \"\u{9b}2J\u{202e}\"\n";
    let tree = with(&[
        ("projects/bakery/pro.toml", odd),
        ("projects/\u{1b}[2J/pro.toml", ""),
        ("hosts/web2.toml", "# \u{7}\n"),
    ]);
    let text = render(&parse(&tree).1, &tree, false);
    assert!(text.contains("red"), "{text}");
    let odd: Vec<char> = text.chars().filter(|&c| (c.is_control() && c != '\n') || c == '\u{202e}').collect();
    assert!(odd.is_empty(), "{odd:?} in {text:?}");
}

#[test]
fn a_hostile_manifest_costs_little_and_says_little() {
    let nested = |around: &str| around.replace("{}", &".a".repeat(400_000));
    let keys = (0..20_000).map(|number| format!("k{number}=1")).collect::<Vec<_>>().join("\n");
    for text in [
        keys.clone(),
        format!("[settings]\n{keys}"),
        "=\n".repeat(100_000),
        format!("a={}", "[".repeat(900_000)),
        nested("[settings]\nA{}=1"),
        nested("[settings.A{}]"),
        nested("[settings]\nA={a{}=1}"),
    ] {
        let tree = with(&[("projects/bakery/stage.toml", &text), ("projects/bakery/project.toml", &text)]);
        let diagnostics = parse(&tree).1;
        assert!(diagnostics.has_errors() && diagnostics.errors().count() <= 200, "{}", diagnostics.errors().count());
        assert!(render(&diagnostics, &tree, false).len() < 200_000);
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(which in 0..4_usize, bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut tree = sound();
        tree.insert(SOUND[which].0, Entry::File(bytes));
        holds_together(&tree);
    }

    #[test]
    fn no_damage_to_a_sound_file_makes_it_panic(
        which in 0..4_usize, at in any::<prop::sample::Index>(), len in 0..12_usize, with in "[a-z0-9 =\"\\[\\]{}.,#\n_-]{0,12}",
    ) {
        let mut bytes = SOUND[which].1.as_bytes().to_vec();
        let at = at.index(bytes.len());
        let end = (at + len).min(bytes.len());
        bytes.splice(at..end, with.into_bytes());
        let mut tree = sound();
        tree.insert(SOUND[which].0, Entry::File(bytes));
        holds_together(&tree);
    }
}

/// What is true of every repository: it can be shown, and what can't be used was complained about.
fn holds_together(tree: &Tree) {
    let (repository, diagnostics) = parse(tree);
    let text = render(&diagnostics, tree, false);
    assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
    match repository {
        None => assert!(diagnostics.has_errors()),
        Some(repository) => {
            let invalid = repository.environments.values().filter_map(|it| it.as_ref().err()).count();
            let unknown = repository.hosts.values().filter(|entry| entry.mistakes.is_some()).count();
            let split = repository.hosts.values().filter(|entry| !entry.split.is_empty()).count();
            assert_eq!(invalid + unknown + split > 0, diagnostics.has_errors(), "{text}");
        }
    }
    assert!(diagnostics.iter().all(|one| one.severity == Severity::Error || one.place.is_some()));
}
