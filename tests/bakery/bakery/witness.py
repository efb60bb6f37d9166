"""Writes down as which user this code ran, where somebody wants to know."""

import os
import sys

UIDS = "/srv/uids"


def note(which):
    if not os.path.isdir(UIDS):
        return
    line = f"{which}-{os.getuid()}"
    try:
        with open(os.path.join(UIDS, line), "a"):
            pass
    except OSError:
        print(f"witness: {line}", file=sys.stderr)
