"""What happened in one call, for the engineer who is asked: as data, as a picture, and in a terminal."""
