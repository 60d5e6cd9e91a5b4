"""Recovery drills: restore into a place of their own, compare everything, tear down, report."""
