"""Names of attributes and instruments, declared once, as data."""
