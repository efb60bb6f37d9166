//! Whether all that a host shows of `bakery/pro` belongs to one generation, and which.

use crate::ledger::Extent;
use crate::traces::until_within;
use crate::world::World;
use std::time::Duration;

/// What files say of the active generation, and nginx. Nothing here asks the program.
const FILES: &str = r#"
fail() { echo "$*; active is generation $number" >&2; exit 1; }
same() { test "$(readlink -f "$1")" = "$2" || fail "$1 leads to $(readlink -f "$1")"; }
active=$(readlink -f /etc/portreeve/active/bakery_pro)
number=$(basename "$active")
slot=$(cd "$active" && ls -d slot-?) && slot=${slot#slot-}
unit=portreeve-bakery_pro@$slot.service
same "/etc/portreeve/slots/bakery_pro/$slot" "$active"
same /etc/nginx/sites-enabled/portreeve-bakery_pro.conf "$active/nginx.conf"
same /etc/logrotate.d/portreeve-bakery_pro "$active/logrotate"
same /etc/tmpfiles.d/portreeve-bakery_pro.conf "$active/tmpfiles.conf"
same "/etc/systemd/system/multi-user.target.wants/$unit" "/etc/systemd/system/$unit"
test ! -L "/etc/systemd/system/$unit" || fail "$unit is a link"
cmp "/etc/systemd/system/$unit" "$active/unit" || fail "$unit has other bytes"
test "$(systemctl show --property=NeedDaemonReload --value "$unit")" = no || fail "systemd has not read $unit again"
test "$(readlink /run/portreeve/bakery_pro/web.sock)" = "$slot/s" || fail "nginx is led to another slot"
cd "$active" && python3 -c '
import hashlib, json, os, stat
for name, made in json.load(open("listing.json")).items():
    if "file" in made:
        is_as_made = hashlib.sha256(open(name, "rb").read()).hexdigest() == made["file"]["sha256"]
        found, owner = os.stat(name), made["file"]["owner"]
        is_as_made &= stat.S_IMODE(found.st_mode) == made["file"]["mode"]
        is_as_made &= (found.st_uid, found.st_gid) == (owner["uid"], owner["gid"])
    else:
        is_as_made = os.readlink(name) == made["link"]
    assert is_as_made, name + " is not as it was made"
' || fail "a file has changed"
token=$(grep -o '/\.portreeve/[0-9a-f]*' "$active/nginx.conf")
code=$(curl -s -o /dev/null -w '%{http_code}' -H 'Host: bakery.example' "http://127.0.0.1$token")
test "$code" = 204 || fail "nginx serves another vhost ($code)"
pid=$(systemctl show --property=MainPID --value "$unit")
nginx -t -q
logrotate -d /etc/logrotate.conf 2>&1 | grep '^error:' && fail "logrotate complains"
"#;

/// What runs, and answers.
const RUNS: &str = r#"
test "$pid" != 0 || fail "$unit does not run"
test "$(readlink "/proc/$pid/cwd")" = "$(readlink -f "$active/release")" || fail "$pid runs in $(readlink "/proc/$pid/cwd")"
release=$(sed -n 's/^RELEASE = "\(.*\)"$/\1/p' "$active/release/bakery/__init__.py")
served=$(curl -s -o /dev/null -D - -H 'Host: bakery.example' http://127.0.0.1/ | tr -d '\r' | sed -n 's/^x-release: //Ip')
test "$served" = "$release" || fail "$served answers, not $release"
"#;

/// Where only its transactions make anything, none left it half-made.
const SWEPT: &str = r#"
left=$(find /etc/portreeve/generations/bakery_pro /home/foouser /run/portreeve/bakery_pro \
    '(' -name '.*.new-*' -o -name '.*.gone-*' ')')
test -z "$left" || fail "half-made: $left"
"#;

const STOPPED: &str = r#"
runs=$(systemctl list-units --plain --no-legend --state=active,activating 'portreeve-bakery_pro@*')
test -z "$runs" || fail "it is stopped, and this runs: $runs"
"#;

/// Where nothing is active nothing runs.
const NOTHING: &str = r#"
case $(readlink /etc/portreeve/active/bakery_pro || echo /0) in
*/0)
    runs=$(systemctl list-units --plain --no-legend --state=active 'portreeve-bakery_pro@*')
    test -z "$runs" || { echo "nothing is active, and this runs: $runs" >&2; exit 1; }
    echo 0
    exit ;;
esac
"#;

/// What the visitors' generation is, with all of the host agreeing.
#[track_caller]
pub fn one_generation(world: &World) -> u64 {
    agreed(world, Extent::Settled).unwrap_or_else(|why| panic!("{why}"))
}

/// The same, or what does not agree.
pub fn agreed(world: &World, extent: Extent) -> Result<u64, String> {
    let parts = match extent {
        Extent::Whole => [FILES, RUNS, SWEPT],
        Extent::Settled => [FILES, RUNS, ""],
        Extent::Stopped => [NOTHING, FILES, STOPPED],
        Extent::Nothing => [NOTHING, FILES, RUNS],
    };
    let script = parts.concat() + "echo \"$number\"\n";
    let told = world.host.exec(&["sh", "-euc", &script]);
    let number = told.stdout.trim().parse().ok().filter(|_| told.code == 0);
    number.ok_or_else(|| format!("{}[exit {}]", told.said(), told.code))
}

/// Waits until the site answers after a boot, which nobody but systemd has a hand in.
#[track_caller]
pub fn comes_back(world: &World) {
    let answers =
        || world.host.exec(&["curl", "-sf", "-H", "Host: bakery.example", "http://127.0.0.1/healthz"]).code == 0;
    until_within(Duration::from_secs(90), "the site answers without a pass", answers);
}

/// One pass converges on `release`, and the next one has nothing to do.
#[track_caller]
pub fn converges(world: &World, release: &str) {
    let pass = world.reconcile();
    assert_eq!(pass.code, 0, "{pass}");
    let number = one_generation(world);
    assert_eq!(world.serving(), release, "{pass}");
    assert_eq!(world.host.sh("ls /var/lib/portreeve/journal"), "", "{pass}");
    let idle = world.reconcile();
    assert_eq!((idle.code, idle.stdout.trim()), (0, "bakery/pro  unchanged"), "{idle}");
    assert_eq!(one_generation(world), number);
}
