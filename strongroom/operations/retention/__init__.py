"""Which backups are kept, why, and what may be removed."""
