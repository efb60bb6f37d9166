# Run by the application's user: which migrations are pending, whether the release that serves can live with each, and
# what the models have that no migration makes.
import json
import os
import traceback

import django
from django.apps import apps
from django.db import connection
from django.db.migrations.autodetector import MigrationAutodetector
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.state import ProjectState
from django.db.models import NOT_PROVIDED

django.setup()

HARMLESS = {
    "CreateModel", "AddIndex", "RemoveIndex", "RenameIndex", "AlterModelOptions", "AlterModelManagers",
    "AlterModelTableComment", "AddIndexConcurrently", "RemoveIndexConcurrently", "CreateExtension",
}


def additive(operation):
    name = type(operation).__name__
    if name == "AddField":
        # The old code writes rows without the new column: the database must accept them.
        field = operation.field
        filled = getattr(field, "db_default", NOT_PROVIDED) is not NOT_PROVIDED
        return bool(field.null or field.many_to_many or filled)
    return name in HARMLESS


def describe(operation):
    return str(operation.describe()).splitlines()[0]


def before(migration):
    """What `migrate` is told to reverse this one; nobody's migration of the same application comes before the first."""
    return next((name for app, name in migration.dependencies if app == migration.app_label), "zero")


def unwritten(loader):
    """As `makemigrations --check` finds it, of the repository's own applications; no file is written."""
    own = {app.label for app in apps.get_app_configs() if app.path.startswith(os.getcwd() + os.sep)}
    try:
        detector = MigrationAutodetector(loader.project_state(), ProjectState.from_apps(apps))
        changes = detector.changes(graph=loader.graph, trim_to_apps=own)
    except Exception:
        # Only a warning would come of it.
        traceback.print_exc()
        return []
    return [
        {"app": app, "changes": [describe(operation) for migration in migrations for operation in migration.operations]}
        for app, migrations in sorted(changes.items())
        if app in own
    ]


executor = MigrationExecutor(connection)
found = []
for migration, _ in executor.migration_plan(executor.loader.graph.leaf_nodes()):
    harmful = [describe(operation) for operation in migration.operations if not additive(operation)]
    found.append(
        {"app": migration.app_label, "name": migration.name, "before": before(migration), "harmful": harmful}
    )
print("PORTREEVE " + json.dumps({"migrations": found, "unwritten": unwritten(executor.loader)}))
