"""Commands that destroy the keys of backups for good."""
