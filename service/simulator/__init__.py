"""The carrier's other end: calls, converses and hangs up as the real one does, and keeps ground truth of it all."""
