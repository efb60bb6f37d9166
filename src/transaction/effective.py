# Run by the application's user: what the settings are once everything has been imported, and whether the application loads.
import hashlib
import importlib
import json
import sys

from django.conf import settings

secret = hashlib.sha256(str(settings.SECRET_KEY).encode()).hexdigest()
database = settings.DATABASES.get("default", {}).get("NAME")
module, _, attribute = sys.argv[1].partition(":")
target = importlib.import_module(module)
for name in (attribute or "application").split("."):
    target = getattr(target, name)
print("PORTREEVE " + json.dumps({"debug": bool(settings.DEBUG), "secret": secret, "database": str(database)}))
