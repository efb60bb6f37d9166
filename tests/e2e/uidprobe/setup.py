"""A package without a wheel: whoever installs it runs this file."""

import os

from setuptools import setup

UIDS = "/srv/uids"

if os.path.isdir(UIDS):
    with open(os.path.join(UIDS, f"setup.py-{os.getuid()}"), "a"):
        pass

setup(name="uidprobe", version="1.0", py_modules=["uidprobe"])
