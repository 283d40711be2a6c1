"""One call for the engineer who is asked about it: as data, as a picture, and in a terminal."""
