"""Commands that bring backups to other keys."""
