"""The durable side: one row a call, written as it moves, and what is computed from the rows."""
