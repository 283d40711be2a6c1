"""Windows over what was counted: the last minutes, hour and day of every tenant, and the figures derived from them."""
