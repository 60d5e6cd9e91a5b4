"""Who read backups, by the logs of those who keep them: what our own record does not have is an alarm."""
