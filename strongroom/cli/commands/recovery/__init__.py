"""The command that guides through a recovery."""
