"""The command that hands out metrics."""
