"""How a host was left, for a sweep that judges those left alike once: all that a pass and visitors meet, but for times, the words
that records hold for people, and what differs from boot to boot."""

import hashlib
import os
import re
import stat
import subprocess

PLACES = ["/etc", "/home/foouser", "/run/portreeve", "/srv", "/var/backups", "/var/lib/portreeve", "/var/log/foouser"]
# Their names say what they hold, they are drawn by lot, or nobody reads them but people.
NAMES_ONLY = re.compile(r"/venvs/[^/]+/|/objects/|/secrets/|/attempts/|^/run/|^/srv/git/|/history\.sqlite|__pycache__")
PASSING = re.compile(
    rb'\d{4}-\d\d-\d\dT[\d:.]+Z|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\+\d+|"(cause|help|evidence|host)": "([^"\\]|\\.)*"'
)
SERVICES = "systemctl show --property=Id,ActiveState,SubState,NeedDaemonReload,UnitFileState 'portreeve-*'"
SERVED = r"""for token in $(grep -oh '/\.portreeve/[0-9a-f]*' /etc/portreeve/generations/*/*/nginx.conf); do
    curl -s -o /dev/null -w '%{http_code} ' -H 'Host: bakery.example' "http://127.0.0.1$token"; done
curl -s -o /dev/null -D - -H 'Host: bakery.example' http://127.0.0.1/ | grep -i '^x-\|^http'
for pid in $(systemctl show --property=MainPID --value 'portreeve-*'); do readlink /proc/$pid/cwd; done
mkdir /run/left; cp /var/lib/portreeve/history.sqlite* /run/left
sqlite3 /run/left/history.sqlite 'SELECT env, generation, kind, release, rev, deploy_commit FROM event'; rm -r /run/left"""


def held(path, found):
    if stat.S_ISLNK(found.st_mode):
        return os.readlink(path)
    if not stat.S_ISREG(found.st_mode):
        return ""
    if NAMES_ONLY.search(path):
        return "" if "/run/" in path or "/attempts/" in path or "history" in path else found.st_size
    with open(path, "rb") as file:
        return hashlib.sha256(PASSING.sub(b"", file.read())).hexdigest()


def walk(place):
    for directory, directories, files in os.walk(place):
        directories.sort()
        for name in sorted(directories + files):
            path = os.path.join(directory, name)
            found = os.lstat(path)
            yield f"{path} {found.st_mode:o} {found.st_uid} {found.st_gid} {held(path, found)}\n"


def said(script):
    return subprocess.run(["sh", "-c", script], capture_output=True, text=True).stdout


found = "".join(line for place in PLACES for line in walk(place)) + said(SERVICES) + said(SERVED)
print(hashlib.sha256(found.encode()).hexdigest(), end="")
