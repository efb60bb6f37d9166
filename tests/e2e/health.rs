//! Health checks that fail in each way that is known: visitors keep what they have, and nobody waits much longer than he was told.

use std::time::{Duration, Instant};

use crate::cmd::{Background, CmdResult};
use crate::edits::{HEALTH_500_IN_FRONT, HEALTH_HANGS, NEVER_BINDS, health};
use crate::oracle::one_generation;
use crate::traces::until_within;
use crate::world::{Edits, World};

/// What a release may take from its candidate's start on.
const DEADLINE: Duration = Duration::from_secs(6);
/// What it takes beyond that to be as before.
pub const BACK: Duration = Duration::from_secs(5);

/// A release whose health check fails, and what must be said of it.
struct Ill {
    name: &'static str,
    edits: Edits<'static>,
    cause: &'static str,
}

const ILL: [Ill; 9] = [
    Ill { name: "refuses", edits: REFUSES, cause: "refuses not released: health got no answer: connection refused" },
    Ill { name: "never-binds", edits: NEVER_BINDS, cause: "never-binds not released: health got no answer: " },
    Ill { name: "hangs", edits: HEALTH_HANGS, cause: "hangs not released: health got no answer: no answer within" },
    Ill { name: "drips", edits: DRIPS, cause: "drips not released: health got no answer: no answer within" },
    Ill { name: "redirects", edits: REDIRECTS, cause: "redirects not released: health answered 302, expected 200" },
    Ill { name: "flaps", edits: FLAPS, cause: "flaps not released: health answered 500, expected 200" },
    Ill { name: "dies-asked", edits: DIES_ASKED, cause: "dies-asked not released: the processes ended before" },
    Ill { name: "dies-in-front", edits: DIES_IN_FRONT, cause: "dies-in-front rolled back: " },
    Ill { name: "ill-in-front", edits: HEALTH_500_IN_FRONT, cause: "ill-in-front rolled back: health answered 500" },
];

/// The socket is there, and nobody listens at it.
const REFUSES: Edits<'static> =
    &[("gunicorn.conf.py", Some("def when_ready(server):\n    server.LISTENERS[0].sock.shutdown(2)\n"))];

/// A byte a second.
const DRIPS: Edits<'static> = &[(
    "bakery/urls.py",
    Some(health!(
        "import time
    from django.http import StreamingHttpResponse
    return StreamingHttpResponse(time.sleep(1) or 'x' for _ in iter(int, 1))"
    )),
)];

const REDIRECTS: Edits<'static> =
    &[("bakery/urls.py", Some(health!("return HttpResponse(status=302, headers={'Location': '/'})")))];

/// Every other answer is good.
const FLAPS: Edits<'static> = &[(
    "bakery/urls.py",
    Some(health!(
        "import os
    flag = '/home/foouser/bakery/pro/data/flag'
    good = not os.path.exists(flag)
    open(flag, 'w').close() if good else os.remove(flag)
    return HttpResponse(status=200 if good else 500)"
    )),
)];

/// A good answer, and that was all.
const DIES_ASKED: Edits<'static> = &[(
    "bakery/urls.py",
    Some(health!("import os, signal\n    os.kill(os.getppid(), signal.SIGKILL)\n    return HttpResponse()")),
)];

/// It serves and is well, and then it dies: while it is still watched.
const DIES_IN_FRONT: Edits<'static> = &[(
    "bakery/urls.py",
    Some(health!(
        "import os, signal
    flag = '/home/foouser/bakery/pro/data/served'
    if 'HTTP_X_REAL_IP' in request.META:
        os.kill(os.getppid(), signal.SIGKILL) if os.path.exists(flag) else open(flag, 'w').close()
    return HttpResponse()"
    )),
)];

/// A good answer without an end, of which as much is read as is asked for.
const ENDLESS: Edits<'static> = &[(
    "bakery/urls.py",
    Some(health!(
        "from django.http import StreamingHttpResponse
    return StreamingHttpResponse('x' * 65536 for _ in iter(int, 1))"
    )),
)];

/// A pass that releases `version`, and how long it took from the start of the candidate on.
#[track_caller]
pub fn timed(world: &World, version: &str, edits: Edits<'_>) -> (CmdResult, Duration) {
    world.push_app(version, edits, version);
    world.set_rev(version);
    let slots = ["systemctl", "is-active", "portreeve-bakery_pro@a", "portreeve-bakery_pro@b"];
    assert!(world.host.exec(&slots).stdout.contains("inactive"), "one slot is free");
    let pass = Background::start(world.host.command(&["portreeve", "reconcile"]));
    until_within(Duration::from_mins(1), "the candidate is started", || {
        !world.host.exec(&slots).stdout.contains("inactive")
    });
    let begin = Instant::now();
    (pass.end(), begin.elapsed())
}

#[test]
fn whatever_ails_a_candidate_visitors_have_what_they_had_by_its_deadline() {
    let world = World::new("health");
    world.host.exec_ok(&["systemctl", "start", "nginx"]);
    world.edit_pro(|text| {
        let text =
            text.replace("\"20s\"", &format!("\"{}s\"", DEADLINE.as_secs())).replace("bake = \"1s\"", "bake = \"2s\"");
        format!("warm = \"0s\"\n{text}")
    });
    world.reconcile().ok();
    world.release("v2", &[]).ok();
    let serving = one_generation(&world);
    for Ill { name, edits, cause } in ILL {
        let (pass, took) = timed(&world, name, edits);
        let pass = pass.exits(3);
        assert!(pass.stderr.contains(cause), "{pass}");
        assert!(took < DEADLINE + BACK, "{took:?}: {pass}");
        assert_eq!((world.serving().as_str(), one_generation(&world)), ("v2", serving), "{pass}");
    }
    assert_eq!(world.host.state(), "running", "no unit is left failed");
    timed(&world, "endless", ENDLESS).0.ok();
    assert_eq!(world.serving(), "endless");
}
