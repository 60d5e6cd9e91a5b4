"""Commands that keep backups, and remove what no rule keeps."""
