"""Other keys for backups, and other values for secrets."""
