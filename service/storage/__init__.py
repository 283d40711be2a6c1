"""The database: engine, transactions, statement spans and migrations."""
