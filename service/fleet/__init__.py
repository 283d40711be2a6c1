"""Many processes as one: a store they share, the places of all their calls, and who of them lives."""
