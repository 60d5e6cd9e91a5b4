"""Which backup holds which version of which secret, and how backups differ; no value is shown."""
