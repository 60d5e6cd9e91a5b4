"""Destroying the keys of backups for good, and proving it."""
