//! What stays on a host after many releases, good and bad, and that nothing else does.

use crate::crash::{Point, pass_dies_at};
use crate::edits::{HASHED, HEALTH_500, NO_SUCH_PACKAGE};
use crate::oracle::{converges, one_generation};
use crate::world::{Edits, World};

/// A storage that ends where a kill or a full disk would: the manifest of before is gone, and there is no new one.
const CUT_STORAGE: (&str, Option<&str>) = (
    "bakery/storage.py",
    Some(
        "from django.contrib.staticfiles.storage import ManifestStaticFilesStorage\n\n\n\
         class Cut(ManifestStaticFilesStorage):\n    def save_manifest(self):\n        \
         self.manifest_storage.delete(self.manifest_name)\n        raise OSError('cut off')\n",
    ),
);

/// Settings alone choose a storage of static files.
const STORAGE: &str = "\n[settings.STORAGES]\ndefault = { BACKEND = \"django.core.files.storage.FileSystemStorage\" }\n\
    staticfiles = { BACKEND = \"NAME\" }\n";

const ENV: &str = "bakery/pro";
const HOME: &str = "/home/foouser/bakery/pro";
const STATIC_RELEASES: &str = "/home/foouser/bakery/pro/static-releases";

const PRO: &str = r#"rev = "v1"
keep_releases = 2
warm = "0s"
domains = ["bakery.example"]

[health]
path = "/healthz"
status = 200
deadline = "8s"
passes = 1
bake = "0s"
"#;

/// A virtual environment of its own.
const OTHER_PACKAGES: (&str, Option<&str>) =
    ("requirements.txt", Some(concat!(include_str!("../bakery/requirements.txt"), "wheel\n")));

/// What visitors, the application and operators put there, and no release may touch.
const THEIRS: &str = "cd /; find home/foouser/bakery/pro/media home/foouser/bakery/pro/data/notes \
    var/backups/foouser/bakery/pro -type f | sort";

#[test]
fn what_no_kept_generation_needs_is_collected() {
    let world = World::new("collect");
    world.host.exec_ok(&["systemctl", "start", "nginx"]);
    world.edit_pro(|_| PRO.to_owned());
    world.host.sh(&format!("mkdir -p {HOME}/media {HOME}/data"));
    good(&world, "v1", &[OTHER_PACKAGES]);
    world.host.sh(&format!("echo x >{HOME}/media/x; echo x >{HOME}/data/notes"));
    let theirs = world.host.sh(THEIRS);
    good(&world, "v2", &[]);
    good(&world, "v3", &[]);
    only_the_last_two_stay(&world);
    static_files_outlive_their_release(&world);
    refused_releases_leave_their_log(&world);
    a_kill_leaves_it_to_the_next_pass(&world);
    assert!(theirs.contains("media/x") && theirs.contains("data/notes"), "{theirs}");
    assert_eq!(world.host.sh(THEIRS), theirs);
    assert!(world.uids().iter().all(|line| !line.ends_with("-0")), "{:?}", world.uids());
}

/// Releases `version`, whose style sheet is its own.
#[track_caller]
fn good(world: &World, version: &str, edits: Edits<'_>) {
    let style = format!("/* {version} */\n");
    let result = world.release(version, &[&[HASHED, ("shop/static/shop/bakery.css", Some(&style))], edits].concat());
    assert_eq!(result.code, 0, "{result}");
    assert_eq!(world.serving(), version, "{result}");
}

/// Releases that `releases/` holds, by their own word; generations; virtual environments.
fn kept(world: &World) -> [Vec<String>; 3] {
    let releases =
        format!("cd {HOME}/releases; ls -A | wc -l; sed -n 's/^RELEASE = \"\\(.*\\)\"$/\\1/p' */bakery/__init__.py");
    let generations = "ls -A /etc/portreeve/generations/bakery_pro | grep -v '\\.'";
    let venvs = format!("ls -A {HOME}/venvs");
    let words = |script: &str| {
        let mut words: Vec<String> = world.host.sh(script).split_whitespace().map(str::to_owned).collect();
        words.sort();
        words
    };
    [words(&releases), words(generations), words(&venvs)]
}

#[track_caller]
fn only_the_last_two_stay(world: &World) {
    let [releases, generations, venvs] = kept(world);
    assert_eq!(releases, ["2", "v2", "v3"]);
    assert_eq!(generations, ["0", "2", "3"]);
    assert_eq!(venvs.len(), 2, "one, and the mark that it is complete: {venvs:?}");
}

fn styles(world: &World) -> Vec<String> {
    let hashed =
        format!("cd {HOME}/static/shop; for f in bakery.*.css; do sed -n 's,/\\* \\(.*\\) \\*/,\\1,p' $f; done");
    let mut styles: Vec<String> = world.host.sh(&hashed).lines().map(str::to_owned).collect();
    styles.sort();
    styles
}

/// A page of v1 may still be open somewhere: its assets stay for a while after it was replaced, and then go.
#[track_caller]
fn static_files_outlive_their_release(world: &World) {
    age(world);
    good(world, "v4", &[]);
    assert_eq!(styles(world), ["v1", "v2", "v3", "v4"], "v1 was replaced just now");
    age(world);
    world.host.sh("sed -i 's/\"20[0-9][0-9]-/\"2001-/' /etc/portreeve/generations/bakery_pro/*.static");
    good(world, "v5", &[]);
    assert_eq!(styles(world), ["v4", "v5"], "those of generations that stay, however old the files");
    assert!(world.host.has(&format!("{HOME}/static/shop/bakery.css")), "no hash, no age");
    let notes = world.host.sh("cd /etc/portreeve/generations/bakery_pro; ls *.static");
    assert_eq!(notes, "4.static\n5.static\n");
}

fn age(world: &World) {
    world.host.sh(&format!("find {HOME}/static -type f -exec touch -d '300 days ago' {{}} +"));
}

/// Nothing of it but what it said: one that was built and started, and one that could not be built.
#[track_caller]
fn refused_releases_leave_their_log(world: &World) {
    let before = kept(world);
    let late = world.release("late", &[HEALTH_500, &[OTHER_PACKAGES]].concat()).exits(3);
    assert_eq!(kept(world), before, "{late}");
    let early = world.release("early", NO_SUCH_PACKAGE).exits(3);
    assert_eq!(kept(world), before, "{early}");
    let said = |number: &str| world.portreeve(&["logs", ENV, "-n", "500", "--release", number]).ok().stdout;
    assert!(said("7").contains("no-such-package"), "{}", said("7"));
    assert!(!said("5").contains(".po\n"), "our own questions are no part of it: {}", said("5"));
    assert_eq!(one_generation(world), 5);
}

/// Killed while it takes the oldest release away, it has released; the next pass takes the rest.
#[track_caller]
fn a_kill_leaves_it_to_the_next_pass(world: &World) {
    world.push_app("v8", &[HASHED], "v8");
    world.set_rev("v8");
    pass_dies_at(world, Point::first("a release is set aside", "renameat", "/home/foouser/bakery/pro/releases"));
    assert_eq!(world.serving(), "v8");
    assert_eq!(kept(world)[0], ["3", "v4", "v5", "v8"]);
    converges(world, "v8");
    let [releases, generations, _] = kept(world);
    assert_eq!((releases, generations), (words(&["2", "v5", "v8"]), words(&["0", "5", "8"])));
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// What a visitor gets of the style sheet, which has no hash in its name here.
#[track_caller]
fn style(world: &World) -> String {
    let answer = world.get("/static/shop/bakery.css");
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body.trim().to_owned()
}

#[test]
fn static_files_without_a_hash_are_those_of_the_release_that_serves() {
    let world = World::new("statics");
    world.host.exec_ok(&["systemctl", "start", "nginx"]);
    world.edit_pro(|_| PRO.to_owned());
    let release = |version: &str, edits: Edits<'_>| {
        let text = format!("/* {version} */\n");
        world.release(version, &[&[("shop/static/shop/bakery.css", Some(&*text))], edits].concat())
    };
    release("v1", &[("shop/static/shop/old.css", Some("/* dropped */\n"))]).ok();
    assert_eq!(style(&world), "/* v1 */");
    release("v2", HEALTH_500).exits(3);
    assert_eq!((world.serving().as_str(), style(&world).as_str()), ("v1", "/* v1 */"), "nobody has seen the other");
    release("v3", &[]).ok();
    assert_eq!((world.serving().as_str(), style(&world).as_str()), ("v3", "/* v3 */"));
    assert_eq!(world.get("/static/shop/old.css").status, 200, "a page of v1 may be open");
    world.portreeve(&["rollback", ENV]).ok();
    assert_eq!((world.serving().as_str(), style(&world).as_str()), ("v1", "/* v1 */"));

    // Settings alone choose another storage for the same release: hashed names of all releases are together.
    world.portreeve(&["resume", ENV]).ok();
    let hashed = STORAGE.replace("NAME", "django.contrib.staticfiles.storage.ManifestStaticFilesStorage");
    let pro = world.edit_pro(|pro| pro.to_owned() + &hashed);
    world.reconcile().ok();
    assert_eq!((styles(&world), style(&world).as_str()), (vec!["v3".to_owned()], "/* v3 */"));
    let name = world.host.sh(&format!("cd {HOME}/static; ls shop/bakery.*.css"));
    assert_eq!(world.get(&format!("/static/{}", name.trim())).status, 200);
    world.edit_pro(|_| pro);
    world.reconcile().ok();
    assert_eq!(style(&world), "/* v3 */");
    release("v4", &[HASHED]).ok();
    assert_eq!(style(&world), "/* v4 */");
    assert_eq!(styles(&world), ["v3", "v4"]);
    release("v5", &[HASHED]).ok();
    release("v6", &[HASHED]).ok();
    assert_eq!(styles(&world), ["v3", "v4", "v5", "v6"]);
    let kept = ["releases", "static-releases"]
        .map(|place| world.host.sh(&format!("ls -A {HOME}/{place} | grep -v complete | cut -d- -f1,2")));
    assert_eq!(kept[0], kept[1], "they go with their releases");
}

/// Django leaves a file alone that is newer than its source: one that was cut off would be served for ever, or read.
#[test]
fn static_files_and_messages_that_a_killed_pass_left_are_made_again() {
    let world = World::new("cut-statics");
    world.host.exec_ok(&["systemctl", "start", "nginx"]);
    world.edit_pro(|_| PRO.to_owned());
    let release = |version: &str| {
        world.push_app(version, &[("shop/static/shop/bakery.css", Some(&format!("/* {version} */\n")))], version);
        world.set_rev(version);
    };
    release("v1");
    world.reconcile().ok();
    release("v2");
    pass_dies_at(&world, Point::first("nobody has said that they are whole", "renameat", STATIC_RELEASES));
    let cut = world.host.sh(&format!(
        "cd {STATIC_RELEASES}; for own in *-??????; do test -e $own.complete || truncate -s 3 $own/shop/bakery.css; done
        cat */shop/bakery.css"
    ));
    assert!(cut.contains("/* v1 */") && !cut.contains("/* v2 */"), "{cut}");
    let messages = format!("{HOME}/releases/*/shop/locale/it/LC_MESSAGES/django.mo");
    world.host.sh(&format!("ls -t {messages} | head -1 | xargs truncate -s 0"));
    converges(&world, "v2");
    assert_eq!(style(&world), "/* v2 */");
    assert!(world.host.sh(&format!("find {messages} -empty")).is_empty(), "an empty one is no catalogue");
    let page = "curl --silent --fail --header 'Host: bakery.example' --header 'Accept-Language: it' http://127.0.0.1/";
    assert!(world.host.sh(page).contains("Pane fresco"));
}

/// The style sheet as the front page names it, with a hash.
#[track_caller]
fn hashed_style(world: &World) -> String {
    let page = world.get("/").body;
    let path = page.split('"').find(|word| word.starts_with("/static/shop/bakery.")).expect("a style sheet").to_owned();
    assert!(path.len() > "/static/shop/bakery.css".len(), "{path}");
    let answer = world.get(&path);
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    answer.body.trim().to_owned()
}

/// Each file that is there for static files: where, which, since when, how long.
fn static_inodes(world: &World) -> Vec<String> {
    let all =
        format!("find {HOME}/static {HOME}/static-releases {HOME}/releases -name 'bakery.*.css' -o -name '*.json'");
    let about = world.host.sh(&format!("({all}) | xargs -r stat -c '%n %i %Y %s' | sort"));
    about.lines().map(str::to_owned).collect()
}

/// Django deletes a style sheet with a hash before it writes the same again, and its manifest; others that are there it never writes.
#[test]
fn static_files_with_a_hash_are_whole_and_those_that_serve_are_left_alone() {
    let world = World::new("hashed-statics");
    world.host.exec_ok(&["systemctl", "start", "nginx"]);
    world.edit_pro(|_| PRO.to_owned());
    good(&world, "v1", &[CUT_STORAGE]);
    assert_eq!(hashed_style(&world), "/* v1 */");
    let live = static_inodes(&world);
    let untouched = || {
        let now = static_inodes(&world);
        assert!(live.iter().all(|file| now.contains(file)), "{live:#?}\n{now:#?}");
        assert_eq!((world.serving().as_str(), hashed_style(&world).as_str()), ("v1", "/* v1 */"));
    };
    let cut = STORAGE.replace("NAME", "bakery.storage.Cut");
    let pro = world.edit_pro(|pro| pro.to_owned() + &cut);
    world.reconcile().exits(3);
    untouched();
    world.edit_pro(|_| pro);
    world.portreeve(&["restart", ENV]).ok();
    untouched();

    world.push_app("v2", &[HASHED, ("shop/static/shop/bakery.css", Some("/* v2 */\n"))], "v2");
    world.set_rev("v2");
    pass_dies_at(&world, Point::first("nobody has said that they are whole", "renameat", STATIC_RELEASES));
    untouched();
    let place = format!("cd {HOME}; grep -lrF '/* v2 */' static static-releases");
    let cut = world.host.sh(&format!("{place} | tee /dev/stderr | xargs truncate -s 3"));
    assert!(world.host.sh(&format!("{place} || true")).is_empty(), "{cut}");
    converges(&world, "v2");
    assert_eq!(hashed_style(&world), "/* v2 */");
    assert_eq!(styles(&world), ["v1", "v2"], "for pages that are open");
}
