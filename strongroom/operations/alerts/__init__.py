"""What is wrong with the backups, and who is told."""
