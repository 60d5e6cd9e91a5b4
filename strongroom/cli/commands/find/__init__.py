"""Commands that look for secrets in many backups, and compare backups, without showing a value."""
