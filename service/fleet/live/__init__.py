"""The numbers of a fleet: what each process counted, added up in the store, and read from any process."""
