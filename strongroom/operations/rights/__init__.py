"""What each role needs, and how a server is told so: one table for ``cluster rules`` and ``check rights``."""
