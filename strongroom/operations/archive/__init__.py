"""What everybody does with a backup that exists: find it, open it, read it back, lock it, mark it."""
