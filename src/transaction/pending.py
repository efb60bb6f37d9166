# Run by the application's user: which migrations are pending, and whether the release that serves can live with each.
import json

import django
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
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


executor = MigrationExecutor(connection)
found = []
for migration, _ in executor.migration_plan(executor.loader.graph.leaf_nodes()):
    harmful = [describe(operation) for operation in migration.operations if not additive(operation)]
    found.append({"app": migration.app_label, "name": migration.name, "harmful": harmful})
print("PORTREEVE " + json.dumps(found))
