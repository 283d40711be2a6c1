"""Inserts that meet a row which is there already: one spelling for both databases."""

from sqlalchemy import Dialect, Table
from sqlalchemy.dialects import postgresql, sqlite

Insert = sqlite.Insert | postgresql.Insert
"""An insert with ``on_conflict_do_nothing``, ``on_conflict_do_update`` and ``excluded``, the row to be inserted."""


def insert_into(table: Table, dialect: Dialect) -> Insert:
    """Return an insert into the table that can say what is to happen where its key is taken."""
    return postgresql.insert(table) if dialect.name == "postgresql" else sqlite.insert(table)
