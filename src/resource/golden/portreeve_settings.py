# rendered by portreeve; changes here are undone by its next pass
from bakery.settings import *  # noqa: F401,F403

if "LOGGING" not in globals():
    LOGGING = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"portreeve": {"format": "%(levelname)s %(name)s: %(message)s"}},
        "handlers": {"portreeve": {"class": "logging.StreamHandler", "formatter": "portreeve"}},
        "root": {"handlers": ["portreeve"], "level": "WARNING"},
    }


def _ours():
    from pathlib import Path
    from runpy import run_path

    found = run_path(str(Path(__file__).with_name("settings_local.py")))
    return {name: value for name, value in found.items() if name.isupper()}


globals().update(_ours())
