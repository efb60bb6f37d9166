# rendered by portreeve; changes here are undone by its next pass
from bakery.settings import *  # noqa: F401,F403
# Django logs errors nowhere once DEBUG is off, unless the project says where.
if "LOGGING" not in globals():
    LOGGING = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"portreeve": {"format": "%(levelname)s %(name)s: %(message)s"}},
        "handlers": {"portreeve": {"class": "logging.StreamHandler", "formatter": "portreeve"}},
        "root": {"handlers": ["portreeve"], "level": "WARNING"},
    }


# By its path: a settings_local in the project's own tree comes first on Python's path, and is not ours.
def _ours():
    from pathlib import Path
    from runpy import run_path

    found = run_path(str(Path(__file__).with_name("settings_local.py")))
    return {name: value for name, value in found.items() if name.isupper()}


globals().update(_ours())


# A directory for each release: collectstatic writes in place, and the files of the one that serves stay as they are.
def _static_root(shared):
    from pathlib import Path

    own = Path(__file__).with_name("static").resolve()
    # Or it is something of the project's own choice.
    return str(own) if own.parent.with_name("static") == Path(shared).resolve() else shared


STATIC_ROOT = _static_root(STATIC_ROOT)


# Hashed names of static files: a manifest that releases share would give a worker of the old one the names of the new one.
if "staticfiles" in globals().get("STORAGES", {}):
    _static = STORAGES["staticfiles"].get("BACKEND")
    STORAGES = {**STORAGES, "staticfiles": {**STORAGES["staticfiles"], "BACKEND": f"{__name__}.StaticFilesStorage"}}
elif globals().get("STATICFILES_STORAGE"):
    _static, STATICFILES_STORAGE = STATICFILES_STORAGE, f"{__name__}.StaticFilesStorage"


# Only when Django asks for it: while settings are being read, no storage may be imported.
def __getattr__(name):
    if name != "StaticFilesStorage":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from django.utils.module_loading import import_string

    return _with_manifest_of_its_own(import_string(_static))


def _with_manifest_of_its_own(project):
    from inspect import Parameter, signature
    from pathlib import Path

    from django import VERSION
    from django.contrib.staticfiles.storage import ManifestFilesMixin
    from django.core.files.storage import FileSystemStorage

    place = Path(__file__).with_name("static").resolve() / ".portreeve"
    takes = signature(project.__init__).parameters.values()
    takes = any(it.name == "manifest_storage" or it.kind is Parameter.VAR_KEYWORD for it in takes)
    if VERSION < (4,) or not takes or not issubclass(project, ManifestFilesMixin):
        return project

    class StaticFilesStorage(project):
        def __init__(self, *args, **options):
            options.setdefault("manifest_storage", FileSystemStorage(location=place))
            super().__init__(*args, **options)

    return StaticFilesStorage
