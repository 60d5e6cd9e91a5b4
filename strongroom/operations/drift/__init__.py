"""Whether sources have drifted from their newest backups; a mass change freezes retention."""
