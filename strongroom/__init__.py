"""Strongroom: sealed, replicated, drilled backups of a company's secrets."""

__version__ = "0.1.0"
