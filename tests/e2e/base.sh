#!/bin/sh
# Builds the root file system that every test host has as its lowest layer: `base.sh DIRECTORY`.
#
# A Debian bookworm with systemd as PID 1, and packages for Python in /opt/wheels, so that no test needs the network.
# The bytes of this file and of uidprobe/ are the key under which the result is kept: a change here builds a new one.
set -eu

base=$1
here=$(dirname "$(realpath "$0")")

packages="systemd systemd-sysv dbus ca-certificates
git openssh-client openssh-server
nginx-light supervisor logrotate
python3 python3-venv gettext sqlite3
curl iproute2 procps strace inotify-tools faketime"

# What the sample site needs, gunicorn for sites that forgot it, setuptools and wheel to build from source, and the other
# installer.
wheels="Django>=5.2,<5.3 gunicorn==27.0.1 setuptools wheel uv==0.13.8"

# shellcheck disable=SC2086 # one word a package
mmdebstrap --variant=apt --quiet \
    --aptopt='Acquire::Languages "none"' \
    --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' \
    --include="$(echo $packages | tr ' ' ',')" \
    bookworm "$base"

# The wheels are chosen by the host's own interpreter: 3.11.2 needs packages that 3.11.7 does not.
# This machine's certificates are lent for the download: it may sit behind a proxy of its own.
mkdir -p "$base/opt/wheels"
cp --remove-destination --dereference /etc/resolv.conf "$base/etc/resolv.conf"
cp /etc/ssl/certs/ca-certificates.crt "$base/opt/ca.crt"
# shellcheck disable=SC2086 # one word a wheel
env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root PIP_CERT=/opt/ca.crt PIP_DISABLE_PIP_VERSION_CHECK=1 \
    chroot "$base" sh -euc '
        python3 -m venv /opt/venv
        /opt/venv/bin/pip wheel --quiet --no-cache-dir --wheel-dir /opt/wheels "$@"
        rm -r /opt/venv
    ' sh $wheels
rm "$base/opt/ca.crt" "$base/etc/resolv.conf"

# A package that exists as source only: pip runs its setup.py, which writes down as whom.
tar --create --gzip --owner=0 --group=0 --directory "$here" --transform 's,^uidprobe,uidprobe-1.0,' \
    --file "$base/opt/wheels/uidprobe-1.0.tar.gz" uidprobe

cat >"$base/etc/pip.conf" <<'CONF'
[global]
no-index = true
find-links = /opt/wheels
disable-pip-version-check = true
CONF

# Where code of a repository writes down as whom it ran: anyone may, nobody can take another's line away.
mkdir -m 1777 "$base/srv/uids"

# Nothing in a test waits for these, and they wake up at odd times.
ln -s /dev/null "$base/etc/systemd/system/apt-daily.timer"
ln -s /dev/null "$base/etc/systemd/system/apt-daily-upgrade.timer"
