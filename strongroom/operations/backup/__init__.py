"""Making a backup, also for the safe: plan, capture, upload, commit; verify and repair it."""
