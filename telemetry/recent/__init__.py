"""What happened in the calls that run and in the last ones that are over, kept in memory for whoever asks why."""
