"""Commands that bring backups to other keys, or destroy keys."""
