"""What everybody does with a backup that exists: open it, read it back, lock it, quarantine it."""
