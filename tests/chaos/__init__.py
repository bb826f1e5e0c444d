"""Many processes on one database, and everything that can happen to them: ``python -m tests.chaos --help``."""
