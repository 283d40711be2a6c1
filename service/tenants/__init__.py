"""Who may be called: tenants, their numbers, limits and instructions, and every change made to them."""
