"""Trust lists: who counts by those on targets, and how they get there."""
