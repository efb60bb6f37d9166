# Run by the application's user: whether the application loads, and what the settings are once it has.
import hashlib
import importlib
import json
import sys
import traceback


def load(name):
    module, _, attribute = name.partition(":")
    target = importlib.import_module(module)
    for part in (attribute or "application").split("."):
        target = getattr(target, part)


def tell(error):
    """Like the interpreter, without our own frames and those of the import machinery."""
    frames = traceback.extract_tb(error.__traceback__)
    frames = [frame for frame in frames if frame.filename != "<string>" and "importlib" not in frame.filename]
    sys.stderr.write("".join(traceback.format_list(frames) + traceback.format_exception_only(error)))


try:
    # First the application, as the server does: its module may set DJANGO_SETTINGS_MODULE.
    load(sys.argv[1])
    from django.conf import settings

    effective = {
        "debug": bool(settings.DEBUG),
        "secret": hashlib.sha256(str(settings.SECRET_KEY).encode()).hexdigest(),
        "database": str(settings.DATABASES.get("default", {}).get("NAME")),
        "module": str(settings.SETTINGS_MODULE),
        "redirects": bool(getattr(sys.modules.get(sys.argv[2]), "SECURE_SSL_REDIRECT", False))
        and not settings.SECURE_SSL_REDIRECT,
    }
except Exception as error:
    tell(error)
    sys.exit(1)
print("PORTREEVE " + json.dumps(effective))
