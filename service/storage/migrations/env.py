"""Runs revisions for Alembic, on the connection that :func:`service.storage.migrations.upgrade` hands over.

Alembic gives no other hook than the act of loading this file, under the module name ``env_py``; imported as a part of
the package it does nothing.
"""

from alembic import context

import service.records.models
import service.tenants.models
import service.usage.models
from service.storage.database import Base

TABLES = (service.tenants.models, service.records.models, service.usage.models)
"""Every module that adds tables to the metadata: naming them here is what loads them."""


def run() -> None:
    """Bring the connection's schema to the revision the command asks for."""
    context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
    with context.begin_transaction():
        context.run_migrations()


if __name__ == "env_py":
    run()
