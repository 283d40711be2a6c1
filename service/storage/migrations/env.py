"""Runs revisions for Alembic, on the connection that :func:`service.storage.migrations.upgrade` hands over.

Alembic gives no other hook than the act of loading this file, under the module name ``env_py``; imported as a part of
the package it does nothing. It needs no models: a revision says itself what it changes, and a test holds the result
against the models of every subpackage.
"""

from alembic import context


def run() -> None:
    """Bring the connection's schema to the revision the command asks for."""
    context.configure(connection=context.config.attributes["connection"])
    with context.begin_transaction():
        context.run_migrations()


if __name__ == "env_py":
    run()
