"""Backups kept in one file."""
