"""Log lines of calls, and the logging of a whole process."""
